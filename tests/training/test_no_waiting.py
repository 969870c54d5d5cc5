"""A step asks the device for nothing: every preset's runs on the meta device, which has no numbers that could be read.

The Trainer, the callbacks and the optimizer are those of a training. CTC is a stub, since torch has none there, and so
is what takes the numbers of a row to the host.
"""

import contextlib
import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.accelerators.cpu import CPUAccelerator
from lightning.pytorch.strategies.single_device import SingleDeviceStrategy
from torch import Tensor

from hybrid_asr import losses
from hybrid_asr.audio.augment import SpecAugment, SpecAugmentConfig
from hybrid_asr.config.compose import compose
from hybrid_asr.config.files import load_yaml
from hybrid_asr.config.schema import plain
from hybrid_asr.data.dataset import Batch
from hybrid_asr.losses import GuideConfig, LossConfig
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.nn.checkpointing import checkpoint_layers
from hybrid_asr.run.config import RunConfig
from hybrid_asr.text.tokenizer import train_tokenizer
from hybrid_asr.training import host_copy
from hybrid_asr.training.checkpoint import Checkpoints
from hybrid_asr.training.doubtful_audio import Doubtful
from hybrid_asr.training.module import SpeechModule
from hybrid_asr.training.optim import OptimConfig
from hybrid_asr.training.progress import Progress, build_progress
from hybrid_asr.training.status import StatusFile
from hybrid_asr.training.strategy import Float16
from hybrid_asr.training.unreadable_audio import Unreadable
from tests.tones import CHECKOUT, RECIPE

PRESETS = sorted(path.stem for path in (CHECKOUT / "conf/model").glob("*.yaml"))
META = torch.device("meta")
QUICK = {  # those without a recurrent decoder, each with another setting; all others are slow tests
    "conformer_m": "float16",
    "conformer_s": "batch norm",
    "conformer_s_espnet": "checkpointed",
    "patch_transformer_s": "plain",
    "transformer_s": "accumulated",
}
STEPS = 3
SMALL = {"layers": 1, "dim": 32, "heads": 2, "feed_forward": 16, "channels": 4, "cells": 8, "embedding": 8}


class Meta(CPUAccelerator):
    """An accelerator whose tensors have shapes and no numbers."""

    def setup_device(self, device: torch.device) -> None:
        """Nothing to do."""


class MetaStrategy(SingleDeviceStrategy):
    """Where everything is on the meta device; nothing of it can be brought back."""

    def __init__(self) -> None:
        super().__init__(device=META, accelerator=Meta())

    def teardown(self) -> None:
        """Nothing to do."""


