"""The search for the largest batch, the worst rows, the global batches that follow, and updates really done."""

import copy
import json
import os
import sys

import numpy as np
import pytest
import torch

from hybrid_asr.cli import main
from hybrid_asr.commands.probe import batch_seconds, parse_bytes, worst_rows
from hybrid_asr.commands.probe_search import CLOSE, Outcome, largest_fitting
from hybrid_asr.commands.probe_trial import Shape, measure_update, try_shape
from hybrid_asr.commands.training_model import learn_tokenizer
from hybrid_asr.common.errors import UserError
from hybrid_asr.config.compose import compose
from hybrid_asr.data import packing
from hybrid_asr.data.label_counts import label_counts
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.run.config import RunConfig
from hybrid_asr.text.characters import CharTokenizer


@pytest.mark.parametrize("curve", [1.0, 1.3, 0.8])
@pytest.mark.parametrize("crash", [False, True])
@pytest.mark.parametrize("true_most", [1, 7, 100, 4321])
def test_the_search_ends_close_below_what_fits_and_never_above(curve, crash, true_most):
    limit, tried = 10**9 + 5 * 10**6 * int(true_most**curve), []

    def attempt(rows: int) -> Outcome | None:
        tried.append(rows)
        peak = 10**9 + int(5 * 10**6 * rows**curve)
        return None if crash and peak > limit else Outcome(peak, 0.01 * rows)

    fits = max(rows for rows in range(1, 2 * true_most + 2) if 10**9 + int(5 * 10**6 * rows**curve) <= limit)
    found = largest_fitting(attempt, limit=limit, first=3, most=10**6, time_left=lambda: 1e9)
    assert found.sure and (1 - CLOSE) * fits - 1 <= found.rows <= fits
    assert found.outcome is not None and found.outcome.peak <= limit
    assert len(tried) <= 20 and len(set(tried)) == len(tried)


def test_a_search_without_time_says_that_it_is_not_sure_and_never_begins_what_it_cannot_end():
    spent = [0.0]

    def attempt(rows: int) -> Outcome:
        spent[0] += rows
        return Outcome(100 * rows, float(rows))

    found = largest_fitting(attempt, limit=10**9, first=2, most=10**6, time_left=lambda: 100 - spent[0])
    assert not found.sure and found.rows >= 40 and spent[0] <= 100 and found.line == 10**7
    assert largest_fitting(attempt, limit=10**9, first=2, most=9, time_left=lambda: 1e9)[::2] == (9, True)
    assert largest_fitting(attempt, limit=50, first=2, most=9, time_left=lambda: 1e9)[:3] == (0, None, True)


@pytest.mark.parametrize("devices", [1, 2, 5, 16])
def test_global_batches_that_follow_are_the_largest_without_accumulation(devices):
    for device_seconds, longest in ((60.0, 20.0), (25.0, 24.0), (300.0, 12.0)):
        largest = batch_seconds(device_seconds, devices, longest)
        assert packing.parts_needed(largest, device_seconds, longest) <= devices
        assert packing.parts_needed(largest * 1.01, device_seconds, longest) > devices
    assert batch_seconds(10.0, devices, 11.0) == 0


@pytest.fixture(scope="module")
def tiny(tones):
    """The recipe of the tones, its training set and its tokenizer."""
    cfg = compose(tones / "tiny.yaml", [f"data.root={tones}", "augment.speeds=[0.8,1.0]"]).parse(RunConfig)
    train = Manifest.read(tones / "train.jsonl", audio="unchecked")
    return cfg, train, learn_tokenizer(cfg, train)


def test_the_worst_rows_cover_every_utterance_at_the_slowest_speed(tiny):
    cfg, train, tokenizer = tiny
    counts = label_counts(train, tokenizer, cfg.text)
    rows = worst_rows(train, counts, cfg, 3)
    assert rows[-1][0] == train.durations.max() / 0.8
    for duration, labels in zip(train.durations, counts.labels, strict=True):
        seconds, most, _ = next(row for row in rows if duration / 0.8 <= row[0])
        assert labels <= most and duration / 0.8 <= seconds


def test_an_update_is_really_done_and_more_rows_take_more_memory(tiny):
    cfg, _, tokenizer = tiny
    few, many = (measure_update(cfg, tokenizer, Shape(rows, 2.0, 9), torch.device("cpu")) for rows in (1, 48))
    assert many.peak > few.peak > 0 and many.seconds > 0


@pytest.mark.slow
def test_probe_finds_a_budget_within_the_memory_and_writes_it_beside_the_recipe(tones, tmp_path, capsys):
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text((tones / "tiny.yaml").read_text())
    words = ["probe", str(recipe), f"data.root={tones}", "--minutes", "1", "--buckets", "2"]
    assert main([*words, "--memory", "2G"]) == 0
    told = capsys.readouterr().out
    report = json.loads((tmp_path / "tiny.probe-cpu.json").read_text())
    assert report["override"] in told and report["device"] == "cpu" and report["made_with"]["torch"]
    assert all(bucket["peak_bytes"] <= report["memory_bytes"] for bucket in report["buckets"])
    assert report["memory_bytes"] == int(0.9 * 2**31) - 2**28
    assert main([*words, "--memory", "100M"]) == 2
    assert "one row of" in capsys.readouterr().err


class _Ends(CharTokenizer):
    """Ends the process that unpickles it."""

    how: tuple = ()

    def __reduce__(self):
        return self.how


@pytest.mark.slow
def test_a_process_that_is_killed_ran_out_of_memory_and_one_that_fails_is_an_error(tiny):
    cfg, _, tokenizer = tiny
    ends = copy.copy(tokenizer)
    ends.__class__ = _Ends
    given = {"shape": Shape(1, 1.0, 3), "device": torch.device("cpu"), "limit": 2**33, "timeout_s": 60.0}
    ends.how = (os.abort, ())
    assert try_shape(cfg, ends, **given) is None
    ends.how = (sys.exit, (3,))
    with pytest.raises(UserError, match=r"1 rows of 1\.0 s failed: its process ended with status"):
        try_shape(cfg, ends, **given)


def test_what_probe_cannot_do_is_refused_at_once(tones, capsys):
    words = ["probe", str(tones / "tiny.yaml"), f"data.root={tones}"]
    assert main([*words, "--buckets", "0"]) == 2 and "--buckets of at least 1" in capsys.readouterr().err
    if not torch.cuda.is_available():
        assert main([*words, "trainer.accelerator=gpu"]) == 2
        assert "device 'cuda': " in capsys.readouterr().err


def test_amounts_of_memory():
    assert [parse_bytes(text) for text in ("8G", "500m", "1.5 GiB")] == [2**33, 500 * 2**20, 3 * 2**29]
    with pytest.raises(UserError, match="--memory 8: is no amount"):
        parse_bytes("8")
    assert np.isfinite(parse_bytes("1TB"))
