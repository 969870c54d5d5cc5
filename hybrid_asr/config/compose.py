"""`compose` merges presets, a recipe and the overrides of the command line into one plain tree; later wins."""

import functools
import hashlib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from hybrid_asr.config.files import Tree, flatten, load_yaml, yaml_problem
from hybrid_asr.config.locate import display_path, find_preset, find_recipe, presets, sections
from hybrid_asr.config.schema import ConfigError, parse
from hybrid_asr.config.words import SECTIONS, suggest, targets

T = TypeVar("T")

COMMAND_LINE = "command line"
_EITHER = (("trainer.epochs", "trainer.steps"),)  # of each pair the one that is written later counts
_KEY = re.compile(r"\w[\w-]*(\.[\w-]+)*")
_REFERENCE = re.compile(r"\$\{[\w.]+\}")  # a resolver's call has a colon: it would run code or read the environment


@dataclass(frozen=True, kw_only=True)
class Composed:
    """A merged configuration, not yet checked.

    `sources` gives for each dotted path of `tree` where its value was written; `tree["presets"]` names the presets.
    `dropped` holds the keys of the recipe that are left out, because the command line chose another preset for their
    section than the one they were written for.
    """

    tree: Tree
    sources: dict[str, str]
    dropped: Tree = field(default_factory=dict)
    recipe: Path | None = None

    @property
    def presets(self) -> dict[str, str]:
        """The preset of each section that has one."""
        return self.tree.get("presets", {})

    def parse(self, cls: type[T]) -> T:
        """Check the tree against `cls`; a ConfigError names each bad key and where it was written."""
        for key, value in self.tree.items():
            section = key if key in sections() else targets(key, SECTIONS)
            if isinstance(value, str) and section in sections():
                remedy = f"choose it by presets.{section}=PRESET; {suggest(value, presets(section))}"
                raise ConfigError(f"{key}: expected keys, got '{value}'; {remedy} ({self.sources[key]})")
        return parse(cls, self.tree, sources=self.sources | ({"": display_path(self.recipe)} if self.recipe else {}))


class _Layer(NamedTuple):
    source: str
    tree: Tree


def compose(recipe: Path | str, overrides: Sequence[str] = (), *, source: str = COMMAND_LINE) -> Composed:
    """Merge conf/<section>/<preset>.yaml of each preset that `recipe` names, then `recipe`, then `overrides`.

    `recipe` is a path or a name such as `an4/conformer_s`; an override is `a.b=value`, the value being YAML, or
    `presets.<section>=<preset>`; `source` is where overrides were written. What the recipe wrote for a section was
    meant for the recipe's preset of that section: where an override chooses another one, it is left out
    (`Composed.dropped`).
    `${a.b}` stands for the value at `a.b`. Raises ConfigError.
    """
    path = find_recipe(recipe)
    tree = load_yaml(path)
    written = _preset_names(tree.get("presets", {}), display_path(path))
    chosen, layers = _parse_overrides(overrides, source)
    names = written | chosen
    kept = {section: value for section, value in tree.items() if names.get(section) == written.get(section)}
    dropped = {section: value for section, value in tree.items() if section not in kept}
    base = [_preset(key, name, source if key in chosen else display_path(path)) for key, name in names.items()]
    merged, sources = _merge(base, [_Layer(display_path(path), kept), *layers])
    return Composed(tree=merged, sources=sources, dropped=dict(flatten(dropped)), recipe=path)


def amend(tree: Tree, overrides: Sequence[str], *, source: str, using: Mapping[str, str] | None = None) -> Composed:
    """Merge `overrides` over `tree`, a run's configuration that was written at `source`.

    A section named in `using` (section -> preset), or by an override `presets.<section>=<preset>`, is first replaced by
    that preset. Raises ConfigError.
    """
    chosen, layers = _parse_overrides(overrides)
    names = {**(using or {}), **chosen}
    base = [_preset(section, name, COMMAND_LINE) for section, name in names.items()]
    kept = {section: value for section, value in tree.items() if section not in names}
    merged, sources = _merge(
        base, [_Layer(source, kept), _Layer(COMMAND_LINE, {"presets": names} if names else {}), *layers]
    )
    return Composed(tree=merged, sources=sources)


def check_overrides(overrides: Sequence[str]) -> None:
    """Raise ConfigError for what is no `key=value`, before overrides are told apart by their keys."""
    _parse_overrides(overrides)


def digest(tree: Any) -> str:
    """SHA-256 of a plain tree as canonical JSON, in hexadecimal: the order of keys does not matter."""
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _preset_names(written: Any, where: str) -> dict[str, str]:
    if not isinstance(written, dict):
        raise ConfigError(f"{where}: presets: write {{section: preset, ...}}, got {written!r}")
    for section, name in written.items():
        if not isinstance(name, str):
            raise ConfigError(f"{where}: presets.{section}: expected the name of a preset, got {name!r}")
    return written


def _preset(section: str, name: str, named_by: str) -> _Layer:
    """The layer of a preset; `named_by` is the source that names it."""
    try:
        path = find_preset(section, name)
    except ConfigError as error:
        raise ConfigError(f"{named_by}: {error}") from None
    tree = load_yaml(path)
    if "presets" in tree:
        raise ConfigError(f"{display_path(path)}: a preset never includes another preset; name both in the recipe")
    return _Layer(display_path(path), {section: tree})


