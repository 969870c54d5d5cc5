"""The decodings of a run, from decode/<set>/<decoder>/: rates with their intervals, and the utterances behind them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hybrid_asr.common.errors import UserError
from hybrid_asr.config.schema import plain
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
    """One row of the table of decoders, and what lies behind it."""

    set_name: str
    decoder: str
    folder: Path
    report: DecodingReport

    @property
    def metric(self) -> Metric:
        """The metric that was chosen."""
        return self.report.scores.metric

    @property
    def weights(self) -> str:
        """The digest of the weights that it was made with."""
        return self.report.signatures.weights

    @property
    def settings(self) -> str:
        """The decoder's settings, for people."""
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in self.report.decoder.items())

    @property
    def highest_speaker_rate(self) -> float:
        """That of the speaker with the highest, in the metric that was chosen."""
        return max(speaker.counts(self.metric).rate for speaker in self.report.scores.speakers)


class Damaged(NamedTuple):
    """A decoding whose report cannot be read."""

    set_name: str
    decoder: str
    why: str


class Wrong(NamedTuple):
    """An utterance with errors, its alignment in the units of the metric."""

    id: str
    speaker: str | None
    errors: int
    reference: int
    steps: list[Step]


def find_decodings(run: Run, cfg: RunConfig) -> list[Decoding | Damaged]:
    """All decodings: test sets first, decoders from the simplest on; those of other settings or weights follow."""
    order = [*set_paths(cfg, ["test"]), "valid", "train"]

    def key(folder: Path) -> tuple[int, str, int, str]:
        name, known = folder.parent.name, folder.name in _PREFERRED
        rank = _PREFERRED.index(folder.name) if known else len(_PREFERRED)
        return order.index(name) if name in order else len(order), name, rank, folder.name

    folders = {path.parent for path in run.folder.glob("decode/*/*/*") if path.name[:1] != "."}
    return [_read(folder) for folder in sorted(folders, key=key)]


def _read(folder: Path) -> Decoding | Damaged:
    try:
        return Decoding(folder.parent.name, folder.name, folder, DecodingReport.read(folder))
    except ReportError as error:
        return Damaged(folder.parent.name, folder.name, error.why)


def choose(decodings: Sequence[Decoding | Damaged], cfg: RunConfig) -> Decoding | Note:
    """What pictures and errors are shown of: the first set, by the recipe's decoder, else joint, else the best one."""
    readable = [decoding for decoding in decodings if isinstance(decoding, Decoding)]
    if not readable:
        return Note("Shown as soon as a set has been decoded.")
    own = own_decoder(plain(cfg))

    def order(decoding: Decoding) -> tuple[bool, bool, float]:
        return decoding.decoder != own, decoding.decoder != "joint", decoding.report.scores.rate.value

    return min((decoding for decoding in readable if decoding.set_name == readable[0].set_name), key=order)


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
