"""The threads of a training on a CPU: measured on its own steps, said, kept, and of no effect on the result."""

import re
from pathlib import Path

import pytest
import torch
import yaml

from hybrid_asr.training.progress import RECENT_SECONDS, RecentPace
from hybrid_asr.training.threads import ROUNDS, fewest_of_fast, measure_threads, thread_counts
from tests.tones import train

AUTO = ("trainer.threads=auto", "trainer.epochs=1", "model.encoder.norm=batch", "model.encoder.dropout=0.1")


@pytest.fixture
def two_threads():
    """A process that may use two threads."""
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def test_powers_of_two_and_the_most_are_tried():
    assert [thread_counts(most) for most in (1, 2, 6, 16)] == [[1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8, 16]]


def test_what_takes_far_too_long_is_tried_once(two_threads):
    calls, now = [], 0.0

    def step() -> None:
        nonlocal now
        calls.append(torch.get_num_threads())
        now += {1: 0.004, 2: 0.005, 3: 0.02}[calls[-1]]

    seconds = measure_threads(step, [1, 2, 3], clock=lambda: now)
    assert calls == [1, 2, 3] + [1, 2] * ROUNDS
    assert seconds[1] < 0.02 <= seconds[3]
    assert torch.get_num_threads() == 2


def test_more_threads_must_be_worth_it():
    assert fewest_of_fast({1: 1.0, 2: 0.97, 4: 2.0}) == 1
    assert fewest_of_fast({1: 1.0, 2: 0.6, 4: 0.58}) == 2


def test_the_choice_is_said_and_kept_and_measuring_leaves_no_trace(two_threads, tones, tmp_path, capsys):
    assert train(tones, tmp_path / "auto", *AUTO) == 0
    [chosen] = re.findall(r"^threads: (\d), by trying: a step takes [\d.]+ s on 1, [\d.]+ s on 2;", _err(capsys), re.M)
    assert _threads(tmp_path / "auto") == int(chosen)
    assert train(tones, tmp_path / "given", *AUTO, f"trainer.threads={chosen}") == 0
    metrics = [(tmp_path / name / "metrics.csv").read_bytes() for name in ("auto", "given")]
    assert metrics[0] == metrics[1]


def test_a_training_goes_on_with_the_threads_that_it_had(two_threads, tones, tmp_path, capsys):
    run = tmp_path / "run"
    assert train(tones, run, *AUTO, "trainer.threads=1") == 0
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("threads: 1", "threads: 2"))
    assert train(tones, run, *AUTO) == 0
    assert _threads(run) == 2
    assert "by trying" not in _err(capsys)


def test_the_time_that_is_left_follows_the_last_minutes():
    pace = RecentPace(0.0, 0)
    pace.mark(1000.0, 10, 100.0)
    assert pace.seconds_for(10) == 1000.0
    for second in range(1001, 1002 + int(RECENT_SECONDS)):
        pace.mark(float(second), 10 + second - 1000, 100.0 + 50 * (second - 1000))
    assert pace.seconds_for(10) == pytest.approx(10.0)
    assert pace.audio_per_second() == pytest.approx(50.0)


def test_the_end_names_the_page_and_the_next_command(tones, tmp_path, capsys):
    assert train(tones, tmp_path / "run", "trainer.epochs=1") == 0
    last = _err(capsys).splitlines()[-2:]
    assert last[0].endswith("report.html; decode with:")
    assert (tmp_path / "run/report.html").is_file()
    assert last[1] == f"  hybrid-asr decode {tmp_path / 'run'} --sets valid,test --decoders all"


def _err(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err


def _threads(run: Path) -> int:
    return yaml.safe_load((run / "config.yaml").read_text())["trainer"]["threads"]
