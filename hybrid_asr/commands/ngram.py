"""`hybrid-asr ngram`: an n-gram language model of words, or of a run's units, in ARPA's format."""

import dataclasses
import gzip
import re
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.files import atomic_path, read_problem
from hybrid_asr.common.problems import examples, tell_user
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.run.folder import Run
from hybrid_asr.text.arpa import open_text
from hybrid_asr.text.estimate import arpa, unit_names, witten_bell
from hybrid_asr.text.labels import Writes, describe_missing
from hybrid_asr.text.lexicon import LexiconError, read_words
from hybrid_asr.text.ngram import BEGIN, END
from hybrid_asr.text.normalize import DEFAULT_RULES, TextConfig, rules_named
from hybrid_asr.text.tags import find_tags

WORDS = "words"
LOOKED_AT = 1000  # lines of a text file that show whether it has ids
Sentence = tuple[str, str | None]
"""Its text, and the language that a manifest names."""
Split = Callable[[Sentence], Sequence[str]]


def ngram(texts: Sequence[Path], *, units: str, order: int, to: Path, rules: str | None, words: Path | None) -> None:
    """Estimate an n-gram of `order` from manifests (.jsonl) or text files (a sentence a line) and write it to `to`.

    `units` is "words", spelled by `rules` (default basic@2), or a run, whose rules spell the sentences and whose
    tokenizer splits them: then every unit of the tokenizer has a probability. Words of the list or lexicon `words`
    that do not occur have the probability of <unk>, each for itself. Raises UserError.
    """
    if order < 1:
        raise UserError(f"--order {order}: must be at least 1")
    if to.is_dir():
        raise UserError(f"--to {to}: is a folder; give a file, such as {to / 'words.arpa'}")
    unused = _Unused()
    split, vocabulary = _words(rules, words) if units == WORDS else _units(Path(units), rules, words, unused)
    sentences = 0

    def count(lines: Iterable[Sentence]) -> Iterator[Sequence[str]]:
        nonlocal sentences
        for line in lines:
            if not line[0].strip():
                unused.blank_lines += 1
                continue
            sentence = split(line)
            sentences += 1
            unused.empty += not sentence
            yield sentence
        if sentences == unused.empty:
            raise UserError(f"{', '.join(map(str, texts))}: holds no text to estimate an n-gram from")

    lines = (line for path in texts for line in read_sentences(path, unused))
    probabilities, backoffs = witten_bell(count(lines), order, vocabulary)
    _write(to, arpa(probabilities, backoffs, order))
    shorter = " and shorter" if order > 1 else ""
    print(f"{to}: {_count(sentences, 'sentence')}, {len(probabilities)} {order}-grams{shorter}")
    unused.tags = Counter({tag: times for tag, times in unused.tags.items() if not split((tag, None))})
    for note in unused.notes(units):
        print(f"hybrid-asr ngram: {note}", file=sys.stderr)


@dataclasses.dataclass
class _Unused:
    """What of the texts an n-gram did not use as it stands there."""

    blank_lines: int = 0
    marked: int = 0  # sentences that bring <s> or </s>, which are added anyway
    empty: int = 0  # sentences of which the rules leave nothing
    unwritable: int = 0  # sentences with what a run's units cannot write
    missing: set[str] = dataclasses.field(default_factory=set)
    tags: Counter[str] = dataclasses.field(default_factory=Counter)  # such as [noise], of which the rules leave nothing
    writes: Writes = "text"

    def notes(self, units: str) -> Iterator[str]:
        """A line for each kind that there was."""
        if self.blank_lines:
            yield f"{_count(self.blank_lines, 'blank line')} left out"
        if self.marked:
            yield f"{_count(self.marked, 'sentence')} with {BEGIN} and {END} around it, which are no words of it"
        if self.empty:
            yield f"{_count(self.empty, 'sentence')} empty by the rules of the text, counted as such"
        if self.tags:
            named = examples([f"{tag} ({times})" for tag, times in self.tags.most_common()])
            yield f"{_count(self.tags.total(), 'tag')} left out: {named}"
        if self.unwritable:
            missing = describe_missing(self.missing, self.writes)
            yield f"{_count(self.unwritable, 'sentence')} with {missing}, which {units} cannot write: counted as <unk>"


