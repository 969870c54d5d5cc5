"""Words with their times, computed from the spans of their labels."""

import dataclasses
from collections.abc import Sequence

from hybrid_asr.decoding.ctc_align import LabelSpan
from hybrid_asr.decoding.hypothesis import Hypothesis
from hybrid_asr.models.bundle import Bundle


@dataclasses.dataclass(frozen=True)
class Word:
    """A word with its times (seconds from the file's start) and the mean CTC posterior of its labels (0 to 1)."""

    text: str
    start_s: float
    end_s: float
    confidence: float


def spelled_words(hypothesis: Hypothesis) -> list[tuple[str, int]] | None:
    """Each word and its number of labels, where the decoder gives words; else None."""
    return None if hypothesis.text is None else [*zip(hypothesis.text.split(), hypothesis.counts, strict=True)]


def words_of(
    bundle: Bundle, spans: Sequence[LabelSpan], spelled: Sequence[tuple[str, int]] | None = None
) -> list[Word]:
    """Words from labels, each of as many as `spelled` says; without it, a label that begins with a space starts one."""
    if spelled is not None:
        return _as_spelled(bundle, spans, spelled)
    words: list[list[tuple[str, LabelSpan]]] = [[]]
    for piece, span in zip(bundle.tokenizer.pieces([span.label for span in spans]), spans, strict=True):
        if piece.startswith(" ") and words[-1]:
            words.append([])
        if piece.strip():
            words[-1].append((piece.strip(), span))
    return [_word(bundle, "".join(text for text, _ in word), [span for _, span in word]) for word in words if word]


def _as_spelled(bundle: Bundle, spans: Sequence[LabelSpan], spelled: Sequence[tuple[str, int]]) -> list[Word]:
    """Words with a given number of labels each; a space before a word does not count for its times."""
    words, begin = [], 0
    for text, count in spelled:
        word_spans = spans[begin : begin + count]
        begin += count
        without_spaces = [span for span in word_spans if bundle.tokenizer.pieces([span.label])[0].strip()]
        words.append(_word(bundle, text, without_spaces or word_spans))
    return words


def labels_of(bundle: Bundle, spans: Sequence[LabelSpan]) -> list[Word]:
    """Each label as a word of its own, spaces included."""
    pieces = bundle.tokenizer.pieces([span.label for span in spans])
    return [_word(bundle, piece, [span]) for piece, span in zip(pieces, spans, strict=True)]


def _word(bundle: Bundle, text: str, spans: Sequence[LabelSpan]) -> Word:
    return Word(
        text=text,
        start_s=round(spans[0].start * bundle.frame_s, 3),
        end_s=round(spans[-1].end * bundle.frame_s, 3),
        confidence=round(sum(span.confidence for span in spans) / len(spans), 4),
    )
