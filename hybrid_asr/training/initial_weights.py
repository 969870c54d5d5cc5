"""Starting from another run's weights: what fits is taken, and what was taken is printed."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.problems import examples
from hybrid_asr.config.files import flatten
from hybrid_asr.config.schema import config
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.text.common_units import CommonUnits, common_units, why_few


@config
class InitConfig:
    """`from`: the folder of a run, a model.pt or a checkpoint to start from.

    `parts` limits what is taken to names with these beginnings (`encoder`, `decoder.layers.0`, `ctc`; empty: all);
    `freeze` names, in the same way, what is not trained.
    """

    from_: Annotated[str, Field(alias="from")] = ""
    parts: tuple[str, ...] = ()
    freeze: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Loaded:
    """The weights taken from another model, whole or for the units that both have, and those that began fresh.

    `misfits` are those of the fresh ones that the other model has in another shape, `unused` what only it has; `units`
    is None where no weight with a row a unit was taken.
    """

    taken: list[str] = dataclasses.field(default_factory=list)
    by_unit: list[str] = dataclasses.field(default_factory=list)
    fresh: list[str] = dataclasses.field(default_factory=list)
    misfits: list[str] = dataclasses.field(default_factory=list)
    unused: list[str] = dataclasses.field(default_factory=list)
    units: CommonUnits | None = None
    warnings: tuple[str, ...] = ()

    def text(self) -> str:
        """What was taken and what began fresh, and why, for people."""
        lines = [f"taken: {_shorten(self.taken)}"]
        if self.by_unit:
            lines.append(f"taken for the units that both vocabularies have: {_shorten(self.by_unit)}")
        if self.units:
            lines.append(self.units.text())
        lines.append(f"not taken, trained from the start: {_shorten(self.fresh)}")
        if self.misfits:
            lines.append(f"of another shape there: {examples(self.misfits)}")
        if self.unused:
            lines.append(f"not used, since this model has none: {_shorten(self.unused)}")
        return "\n".join([*lines, *(f"warning: {warning}" for warning in self.warnings)])


UNIT_ROWS = ("ctc.project.", "decoder.embedding.", "decoder.output.")  # weights with one row a unit


def take_weights(bundle: Bundle, other: Bundle, cfg: InitConfig) -> Loaded:
    """Copy into `bundle` the weights of `other` with equal name and shape; rows of units go by the unit's text."""
    source = other.model.state_dict()
    target = bundle.model.state_dict()
    for part in cfg.parts:
        _refuse_unknown("init.parts", part, target)
    units = common_units(bundle.tokenizer, other.tokenizer)
    same = not units.new and not units.lost and all(ours == theirs for ours, theirs in units.pairs)
    loaded = Loaded()
    for name, value in target.items():
        wanted = not cfg.parts or any(_begins(name, part) for part in cfg.parts)
        per_unit = name.startswith(UNIT_ROWS)
        if not wanted or name not in source or source[name].shape[1:] != value.shape[1:]:
            loaded.fresh.append(name)
        elif per_unit and not same:
            ours, theirs = torch.tensor(units.pairs).T
            value[ours] = source[name][theirs]
            loaded.by_unit.append(name)
        elif source[name].shape == value.shape:
            value.copy_(source[name])
            loaded.taken.append(name)
        else:
            loaded.fresh.append(name)
        if wanted and name in source and loaded.fresh[-1:] == [name]:
            loaded.misfits.append(f"{name} {_size(source[name])}, here {_size(value)}")
    if not loaded.taken and not loaded.by_unit:
        differing = f"; of another shape: {examples(loaded.misfits)}" if loaded.misfits else ""
        raise UserError(
            f"init.from: nothing in {cfg.from_} fits this model; compare 'hybrid-asr show model' of both{differing}"
        )
    loaded.unused.extend(name for name in source if name not in target)
    if not any(name.startswith(UNIT_ROWS) for name in (*loaded.taken, *loaded.by_unit)):
        units = None
    return dataclasses.replace(loaded, units=units, warnings=tuple(_warnings(bundle, other, units)))


def _warnings(bundle: Bundle, other: Bundle, units: CommonUnits | None) -> Iterator[str]:
    """What makes the weights that are taken worth little."""
    if units and units.are_few:
        ours, theirs = (bundle.tokenizer, bundle.text.rules), (other.tokenizer, other.text.rules)
        yield f"only {len(units.pairs)} of {units.size} units are common; {why_few(units, ours, theirs)}"
    here, there = (dict(flatten(side.config["features"])) for side in (bundle, other))
    differing = [
        f"features.{key}={there.get(key)} there, {here.get(key)} here"
        for key in sorted({*here, *there})
        if here.get(key) != there.get(key)
    ]
    if differing:
        yield f"the encoder was trained with other features: {examples(differing)}"


def _size(value: torch.Tensor) -> str:
    return " x ".join(map(str, value.shape))


def freeze(model: nn.Module, parts: tuple[str, ...]) -> int:
    """Stop training what begins with one of `parts`; returns how many numbers. Raises UserError on an unknown part."""
    weights = dict(model.named_parameters())
    for part in parts:
        _refuse_unknown("init.freeze", part, weights)
    frozen = [weight for name, weight in weights.items() if any(_begins(name, part) for part in parts)]
    if len(frozen) == len(weights):
        raise UserError("init.freeze: nothing is left to train; leave out a part")
    for weight in frozen:
        weight.requires_grad_(False)
    return sum(weight.numel() for weight in frozen)


def _refuse_unknown(key: str, part: str, names: Iterable[str]) -> None:
    if not any(_begins(name, part) for name in names):
        known = sorted({name.split(".")[0] for name in names})
        raise UserError(f"{key}: the model has no part '{part}'; its parts begin with {', '.join(known)}")


def _begins(name: str, part: str) -> bool:
    return name == part or name.startswith(part + ".")


def _shorten(names: list[str]) -> str:
    """Names, grouped by their first two steps."""
    groups: dict[str, int] = {}
    for name in names:
        group = ".".join(name.split(".")[:2])
        groups[group] = groups.get(group, 0) + 1
    return ", ".join(f"{group} ({count})" for group, count in groups.items()) or "nothing"
