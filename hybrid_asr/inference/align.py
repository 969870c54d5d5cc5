"""When each word, or label, of a known text was said in a sound file of any length; the formats to tell it in."""

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
from hybrid_asr.text.normalize import normalize

Unit = Literal["words", "labels"]
Format = Literal["json", "ctm", "textgrid"]
_LARGEST = 1 << 26  # bytes of a text
_NAMED = 10  # characters, or words, in one message


class AlignError(UserError):
    """A text that cannot be aligned with its audio, or cannot be written by the model at all."""


@dataclasses.dataclass(frozen=True)
class Aligned:
    """A text, as it was aligned, and when each part of it was said; `score` (nats) is that of the best path."""

    path: str
    text: str
    score: float
    duration_s: float
    units: Unit
    spans: tuple[Word, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain containers."""
        return dataclasses.asdict(self)


def read_text(path: Path) -> str:
    """A text file, whatever its lines. Raises AlignError."""
    if reason := read_problem(path, pipes=True, largest=_LARGEST):
        raise AlignError(f"{path}: {reason}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise AlignError(f"{path}: not UTF-8 at byte {error.start}; convert it, as by iconv") from error


def align(bundle: Bundle, path: Path | str, text: str, device: torch.device, *, units: Unit = "words") -> Aligned:
    """Align a sound file of any length with its text, which is spelled by the model's rules first.

    Raises UserError that names the file: a model without a CTC head, characters that it has not, no path.
    """
    if bundle.model.ctc is None:
        raise DecodeError("this model has no CTC head (loss.ctc_weight: 0), which alone can align; take another model")
    text = normalize(text, bundle.text.rules)
    labels = torch.tensor([spelled_labels(bundle, path, text)])
    samples = io.read(path, rate=bundle.frontend.rate)
    try:
        log_probs = log_probs_in_pieces(bundle, samples, device)
    except DecodeError as error:
        raise AlignError(f"{path}: {error}") from error
    spans, score = _spans(bundle, path, log_probs, labels)
    found = words_of(bundle, spans, _pronounced(bundle, text)) if units == "words" else labels_of(bundle, spans)
    return Aligned(str(path), text, score, len(samples) / bundle.frontend.rate, units, tuple(found))


def spelled_labels(bundle: Bundle, path: Path | str, text: str) -> list[int]:
    """The labels of a text that the model can write. Raises AlignError that names what it cannot."""
    if not text:
        raise AlignError(f"{path}: the text to align is empty, once it is spelled by '{bundle.text.rules}'")
    if missing := bundle.tokenizer.missing(text):
        shown = describe_missing(missing, bundle.tokenizer.writes, shown=_NAMED)
        words = bundle.tokenizer.writes == "phonemes"
        remedy = "its lexicon lacks them, write others" if words else "spell the text without, as it is spoken"
        raise AlignError(f"{path}: the model cannot write {shown}; {remedy}")
    return bundle.tokenizer.encode(text)


def _pronounced(bundle: Bundle, text: str) -> list[tuple[str, int]] | None:
    """Where labels are phonemes, the words and how many each has."""
    if bundle.tokenizer.writes == "text":
        return None
    return [(word, len(bundle.tokenizer.encode(word))) for word in text.split()]


def _spans(
    bundle: Bundle, path: Path | str, log_probs: torch.Tensor, labels: torch.Tensor
) -> tuple[tuple[LabelSpan, ...], float]:
    frames, count = torch.tensor([len(log_probs)]), torch.tensor([labels.shape[1]])
    needed = int(ctc_needs(labels, count))
    if needed > len(log_probs):
        raise AlignError(
            f"{path}: the text needs {needed} frames ({labels.shape[1]} labels, and a blank between equal ones), "
            f"the audio has {len(log_probs)}; is it the text of another file?"
        )
    [alignment] = ctc_align(log_probs[None], frames, labels, count, blank=bundle.tokenizer.blank)
    if alignment is None:
        raise AlignError(f"{path}: the model gives the text a probability of 0; is it the text of another file?")
    return alignment.spans, alignment.score


def told(aligned: Aligned, form: Format) -> str:
    """An alignment in a format: JSON, NIST's CTM, or a TextGrid of Praat."""
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
    """File, channel, begin, duration, word, confidence."""
    name = "_".join(Path(aligned.path).stem.split())
    rows = [
        f"{name} 1 {one.start_s:.3f} {one.end_s - one.start_s:.3f} {one.text.strip() or '<space>'} {one.confidence:.4f}"
        for one in aligned.spans
    ]
    return "".join(row + "\n" for row in rows)


def _textgrid(aligned: Aligned) -> str:
    """One tier without gaps: what nothing is said in is empty."""
    end, intervals, at = max([aligned.duration_s, *(one.end_s for one in aligned.spans[-1:])]), [], 0.0
    for one in aligned.spans:
        if one.start_s > at:
            intervals.append((at, one.start_s, ""))
        intervals.append((one.start_s, one.end_s, one.text))
        at = one.end_s
    if end > at:
        intervals.append((at, end, ""))
    head = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end:.3f}"]
    head += ["tiers? <exists>", "size = 1", "item []:", "    item [1]:", '        class = "IntervalTier"']
    head += [f'        name = "{aligned.units}"', "        xmin = 0", f"        xmax = {end:.3f}"]
    head += [f"        intervals: size = {len(intervals)}"]
    for number, (begin, stop, text) in enumerate(intervals, 1):
        quoted = text.replace('"', '""')
        head += [f"        intervals [{number}]:", f"            xmin = {begin:.3f}"]
        head += [f"            xmax = {stop:.3f}", f'            text = "{quoted}"']
    return "\n".join(head) + "\n"
