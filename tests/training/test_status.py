"""`status.json`: its keys in their order, and what is damaged."""

import json

import pytest

from hybrid_asr.training.status import StatusFile, TrainingStatus, read_status


def test_a_status_is_read_as_it_was_written(tmp_path):
    file = StatusFile(tmp_path / "status.json", total=9, step=3, saved=2, elapsed_s=1.25)
    file.alarm("step 2: ü")
    file.write("failed", "no space left")
    text = file.path.read_text(encoding="utf-8")
    content = json.loads(text)
    assert list(content) == [
        *(
            "state",
            "step",
            "saved_step",
            "total",
            "message",
            "alarms",
            "elapsed_s",
            "audio_per_s",
            "updated",
            "environment",
        )
    ]
    status = read_status(file.path)
    assert status is not None and (status.state, status.step, status.saved_step, status.total) == ("failed", 3, 2, 9)
    assert (status.message, status.alarms, status.elapsed_s) == ("no space left", ("step 2: ü",), 1.2)
    assert json.dumps(status.to_json(), indent=1, ensure_ascii=False) + "\n" == text


def test_nothing_is_written_behind_the_last_word(tmp_path):
    """Where another process is the cause, an exchange with it fails in this one, too, but later."""
    file = StatusFile(tmp_path / "status.json", total=9)
    file.write("failed", "x.wav: cannot be read", last=True)
    file.write("failed", "RuntimeError: Connection closed by peer")
    file.tell_saved(7)
    status = read_status(file.path)
    assert status is not None and (status.message, status.saved_step) == ("x.wav: cannot be read", None)


@pytest.mark.parametrize(
    "damage",
    [{"state": "asleep"}, {"step": "3"}, {"total": None}, {"alarms": "a"}, {"environment": []}, {"elapsed_s": 1e999}],
)
def test_a_damaged_status_is_none(damage, tmp_path):
    sound = {"state": "finished", "step": 9, "total": 9}
    file = tmp_path / "status.json"
    file.write_text(json.dumps(sound))
    assert read_status(file) == TrainingStatus(state="finished", step=9, total=9)
    file.write_text(json.dumps(sound | damage))
    assert read_status(file) is None
