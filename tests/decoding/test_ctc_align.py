"""Forced alignment equals the best of all paths, for every utterance of a batch."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from hybrid_asr.decoding.ctc_align import ctc_align
from hybrid_asr.decoding.hypothesis import DecodeError
from tests.decoding.toys import collapse, random_log_probs

LABELS = [[], [1], [1, 1], [1, 2], [2, 1, 2], [1, 1, 2], [3, 3, 3]]


def best_of_all(log_probs: torch.Tensor, labels: tuple[int, ...]) -> tuple[float, tuple[int, ...]] | None:
    """The best path of frame labels for a labeling, blank 0."""
    frames = log_probs.tolist()
    paths = (path for path in itertools.product(range(len(frames[0])), repeat=len(frames)) if collapse(path) == labels)
    scored = [(sum(frame[unit] for frame, unit in zip(frames, path, strict=True)), path) for path in paths]
    return max(scored, default=None)


def padded(labels: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, labels))
    return torch.tensor([one + [0] * (width - len(one)) for one in labels]), torch.tensor([len(one) for one in labels])


@pytest.fixture(params=["at once", "by blocks"])
def way(request, monkeypatch) -> str:
    """Small utterances, too, can be aligned as an hour is: in blocks of 3 frames, run twice, a few labels at a time."""
    if request.param == "by blocks":
        for name, value in {"BLOCK": 3, "MOST_MOVES": 1, "MOST_EMISSIONS": 40}.items():
            monkeypatch.setattr(f"hybrid_asr.decoding.ctc_align.{name}", value)
    return request.param


def test_equals_the_best_of_all_paths(way):
    for time in (1, 2, 3, 5):
        log_probs = random_log_probs(len(LABELS), time + 2, 4, seed=time)
        log_probs[:, time:] = torch.nan  # padding
        labels, lengths = padded(LABELS)
        found = ctc_align(log_probs, torch.full((len(LABELS),), time), labels, lengths, blank=0)
        for row, (alignment, wanted) in enumerate(zip(found, LABELS, strict=True)):
            best = best_of_all(log_probs[row, :time], tuple(wanted))
            assert (alignment is None) == (best is None)
            if alignment is None or best is None:
                continue
            score, path = best
            assert alignment.score == pytest.approx(score, abs=1e-9)
            runs = [(unit, [t for t, _ in run]) for unit, run in itertools.groupby(enumerate(path), key=lambda p: p[1])]
            spans = [(unit, at[0], at[-1] + 1) for unit, at in runs if unit]
            assert [span[:3] for span in alignment.spans] == spans
            means = [float(log_probs[row, start:end, unit].exp().mean()) for unit, start, end in spans]
            assert [span.confidence for span in alignment.spans] == pytest.approx(means, abs=1e-9)


def test_neighbors_change_nothing(way):
    log_probs, frames = random_log_probs(4, 60, 9, seed=2, sharp=3.0), torch.tensor([60, 21, 40, 7])
    generator = torch.Generator().manual_seed(0)
    labels = [torch.randint(1, 9, (n,), generator=generator).tolist() for n in (20, 6, 0, 3)]
    together = ctc_align(log_probs, frames, *padded(labels), blank=0)
    for row, (length, wanted) in enumerate(zip(frames.tolist(), labels, strict=True)):
        one = torch.tensor([wanted], dtype=torch.int64)
        alone = ctc_align(
            log_probs[row : row + 1, :length], frames[row : row + 1], one, torch.tensor([len(wanted)]), blank=0
        )
        assert alone == together[row : row + 1]
        assert [span.label for span in alone[0].spans] == wanted


def test_impossible_is_none_and_harms_no_neighbor(way):
    log_probs = random_log_probs(4, 3, 4, seed=5)
    log_probs[2, :, 2] = -torch.inf
    frames = torch.tensor([3, 3, 3, 0])
    found = ctc_align(log_probs, frames, *padded([[1, 1, 1], [1, 1], [2], []]), blank=0)
    assert [alignment is None for alignment in found] == [True, False, True, True]
    assert [(span.start, span.end) for span in found[1].spans] == [(0, 1), (2, 3)]


@pytest.mark.parametrize("length", [1, 40, 99, 120])
def test_blocks_change_nothing(length: int, monkeypatch):
    """However many labels stand there for the frames, to the last bit; with repeats, and with ties."""
    log_probs, frames = (random_log_probs(3, 130, 5, seed=length) * 2).round() / 2, torch.tensor([130, 125, 130])
    generator = torch.Generator().manual_seed(length)
    rows = [torch.randint(1, 5, (n,), generator=generator) for n in (length, max(1, length // 3), length)]
    rows[2][:] = torch.arange(length) % 4 + 1  # no repeats: 120 labels have a path in 130 frames
    labels, lengths = padded([row.tolist() for row in rows])
    once = ctc_align(log_probs, frames, labels, lengths, blank=0)
    assert once[2] is not None
    monkeypatch.setattr("hybrid_asr.decoding.ctc_align.MOST_MOVES", 1)
    for block, emissions in ((7, 10**6), (64, 300), (128, 1)):
        monkeypatch.setattr("hybrid_asr.decoding.ctc_align.BLOCK", block)
        monkeypatch.setattr("hybrid_asr.decoding.ctc_align.MOST_EMISSIONS", emissions)
        assert ctc_align(log_probs, frames, labels, lengths, blank=0) == once


def test_nan_names_the_utterance():
    log_probs = random_log_probs(3, 6, 4, seed=5)
    log_probs[1, 2] = torch.nan
    with pytest.raises(DecodeError, match=r"utterances \[1\] of the batch: NaN"):
        ctc_align(log_probs, torch.tensor([6, 6, 6]), *padded([[1, 2], [1, 2], [3]]), blank=0)


def test_another_blank():
    log_probs = random_log_probs(1, 4, 3, seed=6)
    swapped = log_probs[..., [2, 0, 1]]  # blank 0 → 1, 1 → 2, 2 → 0
    [first] = ctc_align(log_probs, torch.tensor([4]), torch.tensor([[1, 2]]), torch.tensor([2]), blank=0)
    [second] = ctc_align(swapped, torch.tensor([4]), torch.tensor([[2, 0]]), torch.tensor([2]), blank=1)
    assert [span[1:] for span in first.spans] == [span[1:] for span in second.spans]


def test_paths_are_torchaudios():
    with np.load(Path(__file__).parents[1] / "audio/torchaudio.npz") as theirs:
        cases = [[torch.from_numpy(theirs[f"{name}{n}"]) for name in ("log_probs", "labels", "path")] for n in range(4)]
    for log_probs, labels, path in cases:
        sizes = torch.tensor([len(log_probs)]), torch.tensor([len(labels)])
        found = ctc_align(log_probs[None], sizes[0], labels[None], sizes[1], blank=0)[0]
        assert found is not None
        ours = torch.zeros_like(path)
        for span in found.spans:
            ours[span.start : span.end] = span.label
        assert torch.equal(ours, path)
        assert found.score == pytest.approx(log_probs.gather(1, path[:, None].long()).sum().item(), abs=1e-3)
