"""The report of a decoding, which writes and reads report.json: error rates, time, memory, and what is odd."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from hybrid_asr.common.errors import UserError
from hybrid_asr.config.compose import digest
from hybrid_asr.inference.build_decoder import DecodeConfig
from hybrid_asr.inference.outcomes import Decoded, Evaluation, FailedUtterance
from hybrid_asr.scoring.nbest_oracle import oracle
from hybrid_asr.scoring.repetitions import has_loop
from hybrid_asr.scoring.report import SetScore
from hybrid_asr.scoring.scores import UNITS, Metric

T = TypeVar("T")


class Signatures(NamedTuple):
    """Digests of what a decoding depends on: all of it, and the model's weights alone."""

    decoding: str
    weights: str


class DecodingSource(NamedTuple):
    """What was decoded: the manifest and its SHA-256; and by which weights: average, best, last or a file."""

    checkpoint: str
    manifest: str
    manifest_sha256: str


class ReportError(UserError):
    """A decoding without a report that can be read; `why` is the message without the folder."""

    def __init__(self, folder: Path, why: str) -> None:
        self.why = why
        super().__init__(f"{folder}: {why}")


@dataclass(frozen=True, kw_only=True)
class DecodingStatistics:
    """What a decoding took, and what is odd about its hypotheses; None is what a report of former versions lacks.

    `decode_s` are the seconds of features, encoder and search, `encode_s` those without the search, which decoders of
    one pass share. `looping` counts hypotheses that repeat themselves as their reference does not; `short` has the ids
    of those that end far too early (inference/short.py), None where that is not known; `search_errors` counts
    utterances of which twice the beam finds a better hypothesis, None where that was not tried. `oracle_wer` and
    `oracle_cer` are the error rates of the best text of each n-best; where one text was kept, its own.
    """

    audio_s: float
    decode_s: float
    encode_s: float | None
    peak_bytes: int | None  # the most memory during the search, model included
    cut: int
    looping: int | None
    short: tuple[str, ...] | None
    search_errors: int | None
    failed: tuple[FailedUtterance, ...]
    nbest: int
    oracle_wer: float | None
    oracle_cer: float | None

    @classmethod
    def of(cls, evaluation: Evaluation, settings: DecodeConfig, metric: Metric) -> "DecodingStatistics":
        """Those of an evaluation with at least one utterance; loops are of words or characters as `metric` says."""
        items = evaluation.items
        missed = [item.missed for item in items if item.missed is not None]
        judged = [item for item in items if item.short is not None]
        return cls(
            audio_s=sum(item.audio_s for item in items),
            decode_s=evaluation.decode_s,
            encode_s=evaluation.encode_s,
            peak_bytes=evaluation.peak,
            cut=sum(item.ended == "cut" for item in items),
            looping=sum(has_loop(item.reference, item.text, UNITS[metric]) for item in items),
            short=tuple(item.id for item in judged if item.short) if judged else None,
            search_errors=sum(missed) if missed else None,
            failed=evaluation.failed,
            nbest=settings.texts,
            oracle_wer=_oracle_rate(items, "wer"),
            oracle_cer=_oracle_rate(items, "cer"),
        )

    @property
    def rtf(self) -> float:
        """The real-time factor: seconds of features, encoder and search for a second of audio."""
        return self.decode_s / self.audio_s

    @property
    def encode_rtf(self) -> float | None:
        """The real-time factor of features and encoder."""
        return None if self.encode_s is None else self.encode_s / self.audio_s

    @property
    def search_s(self) -> float | None:
        """Seconds of the search alone."""
        return None if self.encode_s is None else self.decode_s - self.encode_s

    @property
    def search_rtf(self) -> float | None:
        """The real-time factor of the search alone."""
        return None if self.search_s is None else self.search_s / self.audio_s

    def oracle(self, metric: Metric) -> float | None:
        """The oracle rate of a metric."""
        return self.oracle_wer if metric == "wer" else self.oracle_cer

    def to_json(self) -> dict[str, Any]:
        """Its keys in report.json."""
        return {
            "audio_s": self.audio_s,
            "decode_s": self.decode_s,
            "rtf": self.rtf,
            "encode_s": self.encode_s,
            "encode_rtf": self.encode_rtf,
            "search_s": self.search_s,
            "search_rtf": self.search_rtf,
            "peak_bytes": self.peak_bytes,
            "cut": self.cut,
            "looping": self.looping,
            **({} if self.short is None else {"short": list(self.short)}),
            "search_errors": self.search_errors,
            "failed": [failure._asdict() for failure in self.failed],
            "nbest": self.nbest,
            "oracle_wer": self.oracle_wer,
            "oracle_cer": self.oracle_cer,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "DecodingStatistics":
        """What `to_json` wrote. Raises LookupError, TypeError or ValueError where that is damaged."""
        audio_s = float(data["audio_s"])
        if not audio_s > 0:
            raise ValueError(f"{audio_s} seconds of audio")
        return cls(
            audio_s=audio_s,
            decode_s=float(data["decode_s"]),
            encode_s=_optional(float, data.get("encode_s")),
            peak_bytes=_optional(int, data.get("peak_bytes")),
            cut=int(data["cut"]),
            looping=_optional(int, data.get("looping")),
            short=_optional(lambda ids: tuple(map(str, ids)), data.get("short")),
            search_errors=_optional(int, data.get("search_errors")),
            failed=tuple(FailedUtterance(str(entry["id"]), str(entry["reason"])) for entry in data.get("failed", [])),
            nbest=int(data.get("nbest", 1)),
            oracle_wer=_optional(float, data.get("oracle_wer")),
            oracle_cer=_optional(float, data.get("oracle_cer")),
        )


@dataclass(frozen=True, kw_only=True)
class DecodingReport:
    """What report.json says: error rates, statistics, the decoder's settings, and what vouches for all of it.

    `source` is None in a report of former versions.
    """

    scores: SetScore
    statistics: DecodingStatistics
    decoder: dict[str, Any]  # its settings in plain containers
    signatures: Signatures
    hypotheses_sha256: str  # of hypotheses.jsonl
    source: DecodingSource | None

    def to_json(self) -> dict[str, Any]:
        """The content of report.json; its `digest` is that of all other keys."""
        content = self.scores.to_json() | self.statistics.to_json()
        content |= {"decoder": self.decoder, "signatures": self.signatures._asdict()}
        content["hypotheses_sha256"] = self.hypotheses_sha256
        if self.source is not None:
            content["source"] = self.source._asdict()
        return content | {"digest": digest(content)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "DecodingReport":
        """What `to_json` wrote, by this version or a former one; the digest is not looked at.

        Raises LookupError, TypeError, ValueError or AttributeError where that is damaged.
        """
        return cls(
            scores=SetScore.from_json(data),
            statistics=DecodingStatistics.from_json(data),
            decoder={str(name): value for name, value in data["decoder"].items()},
            signatures=Signatures(str(data["signatures"].get("decoding")), str(data["signatures"]["weights"])),
            hypotheses_sha256=str(data.get("hypotheses_sha256")),
            source=_optional(_source, data.get("source")),
        )

    @classmethod
    def read(cls, folder: Path) -> "DecodingReport":
        """The report of a decoding's folder. Raises ReportError where there is none, or a damaged one."""
        try:
            return cls.from_json(json.loads((folder / "report.json").read_text(encoding="utf-8")))
        except FileNotFoundError:
            why = "no report.json, this decoding has not ended"
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            why = f"report.json is damaged ({_cause(error)}); remove {folder.name}/ and decode again"
        raise ReportError(folder, why)


def _oracle_rate(items: Sequence[Decoded], metric: Metric) -> float:
    references = [item.reference for item in items]
    texts = [[alternative.text for alternative in item.nbest] or [item.text] for item in items]
    return oracle(references, texts, UNITS[metric]).rate


def _source(data: Mapping[str, Any]) -> DecodingSource:
    return DecodingSource(*(str(data[name]) for name in DecodingSource._fields))


def _optional(convert: Callable[[Any], T], value: Any) -> T | None:
    return None if value is None else convert(value)


def _cause(error: Exception) -> str:
    """What is wrong with a report, in words."""
    match error:
        case json.JSONDecodeError():
            return f"line {error.lineno}: {error.msg}"
        case UnicodeDecodeError():
            return f"byte {error.start} is not UTF-8"
        case OSError():
            return str(error.strerror)
        case KeyError():
            return f"the key {error} is missing"
        case _:
            return "a value in it is of another type"
