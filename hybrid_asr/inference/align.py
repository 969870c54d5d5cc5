"""Align a known text with its audio: the times of its words or labels, written as JSON, CTM or TextGrid."""

import dataclasses
import json
from pathlib import Path
from typing import Any, Literal, assert_never

import torch

from hybrid_asr.audio import io
from hybrid_asr.common.errors import UserError
from hybrid_asr.common.files import read_problem
from hybrid_asr.decoding.ctc_align import LabelSpan, ctc_align
from hybrid_asr.decoding.hypothesis import DecodeError
from hybrid_asr.inference.long_form import log_probs_in_pieces
from hybrid_asr.inference.words import Word, labels_of, words_of
from hybrid_asr.losses import ctc_needs
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.text.labels import describe_missing

Unit = Literal["words", "labels"]
Format = Literal["json", "ctm", "textgrid"]
_LARGEST = 1 << 26  # bytes of a text file
_NAMED = 10  # characters or words that one message lists


class AlignError(UserError):
    """A text that cannot be aligned with its audio, or that the model cannot write."""


@dataclasses.dataclass(frozen=True)
class Aligned:
    """A normalized text with the times of its words or labels; `score` is the best path's log probability (nats)."""

    path: str
    text: str
    score: float
    duration_s: float
    units: Unit
    spans: tuple[Word, ...]
    channel: int | None = None  # the one that was read, from 1; None is the mean of all

    def to_json(self) -> dict[str, Any]:
        """The fields as plain dictionaries and tuples, for JSON."""
        return dataclasses.asdict(self)


def read_text(path: Path) -> str:
    """The content of a UTF-8 text file, with or without line breaks. Raises AlignError."""
    if reason := read_problem(path, pipes=True, largest=_LARGEST):
        raise AlignError(f"{path}: {reason}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise AlignError(f"{path}: not UTF-8 at byte {error.start}; convert it, as by iconv") from error


def align(
    bundle: Bundle,
    path: Path | str,
    text: str,
    device: torch.device,
    *,
    units: Unit = "words",
    channel: int | None = None,
) -> Aligned:
    """Align a sound file of any length with its text, which is normalized by the model's rules first.

    Read is the mean of its channels, or `channel`, the first of which is 1.

    Raises DecodeError for a model without a CTC head, and AlignError that names the file if the model cannot write the
    text, or if the audio is too short or no path has a probability above 0.
    """
    if bundle.model.ctc is None:
        raise DecodeError("this model has no CTC head (loss.ctc_weight: 0), which alone can align; take another model")
    text = bundle.text.spell(text)
    labels = torch.tensor([spelled_labels(bundle, path, text)])
    samples = io.read(path, rate=bundle.frontend.rate, channel=channel)
    try:
        log_probs = log_probs_in_pieces(bundle, samples, device)
    except DecodeError as error:
        raise AlignError(f"{path}: {error}") from error
    spans, score = _spans(bundle, path, log_probs, labels)
    words = words_of(bundle, spans, _pronounced(bundle, text)) if units == "words" else labels_of(bundle, spans)
    return Aligned(str(path), text, score, len(samples) / bundle.frontend.rate, units, tuple(words), channel)


def spelled_labels(bundle: Bundle, path: Path | str, text: str) -> list[int]:
    """The labels of a normalized text. Raises AlignError that lists what the model cannot write."""
    if not text:
        raise AlignError(f"{path}: the text to align is empty, once it is spelled by '{bundle.text.rules}'")
    if missing := bundle.tokenizer.missing(text):
        shown = describe_missing(missing, bundle.tokenizer.writes, shown=_NAMED)
        words = bundle.tokenizer.writes == "phonemes"
        remedy = "its lexicon lacks them, write others" if words else "spell the text without, as it is spoken"
        raise AlignError(f"{path}: the model cannot write {shown}; {remedy}")
    return bundle.tokenizer.encode(text)


def _pronounced(bundle: Bundle, text: str) -> list[tuple[str, int]] | None:
    """Each word and its number of phonemes, if the labels are phonemes; else None."""
    if bundle.tokenizer.writes == "text":
        return None
    return [(word, len(bundle.tokenizer.encode(word))) for word in text.split()]


def _spans(
    bundle: Bundle, path: Path | str, log_probs: torch.Tensor, labels: torch.Tensor
) -> tuple[tuple[LabelSpan, ...], float]:
    """The span of each label on the best CTC path, and the path's log probability (nats)."""
    lengths, label_lengths = torch.tensor([len(log_probs)]), torch.tensor([labels.shape[1]])
    needed = int(ctc_needs(labels, label_lengths))
    if needed > len(log_probs):
        raise AlignError(
            f"{path}: the text needs {needed} frames ({labels.shape[1]} labels, and a blank between equal ones), "
            f"the audio has {len(log_probs)}; is it the text of another file?"
        )
    [alignment] = ctc_align(log_probs[None], lengths, labels, label_lengths, blank=bundle.tokenizer.blank)
    if alignment is None:
        raise AlignError(f"{path}: the model gives the text a probability of 0; is it the text of another file?")
    return alignment.spans, alignment.score


def format_alignment(aligned: Aligned, form: Format) -> str:
    """An alignment as text: JSON, NIST's CTM, or Praat's TextGrid."""
    match form:
        case "json":
            return json.dumps(aligned.to_json(), ensure_ascii=False) + "\n"
        case "ctm":
            return _ctm(aligned)
        case "textgrid":
            return _textgrid(aligned)
        case _:
            assert_never(form)


def _ctm(aligned: Aligned) -> str:
    """One line a word: file, channel, begin, duration (seconds), word, confidence."""
    name = "_".join(Path(aligned.path).stem.split())
    rows = [
        f"{name} {aligned.channel or 1} {span.start_s:.3f} {span.end_s - span.start_s:.3f} "
        f"{span.text.strip() or '<space>'} {span.confidence:.4f}"
        for span in aligned.spans
    ]
    return "".join(row + "\n" for row in rows)


def _textgrid(aligned: Aligned) -> str:
    """One tier without gaps: intervals without speech have an empty text."""
    end, intervals, last_end = max([aligned.duration_s, *(span.end_s for span in aligned.spans[-1:])]), [], 0.0
    for span in aligned.spans:
        if span.start_s > last_end:
            intervals.append((last_end, span.start_s, ""))
        intervals.append((span.start_s, span.end_s, span.text))
        last_end = span.end_s
    if end > last_end:
        intervals.append((last_end, end, ""))
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end:.3f}"]
    lines += ["tiers? <exists>", "size = 1", "item []:", "    item [1]:", '        class = "IntervalTier"']
    lines += [f'        name = "{aligned.units}"', "        xmin = 0", f"        xmax = {end:.3f}"]
    lines += [f"        intervals: size = {len(intervals)}"]
    for number, (begin, stop, text) in enumerate(intervals, 1):
        quoted = text.replace('"', '""')
        lines += [f"        intervals [{number}]:", f"            xmin = {begin:.3f}"]
        lines += [f"            xmax = {stop:.3f}", f'            text = "{quoted}"']
    return "\n".join(lines) + "\n"
