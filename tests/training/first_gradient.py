"""The gradient of a training's first update in float64, by the Trainer, in the processes of a launcher or in one alone.

    python -m tests.training.first_gradient RECIPE OUT [SETTING ...]

writes {name: gradient} of all weights, whole, to OUT.
"""

import dataclasses
import sys
from pathlib import Path

import torch
from torch import Tensor

from hybrid_asr.commands.training_fit import _loader_builder
from hybrid_asr.commands.training_model import build_module
from hybrid_asr.commands.training_setup import prepare_training
from hybrid_asr.config.compose import compose
from hybrid_asr.run.config import RunConfig
from hybrid_asr.run.folder import Run
from hybrid_asr.training.datamodule import SpeechData
from hybrid_asr.training.launch_environment import detect_launch, is_rank_zero
from hybrid_asr.training.process_group import connected
from hybrid_asr.training.sharding import whole
from hybrid_asr.training.trainer import build_trainer, check_devices, run_trainer


def exactly(_: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Audio in float64, before it goes into the front end."""
    return inputs[0].double(), *inputs[1:]


def main(recipe: str, out: str, *settings: str) -> None:
    """Make one update, and write its gradient."""
    launch = detect_launch()
    with connected(launch):
        cfg = compose(recipe, settings).parse(RunConfig)
        cfg = dataclasses.replace(cfg, trainer=check_devices(cfg.trainer, launch))
        setup = prepare_training(cfg, Run(Path(f"{out}-run")), launch, fresh=True, begin_anew="")
        setup.bundle.model.double()
        setup.bundle.frontend.double().register_forward_pre_hook(exactly)
        module = build_module(cfg, setup.bundle, setup.steps_per_epoch)
        accumulate = module.accumulate = setup.planner.accumulation(setup.processes)
        trainer = build_trainer(
            cfg.trainer,
            launch,
            updates=1,
            accumulate=accumulate,
            callbacks=[],
            loggers=[],
            folder=Path(out).parent,
            model=module.model,
        )
        data = SpeechData(setup.planner, _loader_builder(setup), first=0, total=1, accumulation=accumulate)
        assert run_trainer(trainer, module, data) is None
        found = {name: whole(weight.grad) for name, weight in module.model.named_parameters()}
        print(f"{accumulate} parts", file=sys.stderr)
        if is_rank_zero():
            torch.save(found, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
