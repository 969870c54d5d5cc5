"""Starting from another run's weights: what fits is taken, and what was taken is printed."""

import dataclasses
from collections.abc import Iterable
from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from hybrid_asr.common.errors import UserError
from hybrid_asr.config.schema import config
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.text.tokenizer import Tokenizer


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
    """The weights taken from another model, whole or for the units that both have, and those that began fresh."""

    taken: list[str]
    by_unit: list[str]
    fresh: list[str]

    def text(self) -> str:
        """What was taken and what began fresh, for people."""
        lines = [f"taken: {_shorten(self.taken)}", f"not taken, trained from the start: {_shorten(self.fresh)}"]
        if self.by_unit:
            lines.insert(1, f"taken for the units that both vocabularies have: {_shorten(self.by_unit)}")
        return "\n".join(lines)


UNIT_ROWS = ("ctc.project.", "decoder.embedding.", "decoder.output.")  # weights with one row a unit


def take_weights(bundle: Bundle, other: Bundle, cfg: InitConfig) -> Loaded:
    """Copy into `bundle` the weights of `other` with equal name and shape; rows of units go by the unit's text."""
    source = other.model.state_dict()
    target = bundle.model.state_dict()
    for part in cfg.parts:
        _refuse_unknown("init.parts", part, target)
    rows = _common_units(bundle.tokenizer, other.tokenizer)
    sizes = {bundle.tokenizer.vocab_size, other.tokenizer.vocab_size}
    same = sizes == {len(rows)} and all(ours == theirs for ours, theirs in rows)
    loaded = Loaded([], [], [])
    for name, value in target.items():
        wanted = not cfg.parts or any(_begins(name, part) for part in cfg.parts)
        per_unit = name.startswith(UNIT_ROWS)
        if not wanted or name not in source or source[name].shape[1:] != value.shape[1:]:
            loaded.fresh.append(name)
        elif per_unit and not same:
            ours, theirs = torch.tensor(rows).T
            value[ours] = source[name][theirs]
            loaded.by_unit.append(name)
        elif source[name].shape == value.shape:
            value.copy_(source[name])
            loaded.taken.append(name)
        else:
            loaded.fresh.append(name)
    if not loaded.taken and not loaded.by_unit:
        raise UserError(f"init.from: nothing in {cfg.from_} fits this model; compare 'hybrid-asr show model' of both")
    return loaded


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


def _common_units(ours: Tokenizer, theirs: Tokenizer) -> list[tuple[int, int]]:
    """Pairs of labels that stand for the same text; the special ones are always common."""
    special = [(ours.blank, theirs.blank), (ours.unk, theirs.unk), (ours.eos, theirs.eos)]
    text_of = {text: label for label, text in _units(theirs)}
    return special + [(label, text_of[text]) for label, text in _units(ours) if text in text_of]


def _units(tokenizer: Tokenizer) -> list[tuple[int, str]]:
    """Labels that are not special, with their texts; an imported model may have special ones between them."""
    special = {tokenizer.blank, tokenizer.unk, tokenizer.sos, tokenizer.eos}
    return [(label, tokenizer.pieces([label])[0]) for label in range(tokenizer.vocab_size) if label not in special]


def _shorten(names: list[str]) -> str:
    """Names, grouped by their first two steps."""
    groups: dict[str, int] = {}
    for name in names:
        group = ".".join(name.split(".")[:2])
        groups[group] = groups.get(group, 0) + 1
    return ", ".join(f"{group} ({count})" for group, count in groups.items()) or "nothing"