class Stream:
    """Batches of which nobody knows how many there are: Lightning would compare their number on the devices."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[Batch]:
        return (batch_of() for _ in range(self.count))


def smaller(sizes: dict[str, Any]) -> dict[str, Any]:
    """A model of the same parts, with little of each."""
    return {
        name: smaller(value) if isinstance(value, dict) else min(value, SMALL[name]) if name in SMALL else value
        for name, value in sizes.items()
    }


def module_of(preset: str, tmp_path: Path, *, guide: float = 0.0, changes: Mapping[str, Any] = {}) -> SpeechModule:
    """The module of a preset with all that can be drawn, on the meta device."""
    sizes = smaller(load_yaml(CHECKOUT / f"conf/model/{preset}.yaml"))
    sizes = {part: {**values, **changes.get(part, {})} for part, values in sizes.items()}
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    composed = compose(str(tmp_path / "recipe.yaml"), [])
    cfg = composed.parse(RunConfig)
    tree = plain(cfg) | {"model": sizes}
    tree["features"]["bins"] = 80
    tokenizer = train_tokenizer(cfg.tokenizer, ["ab cd ef"], text=cfg.text, root=".")
    with META:
        bundle = Bundle.build(tree, tokenizer, labels_per_frame=1.0)
    loss = LossConfig(ctc_weight=0.5, guide=GuideConfig(weight=guide, share=1.0))
    optim = OptimConfig(schedule="noam", lr=0.1, warmup=2)
    module = SpeechModule(bundle, loss=loss, optim=optim, mask=SpecAugment(SpecAugmentConfig()), mask_from=1, seed=1)
    module.total_steps = STEPS
    return module.train()


def batch_of() -> Batch:
    samples, labels = (2400, 2000), (2, 1)
    return Batch(
        ids=("a", "b"),
        audio=torch.zeros(2, 2400),
        samples=torch.tensor(samples),
        labels=torch.ones(2, 2, dtype=torch.int64),
        label_lengths=torch.tensor(labels),
        host_samples=samples,
        host_label_lengths=labels,
        weights=torch.ones(2),
        divisor=5.0,
        seconds=0.55,
    )


def stub_ctc(log_probs: Tensor, targets: Tensor, frames: Tensor, lengths: Tensor, *_: Any, **__: Any) -> Tensor:
    """A number for each utterance that hangs on all log probabilities; lengths must be on the host."""
    assert frames.tolist() and lengths.tolist()
    return -log_probs.sum((0, 2)) - 0 * targets.sum(1)


class NoCopy(host_copy.HostCopy):
    """Ones in place of numbers that a device would have sent."""

    def __init__(self, values: Tensor) -> None:
        self._ready, self._copy = None, torch.zeros(values.shape)


@pytest.fixture
def on_meta(monkeypatch):
    """What the meta device lacks."""
    monkeypatch.setattr(losses.F, "ctc_loss", stub_ctc)
    for place in ("progress", "metric_rows"):
        monkeypatch.setattr(f"hybrid_asr.training.{place}.HostCopy", NoCopy)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    enabled = torch.is_autocast_enabled
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind="cpu": kind != "meta" and enabled(kind))
    adam = importlib.import_module("torch.optim.adam")
    monkeypatch.setattr(adam, "_device_dtype_check_for_fused", lambda *_, **__: None)


def progress_of(tmp_path: Path) -> Progress:
    from hybrid_asr.training.config import TrainerConfig

    return build_progress(
        TrainerConfig(epochs=1, log_every=1),
        checkpoints=Checkpoints(tmp_path, "last", 1),
        status=StatusFile(tmp_path / "status.json", total=STEPS, step=0, saved=None, elapsed_s=0.0),
        written=[],
        state=None,
        nonfinite_file=tmp_path / "nonfinite.jsonl",
        unreadable=Unreadable(0, print),
        doubtful=Doubtful(print),
        steps_per_epoch=STEPS,
    )


def take_steps(module: SpeechModule, tmp_path: Path, *, accumulate: int = 1, plugins: Any = None) -> Progress:
    """Some updates by the Trainer, rows of metrics included."""
    progress = progress_of(tmp_path)
    module.accumulate = accumulate
    trainer = L.Trainer(
        strategy=MetaStrategy(),
        plugins=plugins,
        max_steps=STEPS,
        max_epochs=1,
        accumulate_grad_batches=accumulate,
        callbacks=[progress],
        logger=False,
        default_root_dir=tmp_path,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, Stream(STEPS * accumulate))
    assert trainer.global_step == STEPS
    return progress


def take_steps_of(preset: str, setting: str, tmp_path: Path) -> Progress:
    """Some updates of a preset with a setting that changes how a step is computed."""
    changes = {"encoder": {"norm": "batch"}} if setting == "batch norm" else {}
    module = module_of(preset, tmp_path, guide=float(setting == "guided"), changes=changes)
    module.float16 = setting == "float16"
    if setting == "checkpointed":
        assert checkpoint_layers(module.model) == 2
    plugins = [Float16("cpu")] if setting == "float16" else None
    return take_steps(module, tmp_path, accumulate=2 if setting == "accumulated" else 1, plugins=plugins)


@pytest.mark.parametrize(("preset", "setting"), QUICK.items())
def test_a_step_reads_nothing(preset, setting, tmp_path, on_meta):
    progress = take_steps_of(preset, setting, tmp_path)
    assert [row.step for row in progress.rows._rows] == [2, 3], "under way; that of step 1 is written"


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_a_step_of_every_preset_reads_nothing(preset, tmp_path, on_meta):
    take_steps_of(preset, "guided" if preset == "las_hybrid" else "plain", tmp_path)


PLANTED = {
    "item": lambda loss: loss.item(),
    "tolist": lambda loss: loss.expand(2).tolist(),
    "cpu": lambda loss: loss.cpu(),
    "bool": lambda loss: bool(loss > 0),
    "boolean index": lambda loss: loss.expand(2)[loss.expand(2) > 0],
}


@pytest.mark.parametrize("statement", PLANTED)
def test_a_read_that_is_planted_in_the_step_breaks_it(statement, tmp_path, on_meta, monkeypatch):
    step = SpeechModule.training_step

    def planted(self: SpeechModule, batch: Batch, batch_idx: int) -> Tensor:
        loss = step(self, batch, batch_idx)
        PLANTED[statement](loss.detach())
        return loss

    monkeypatch.setattr(SpeechModule, "training_step", planted)
    with pytest.raises((RuntimeError, NotImplementedError), match=r"meta|nonzero"):
        take_steps(module_of("conformer_s", tmp_path), tmp_path)
