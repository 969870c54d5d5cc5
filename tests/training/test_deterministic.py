"""`trainer.deterministic`: on a CPU it changes no weight; on a GPU CTC is ours."""

import pytest
import torch

from hybrid_asr.config.compose import compose
from hybrid_asr.config.schema import plain
from hybrid_asr.losses import ctc_loss
from hybrid_asr.nn.ctc_scan import ctc_by_scans
from hybrid_asr.run.config import RunConfig, weight_settings
from hybrid_asr.training.deterministic import ctc_for, only_warned, set_deterministic
from tests.tones import train


@pytest.fixture
def restored():
    yield
    set_deterministic(False)


@pytest.mark.parametrize(
    ("device", "wanted", "expected"),
    [("cuda", True, ctc_by_scans), ("cuda", False, ctc_loss), ("cpu", True, ctc_loss), ("cpu", False, ctc_loss)],
)
def test_ctc_by_scans_is_for_a_gpu_that_is_to_be_deterministic(device, wanted, expected, restored):
    set_deterministic(wanted)
    assert ctc_for(torch.device(device)) is expected


SHORT = ("trainer.steps=1", "trainer.attention_utterances=0", "trainer.valid_decoder=ctc_greedy")


@pytest.mark.slow
def test_a_training_of_the_setting_is_deterministic(tones, tmp_path, restored):
    assert train(tones, tmp_path / "run", *SHORT, "trainer.deterministic=true") == 0
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()


@pytest.mark.slow
def test_on_a_cpu_the_weights_are_the_same_with_and_without(tones, tmp_path, restored):
    for name in ("true", "false"):
        settings = (*SHORT[1:], "trainer.steps=9", f"trainer.deterministic={name}")
        assert train(tones, tmp_path / name, *settings) == 0
    saved = (torch.load(tmp_path / name / "model.pt", weights_only=True) for name in ("true", "false"))
    one, other = (model["weights"] for model in saved)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_validation_is_warned_where_training_is_ended(restored):
    set_deterministic(True)
    with only_warned():
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    set_deterministic(False)
    with only_warned():
        assert not torch.are_deterministic_algorithms_enabled()


def test_a_run_from_before_there_was_the_setting_is_the_one_that_it_was(tones):
    def settings(*more):
        return weight_settings(plain(compose(tones / "tiny.yaml", more).parse(RunConfig)))

    assert "trainer.deterministic" not in settings()
    assert settings("trainer.deterministic=true") == settings() | {"trainer.deterministic": True}