def _count(number: int, name: str) -> str:
    return f"1 {name}" if number == 1 else f"{number} {name}s"


def read_lines(path: Path) -> Iterator[Sentence]:
    """The transcripts of a manifest, or the lines of a text file, gzipped or not."""
    if path.suffix == ".jsonl":
        yield from ((utterance.text, utterance.language) for utterance in Manifest.read(path, audio="unchecked"))
        return
    if reason := read_problem(path):
        raise UserError(f"{path}: {reason}; give a manifest (.jsonl) or a text file with a sentence a line")
    try:
        with open_text(path) as file:
            yield from ((line, None) for line in file)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: is compressed and damaged ({error}); copy it again") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 ({error.reason}); convert it, as by iconv") from None


def read_sentences(path: Path, unused: _Unused) -> Iterator[Sentence]:
    """The lines of `read_lines` without <s> and </s>; warns of a file that seems to have an id in each line."""
    beginning: list[str] = []
    for line, language in read_lines(path):
        if len(beginning) < LOOKED_AT:
            beginning.append(line)
        words = line.split()
        inner = words[words[:1] == [BEGIN] : len(words) - (words[-1:] == [END])]
        unused.marked += len(inner) < len(words)
        sentence = " ".join(inner)
        unused.tags.update(find_tags(sentence))
        yield sentence, language
    if path.suffix != ".jsonl" and (warning := _ids_in(beginning)):
        tell_user(f"warning: {path}: {warning}")


def _ids_in(lines: Sequence[str]) -> str | None:
    """What lines look like that have the id of an utterance before or behind their words; None for sentences."""
    rows = [line.split() for line in lines if line.strip()]
    for place, which, cut in ((0, "begins", "cut -d' ' -f2-"), (-1, "ends", r"sed 's/ *([^()]*)$//'")):
        words = [row[place] for row in rows]
        odd = all(re.search(r"[0-9_-]", word) if place == 0 else re.fullmatch(r"\(\S+\)", word) for word in words)
        if len(words) > 1 and odd and len(set(words)) == len(words) and any(len(row) > 1 for row in rows):
            return f"each line {which} with an id, such as '{words[0]}', which is counted as a word; take it off: {cut}"
    return None


def _words(rules: str | None, words: Path | None) -> tuple[Split, Sequence[str]]:
    """How a sentence is split into words, and words that the model also gets."""
    spelling = TextConfig(rules=rules_named(rules or DEFAULT_RULES, "--rules"))
    try:
        extra = read_words(words, spelling) if words else ()
    except LexiconError as error:
        raise UserError(f"--words {error}") from error
    return lambda sentence: spelling.spell(*sentence).split(), extra


def _units(run: Path, rules: str | None, words: Path | None, unused: _Unused) -> tuple[Split, Sequence[str]]:
    """How a sentence is split into the units of a run's tokenizer, and all of these units."""
    if given := next((option for option, value in (("rules", rules), ("words", words)) if value), None):
        raise UserError(f"--{given} goes with --units words; {run} brings its own")
    if not run.exists():
        raise UserError(f"--units {run}: no such run; give 'words', or the folder of a run or its model.pt")
    bundle = Run(run).bundle()[0] if run.is_dir() else Bundle.load(run)
    tokenizer = bundle.tokenizer
    names, unused.writes = unit_names(tokenizer), tokenizer.writes

    def split(sentence: Sentence) -> list[str]:
        text = bundle.text.spell(*sentence)
        missing = tokenizer.missing(text)
        unused.missing |= missing
        unused.unwritable += bool(missing)
        return [names[label] for label in tokenizer.encode(text)]

    return split, [*names.values()]


def _write(path: Path, text: str) -> None:
    """Write a text file; one that ends in .gz is gzipped, with the same bytes each time."""
    content = text.encode()
    with atomic_path(path) as temporary:
        temporary.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
