"""One process holds a folder's lock; whose lock is stale is known, and whose may not be."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hybrid_asr.common import lock as lock_module
from hybrid_asr.common.lock import LOCK, FolderLock, LockError, is_held, read_holder
from hybrid_asr.common.lock_holder import Holder, Job, current_job, process_started
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


def lock_of(folder: Path, host: str, *, silent_s: float = 0.0, **more) -> Path:
    """The lock of a process on another machine, which has not been heard for so long."""
    entry = {"host": host, "pid": 7, "started": "boot/1", "since": "2026-01-01T00:00:00+00:00", "heartbeat_s": 10.0}
    path = folder / LOCK
    path.write_text(json.dumps(entry | more))
    heard = path.stat().st_mtime - silent_s
    os.utime(path, (heard, heard))
    return path


def beats(path: Path, times: int) -> threading.Thread:
    """Let the holder of a lock be heard."""

    def beat() -> None:
        for _ in range(times):
            time.sleep(0.05)
            os.utime(path)

    thread = threading.Thread(target=beat)
    thread.start()
    return thread


@pytest.fixture
def quick(monkeypatch):
    """A second in place of a minute."""
    for name, seconds in {"STALE_S": 0.6, "SAME_JOB_STALE_S": 0.2, "POLL_S": 0.01, "SETTLE_S": 0.02}.items():
        monkeypatch.setattr(lock_module, name, seconds)


def test_a_living_holder_on_another_machine_is_refused_and_told(quick, tmp_path):
    path = lock_of(tmp_path, "elsewhere", job="SLURM job 12")
    before, thread = path.read_bytes(), beats(path, 6)
    with pytest.raises(LockError) as raised:
        FolderLock(tmp_path).take()
    thread.join()
    for word in ("process 7 on elsewhere, SLURM job 12, since 2026-01-01", "heard 0 s ago", "--folder DIR"):
        assert word in str(raised.value)
    assert path.read_bytes() == before, "its lock stays"
    assert [name.name for name in tmp_path.iterdir()] == [LOCK]


def test_a_holder_that_is_not_heard_any_more_is_taken_over_on_any_machine(quick, tmp_path):
    lock_of(tmp_path, "elsewhere", silent_s=0.3)
    began = time.monotonic()
    lock = FolderLock(tmp_path)
    former = lock.take()
    assert former is not None and former.host == "elsewhere"
    assert time.monotonic() - began > 0.25, "it could still have been heard"
    mine = read_holder(tmp_path)
    assert mine is not None and mine.pid == os.getpid()
    lock.release()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("attempt", "waits"), [((1, 0), False), ((0, 0), True)])
def test_the_lock_of_the_own_job_is_taken_over_at_once_or_soon(attempt, waits, tmp_path, monkeypatch):
    """At once by a later attempt; by another start of the same attempt where nothing is heard."""
    monkeypatch.setattr(lock_module, "SETTLE_S", 0.02)
    monkeypatch.setattr(lock_module, "SAME_JOB_STALE_S", 0.3)
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("SLURM_RESTART_COUNT", str(attempt[0]))
    lock_of(tmp_path, "elsewhere", job="SLURM job 12", attempt=[0, 0])
    began = time.monotonic()
    lock = FolderLock(tmp_path)
    former = lock.take()
    assert former is not None and former.job == Job("SLURM job 12", (0, 0))
    assert (time.monotonic() - began > 0.25) == waits
    lock.release()


def test_a_job_is_known_by_its_number_and_its_attempt():
    slurm = {"SLURM_JOB_ID": "14", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "2", "SLURM_RESTART_COUNT": "1"}
    job = current_job(slurm)
    assert job == Job("SLURM job 12_2 (14)", (1, 0))
    assert job.continues(Job(job.name, (0, 3))) and not job.continues(job)
    assert not job.continues(Job("SLURM job 12_3 (15)", (0, 0)))
    torchrun = current_job({"TORCHELASTIC_RUN_ID": "x", "TORCHELASTIC_RESTART_COUNT": "2"})
    assert torchrun == Job("torchrun x", (0, 2))
    assert current_job({"TORCHELASTIC_RUN_ID": "none"}) == current_job({}) == Job()
    assert not Job().continues(Job())


def test_two_that_take_a_lock_over_at_once_on_a_disk_that_cannot_lock(quick, tmp_path, monkeypatch):
    """One wins; and one that wrote too late for that is found out by the heartbeat."""
    monkeypatch.setattr(lock_module.FolderLock, "_flock", lambda *_: "nobody's")
    monkeypatch.setattr(lock_module, "HEARTBEAT_S", 0.05)
    lock_of(tmp_path, "elsewhere", silent_s=9.0)
    lost: list[Holder | None] = []
    lock, other = FolderLock(tmp_path, lost=lost.append), Holder("third", 9, "boot/2", "now", 10.0)
    monkeypatch.setattr(lock_module, "SETTLE_S", 0.4)
    late = threading.Timer(0.1, (tmp_path / LOCK).write_bytes, [other.to_json()])
    late.start()
    with pytest.raises(LockError, match="process 9 on third"):
        lock.take()
    monkeypatch.setattr(lock_module, "SETTLE_S", 0.0)
    lock_of(tmp_path, "elsewhere", silent_s=9.0)
    assert lock.take() is not None
    (tmp_path / LOCK).write_bytes(other.to_json())
    deadline = time.monotonic() + 10
    while not lost and time.monotonic() < deadline:
        time.sleep(0.01)
    lock.release()
    assert lost == [other] and read_holder(tmp_path) == other, "the lock of another is left alone"


def test_a_run_on_another_machine_runs_as_long_as_it_is_heard(tmp_path, monkeypatch):
    assert not is_held(tmp_path)
    lock_of(tmp_path, "elsewhere", silent_s=30.0)
    assert is_held(tmp_path)
    lock_of(tmp_path, "elsewhere", silent_s=90.0)
    assert not is_held(tmp_path)
    lock_of(tmp_path, "elsewhere", silent_s=90.0, heartbeat_s=0.0)
    assert is_held(tmp_path), "a version that does not beat"
    monkeypatch.setattr(lock_module.time, "time", lambda: 0.0)
    lock_of(tmp_path, "elsewhere", silent_s=90.0)
    assert not is_held(tmp_path), "by the clock of the file system: those of machines differ"


def test_a_container_of_the_same_name_elsewhere_is_another_machine(quick, tmp_path):
    path = lock_of(tmp_path, socket.gethostname())
    thread = beats(path, 6)
    assert is_held(tmp_path)
    with pytest.raises(LockError, match="heard 0 s ago"):
        FolderLock(tmp_path).take()
    thread.join()


@pytest.mark.slow
def test_another_host_name_is_another_machine(other, tmp_path):
    """In a UTS namespace of its own, as on a second node."""
    code = HOLD.replace("print('held', flush=True)\ntime.sleep(60)", "pass")
    command = ["unshare", "--uts", "sh", "-c", 'hostname n2 && exec "$0" "$@"', sys.executable, "-c", code]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    try:
        allowed = subprocess.run(["unshare", "--uts", "hostname", "n2"], capture_output=True).returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        pytest.skip("needs `unshare --uts`, and the right to use it")

    def take() -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, str(tmp_path / "run")], env=environment, capture_output=True, text=True)

    done = take()
    assert done.returncode == 1
    assert f"process {other.pid} on {socket.gethostname()} since" in done.stderr and "heard" in done.stderr
    other.kill()
    other.wait()
    heard = (tmp_path / "run" / LOCK).stat().st_mtime - 59
    os.utime(tmp_path / "run" / LOCK, (heard, heard))
    assert take().returncode == 0


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
