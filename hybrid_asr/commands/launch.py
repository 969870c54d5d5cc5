"""`hybrid-asr train … --launch slurm`: a training as a job of a cluster, whose mistakes are found before."""

import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from hybrid_asr.common.errors import UserError
from hybrid_asr.config.compose import compose
from hybrid_asr.launch.slurm import (
    Array,
    SlurmJob,
    parse_array,
    parse_more,
    refuse_line_breaks,
    refuse_time,
    script,
    submit,
)
from hybrid_asr.run.config import RunConfig
from hybrid_asr.run.folder import Run, default_folder
from hybrid_asr.training.launch_environment import Launch, resolve_devices


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resources:
    """What a job asks for; `gpus` and `tasks` are of each node."""

    nodes: int = 1
    gpus: int | None = None
    tasks: int | None = None
    cpus: int | None = None
    time: str | None = None
    partition: str | None = None
    account: str | None = None
    array: str | None = None
    sbatch: str = ""


def launch_on_slurm(
    recipe: str, overrides: Sequence[str], *, folder: Path | None, resources: Resources, dry_run: bool
) -> None:
    """Submit the training of `recipe`, or print its script. Raises UserError for what would fail once it has waited."""
    array = parse_array(resources.array) if resources.array else None
    tasks = resources.gpus or resources.tasks or 1
    if resources.gpus and resources.tasks not in (None, resources.gpus):
        raise UserError(
            f"--tasks {resources.tasks}: there is one process for each of --gpus {resources.gpus}; leave it out"
        )
    more = parse_more(resources.sbatch)
    if resources.time is not None:
        refuse_time(resources.time, more)
    base, trial = _check(
        recipe, overrides, array, folder, Launch("srun", resources.nodes * tasks, tasks, 0), resources.gpus
    )
    job = SlurmJob(
        recipe=recipe,
        overrides=tuple(overrides),
        folder=base,
        nodes=resources.nodes,
        tasks=tasks,
        gpus=bool(resources.gpus),
        cpus=resources.cpus,
        time=resources.time,
        partition=resources.partition,
        account=resources.account,
        array=array,
        trial=trial,
        more=more,
    )
    refuse_line_breaks(job)
    if dry_run:
        print(script(job), end="")
        return
    number = submit(job)
    below = shlex.quote(str(job.folder.parent))
    print(f"{job.script_file}: submitted as job {number}")
    print(f"  tail -F {shlex.quote(job.log_file(number))}" if array is None else f"  ls {job.log_file(number + '_*')}")
    print(f"  squeue --jobs={number}\n  hybrid-asr runs {below}\n  scancel {number}")


def _check(
    recipe: str,
    overrides: Sequence[str],
    array: Array | None,
    folder: Path | None,
    launch: Launch,
    gpus: int | None,
) -> tuple[Path, bool]:
    """Refuse settings that the training would refuse; gives the run's folder, without an array's value.

    And whether it is a trial.
    """
    for value in array.values if array else [None]:
        each = [*overrides, f"{array.key}={value}"] if array else overrides
        composed = compose(recipe, each)
        cfg = composed.parse(RunConfig)
        resolve_devices(cfg.trainer, launch)
        base = folder or default_folder(composed.recipe or Path(recipe))
        Run(array.folder(base, str(value)) if array else base).refuse_unless_run_or_empty()
        if gpus and cfg.trainer.accelerator == "cpu" and value in (None, *(array.values[:1] if array else ())):
            print(
                "warning: trainer.accelerator=cpu leaves the GPUs idle; presets.trainer=gpu uses them", file=sys.stderr
            )
    return base, cfg.trainer.try_steps > 0
