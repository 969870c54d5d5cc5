"""The watch finds who is gone, by the store alone, and names rank, host, step and cause."""

import json
import os
import socket
import subprocess
import time

import pytest
from torch._C._distributed_c10d import HashStore

from hybrid_asr.training import watch
from hybrid_asr.training.watch import Beat, End, Watch


def watching(store: HashStore, rank: int, processes: int = 3) -> Watch:
    return Watch(store, rank=rank, processes=processes, stalled_s=60.0)


def says(store: HashStore, rank: int, beat: Beat) -> None:
    store.set(f"beat/{rank}", json.dumps(beat))


def a_process_that_has_ended() -> Beat:
    process = subprocess.Popen(["sleep", "60"])
    beat = Beat.current()._replace(
        pid=process.pid, started=watch.process_started(process.pid), step=7, doing="training: computing"
    )
    assert not beat.has_ended(beat.place)
    process.kill()
    process.wait()
    return beat


def test_a_dead_process_is_named_with_its_host_and_step():
    store = HashStore()
    says(store, 2, a_process_that_has_ended())
    one = watching(store, 1)
    one._look()
    assert one.end is not None and one.end.gone and one.end.rank == 2
    for part in ("process 2 of 3", f"on {socket.gethostname()}", "behind step 7", "killed, perhaps for memory"):
        assert part in one.end.cause
    other = watching(store, 0)
    other._look()
    assert other.end == one.end, "all have the same cause"


def test_a_silent_process_of_another_machine_is_missed(monkeypatch):
    monkeypatch.setattr(watch, "SILENT_S", 3 * watch.BEAT_S)
    store, beat = HashStore(), Beat.current()._replace(place="n2 pid:[1]")
    one = watching(store, 0, processes=2)
    for count in range(5):  # it speaks
        says(store, 1, beat._replace(count=count))
        one._look()
    for _ in range(3):
        one._look()
    assert one.end is None
    one._look()
    assert one.end is not None and "on n2" in one.end.cause and "has not been heard of" in one.end.cause


def test_who_is_behind_is_named_first_where_no_step_ends():
    store = HashStore()
    for rank, step in ((0, 9), (1, 8), (2, 9)):
        says(store, rank, Beat.current()._replace(step=step, doing="training: computing"))
    one = Watch(store, rank=0, processes=3, stalled_s=0.01)
    one.note("saving", 9)
    one._look()
    assert one.end is None, "what takes long outside of steps is no hang"
    one.note("training: computing", 9)
    time.sleep(0.02)
    one._look()
    assert one.end is not None and f"no step has ended for 0 s: process 1 on {socket.gethostname()}" in one.end.cause


def test_the_first_cause_stays():
    store = HashStore()
    first, second = watching(store, 0), watching(store, 1)
    told = first.propose(End(rank=0, cause="a full disk", status=2))
    assert second.propose(End(rank=1, cause="connection lost")) == told


@pytest.mark.skipif(not os.path.exists("/proc/self/ns/pid"), reason="needs Linux's /proc")
def test_a_process_of_another_space_of_numbers_is_not_taken_for_dead():
    beat = a_process_that_has_ended()
    assert beat.has_ended(Beat.current().place)
    assert not beat.has_ended("another-container pid:[1]")
