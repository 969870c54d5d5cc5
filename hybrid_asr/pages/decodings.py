"""The decodings of a run, from decode/<set>/<decoder>/: rates with their intervals, and the utterances behind them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.files import read_problem
from hybrid_asr.config.schema import plain
from hybrid_asr.inference.decoding_folder import file_digest
from hybrid_asr.inference.presets import own_decoder
from hybrid_asr.inference.report import DecodingReport, ReportError
from hybrid_asr.pages.kit import Note, attempt
from hybrid_asr.run.config import RunConfig, set_paths
from hybrid_asr.run.folder import Run
from hybrid_asr.scoring.align import Step, align
from hybrid_asr.scoring.scores import UNITS, Metric, Scored, UtteranceScore, score_utterances

WORST = 20  # utterances with errors that are shown
SPEAKERS = 60
CONFUSIONS = 15
_PREFERRED = ("ctc_greedy", "attention", "joint")  # the order of rows, from the simplest to the best


class Decoding(NamedTuple):
    """One row of the table of decoders, and what lies behind it.

    `other_set` is the manifest of a set that only has the name of one of the run's own (an override of `data.test`), or
    is none of them; of the run's own sets it is None.
    """

    set_name: str
    decoder: str
    folder: Path
    report: DecodingReport
    other_set: Path | None

    @property
    def metric(self) -> Metric:
        """The metric that was chosen."""
        return self.report.scores.metric

    @property
    def weights(self) -> str:
        """The digest of the weights that it was made with."""
        return self.report.signatures.weights

    @property
    def checkpoint(self) -> str | None:
        """Which weights these are: average, best, last or a file; None in reports of former versions."""
        return None if self.report.source is None else self.report.source.checkpoint

    @property
    def group(self) -> str:
        """The set that it is of, for people: rows of one group were decoded from the same utterances."""
        return self.set_name if self.other_set is None else f"{self.set_name} ({self.other_set})"

    @property
    def name(self) -> str:
        """The set, the decoder and its checkpoint, for people."""
        weights = "" if self.checkpoint in (None, "average") else f", checkpoint {self.checkpoint}"
        return f"{self.group}/{self.decoder}{weights}"

    def comparable(self, other: "Decoding") -> bool:
        """Whether the two differ in nothing but the decoder: the same utterances, the same weights."""
        return (self.group, self.weights) == (other.group, other.weights)

    @property
    def search(self) -> dict[str, Any]:
        """The settings that decide the best text: all but how many texts were kept."""
        return {name: value for name, value in self.report.decoder.items() if name != "nbest"}

    @property
    def settings(self) -> str:
        """The decoder's settings, for people."""
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in self.report.decoder.items())

    @property
    def highest_speaker_rate(self) -> float:
        """That of the speaker with the highest, in the metric that was chosen."""
        return max(speaker.counts(self.metric).rate for speaker in self.report.scores.speakers)


class OwnSet(NamedTuple):
    """A set that the run's configuration names, with the SHA-256 of its manifest; None where that is not there."""

    path: Path
    sha256: str | None


class Damaged(NamedTuple):
    """A decoding whose report cannot be read."""

    set_name: str
    decoder: str
    why: str

    @property
    def group(self) -> str:
        """Where it stands in the table."""
        return self.set_name


class Wrong(NamedTuple):
    """An utterance with errors, its alignment in the units of the metric."""

    id: str
    speaker: str | None
    errors: int
    reference: int
    steps: list[Step]


