"""What a reader tells without refusing a file: once, whatever started the processes."""

import pytest

from hybrid_asr.common.problems import tell_user


@pytest.mark.parametrize(
    ("ranks", "told"),
    [
        ({}, True),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"RANK": "8", "LOCAL_RANK": "0"}, False),
        ({"SLURM_PROCID": "1"}, False),
        ({"SLURM_PROCID": "0", "LOCAL_RANK": "1"}, False),
    ],
)
def test_of_processes_that_train_together_one_tells(ranks, told, monkeypatch, capsys):
    for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, number in ranks.items():
        monkeypatch.setenv(name, number)
    tell_user("note: 3 lines are passed over")
    assert capsys.readouterr().err == ("note: 3 lines are passed over\n" if told else "")
