"""`hybrid-asr ngram`: an n-gram language model of words, or of a run's units, in ARPA's format."""

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.files import atomic_path, read_problem
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.run.folder import Run
from hybrid_asr.text.estimate import arpa, unit_names, witten_bell
from hybrid_asr.text.lexicon import LexiconError, read_words
from hybrid_asr.text.ngram import open_text
from hybrid_asr.text.normalize import normalize, rules_named

WORDS = "words"
DEFAULT_RULES = "basic@1"
Split = Callable[[str], Sequence[str]]


def ngram(texts: Sequence[Path], *, units: str, order: int, to: Path, rules: str | None, words: Path | None) -> None:
    """Estimate an n-gram of `order` from manifests (.jsonl) or text files (a sentence a line) and write it to `to`.

    `units` is "words", spelled by `rules` (default basic@1), or a run, whose rules spell the sentences and whose
    tokenizer splits them: then every unit of the tokenizer has a probability. Words of the list or lexicon `words`
    that do not occur have the probability of <unk>, each for itself. Raises UserError.
    """
    if order < 1:
        raise UserError(f"--order {order}: must be at least 1")
    if to.is_dir():
        raise UserError(f"--to {to}: is a folder; give a file, such as {to / 'words.arpa'}")
    split, vocabulary = _words(rules, words) if units == WORDS else _units(Path(units), rules, words)
    sentences = 0

    def count(lines: Iterable[str]) -> Iterator[Sequence[str]]:
        nonlocal sentences
        empty = True
        for line in lines:
            sentence = split(line)
            sentences += 1
            empty = empty and not sentence
            yield sentence
        if empty:
            raise UserError(f"{', '.join(map(str, texts))}: holds no text to estimate an n-gram from")

    lines = (line for path in texts for line in read_sentences(path))
    probabilities, backoffs = witten_bell(count(lines), order, vocabulary)
    _write(to, arpa(probabilities, backoffs, order))
    shorter = " and shorter" if order > 1 else ""
    counted = "1 sentence" if sentences == 1 else f"{sentences} sentences"
    print(f"{to}: {counted}, {len(probabilities)} {order}-grams{shorter}")


def read_sentences(path: Path) -> Iterator[str]:
    """The transcripts of a manifest, or the lines of a text file, gzipped or not, without blank ones."""
    if path.suffix == ".jsonl":
        yield from (utterance.text for utterance in Manifest.read(path, audio="unchecked"))
        return
    if reason := read_problem(path):
        raise UserError(f"{path}: {reason}; give a manifest (.jsonl) or a text file with a sentence a line")
    try:
        with open_text(path) as file:
            yield from (line for line in file if line.strip())
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: is compressed and damaged ({error}); copy it again") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 ({error.reason}); convert it, as by iconv") from None


def _words(rules: str | None, words: Path | None) -> tuple[Split, Sequence[str]]:
    """How a sentence is split into words, and words that the model also gets."""
    checked = rules_named(rules or DEFAULT_RULES, "--rules")
    try:
        extra = read_words(words, checked) if words else ()
    except LexiconError as error:
        raise UserError(f"--words {error}") from error
    return lambda sentence: normalize(sentence, checked).split(), extra


def _units(run: Path, rules: str | None, words: Path | None) -> tuple[Split, Sequence[str]]:
    """How a sentence is split into the units of a run's tokenizer, and all of these units."""
    if given := next((option for option, value in (("rules", rules), ("words", words)) if value), None):
        raise UserError(f"--{given} goes with --units words; {run} brings its own")
    if not run.exists():
        raise UserError(f"--units {run}: no such run; give 'words', or the folder of a run or its model.pt")
    bundle = Run(run).bundle()[0] if run.is_dir() else Bundle.load(run)
    tokenizer, run_rules = bundle.tokenizer, bundle.text.rules
    names = unit_names(tokenizer)
    return lambda sentence: [names[label] for label in tokenizer.encode(normalize(sentence, run_rules))], [
        *names.values()
    ]


def _write(path: Path, text: str) -> None:
    """Write a text file; one that ends in .gz is gzipped, with the same bytes each time."""
    content = text.encode()
    with atomic_path(path) as temporary:
        temporary.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
