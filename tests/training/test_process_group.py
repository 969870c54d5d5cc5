"""Processes find each other, or say who is missing; what one of them cannot do is told once, and ends all."""

import os
import re
import socket
import subprocess
import sys
import time

import pytest
from torch._C._distributed_c10d import HashStore

from hybrid_asr.training import process_group
from hybrid_asr.training.launch_environment import Launch
from hybrid_asr.training.rendezvous import RendezvousError, name_attempt, open_store
from tests.ranks import free_port
from tests.tones import CHECKOUT

PROGRAM = """
import sys, time
from hybrid_asr.common.errors import UserError
from hybrid_asr.training import process_group, rendezvous, tensor_broadcast
from hybrid_asr.training.launch_environment import Launch
from hybrid_asr.training.rendezvous import RendezvousError, open_store
from hybrid_asr.training.stop_flag import StopFlag, Wishes
import torch
tensor_broadcast.PIECE_BYTES = 8
rendezvous.RENDEZVOUS_S = {seconds}
rank = int(sys.argv[1])
def act():
    if rank in {bad}:
        raise UserError(f"no file on process {{rank}}")
    return rank
try:
    with process_group.connected(Launch("the environment", 2, 2, rank)):
        met = process_group.gather(rank), process_group.broadcast(f"of {{rank}}")
        mine = {{"w": [torch.arange(5.0), torch.tensor(True)], "empty": torch.ones(0, 2), "n": rank}}
        mine |= {{"step": torch.tensor(3)}}
        tree = tensor_broadcast.broadcast_tensors(mine if rank == 0 else {{"step": torch.tensor(9)}})
        same = tree["w"][0].tolist() == [0, 1, 2, 3, 4] and tree["w"][1].item() is True
        assert same and tree["empty"].shape == (0, 2) and tree["step"].item() == 3 and tree["n"] == 0, tree
        flag, heard = StopFlag(), []
        for step in range(3):
            heard.append(flag.answer().stop)
            time.sleep(rank)  # the first process is a second ahead
            began = time.monotonic()
            flag.ask(Wishes(stop=15 if rank == 1 and step == 1 else 0))
            assert time.monotonic() - began < 0.5, "waited for the other"
        print(heard, end=" ")
        print(*met, process_group.together(act), flush=True)
except UserError as error:
    print(f"error: {{error}}")
    sys.exit(2)
"""


def run(ranks: list[int], *, bad: tuple[int, ...] = (), seconds: float = 60.0, address: str = "127.0.0.1"):
    """The output and exit status of each of these of two processes."""
    found = os.environ | {"MASTER_ADDR": address, "MASTER_PORT": str(free_port()), "PYTHONPATH": str(CHECKOUT)}
    code = PROGRAM.format(seconds=seconds, bad=bad)
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(rank)], env=found, stdout=subprocess.PIPE, text=True)
        for rank in ranks
    ]
    return [(process.communicate(timeout=120)[0].strip(), process.returncode) for process in started]


def test_two_processes_meet_and_exchange():
    """What one of them asks for at the end of a step both know a step later, and neither waits to ask."""
    assert run([0, 1]) == [("[0, 0, 15] [0, 1] of 0 0", 0), ("[0, 0, 15] [0, 1] of 0 1", 0)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bad", "message"), [((1,), "process 1 of 2: no file on process 1"), ((0, 1), "no file on process 0")]
)
def test_an_error_in_any_ends_all_and_is_told_once(bad, message):
    assert run([0, 1], bad=bad) == [(f"[0, 0, 15] error: {message}", 2), ("[0, 0, 15]", 2)]


@pytest.mark.slow
def test_who_has_not_come_is_named():
    [(told, status)] = run([0], seconds=1.0)
    assert status == 2
    assert "1 of 2 processes have not come within 1 s, those of rank 1" in told


@pytest.mark.slow
@pytest.mark.parametrize("address", ["127.0.0.1", "no-such-host.invalid"])
def test_a_first_process_that_cannot_be_reached_is_named(address):
    [(told, status)] = run([1], seconds=1.0, address=address)
    assert status == 2
    assert f"the first process of this training, at {address}:" in told
    assert "cannot be reached" in told


def test_another_program_at_the_port_is_no_reason_to_wait_for_ever():
    """A first process says that the port is taken, and the others are not answered."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        for rank, cause in ((0, "is the port free there?"), (1, "does not answer: another program listens there")):
            port, deadline = other.getsockname()[1], time.monotonic() + 1.0
            with pytest.raises(RendezvousError, match=re.escape(cause)):
                open_store(Launch("the environment", 2, 2, rank), "127.0.0.1", port, deadline)


def test_a_process_alone_exchanges_with_itself():
    with process_group.connected(None), process_group.connected(Launch("torchrun", 1, 1, 0)):
        assert process_group.gather(7) == [7]
        assert process_group.broadcast("word") == "word"
        assert process_group.together(lambda: 3) == 3


def come(store: HashStore, *ranks: int) -> set[str]:
    """The attempts that processes of these ranks, of two, come to."""
    return {name_attempt(store, Launch("torchrun", 2, 1, rank)) for rank in ranks}


def test_who_comes_to_the_port_of_another_training_disturbs_nobody():
    store = HashStore()
    assert len(first := come(store, 0, 1)) == 1
    assert not come(store, 1) & first


@pytest.mark.parametrize(
    ("earlier", "restarts"),
    [
        pytest.param((0, 1), ("1", "1"), id="restarted"),
        pytest.param((0,), ("1", "1"), id="one-was-killed-before-it-came"),
        pytest.param((0, 1), ("1", "0"), id="on-a-new-node"),
        pytest.param((0, 1), ("0", "0"), id="a-node-has-left-and-come-back"),
    ],
)
def test_processes_that_torchrun_restarts_come_together_again(monkeypatch, earlier, restarts):
    """Its store outlives them, and each of its agents counts its own restarts."""
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    store, again = HashStore(), set[str]()
    former = come(store, *earlier)
    for rank, count in enumerate(restarts):
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", count)
        again |= come(store, rank)
    assert len(again) == 1 and not again & former
