"""Signals: noted between steps, obeyed at once where nothing is to be saved; the statuses that launchers see."""

import os
import signal
import time

import pytest

from hybrid_asr.commands.train import stop_status
from hybrid_asr.training import signals
from hybrid_asr.training.launch_environment import Launch
from hybrid_asr.training.signals import SIGNALS, STOP, StoppedAtOnce, signals_handled


@pytest.mark.parametrize("number", SIGNALS)
def test_where_nothing_is_to_be_saved_a_signal_ends_the_process(number):
    former = [signal.getsignal(each) for each in SIGNALS]
    with pytest.raises(StoppedAtOnce) as stop, signals_handled():
        os.kill(os.getpid(), number)
    assert (stop.value.code, stop.value.signal_number) == (128 + number, number)
    assert [signal.getsignal(each) for each in SIGNALS] == former


@pytest.mark.parametrize("second", SIGNALS)
@pytest.mark.parametrize("first", SIGNALS)
def test_in_the_training_the_first_is_noted_and_a_later_second_one_ends(first, second, monkeypatch):
    with signals_handled():
        STOP.deferred = True
        os.kill(os.getpid(), first)
        os.kill(os.getpid(), first)  # as a terminal and torchrun both pass it on
        assert STOP.number == first
        monkeypatch.setattr(signals, "SAME_S", 0.0)
        if second == signal.SIGUSR1:  # SLURM says it again and again
            os.kill(os.getpid(), second)
        elif first == signal.SIGUSR1:  # it announced this one
            os.kill(os.getpid(), second)
            assert STOP.number == second
            with pytest.raises(StoppedAtOnce):
                os.kill(os.getpid(), second)
        else:
            with pytest.raises(StoppedAtOnce):
                os.kill(os.getpid(), second)
            assert STOP.number == first


def test_who_presses_again_every_second_is_obeyed():
    """What counts is the time since the first, not since the latest, signal."""
    with signals_handled():
        STOP.deferred = True
        os.kill(os.getpid(), signal.SIGINT)
        STOP._came -= 0.6 * signals.SAME_S
        os.kill(os.getpid(), signal.SIGINT)
        STOP._came -= 0.6 * signals.SAME_S
        with pytest.raises(StoppedAtOnce):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_main_thread_that_does_not_hear_is_seen():
    """It waits within torch, so that no handler runs; the other thread sees what came, and when it is overdue."""
    with signals_handled():
        assert not STOP.overdue(0.0)
        with pytest.raises(StoppedAtOnce):
            os.kill(os.getpid(), signal.SIGTERM)
        assert not STOP.overdue(5.0)
        time.sleep(0.01)
        assert STOP.overdue(0.0)
        assert STOP.latest == signal.SIGTERM


@pytest.mark.parametrize("launcher", ["torchrun", "srun", "the environment"])
def test_a_clean_stop_is_no_failure_for_a_launcher(launcher):
    assert stop_status(Launch(launcher, 1, 1, 0), signal.SIGTERM) == 0
    assert stop_status(None, signal.SIGTERM) == 143
