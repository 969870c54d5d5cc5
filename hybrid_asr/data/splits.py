"""Splitting a corpus that names no validation or test set: by a hash, so that utterances added later move no others."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Literal, get_args

from hybrid_asr.common.errors import UserError
from hybrid_asr.data.manifest import Utterance

HeldOut = Literal["test", "valid"]
SHARE = 0.1  # the chance of a speaker or an utterance to go into a held-out set
SETS = ("train", "valid", "test")

Sets = dict[str, list[Utterance]]


class SplitError(UserError):
    """Too few speakers or utterances to split."""


def hold_out(utterances: Sequence[Utterance], sets: Iterable[HeldOut] = ("test", "valid")) -> Sets:
    """Take the held-out `sets` out of `utterances`: the result has these and `train`, each in the order given.

    Whole speakers are held out where all are known and there are at least three, else single utterances. One goes into
    a set with a chance of SHARE, decided by the SHA-256 of its name (of the speaker, or the utterance's id) alone; each
    set gets at least one. So the split does not depend on the order, and what is added later rarely moves others.

    Raises SplitError where nothing would be left for `train`.
    """
    sets = tuple(sets)
    speakers = {utterance.speaker for utterance in utterances}
    by_speaker = None not in speakers and len(speakers) >= len(SETS)
    names = [utterance.speaker or "" if by_speaker else utterance.id for utterance in utterances]
    set_of = _assign(set(names), sets)
    split: Sets = {"train": [], **{name: [] for name in sets}}
    for name, utterance in zip(names, utterances, strict=True):
        split[set_of.get(name, "train")].append(utterance)
    return split


def hash_fraction(name: str) -> float:
    """A number in [0, 1) from the SHA-256 of a name, the same in every process."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:13], 16) / 16**13


def _assign(names: set[str], sets: Sequence[HeldOut]) -> dict[str, str]:
    """The held-out set of each name that goes into one."""
    if len(names) <= len(sets):
        raise SplitError(f"{len(names)} utterances are too few to take {' and '.join(sets)} out of train; add more")
    ranked = sorted((hash_fraction(name), name) for name in names)
    set_of: dict[str, str] = {}
    for held_out in sets:
        low = get_args(HeldOut).index(held_out) * SHARE
        set_of |= {name: held_out for fraction, name in ranked if low <= fraction < low + SHARE and name not in set_of}
        if held_out not in set_of.values():
            set_of[next(name for _, name in ranked if name not in set_of)] = held_out
    if set_of.keys() == names:  # tiny corpora only
        return {name: held_out for held_out, (_, name) in zip(sets, ranked, strict=False)}
    return set_of
