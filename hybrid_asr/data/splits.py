"""The names of sets, and the split of a corpus that names none: by a hash, so that utterances added later move no
others."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, get_args

from hybrid_asr.common.errors import UserError
from hybrid_asr.config.words import suggest
from hybrid_asr.data.manifest import Utterance

HeldOut = Literal["test", "valid"]
SHARE = 0.1  # the chance of a speaker or an utterance to go into a held-out set
SETS = ("train", "valid", "test")
SPELLINGS = {
    "train": ("train", "training", "trn", "tr"),
    "valid": ("valid", "validation", "validate", "val", "dev", "devel", "development", "cv"),
    "test": ("test", "testing", "tst", "tt"),
}
FURTHER = ("test", "dev", "valid", "val", "eval", "evaluation")  # test-clean, dev_other, eval2000 keep their names

Sets = dict[str, list[Utterance]]


class SplitError(UserError):
    """A split that cannot be made: an unknown name or share, or too few speakers or utterances."""


def set_name(written: str) -> str:
    """The set that a table or a folder means: train, valid, test, or a further one under its own name.

    A part of train, such as `train-clean-100`, is train. A name that begins with `test`, `dev`, `valid` or `eval`, such
    as `test-other`, is a set of its own, since publications report it alone; so is `eval`, which stands for validation
    in some corpora and for test in others. Raises SplitError for other names.
    """
    name = re.sub(r"\s+", "_", written.strip().lower())
    for set_of, spellings in SPELLINGS.items():
        if name in spellings:
            return set_of
    parts = re.fullmatch(r"([a-z]+)([\w.-]*)", name)
    if parts and parts[1] in SPELLINGS["train"]:
        return "train"
    if parts and parts[1] in FURTHER:
        return name
    raise SplitError(f"unknown set '{written}'; {suggest(name, SETS)}")


def is_set_name(written: str) -> bool:
    """Whether `set_name` knows this name."""
    try:
        set_name(written)
    except SplitError:
        return False
    return True


def parse_split(text: str) -> dict[HeldOut, float]:
    """The shares that `valid=0.1,test=0.05` names; `none` names no set. Raises SplitError."""
    if text.strip() == "none":
        return {}
    shares: dict[HeldOut, float] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\w+)\s*=\s*(0?\.\d+)\s*", part)
        spelled = match[1].lower() if match else ""
        name: HeldOut = "valid" if spelled in SPELLINGS["valid"] else "test"
        if not match or spelled not in SPELLINGS[name] or name in shares or float(match[2]) == 0:
            raise SplitError(f"--split {text}: '{part}' is not SET=SHARE; write valid=0.1, valid=0.1,test=0.1, or none")
        shares[name] = float(match[2])
    if sum(shares.values()) >= 1:
        raise SplitError(f"--split {text}: nothing would be left for train; choose smaller shares")
    return shares


def hold_out(
    utterances: Sequence[Utterance], sets: Iterable[HeldOut] | Mapping[HeldOut, float] = ("test", "valid")
) -> Sets:
    """Take the held-out `sets` out of `utterances`: the result has these and `train`, each in the order given.

    `sets` are names, for a share of SHARE each, or names with shares. Whole speakers are held out where all are known
    and there are at least three, else single utterances. One goes into a set with the share as its chance, decided by
    the SHA-256 of its name (of the speaker, or the utterance's id) alone; each set gets at least one. So the split does
    not depend on the order, and what is added later rarely moves others.

    Raises SplitError where nothing would be left for `train`.
    """
    shares = dict(sets) if isinstance(sets, Mapping) else dict.fromkeys(sets, SHARE)
    by_speaker = holds_out_speakers(utterances)
    names = [utterance.speaker or "" if by_speaker else utterance.id for utterance in utterances]
    set_of = _assign(set(names), shares)
    split: Sets = {"train": [], **{name: [] for name in shares}}
    for name, utterance in zip(names, utterances, strict=True):
        split[set_of.get(name, "train")].append(utterance)
    return split


def holds_out_speakers(utterances: Sequence[Utterance]) -> bool:
    """Whether `hold_out` takes whole speakers: all are known, and there is one for each of three sets."""
    speakers = {utterance.speaker for utterance in utterances}
    return None not in speakers and len(speakers) >= len(SETS)


def hash_fraction(name: str) -> float:
    """A number in [0, 1) from the SHA-256 of a name, the same in every process."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:13], 16) / 16**13


def shared(sets: Sets, field: Literal["speaker", "audio"]) -> dict[str, list[str]]:
    """For each set, the speakers or files that are in train, too, in the order of their names; sets without are left
    out."""
    held: dict[str, set[str]] = {
        name: {getattr(one, field) for one in utterances} - {None} for name, utterances in sets.items()
    }
    trained = held.pop("train", set())
    return {name: sorted(found & trained) for name, found in held.items() if found & trained}


def _assign(names: set[str], shares: Mapping[HeldOut, float]) -> dict[str, str]:
    """The held-out set of each name that goes into one."""
    if len(names) <= len(shares):
        raise SplitError(f"{len(names)} utterances are too few to take {' and '.join(shares)} out of train; add more")
    ranked = sorted((hash_fraction(name), name) for name in names)
    set_of: dict[str, str] = {}
    for held_out, share in shares.items():
        low = _first_fraction(held_out, shares)
        set_of |= {name: held_out for fraction, name in ranked if low <= fraction < low + share and name not in set_of}
        if held_out not in set_of.values():
            set_of[next(name for _, name in ranked if name not in set_of)] = held_out
    if set_of.keys() == names:  # tiny corpora only
        return {name: held_out for held_out, (_, name) in zip(shares, ranked, strict=False)}
    return set_of


def _first_fraction(held_out: HeldOut, shares: Mapping[HeldOut, float]) -> float:
    """Where a set begins on the scale of `hash_fraction`: the same whether the other one is held out or not."""
    test, valid = get_args(HeldOut)
    return 0.0 if held_out == test else min(max(SHARE, shares.get(test, 0.0)), 1 - shares[valid])
