"""One process holds a folder's lock; whose lock is stale is known, and whose may not be."""

import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from hybrid_asr.common.lock import LOCK, FolderLock, LockError, process_started, read_holder
from tests.tones import CHECKOUT

HOLD = (
    "import sys, time\nfrom pathlib import Path\nfrom hybrid_asr.common.lock import FolderLock\n"
    "FolderLock(Path(sys.argv[1])).take()\nprint('held', flush=True)\ntime.sleep(60)"
)


@pytest.fixture
def other(tmp_path):
    """Another process that holds the lock."""
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_the_second_is_refused_and_told_who_holds_it(other, tmp_path):
    since = json.loads((tmp_path / "run" / LOCK).read_text())["since"]
    with pytest.raises(LockError) as raised:
        FolderLock(tmp_path / "run").take()
    for word in (str(tmp_path / "run"), f"process {other.pid} on {socket.gethostname()} since {since}", "--folder DIR"):
        assert word in str(raised.value)
    found = read_holder(tmp_path / "run")
    assert found is not None and not found.has_ended()


def test_a_killed_holder_leaves_a_lock_that_is_taken_over(other, tmp_path):
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    found = read_holder(tmp_path / "run")
    assert found is not None and found.has_ended()
    lock = FolderLock(tmp_path / "run")
    former = lock.take()
    assert former is not None and former.pid == other.pid
    mine = read_holder(tmp_path / "run")
    assert mine is not None and mine.pid == os.getpid() and not mine.has_ended()
    lock.release()


@pytest.mark.parametrize("content", ["", "{", '{"host": "a"}', "\udcff"])
def test_a_torn_lock_is_no_obstacle(tmp_path, content):
    (tmp_path / LOCK).write_bytes(content.encode(errors="surrogateescape"))
    lock = FolderLock(tmp_path)
    assert lock.take() is None
    lock.release()
    assert not list(tmp_path.iterdir())


def test_a_process_with_the_number_of_a_dead_one_is_not_that_one(tmp_path):
    (tmp_path / LOCK).write_text(
        json.dumps({"host": socket.gethostname(), "pid": os.getppid(), "started": "another boot/1", "since": "once"})
    )
    found = read_holder(tmp_path)
    assert found is not None and found.has_ended()
    assert process_started(os.getppid())
    lock = FolderLock(tmp_path)
    former = lock.take()
    assert former is not None and former.since == "once"
    lock.release()


def test_of_another_machine_nothing_is_assumed(tmp_path):
    entry = {"host": "elsewhere", "pid": 7, "started": "boot/1", "since": "2026-01-01T00:00:00+00:00"}
    (tmp_path / LOCK).write_text(json.dumps(entry))
    found = read_holder(tmp_path)
    assert found is not None and not found.has_ended(), "it may live"
    with pytest.raises(LockError) as raised:
        FolderLock(tmp_path).take()
    for word in ("process 7 on elsewhere since 2026-01-01", "ssh elsewhere ps -p 7", f"remove {tmp_path / LOCK}"):
        assert word in str(raised.value)
    assert json.loads((tmp_path / LOCK).read_text()) == entry, "its lock stays"


def test_nothing_remains_of_a_lock(tmp_path):
    lock = FolderLock(tmp_path / "new" / "run")
    assert lock.take() is None
    lock.release()
    assert not list(tmp_path.iterdir())
    (tmp_path / "kept").mkdir()
    lock = FolderLock(tmp_path / "kept" / "run")
    lock.take()
    (tmp_path / "kept" / "run" / "config.yaml").touch()
    lock.release()
    assert [path.name for path in (tmp_path / "kept" / "run").iterdir()] == ["config.yaml"]


def test_two_of_many_never_hold_it_together(tmp_path):
    """Processes that take and let go as fast as they can, each adding 1 to a number that only a holder may touch."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom hybrid_asr.common.lock import FolderLock, LockError\n"
        "place = Path(sys.argv[1])\ndone = 0\n"
        "while done < 60:\n"
        "    lock = FolderLock(place)\n"
        "    try:\n        lock.take()\n    except LockError:\n        continue\n"
        "    number = place / 'number'\n    number.write_text(str(int(number.read_text()) + 1))\n"
        "    done += 1\n    lock.release()\n"
    )
    (tmp_path / "number").write_text("0")
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    command = [sys.executable, "-c", code, str(tmp_path)]
    processes = [subprocess.Popen(command, env=environment) for _ in range(4)]
    assert [process.wait(timeout=60) for process in processes] == [0] * 4
    assert (tmp_path / "number").read_text() == "240"
