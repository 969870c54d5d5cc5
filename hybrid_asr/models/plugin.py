"""A user's own encoder or decoder: an installed package that names it as an entry point, chosen by `kind: plugin`.

The package's pyproject.toml has a table `[project.entry-points."hybrid_asr.encoders"]` (or `.decoders`) with a name and
the import path of an EncoderPlugin (or DecoderPlugin). See docs/plugin_example.
"""

import dataclasses
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import torch
from pydantic import Field

from hybrid_asr.common.errors import UserError
from hybrid_asr.config.schema import config, is_config, parse
from hybrid_asr.config.words import suggest
from hybrid_asr.models.settings import AttentionSettings, EncoderSettings

ENCODERS, DECODERS = "hybrid_asr.encoders", "hybrid_asr.decoders"


class PluginError(UserError):
    """A plugin that is not installed, cannot be loaded, or breaks the contract; the message names it and the remedy."""


@config
class PluginConfig(EncoderSettings, AttentionSettings):
    """`name` is that of an installed plugin, `options` are the fields of its own configuration."""

    kind: Literal["plugin"] = "plugin"
    name: Annotated[str, Field(min_length=1)]
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


class EncoderPlugin(NamedTuple):
    """What an entry point of the group `hybrid_asr.encoders` names.

    `config` is a class made by `hybrid_asr.config.schema.config`, from which options are read; `build(cfg, features)`
    gives an encoder (a Module with all of the Protocol `hybrid_asr.models.encoder.Encoder`) for a feature width.
    """

    config: type
    build: Callable[..., Any]


class DecoderPlugin(NamedTuple):
    """What an entry point of the group `hybrid_asr.decoders` names.

    `build(cfg, memory_dim=, vocab_size=, sos=)` gives a decoder (a Module with all of the Protocol
    `hybrid_asr.models.decoder.Decoder`) for an encoder's width, the size of the vocabulary, and the label that begins
    every text.
    """

    config: type
    build: Callable[..., Any]


P = TypeVar("P", EncoderPlugin, DecoderPlugin)


def build_plugin(plugin: type[P], cfg: PluginConfig, **sizes: int) -> tuple[Any, str]:
    """What the plugin that `cfg` names builds from its options, and what to call it in messages.

    Raises PluginError, and ConfigError for its options. Weights come from torch's default generator.
    """
    part, group = ("encoder", ENCODERS) if plugin is EncoderPlugin else ("decoder", DECODERS)
    point = _find(cfg.name, group, f"model.{part}.name")
    label = f"model.{part}: the plugin '{cfg.name}' of {_package(point)}"
    with plugin_errors(label, "cannot be imported"):
        loaded = point.load()
    if not isinstance(loaded, plugin):
        wanted = f"hybrid_asr.models.plugin.{plugin.__name__}(config=…, build=…)"
        raise PluginError(f"{label}: {point.value} is {_kind(loaded)}; let the entry point name an {wanted}")
    if not is_config(loaded.config):
        raise PluginError(
            f"{label}: its configuration, {loaded.config!r}, would let misspelled options pass; "
            "decorate a class with hybrid_asr.config.schema.config"
        )
    options = parse(loaded.config, cfg.options, where=f"model.{part}.options")
    with plugin_errors(label, "cannot be built"):
        built = loaded.build(options, **sizes)
    if not isinstance(built, torch.nn.Module):
        raise PluginError(f"{label}: build gives {_kind(built)}; it must give a torch.nn.Module")
    return built, label


def _find(name: str, group: str, path: str) -> EntryPoint:
    """The entry point of that name. Raises PluginError with those that are installed."""
    installed = {point.name: point for point in entry_points(group=group)}
    if name not in installed:
        hint = suggest(name, installed) if installed else "no plugin is installed here"
        raise PluginError(
            f"{path}: no installed package has the plugin '{name}' (entry points '{group}'); {hint}; "
            "install its package into this environment with pip"
        )
    return installed[name]


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else point.value


def _kind(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"


@contextmanager
def plugin_errors(label: str, what: str) -> Iterator[None]:
    """Turn an error of the plugin's own code in this context into a PluginError that names plugin, error and line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        description = f"{type(error).__name__}: {' '.join(str(error).split())} ({last.filename}:{last.lineno})"
        remedy = "look there, or at the traceback that --debug shows, and correct or update the package"
        raise PluginError(f"{label} {what}: {description}; {remedy}") from error
