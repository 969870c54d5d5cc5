"""Files of references and hypotheses, scored: `formats` reads them, `pairing` brings them together."""

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from hybrid_asr.common.problems import Tell, tell_user
from hybrid_asr.scoring.compare import Comparison, compare
from hybrid_asr.scoring.formats.detect import read
from hybrid_asr.scoring.formats.fields import look_swapped
from hybrid_asr.scoring.formats.source import Format, Role, Source, Transcripts
from hybrid_asr.scoring.markup import respell
from hybrid_asr.scoring.pairing import Ids, Named, pair
from hybrid_asr.scoring.report import ErrorReport, report
from hybrid_asr.scoring.scores import Metric, Scored
from hybrid_asr.text.normalize import Rules, normalize

_ALTERNATIVES = re.compile(r"\{[^{}]* / [^{}]*\}")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How files are read where their names and contents do not say it, and how both sides are spelled.

    `forms` and `fields` (of JSON lines and tables) are those of a role; without `marks` braces and parentheses of trn,
    stm and ctm are words.
    """

    forms: dict[Role, Format] = field(default_factory=dict)
    fields: dict[Role, str] = field(default_factory=dict)
    ids: Ids = "exact"
    marks: bool = True
    rules: Rules = "none@1"
    language: str | None = None  # how the rules read capitals
    tell: Tell = tell_user

    def file(self, path: str | Path, role: Role) -> Named:
        """What is in a file, and its path. Raises ScoringError for a file that cannot be read."""
        source = Source(Path(path), role, self.forms.get(role), self.fields.get(role), self.marks)
        content = read(source)
        if source.passed_over:
            self.tell(f"note: {path}: passed over: {_counted(source.passed_over)}")
        if isinstance(content, Transcripts) and source.form != "trn":
            self._tell_braces(path, content)
        return Named(str(path), content, source.fields)

    def _tell_braces(self, path: str | Path, content: Transcripts) -> None:
        """Tell of alternatives in a format that has none."""
        braced = [key for key, line in content.lines.items() if _ALTERNATIVES.search(line.text)]
        if braced:
            self.tell(
                f"warning: {path}: {len(braced)} texts hold alternatives as '{{ a / b }}', '{braced[0]}' first; braces "
                "and slashes count as words here: give a trn file, or remove them"
            )

    def spelled(self, items: list[Scored]) -> list[Scored]:
        """The same utterances, both sides spelled by the rules."""
        if self.rules == "none@1":
            return items
        return [
            item._replace(
                reference=self._spell(item.reference, item.marked_reference),
                hypothesis=self._spell(item.hypothesis, item.marked_hypothesis),
            )
            for item in items
        ]

    def _spell(self, text: str, marked: bool) -> str:
        return respell(text, self._normalize) if marked else self._normalize(text)

    def _normalize(self, text: str) -> str:
        return normalize(text, self.rules, language=self.language)


def score_files(
    ref: str | Path,
    hyp: str | Path,
    against: str | Path | None = None,
    *,
    metric: Metric = "wer",
    reading: Reading | None = None,
) -> ErrorReport | Comparison:
    """Score the hypotheses in `hyp` against the references in `ref`, and compare them with those in `against`.

    Raises ScoringError for a file that cannot be read and for utterances that only one side has.
    """
    reading = reading or Reading()
    references = reading.file(ref, "ref")

    def scored(path: str | Path, role: Role) -> ErrorReport:
        hypotheses = reading.file(path, role)
        if not reading.fields and look_swapped(references.fields, hypotheses.fields):
            reading.tell(
                f"warning: {ref} holds hypotheses, and {path} looks like a manifest of references: what is compared "
                "may be references with references; the references come first: hybrid-asr score REF HYP"
            )
        items = pair(references, hypotheses, reading.ids, reading.tell)
        return report(reading.spelled(items), metric=metric)

    first = scored(hyp, "hyp")
    return first if against is None else compare(first, scored(against, "against"))


def _counted(passed_over: Counter[str]) -> str:
    """What was passed over, with how many lines have it."""
    return ", ".join(f"{name} ({number})" for name, number in passed_over.most_common())