def _parse_overrides(overrides: Sequence[str], source: str = COMMAND_LINE) -> tuple[dict[str, str], list[_Layer]]:
    """The presets that overrides choose, and a layer for every override."""
    chosen: dict[str, Any] = {}
    layers = []
    for override, following in itertools.zip_longest(overrides, overrides[1:], fillvalue=""):
        key, value = _parse_override(override, following, source)
        first, *rest = key.split(".")
        if first == "presets" and len(rest) != 1:
            raise ConfigError(f"{source}: '{override}': write presets.SECTION=PRESET")
        if first == "presets":
            chosen[rest[0]] = value
        for part in reversed(key.split(".")):
            value = {part: value}
        layers.append(_Layer(source, value))
    return _preset_names(chosen, source), layers


def _parse_override(override: str, following: str = "", source: str = COMMAND_LINE) -> tuple[str, Any]:
    """The key and the value of `a.b=value`; `following` is the next word, which may be what should stand behind `=`."""
    key, equals, text = override.partition("=")
    if not equals or not _KEY.fullmatch(key):
        value = following if following and "=" not in following.rstrip("=") else ""
        example = (
            f"{override}={value.lstrip('=') or 'VALUE'}" if _KEY.fullmatch(override) and value else "decode.beam=40"
        )
        raise ConfigError(f"{source}: '{override}' is no override; write key=value, such as {example}")
    try:
        value = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]), resolve=False)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: '{override}': the value is not YAML{yaml_problem(error)}; quote it") from None
    except OmegaConfBaseException as error:
        raise ConfigError(f"{source}: '{override}': {str(error).splitlines()[0]}") from None
    return key, value["value"]  # type: ignore[index,call-overload]


def _merge(base: Sequence[_Layer], above: Sequence[_Layer]) -> tuple[Tree, dict[str, str]]:
    """Merge the presets' layers, then those above; the tree with its references resolved, and each value's source."""
    layers = [*base, *above]
    last = {path: layer.source for layer in layers for path, _ in flatten(layer.tree)}
    earlier = _written_earlier(layers)
    kept = (_without(layer.tree, earlier) for layer in layers) if earlier else (layer.tree for layer in layers)
    merged = functools.reduce(_merge_trees, kept)
    sources = {path: last[path] for path, _ in flatten(merged)}
    for path, value in flatten(merged):
        _check_references(path, value, sources[path])
    _check_kinds(base, merged, sources)
    try:
        tree: Any = OmegaConf.to_container(OmegaConf.create(merged), resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        path = re.sub(r"\[(\d+)\]", r".\1", str(error.full_key))
        missing = isinstance(error, MissingMandatoryValue)
        problem = "required, but not given" if missing else str(error).splitlines()[0]
        raise ConfigError(f"{path}: {problem} ({_nearest_source(path, sources)})") from None
    return tree, {path: _nearest_source(path, sources) for path, _ in flatten(tree)}


def _written_earlier(layers: Sequence[_Layer]) -> set[str]:
    """The keys whose place another one takes, written later. Raises ConfigError where one source has both."""
    earlier = set[str]()
    for pair in _EITHER:
        place = {
            path: (number, layer.source)
            for number, layer in enumerate(layers)
            for path, value in flatten(layer.tree)
            if path in pair and value is not None
        }
        if len(place) < len(pair):
            continue
        first, last = sorted(place, key=lambda path: place[path][0])
        if place[first][1] == place[last][1]:
            raise ConfigError(f"{pair[0]} and {pair[1]}: give one of them, not both ({place[last][1]})")
        earlier.add(first)
    return earlier


def _without(tree: Tree, paths: set[str]) -> Tree:
    """A tree without the keys at dotted `paths` of a section."""
    return {
        section: {key: inner for key, inner in value.items() if f"{section}.{key}" not in paths}
        if isinstance(value, dict)
        else value
        for section, value in tree.items()
    }


def _merge_trees(below: Any, above: Any) -> Any:
    """Merge two trees key by key; values other than sections are replaced whole, lists too."""
    if isinstance(below, dict) and isinstance(above, dict):
        return below | {key: _merge_trees(below.get(key), value) for key, value in above.items()}
    return above


def _check_references(path: str, value: Any, source: str) -> None:
    """Raise ConfigError for any reference but `${a.b}`."""
    if isinstance(value, str) and "${" in _REFERENCE.sub("", value):
        raise ConfigError(f"{path}: '{value}': only ${{a.b}}, the path of another value, can be referred to ({source})")
    for inner in value if isinstance(value, list) else value.values() if isinstance(value, dict) else ():
        _check_references(path, inner, source)


def _check_kinds(base: Sequence[_Layer], merged: Tree, sources: Mapping[str, str]) -> None:
    """Raise ConfigError where a preset's kind was overridden: the keys of one kind mean nothing to another."""
    for layer in base:
        [(section, content)] = layer.tree.items()
        kind = merged[section].get("kind") if isinstance(merged[section], dict) else None
        if "kind" in content and isinstance(kind, str) and kind != content["kind"]:
            remedy = f"choose it by presets.{section}=PRESET, one of {', '.join(presets(section))}"
            raise ConfigError(f"{section}.kind: a preset decides the kind; {remedy} ({sources[f'{section}.kind']})")


def _nearest_source(path: str, sources: Mapping[str, str]) -> str:
    """The source of `path`, or of the reference above it that brought it."""
    while path not in sources:
        path = path.rpartition(".")[0]
    return sources[path]
