"""A word's doubt is that of its labels in CTC's alignment, whoever stands beside it and whatever labels are."""

import math

import pytest
import torch

from hybrid_asr.attention.confidence import ctc_confidence, error_signs, units_of
from hybrid_asr.audio.io import read
from hybrid_asr.decoding.ctc_align import ctc_align
from hybrid_asr.inference.encode import encode_batch

CPU = torch.device("cpu")
TEXTS = ["bfd ffe fdb", "cac cc c", "d", "bec eb"]


@pytest.fixture(scope="module")
def samples(tones) -> list:
    return [read(tones / f"test/{number:02d}.wav", rate=8000) for number in range(len(TEXTS))]


def test_a_words_support_is_the_geometric_mean_of_its_labels_posteriors(bundle, samples):
    [found] = ctc_confidence(bundle, encode_batch(bundle, samples[:1], CPU), TEXTS[:1])
    encoded_batch = encode_batch(bundle, samples[:1], CPU)
    labels = torch.tensor([bundle.tokenizer.encode(TEXTS[0])])
    sizes = torch.tensor([labels.shape[1]])
    [alignment] = ctc_align(
        encoded_batch.log_probs, encoded_batch.encoded.frames, labels, sizes, blank=bundle.tokenizer.blank
    )
    log_probs = [span.confidence for span in alignment.spans]
    for word, (text, first) in zip(found, [("bfd", 0), ("ffe", 4), ("fdb", 8)], strict=True):
        assert word.text == text, "spaces belong to no word"
        assert word.probability == pytest.approx(math.prod(log_probs[first : first + 3]) ** (1 / 3))


def test_nobody_beside_it_changes_a_words_doubt(bundle, samples):
    together = error_signs(bundle, encode_batch(bundle, samples, CPU), TEXTS)
    for one, text, alone in zip(together, TEXTS, samples, strict=True):
        encoded_batch = encode_batch(bundle, [alone], CPU)
        [words], [plain] = error_signs(bundle, encoded_batch, [text]), ctc_confidence(bundle, encoded_batch, [text])
        assert [word.text for word in one] == [word.text for word in plain] == text.split()
        for mine, its, ctc in zip(words, one, plain, strict=True):
            assert mine[1:] == pytest.approx(its[1:], abs=1e-4)
            assert ctc.ctc == pytest.approx(mine.ctc, abs=1e-6)


def test_a_text_that_cannot_be_aligned_and_an_empty_one_have_none(bundle, samples):
    encoded_batch = encode_batch(bundle, samples[:3], CPU)
    assert [one is None for one in ctc_confidence(bundle, encoded_batch, ["abcdef" * 30, "cac", ""])] == [
        True,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("pieces", "unit", "wanted"),
    [
        ([" he", "llo", " w", " x"], "word", [("hello", [0, 1]), ("w", [2]), ("x", [3])]),
        (["a", " ", " ", "b", "\ufffd"], "word", [("a", [0]), ("b\ufffd", [3, 4])]),
        ([" he", "y", " w"], "character", [("h", [0]), ("e", [0]), ("y", [1]), (" ", [2]), ("w", [2])]),
        (["你", " ", "好", "吗"], "character", [("你", [0]), ("好", [2]), ("吗", [3])]),
        ([], "word", []),
    ],
)
def test_units_are_those_that_are_scored_with_the_labels_that_spell_them(pieces, unit, wanted):
    assert units_of(pieces, unit) == wanted