def find_decodings(run: Run, cfg: RunConfig) -> list[Decoding | Damaged]:
    """All decodings: test sets first, decoders from the simplest on; those of other settings or weights follow.

    After them come sets that are not the run's own.
    """
    paths = set_paths(cfg, ["test", "valid", "train"])
    own = {name: OwnSet(path, None if read_problem(path) else file_digest(path)) for name, path in paths.items()}
    order = list(own)

    def key(row: Decoding | Damaged) -> tuple[bool, int, str, int, str]:
        known = row.decoder in _PREFERRED
        rank = _PREFERRED.index(row.decoder) if known else len(_PREFERRED)
        place = order.index(row.set_name) if row.set_name in order else len(order)
        return isinstance(row, Decoding) and row.other_set is not None, place, row.group, rank, row.decoder

    folders = {path.parent for path in run.folder.glob("decode/*/*/*") if path.name[:1] != "."}
    return sorted((_read(folder, own) for folder in folders), key=key)


def _read(folder: Path, own: Mapping[str, OwnSet]) -> Decoding | Damaged:
    set_name = folder.parent.name
    try:
        report = DecodingReport.read(folder)
    except ReportError as error:
        return Damaged(set_name, folder.name, error.why)
    return Decoding(set_name, folder.name, folder, report, _other_set(report, own.get(set_name)))


def _other_set(report: DecodingReport, own: OwnSet | None) -> Path | None:
    """The manifest of a decoding if it is another than the run's `own` set of that name, wherever that lies now."""
    if report.source is None:
        return None
    manifest = Path(report.source.manifest)
    if own is None:
        return manifest
    same = manifest.name == own.path.name if own.sha256 is None else own.sha256 == report.source.manifest_sha256
    return None if same or manifest == own.path else manifest


def lowest(table: Sequence[Decoding | Damaged]) -> list[Decoding]:
    """Of the rows that can be compared, several of them, those with the lowest word error rate."""
    rows = [row for row in table if isinstance(row, Decoding)]
    best = []
    for row in rows:
        rates = [other.report.scores.wer.value for other in rows if row.comparable(other)]
        if len(rates) > 1 and row.report.scores.wer.value == min(rates):
            best.append(row)
    return best


def choose(decodings: Sequence[Decoding | Damaged], cfg: RunConfig) -> Decoding | Note:
    """What pictures and errors are shown of: the first set, by the recipe's decoder, else joint, else the best one.

    Averaged weights go before those of other checkpoints.
    """
    readable = [decoding for decoding in decodings if isinstance(decoding, Decoding)]
    if not readable:
        return Note("Shown as soon as a set has been decoded.")
    own = own_decoder(plain(cfg))

    def order(decoding: Decoding) -> tuple[bool, bool, bool, float]:
        others = decoding.checkpoint not in (None, "average")
        return others, decoding.decoder != own, decoding.decoder != "joint", decoding.report.scores.rate.value

    return min((decoding for decoding in readable if decoding.group == readable[0].group), key=order)


def read_utterances(decoding: Decoding) -> tuple[UtteranceScore, ...]:
    """The errors of each utterance, from hypotheses.jsonl. Raises UserError where that is not there or damaged."""
    path = decoding.folder / "hypotheses.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        rows = [json.loads(line) for line in lines if line]
        items = [Scored(str(row["id"]), str(row["reference"]), str(row["text"]), row.get("speaker")) for row in rows]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        problem = f"{path}: cannot be read ({type(error).__name__})"
        raise UserError(f"{problem}; remove {decoding.folder.name}/ and decode again") from None
    return score_utterances(items)


def worst(rows: Sequence[UtteranceScore], metric: Metric, most: int = WORST) -> list[Wrong]:
    """The utterances with the most errors; of equals those with the higher rate."""
    wrong = [row for row in rows if row.counts(metric).errors]
    wrong.sort(key=lambda row: (-row.counts(metric).errors, -row.counts(metric).rate, row.id))
    return [
        Wrong(
            row.id,
            row.speaker,
            row.counts(metric).errors,
            row.counts(metric).reference,
            align(row.reference, row.hypothesis, UNITS[metric]),
        )
        for row in wrong[:most]
    ]


def utterances_of(decoding: Decoding | Note) -> tuple[UtteranceScore, ...] | Note:
    """The same, or why there are none."""
    return decoding if isinstance(decoding, Note) else attempt(lambda: read_utterances(decoding))
