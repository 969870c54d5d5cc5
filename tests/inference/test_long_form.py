"""Audio in pieces gives what it gives at once: the same frames, at their places, and the same text."""

import itertools

import numpy as np
import pytest
import torch

from hybrid_asr.decoding.ctc_greedy import best_path, ctc_greedy
from hybrid_asr.decoding.hypothesis import DecodeError
from hybrid_asr.inference.long_form import Piece, _piece_samples, cut, log_probs_in_pieces
from hybrid_asr.models.bundle import Bundle
from tests.tones import sound

CPU = torch.device("cpu")
TEXT = "bad cafe fed a be dad faced a cab ace bed fade"


@pytest.fixture(scope="module")
def audio() -> np.ndarray:
    return sound(TEXT, np.random.default_rng(5)).astype(np.float32)


def read(bundle: Bundle, log_probs: torch.Tensor) -> str:
    path = best_path(log_probs[None], torch.tensor([len(log_probs)]), blank=bundle.tokenizer.blank)
    return bundle.tokenizer.decode(ctc_greedy(path)[0].labels)


def at_once(bundle: Bundle, audio: np.ndarray) -> torch.Tensor:
    features = bundle.frontend(torch.from_numpy(audio)[None], torch.tensor([len(audio)]))
    with torch.no_grad():
        return bundle.model.ctc(bundle.model.encode(features))[0]


@pytest.mark.parametrize("frames", [1, 2, 29, 30, 31, 38, 39, 61, 1000])
def test_every_frame_is_given_once_and_encoded_with_its_context(frames: int):
    pieces = cut(frames, 30, 4)
    assert [frame for one in pieces for frame in range(one.first, one.last)] == list(range(frames))
    assert all(one.begin == max(0, one.first - 4) and one.end == min(frames, one.last + 4) for one in pieces)
    assert len(pieces) == 1 or all(15 <= one.last - one.first <= 30 for one in pieces)
    assert (len(pieces) == 1) == (frames <= 38)


def test_short_audio_is_not_cut(bundle: Bundle, audio: np.ndarray):
    torch.testing.assert_close(log_probs_in_pieces(bundle, audio, CPU), at_once(bundle, audio), rtol=0, atol=1e-6)


def test_pieces_with_all_frames_as_context_give_the_same_numbers(bundle: Bundle, audio: np.ndarray, monkeypatch):
    total = bundle.model.output_length(bundle.frontend.frames(len(audio)))
    bounds = [0, 20, 21, 70, total]
    pieces = [Piece(0, first, last, total) for first, last in itertools.pairwise(bounds)]
    monkeypatch.setattr("hybrid_asr.inference.long_form.cut", lambda *_: pieces)
    found = log_probs_in_pieces(bundle, audio, CPU)
    torch.testing.assert_close(found, at_once(bundle, audio), rtol=0, atol=1e-5)


def test_a_piece_has_the_frames_of_the_whole_audio(bundle: Bundle, audio: np.ndarray):
    """Before they are normalized, the features of a piece are those of the whole at its place."""
    frontend, stride = bundle.frontend, bundle.model.encoder.stride
    whole = frontend.raw(torch.from_numpy(audio)[None], torch.tensor([len(audio)]))
    total = bundle.model.output_length(frontend.frames(len(audio)))
    for piece in cut(total, 20, 3):
        samples = torch.from_numpy(_piece_samples(bundle, audio, piece, total))
        part = frontend.raw(samples[None], torch.tensor([len(samples)]))
        assert bundle.model.output_length(int(part.frames[0])) == piece.end - piece.begin
        expected = whole.values[:, piece.begin * stride :][:, : part.values.shape[1]]
        torch.testing.assert_close(part.values, expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("lost", range(0, 800, 37))
def test_any_number_of_samples_fits(bundle: Bundle, audio: np.ndarray, lost: int):
    some = audio[: len(audio) - lost]
    found = log_probs_in_pieces(bundle, some, CPU, piece_s=0.7, context_s=0.2)
    assert len(found) == bundle.model.output_length(bundle.frontend.frames(len(some)))
    assert torch.allclose(found.exp().sum(1), torch.ones(len(found)))


def test_pieces_say_what_the_whole_says(bundle: Bundle, audio: np.ndarray):
    assert read(bundle, at_once(bundle, audio)) == TEXT
    assert read(bundle, log_probs_in_pieces(bundle, audio, CPU, piece_s=1.5, context_s=0.5)) == TEXT


def test_what_cannot_be_taken_in_pieces_is_refused(bundle: Bundle, monkeypatch):
    with pytest.raises(DecodeError, match=r"0\.005 s of audio are too short"):
        log_probs_in_pieces(bundle, np.zeros(40, np.float32), CPU)
    monkeypatch.setattr(bundle.model, "ctc", None)
    with pytest.raises(DecodeError, match=r"no CTC head \(loss.ctc_weight: 0\)"):
        log_probs_in_pieces(bundle, np.zeros(8000, np.float32), CPU)
