"""What is drawn of an utterance is what the model computes."""

import base64
import json
import zlib

import numpy as np
import pytest
import torch

from hybrid_asr import load
from hybrid_asr.attention.teacher_forcing import teacher_forced
from hybrid_asr.attention.utterance_view import END, ctc_spikes
from hybrid_asr.audio import io
from hybrid_asr.common.errors import UserError
from hybrid_asr.inference.encode import encode
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.pages.attention_viewer import SHOWN, choose_utterances, picture
from hybrid_asr.scoring.scores import Scored, score_utterances
from tests.tones import LETTER_S


def unpack(text: str) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)


@pytest.fixture(scope="module")
def utterance(tones) -> tuple[np.ndarray, str]:
    """The longest utterance of the test set and its text."""
    lines = [json.loads(line) for line in (tones / "test.jsonl").read_text().splitlines()]
    longest = max(lines, key=lambda line: line["duration_s"])
    return io.read(tones / longest["audio"], rate=8000), longest["text"]


@torch.inference_mode()
def test_the_page_holds_the_weights_head_by_head_and_a_row_a_label(bundle, utterance):
    samples, text = utterance
    drawn = picture(bundle, samples, text)
    labels = torch.tensor(bundle.tokenizer.encode(text))
    with torch.inference_mode():
        encoded = encode(bundle, [samples], torch.device("cpu"))
        decoder = bundle.model.decoder
        weights = teacher_forced(decoder, encoded, labels[None], sos=decoder.sos)[0].numpy()
    found = drawn["attentions"][0]
    assert found["of"] == "decoder" and [layer["number"] for layer in found["layers"]] == [0]
    bytes_ = unpack(found["layers"][0]["values"]).reshape([found[name] for name in ("heads", "rows", "columns")])
    assert np.abs((bytes_ / 255) ** 2 - weights).max() < 0.004
    assert drawn["pieces"] == [*text, END]


def test_all_parts_share_the_time_axis_of_the_audio(bundle, utterance, tones, trained, tmp_path):
    samples, text = utterance
    drawn = picture(bundle, samples, text)
    assert drawn["seconds"] == len(samples) / 8000
    features, encoder = drawn["spectrogram"], drawn["frame_s"]
    assert features["frames"] * features["frame_s"] == pytest.approx(drawn["seconds"], abs=0.03)
    for frames in (drawn["ctc"]["frames"], drawn["attentions"][0]["columns"]):
        assert frames * encoder == pytest.approx(drawn["seconds"], abs=0.1)
    # A letter's tone is loudest in its middle: its label is found near it, to a frame or two of the encoder.
    said = [place for place, letter in enumerate(text) if letter != " "]
    middles = np.array([(start + end) / 2 * encoder for start, end, _ in drawn["spans"]])
    wanted = (np.arange(len(text)) + 0.5) * LETTER_S
    assert np.abs(middles - wanted)[said].mean() < 0.1
    # and these are the times that `transcribe` tells
    io.write(tmp_path / "one.wav", samples, 8000)
    [transcript] = load(trained).transcribe([tmp_path / "one.wav"])
    again = picture(bundle, io.read(tmp_path / "one.wav", rate=8000), transcript.text)
    assert transcript.words[0].start_s == pytest.approx(again["spans"][0][0] * encoder, abs=0.001)
    assert transcript.words[-1].end_s == pytest.approx(again["spans"][-1][1] * encoder, abs=0.001)


def test_the_spectrogram_is_loud_where_the_tone_is(bundle):
    rate = 8000
    silent, tone = np.zeros(rate), 0.3 * np.sin(2 * np.pi * 3000 * np.arange(rate) / rate)
    found = picture(bundle, np.concatenate([silent, tone]).astype(np.float32), "a")["spectrogram"]
    values = unpack(found["values"]).reshape(found["bins"], found["frames"]).astype(int)
    half = found["frames"] // 2
    assert values[:, half + 5 :].max(0).min() > values[:, : half - 5].max()
    assert values[:, half + 5 :].mean(1).argmax() > found["bins"] / 2, "3 kHz lies in the upper half of the bins"


def test_posteriors_of_the_text_of_blank_and_of_what_ctc_would_rather_have_written():
    probs = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.15, 0.05]])
    found = ctc_spikes(probs.log(), torch.tensor([2, 2]), ["b", "b"], blank=0)
    assert found.names == ["b", "blank", "other"]
    assert found.values == pytest.approx(np.array([[0.3, 0.15], [0.1, 0.7], [0.4, 0.1]]), abs=1e-6)


@pytest.mark.parametrize("ctc_weight", [0.0, 1.0])
def test_a_model_without_a_part_shows_the_other(bundle, utterance, ctc_weight):
    config = {**bundle.config, "loss": {**bundle.config["loss"], "ctc_weight": ctc_weight}}
    alone = Bundle.build(config, bundle.tokenizer, 1.0).eval()
    drawn = picture(alone, *utterance)
    assert (drawn["ctc"] is None) == (drawn["spans"] is None) == (ctc_weight == 0.0)
    assert [one["of"] for one in drawn["attentions"]] == ["decoder", "labels", "encoder"][
        2 if ctc_weight == 1.0 else 0 :
    ]
    assert drawn["spectrogram"]["frames"] > 0 and not drawn["notes"]


def test_what_cannot_be_shown_is_said(bundle, utterance):
    samples, text = utterance
    assert "too large" in picture(bundle, samples, text, budget=100)["notes"][0]
    crowded = picture(bundle, samples[:1200], "abcdefabcdef")
    assert crowded["spans"] is None and "no alignment" in crowded["notes"][0]
    with pytest.raises(UserError, match="too short"):
        picture(bundle, samples[:300], text)


def test_the_choice_has_errors_and_none_and_does_not_hang_on_the_order():
    items = [Scored(f"u{n}", "a b c d", "a b c d" if n % 2 else " ".join("abcd"[: 4 - n // 4])) for n in range(14)]
    items += [Scored("silent", "a", ""), Scored("long", "a b c d", "x")]
    rows = score_utterances(items)
    seconds = {row.id: 1.0 + len(row.id) + int(row.id[1:] or 0) * 0.1 for row in rows[:14]} | {
        "silent": 1.0,
        "long": 21.0,
    }
    chosen = choose_utterances(rows, seconds, "wer")
    assert chosen == choose_utterances(rows[::-1], seconds, "wer")
    wrong = {row.id: row.words.errors for row in rows if row.id in chosen}
    assert len(chosen) == SHOWN and {"silent", "long"}.isdisjoint(chosen)
    assert wrong[chosen[0]] == max(row.words.errors for row in rows[:14])
    assert sum(errors == 0 for errors in wrong.values()) == 2
