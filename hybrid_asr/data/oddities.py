"""What is odd in the transcripts of a set: counted, with the first examples, in one pass, before anything learns it."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple

from hybrid_asr.common.problems import SHOWN
from hybrid_asr.data.kept_arrays import Columns
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.data.manifest_lines import Transcript
from hybrid_asr.data.odd_transcripts import Finding, Findings, Summary
from hybrid_asr.data.text_digest import text_digest
from hybrid_asr.text.lookalikes import character_name
from hybrid_asr.text.normalize import TextConfig

_EXCERPT = 40  # characters of an example
_REPEATS = 20  # fewer of one text are nothing to tell
_REPEATED_SHARE = 0.1  # in AN4, which is sound, one text makes 4.6 % of the training set


class Oddity(NamedTuple):
    """One kind of oddity, as a sentence; `doubtful` is what should be looked at, the rest is good to know."""

    text: str
    doubtful: bool = True
    refused: bool = False


def oddities(
    texts: Iterable[tuple[str, str | None]], name: Callable[[int], str], *, of: str, spelling: TextConfig | None = None
) -> list[Oddity]:
    """What is odd in transcripts, each with the language that it names; `of` is their set, `name(i)` names number i.

    With a `spelling` what it leaves of them is judged: tags that become words, apostrophes in several shapes.
    """
    found = Findings(spelling)
    for index, (text, language) in enumerate(texts):
        found.look(index, text, language)
    return _Telling(found.summary(), spelling).tell(name, of)


def manifest_oddities(manifest: Manifest, *, of: str, spelling: TextConfig) -> list[Oddity]:
    """As `oddities`, of a manifest; what is found in a large one is kept beside it."""

    def pieces() -> Iterator[Findings]:
        return manifest.map_transcripts(partial(_look, spelling=spelling), what="looking at transcripts")

    return _Telling(kept_summary(manifest, spelling, pieces), spelling).tell(manifest.where, of)


def kept_summary(manifest: Manifest, spelling: TextConfig, pieces: Callable[[], Iterable[Findings]]) -> Summary:
    """What is found in all transcripts of a set; of a large one kept, so that `pieces` need not be found again."""

    def make() -> Columns:
        found = Findings(spelling)
        for piece in pieces():
            found.merge(piece)
        return Columns({}, found.summary().facts())

    return Summary.of(manifest.kept("oddities", text_digest(spelling), make).facts)


def _look(first: int, transcripts: Iterable[Transcript], *, spelling: TextConfig) -> Findings:
    found = Findings(spelling)
    for index, transcript in enumerate(transcripts, first):
        found.look(index, transcript.text, transcript.language)
    return found


class _Telling:
    """Makes sentences of what was found in the transcripts of a set."""

    def __init__(self, found: Summary, spelling: TextConfig | None):
        self._found, self.spelling, self.rules = found, spelling, "" if spelling is None else spelling.rules

    def tell(self, name: Callable[[int], str], of: str) -> list[Oddity]:
        """A sentence for each kind that was found."""
        total = self._found.total

        def told(finding: Finding, what: str, remedy: str, *, doubtful: bool = True, refused: bool = False) -> Oddity:
            examples = "; ".join(f"{name(index)}: '{_excerpt(text)}'" for index, text in finding.first)
            more = "; ..." if finding.count > len(finding.first) else ""
            values = _most_frequent(finding.values)
            return Oddity(
                f"{finding.count} of {total} transcripts of {of} {what}{values}: {examples}{more}; {remedy}",
                doubtful,
                refused,
            )

        kinds, result = self._found.kinds, list[Oddity]()
        if tags := kinds.get("tags"):
            result.append(self._tell_tags(tags, told))
        doubtful = _WRONG if self.spelling is None else _DOUBTFUL
        for kind, (what, remedy) in _KINDS.items():
            if finding := kinds.get(kind):
                if kind == "dotless" and self.rules.endswith("@1"):
                    remedy = f"rules of number 2, such as basic@2, know languages: {remedy}"
                result.append(told(finding, what, remedy, doubtful=kind in doubtful))
        others = {shape: finding for shape, finding in self._found.apostrophes.items() if shape != "'"}
        if others and (self._found.plain_apostrophe or len(others) > 1 or self.rules not in ("", "none@1")):
            merged = Finding()
            for shape, finding in others.items():
                merged.count += finding.count
                merged.first = sorted([*merged.first, *finding.first])[:SHOWN]
                merged.values[character_name(shape)] = finding.count
            remedy = "rules of number 2, such as basic@2, make them one"
            result.append(told(merged, "have another apostrophe than '", remedy, doubtful=self.spelling is not None))
        if self._found.caps.count and self._found.lower:
            result.append(
                told(self._found.caps, "are all capitals, others are not", "text.rules=basic@2 makes case one")
            )
        return [*result, *self._tell_repeats(name, of, total)]

    def _tell_tags(self, tags: Finding, told: Callable[..., Oddity]) -> Oddity:
        """What becomes of tags, by the rules."""
        if self.spelling is None:
            return told(tags, "have tags", "text.tags of a recipe says what becomes of them", doubtful=False)
        if self.spelling.tags == "refuse":
            return told(tags, "have tags", "text.tags=refuse: correct them, or set drop or keep", refused=True)
        if self.spelling.tags == "keep":
            return told(tags, "have tags", "each is a unit of its own (text.tags=keep)", doubtful=False)
        if self.rules in ("none@1", "basic@1", "upper@1"):
            remedy = f"the rules '{self.rules}' make words of them; choose rules of number 2 and text.tags=drop or keep"
            return told(tags, "have tags", remedy)
        if self.rules == "english@1":
            remedy = (
                "the rules 'english@1' leave out those in brackets and make words of others; with english@2 text.tags "
                "says what becomes of all"
            )
            return told(tags, "have tags", remedy, doubtful=any(tag[0] not in "[<(" for tag in tags.values))
        return told(tags, "have tags", "they are left out (text.tags=keep makes units of them)", doubtful=False)

    def _tell_repeats(self, name: Callable[[int], str], of: str, total: int) -> list[Oddity]:
        """The text that is repeated most, if that is suspicious."""
        count, first = self._found.repeated
        if count < max(_REPEATS, _REPEATED_SHARE * total):
            return []
        return [
            Oddity(
                f"{count} of {total} transcripts of {of} have the same text, that of {name(first)}; if these are not "
                "many readings of one sentence, texts and audio do not belong together"
            )
        ]


_KINDS = {
    "placeholders": ("are what programs write where a text is missing", "correct or remove them, unless they are said"),
    "wordless": ("hold no word", "write what is said, or remove them"),
    "invisible": ("hold characters that nobody sees", "rules of number 2, such as basic@2, remove them"),
    "forms": ("hold another form of plain characters", "rules of number 2, such as basic@2, make them plain"),
    "scripts": ("mix scripts in a word, with letters that look alike", "correct them: they are other words to a model"),
    "dotless": (
        "hold letters of Turkish or Azeri, and no language is set",
        "with text.language=tr (or az) the capital of ı is I, that of i is İ",
    ),
    "languages": (
        "name a language that is not known",
        "their capitals are read as in English; write its tag, such as tr, az or en-US",
    ),
    "digits": (
        "hold digits",
        "how they are read aloud is learned from the audio alone; write them as words if you can",
    ),
}


_WRONG = ("placeholders", "wordless", "scripts")  # whatever the rules
_DOUBTFUL = (*_WRONG, "invisible", "forms", "dotless")


def _excerpt(text: str) -> str:
    return text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}…"


def _most_frequent(values: Counter[str]) -> str:
    if not values:
        return ""
    shown = ", ".join(f"{value} ({count})" for value, count in values.most_common(SHOWN))
    return f", {shown}" + (f" and {len(values) - SHOWN} more" if len(values) > SHOWN else "")
