"""The small picture of each validation: the leading head, every row at its time, nothing cut off."""

import numpy as np
import pytest
import torch

from hybrid_asr.attention.diagnosis import Diagnosis, KeptWeights, choose_utterances, diagnose, spread_by_length
from hybrid_asr.attention.measures import measure
from hybrid_asr.attention.utterance_view import END
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.decoding.ctc_align import LabelSpan
from hybrid_asr.pages.epoch_heat_map import draw_epoch, row_names

DARKEST = (8, 48, 107)  # the color of a weight of 1


def diagnosis(sizes=(12,), *, name="u", piece="x", leading=1, spans=()) -> Diagnosis:
    """Two heads of one layer: the leading one goes from left to right, the other one back."""
    kept_weights, measures = [], None
    for size in sizes:
        forward = torch.eye(size)
        heads = [forward.flip(1), forward.flip(1)]
        heads[leading] = forward
        weights = torch.stack(heads)[None]
        length = torch.tensor([size])
        measures = measure(weights[None], length, length)
        kept_weights.append(KeptWeights(name, 0.04 * size, 0.04, [piece] * (size - 1), spans, weights.numpy()))
    nats = torch.ones(len(sizes))
    return Diagnosis([name] * len(sizes), measures, nats, 2 * nats, kept_weights)


def dark(pixels: np.ndarray) -> np.ndarray:
    """Rows and columns of the pixels of full weight, up to the rounding of colors."""
    return np.argwhere((np.abs(pixels.astype(int) - DARKEST) <= 2).all(-1))


@pytest.mark.parametrize("leading", [0, 1])
def test_the_leading_head_is_drawn_with_each_row_at_its_time(tmp_path, leading):
    places = dark(draw_epoch(diagnosis(leading=leading), 3, tmp_path / "x.png"))
    high, wide = np.ptp(places, axis=0) + 1
    assert len(places) == pytest.approx(high * wide / 12, rel=0.1), "one cell of each row"
    for row in range(12):
        inside = places[(places[:, 0] - places[:, 0].min()) * 12 // high == row][:, 1] - places[:, 1].min()
        assert inside.mean() == pytest.approx((row + 0.5) * wide / 12, abs=3)


def test_the_alignment_is_outlined_where_it_is(tmp_path):
    spans = tuple(LabelSpan(1, row, row + 1, 1.0) for row in range(11))
    plain, outlined = (draw_epoch(diagnosis(spans=one), 3, tmp_path / "x.png").astype(int) for one in ((), spans))
    orange = np.argwhere(outlined[..., 0] - outlined[..., 2] > 80)
    assert len(orange) > 100 and np.corrcoef(orange.T)[0, 1] > 0.95, "the cells of the diagonal"
    assert (plain[..., 0] - plain[..., 2]).max() <= 80


@pytest.mark.parametrize("sizes", [(2,), (3, 300), (5, 20, 60, 150)])
def test_nothing_is_cut_off(tmp_path, sizes):
    """However long ids, labels and texts are: the edges stay white."""
    found = diagnosis(sizes, name="W" * 90, piece=" WWWWWWWWWWWWWWW")
    pixels = draw_epoch(found, 123456, tmp_path / "x.png")
    assert pixels.shape[0] < 500 and pixels.shape[1] < 1500
    assert all((edge == 255).all() for edge in (pixels[:3], pixels[-3:], pixels[:, :3], pixels[:, -3:]))


def test_rows_with_little_room_are_named_by_their_words():
    letters, syllables = list("go on "), [" go", "ing", " on"]
    assert row_names(letters, 9.0) == dict(enumerate([*letters, END]))
    assert row_names(letters, 6.0) == {0: "g", 1: "o", 3: "o", 4: "n", 6: END}
    assert row_names(letters, 2.0) == {0: "go", 3: "on", 6: END}
    assert row_names(syllables, 2.0) == {0: "going", 2: "on", 3: END}
    assert row_names([], 2.0) == {0: END}


def test_letters_without_a_font_and_signs_of_mathematics_are_no_trouble(tmp_path, recwarn):
    draw_epoch(diagnosis(piece="\U0002a6a5 $x_{1$"), 1, tmp_path / "x.png")
    assert not [one for one in recwarn if "Glyph" in str(one.message)]


def test_a_real_model_s_utterances_are_kept_from_short_to_long_with_all_their_weights(bundle, tones):
    manifest = Manifest.read(tones / "valid.jsonl")
    places = choose_utterances(manifest, 8)
    found = diagnose(bundle, manifest, places, torch.device("cpu"), keep=spread_by_length(manifest, places, 3))
    assert [one.seconds for one in found.kept_weights] == sorted(one.seconds for one in found.kept_weights)
    texts = {one.id: one.text for one in manifest}
    for one in found.kept_weights:
        assert "".join(one.pieces) == texts[one.id]
        assert one.weights.shape[2] == len(one.pieces) + 1 and len(one.spans) == len(one.pieces)
        assert one.weights.sum(-1) == pytest.approx(1.0, abs=1e-4)
        assert one.weights.shape[3] * one.frame_s == pytest.approx(one.seconds, abs=0.1)
