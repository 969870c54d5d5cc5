"""Processes for which there is too little data are refused, or told with a remedy that helps."""

import re

import pytest

from hybrid_asr.commands.training_setup import TrainingSetup, prepare_training
from hybrid_asr.config.compose import compose
from hybrid_asr.run.config import RunConfig
from hybrid_asr.run.folder import Run, RunError
from tests.tones import SIZES


def test_every_process_needs_an_utterance_and_is_told_when_batches_are_too_small(tones, tmp_path, capsys):
    def prepare(*settings: str) -> TrainingSetup:
        cfg = compose(str(tones / "tiny.yaml"), [f"data.root={tones}", *settings]).parse(RunConfig)
        return prepare_training(cfg, Run(tmp_path / "run"), None, fresh=True, begin_anew="")

    count = SIZES["train"]
    with pytest.raises(RunError) as caught:
        prepare(f"trainer.devices={count + 1}")
    assert f"{count} utterances an epoch for {count + 1} processes, of which each needs" in str(caught.value)
    assert f"fewer devices (trainer.devices={count}," in str(caught.value)
    prepare("trainer.devices=1")
    assert "nothing to do" not in capsys.readouterr().err
    few = prepare(f"trainer.devices={count // 3}")
    told = re.search(
        rf"warning: data.batch_seconds=\S+ holds about (\S+) rows, for {count // 3} processes: in most steps some of "
        r"them have nothing to do; raise data.batch_seconds to (\d+) or more",
        capsys.readouterr().err,
    )
    assert told is not None and float(told[1]) == pytest.approx(count / few.planner.steps, abs=0.1)
    prepare(f"trainer.devices={count // 3}", f"data.batch_seconds={2 * float(told[2])}")
    assert "nothing to do" not in capsys.readouterr().err
