"""What the user's own data becomes: sets of utterances, the lines that were left out, and what is told about both."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from hybrid_asr.common.errors import UserError
from hybrid_asr.data.manifest import Utterance
from hybrid_asr.data.splits import (
    SETS,
    SHARE,
    HeldOut,
    Sets,
    SplitError,
    hold_out,
    holds_out_speakers,
    parse_split,
    shared,
)
from hybrid_asr.data.table_checks import NO_TEXT, SAME_ID, BadLines, Rejected, Row, TableError, first_few


class ReadingOptions(NamedTuple):
    """How a source of the user's own data is read; each is an option of `hybrid-asr prepare`."""

    keep_going: bool = False
    """Whether lines that cannot be used are left out; else they are an error."""
    split: Mapping[HeldOut, float] | None = None
    """The sets to take out of train, with their shares; None: both of a source that names no sets."""
    ignore_columns: tuple[str, ...] = ()
    """Columns of a table that are passed over although they look like something."""
    columns: Mapping[str, str] = {}
    """The name of the column for a meaning, such as {"text": "my words"}."""


def reading_options(
    *, keep_going: bool, split: str | None, ignore_columns: str | None, columns: str | None
) -> ReadingOptions:
    """The options as they are written on the command line. Raises UserError for what is not of their form."""
    named = {}
    for pair in columns.split(",") if columns else []:
        meaning, equals, name = pair.partition("=")
        if not (meaning.strip() and equals and name.strip()):
            raise UserError(f"--columns {columns}: '{pair}' is not MEANING=NAME, such as text=my_words")
        named[meaning.strip()] = name.strip()
    return ReadingOptions(
        keep_going=keep_going,
        split=None if split is None else parse_split(split),
        ignore_columns=tuple(name.strip() for name in ignore_columns.split(",")) if ignore_columns else (),
        columns=named,
    )


class Prepared(NamedTuple):
    """The sets of a source; `messages` are lines for the terminal, each beginning with `warning:` or `note:`."""

    sets: Sets
    rejected: tuple[Rejected, ...] = ()
    messages: tuple[str, ...] = ()


def into_sets(
    problems: BadLines,
    rows: Sequence[Row],
    source: Path,
    options: ReadingOptions | None = None,
    messages: Sequence[str] = (),
) -> Prepared:
    """The utterances by set: those that the rows name, or, where no row names one, held out of train by a hash.

    Ids must be unique. A transcript may be empty in a set that is only decoded, where every inserted word counts; in
    train there is nothing to learn from it, and a validation set that chooses between checkpoints should have words. A
    manifest does not know which set it will be, so the rule stands here and in the checks before training.

    Raises TableError with all problems that were collected, unless they are to be left out.
    """
    options = options or ReadingOptions()
    rows = _without_repeats(problems, [row for row in rows if _has_words(problems, row)])
    if not options.keep_going or not rows:  # where none is left, the reasons are the error
        problems.raise_all(kept=options.keep_going)
    if not rows:
        raise TableError(f"{source}: there are no utterances; add some")
    files = list(dict.fromkeys(one.file for one in problems.rejected))
    rejected = tuple(sorted(problems.rejected, key=lambda one: (files.index(one.file), one.line)))
    told = [*messages, *_about_rejected(rejected, len(rows))]
    if all(row.subset is None for row in rows):
        sets, more = _split_by_hash(rows, source, options)
    else:
        sets, more = _named_sets(rows, source, options)
    return Prepared(sets, rejected, (*told, *more, *_about_files(sets), *_about_speakers(sets)))


def refuse_copies(rows: Sequence[Row], origin: Callable[[Row], Path]) -> None:
    """Raise TableError where two origins hold the same utterances, such as train and train_hires, not line by line."""
    first_in: dict[str, Path] = {}
    twice: Counter[tuple[Path, Path]] = Counter()
    for row in rows:
        first, here = first_in.setdefault(row.utterance.id, origin(row)), origin(row)
        if first != here:
            twice[first, here] += 1
    if twice:
        said = [
            f"{second}: {'1 utterance is' if count == 1 else f'{count} utterances are'} in {first}, too; "
            "move one of both away, or give each utterance its own id"
            for (first, second), count in twice.items()
        ]
        raise TableError("\n".join(said))


def _has_words(problems: BadLines, row: Row) -> bool:
    """Whether the transcript is one that the row's set may have; else a problem is noted."""
    if row.utterance.text.strip() or row.subset not in (None, "train", "valid"):
        return True
    where = "without a set" if row.subset is None else f"of {row.subset}"
    what = f"there is no transcript, in a row {where}; write what is said; a row of a test set may be without words"
    problems.add(row.file, row.line, what, kind=NO_TEXT, id=row.utterance.id, row=row.source)
    return False


def _without_repeats(problems: BadLines, rows: Sequence[Row]) -> list[Row]:
    """The rows whose ids were not used before; the others are noted as problems."""
    seen: dict[str, Row] = {}
    for row in rows:
        name = row.utterance.id
        earlier = seen.setdefault(name, row)
        if earlier is not row:
            where = f"{earlier.file}:{earlier.line}"
            same = row.source == earlier.source
            what = (
                f"the same row is at {where}; remove one of both"
                if same
                else f"the id '{name}' is also at {where}; give every utterance its own id"
            )
            problems.add(row.file, row.line, what, kind=SAME_ID, id=name, row=row.source)
    return list(seen.values())


def _split_by_hash(rows: Sequence[Row], source: Path, options: ReadingOptions) -> tuple[Sets, list[str]]:
    """The sets of rows that name none, and what is told about them."""
    utterances = [row.utterance for row in rows]
    shares: Mapping[HeldOut, float] = {"test": SHARE, "valid": SHARE} if options.split is None else options.split
    sets = {name: found for name, found in _held_out(utterances, shares, source).items() if found}
    told = []
    if shares:
        units = "speakers" if holds_out_speakers(utterances) else "utterances"
        parts = " and ".join(f"{100 * share:g} % of the {units} are {name}" for name, share in sorted(shares.items()))
        how = "" if options.split else "; another split: --split valid=0.1,test=0.05, or a column 'set'"
        told.append(f"note: {source} names no sets; {parts}, chosen by a hash{how}")
    return _in_order(sets), told + _about_missing(sets)


def _named_sets(rows: Sequence[Row], source: Path, options: ReadingOptions) -> tuple[Sets, list[str]]:
    """The sets that rows name, and the shares of train that the options ask for."""
    sets: Sets = {}
    for row in rows:
        sets.setdefault(row.subset or "train", []).append(row.utterance)
    for name in options.split or {}:
        if name in sets:
            raise TableError(f"--split: {source} has a set {name} already; leave {name} out of --split")
    if options.split:
        if "train" not in sets:
            raise TableError(f"--split: {source} has no train to split {', '.join(options.split)} off")
        sets |= _held_out(sets["train"], options.split, source)
    return _in_order(sets), _about_missing(sets)


def _held_out(utterances: Sequence[Utterance], shares: Mapping[HeldOut, float], source: Path) -> Sets:
    try:
        return hold_out(utterances, shares)
    except SplitError as error:
        raise TableError(f"{source}: {error}, or keep them together with --split none") from None


def _in_order(sets: Sets) -> Sets:
    """train, valid and test first, then further sets as they came."""
    return {name: sets[name] for name in dict.fromkeys([*SETS, *sets]) if name in sets}


def _about_missing(sets: Sets) -> list[str]:
    """A note for each of the usual sets that is not there, with the option that makes it."""
    notes = []
    for name in SETS:
        if name not in sets and name == "train":
            notes.append("note: there is no train, so nothing can be trained on this; its sets can be decoded")
        elif name not in sets:
            how = f"; to take it out of train, add --split {name}={SHARE:g}" if "train" in sets else ""
            near = [other for other in sets if name == "valid" and other.startswith(("dev", "val", "eval"))]
            rename = f", or call one of {', '.join(near)} valid" if near and "train" in sets else ""
            notes.append(f"note: there is no {name}, and no {name}.jsonl is written{how}{rename}")
    return notes


def _about_rejected(rejected: Sequence[Rejected], kept: int) -> list[str]:
    """How many lines were left out for which reason, and the first few of each."""
    if not rejected:
        return []
    lines = [f"warning: {len(rejected)} of {len(rejected) + kept} lines are left out; rejected.jsonl names all of them"]
    for kind, count in Counter(one.kind for one in rejected).most_common():
        places = [f"{one.file}:{one.line}" + (f" ({one.id})" if one.id else "") for one in rejected if one.kind == kind]
        lines.append(f"warning:   {count} with {kind}: {first_few(places)}")
    return lines


def _about_files(sets: Sets) -> list[str]:
    """Warnings of files that are read twice from one start or to one end, as if the times of segments were not
    understood, and of those that are both in train and in another set."""
    spans = [(one, one.start_s + one.duration_s) for utterances in sets.values() for one in utterances]
    places = [(one.audio, one.channel, edge) for one, end in spans for edge in {f"from {one.start_s}", f"to {end:.3f}"}]
    repeated = list(dict.fromkeys(audio for (audio, *_), count in Counter(places).items() if count > 1))
    told = []
    if repeated:
        what = f"{len(repeated)} audio {'file is' if len(repeated) == 1 else 'files are'} read by more than one row"
        what += f" from one start or to one end: {first_few(repeated)}"
        told = [f"warning: {what}; are there times that should be read?"]
    return told + _about_shared("audio file", shared(sets, "audio"))


def _about_speakers(sets: Sets) -> list[str]:
    """Warnings of speakers who are both in train and in another set, and of names that may be one speaker's."""
    told = _about_shared("speaker", shared(sets, "speaker"))
    names: dict[str, dict[str, None]] = {}
    for name in (one.speaker for utterances in sets.values() for one in utterances if one.speaker):
        names.setdefault("".join(unicodedata.normalize("NFKC", name).casefold().split()), {})[name] = None
    if several := [" and ".join(map(repr, spelled)) for spelled in names.values() if len(spelled) > 1]:
        what = (
            f"{len(several)} {'speaker seems' if len(several) == 1 else 'speakers seem'} to be spelled in several ways"
        )
        told.append(f"warning: {what}: {first_few(several)}; spell them in one, or they count as different speakers")
    return told


def _about_shared(noun: str, in_both: Mapping[str, Sequence[str]]) -> list[str]:
    """A warning for each set that shares something with train."""
    return [
        f"warning: {len(both)} {f'{noun} is' if len(both) == 1 else f'{noun}s are'} both in train and in {name}: "
        f"{first_few(both)}; the error rate of {name} will be too good"
        for name, both in in_both.items()
    ]
