"""A SLURM job that trains a recipe: a script that a person can read, edit and submit by hand.

SLURM tells the training ahead of the time limit, by SIGUSR1 to srun's tasks and not to the script. The training saves
and stops, and status.json says so. The script then puts the job into the queue again, under its own number.
"""

import dataclasses
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.files import write_text

WARNING_S = 120  # between SLURM's SIGUSR1 and the end of a job's time: a step and a checkpoint must fit
IDLE_TURNS = 3  # that a job may have in a row without a later step saved
SBATCH_TIMEOUT_S = 60.0
_UNSAFE = re.compile(r"[^\w.+-]+")
_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<first>\d+)(?::(?P<second>\d+))?(?::(?P<third>\d+))?")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Array:
    """One setting with several values: a task of the job, and a run's folder, for each."""

    key: str
    values: tuple[str, ...]

    def folder(self, base: Path, value: str) -> Path:
        """The folder of the run with that value, beside `base`."""
        return base.with_name(f"{base.name}-{self.key}-{_UNSAFE.sub('_', value)}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SlurmJob:
    """What to train, and on what: `tasks` processes on each of `nodes` nodes, on a GPU each where `gpus` says so.

    A `trial` (trainer.try_steps) trains in a folder of its own beside `folder`.
    """

    recipe: str
    overrides: tuple[str, ...]
    folder: Path
    nodes: int = 1
    tasks: int = 1
    gpus: bool = False
    cpus: int | None = None
    time: str | None = None
    partition: str | None = None
    account: str | None = None
    array: Array | None = None
    trial: bool = False
    more: tuple[str, ...] = ()

    @property
    def script_file(self) -> Path:
        """The script: beside the run's folder, which must hold nothing but a run."""
        return self.folder.with_name(f"{self.folder.name}.sbatch")

    @property
    def folders(self) -> list[Path]:
        """The run's folder, or those of an array's runs."""
        if self.array is None:
            return [self.folder]
        return [self.array.folder(self.folder, value) for value in self.array.values]

    def log_file(self, job: str) -> str:
        """What the job prints, by the number of the job; that of each task, in an array."""
        return f"{self.folder}.{job}.log"


def parse_array(text: str) -> Array:
    """`seed=1,2,3`. Raises UserError for anything else, and for values that would train in one folder."""
    key, equals, listed = text.partition("=")
    values = tuple(value.strip() for value in listed.split(","))
    if not equals or not key or not all(values):
        raise UserError(f"--array {text}: give a setting and its values, such as --array seed=1,2,3")
    if any(value.count(opened) != value.count(closed) for value in values for opened, closed in ("[]", "{}")):
        raise UserError(
            f"--array {text}: is split at each comma, within brackets, too; put such values into recipes, "
            "and submit each"
        )
    array = Array(key=key, values=values)
    named = [array.folder(Path("run"), value).name for value in values]
    if twice := [value for value, name in zip(values, named, strict=True) if named.count(name) > 1]:
        raise UserError(f"--array {text}: {', '.join(twice)} would train in the same folder; give each value once")
    return array


def refuse_time(text: str, more: Sequence[str]) -> None:
    """Raise UserError for what is no time of sbatch, or too short for its warning, unless `more` has a --signal."""
    match = _TIME.fullmatch(text)
    if text.lower() in ("unlimited", "infinite"):
        return
    if not match:
        raise UserError(f"--time '{text}': is no time of sbatch; write it as 24:00:00, 2-12:00:00, or in minutes: 90")
    days, *parts = (int(part or 0) for part in match.groups())
    if match["days"] is None and match["third"] is None:
        parts = [0, *parts[:2]]  # minutes, or minutes and seconds; with days, or with three numbers: hours first
    limit_s = 86400 * days + 3600 * parts[0] + 60 * parts[1] + parts[2]
    if 0 < limit_s <= WARNING_S and not any(word.startswith("--signal") for word in more):
        raise UserError(
            f"--time {text}: the training is told {WARNING_S} s before its end, so at its start; give more, or "
            "--sbatch --signal=USR1@SECONDS"
        )


def refuse_line_breaks(job: SlurmJob) -> None:
    """Raise UserError for what would end a line of SBATCH before its end."""
    for what, value in (
        ("the current folder", str(Path.cwd())),
        ("--folder", str(job.folder)),
        ("--partition", job.partition),
        ("--account", job.account),
        *(("--sbatch", word) for word in job.more),
    ):
        if value and len(value.splitlines()) > 1:
            raise UserError(f"{what} {value!r}: has a line break, which a batch script cannot hold there; leave it out")


def script(job: SlurmJob) -> str:
    """The text of the batch script."""
    return "\n".join([*_head(job), "", *_surroundings(job), "", *_training(job), "", _AFTERWARDS])


def submit(job: SlurmJob) -> str:
    """Write the script and give it to sbatch; gives the job's number. Raises UserError where SLURM refuses it."""
    if shutil.which("sbatch") is None:
        raise UserError(
            "--launch slurm: there is no sbatch here, so this is no machine of a SLURM cluster; --dry-run prints the "
            "script, and torchrun starts trainings without SLURM"
        )
    text = script(job)
    if job.script_file.exists() and job.script_file.read_text(encoding="utf-8") != text:
        former = job.script_file.rename(f"{job.script_file}.former")
        print(f"note: {job.script_file} is written anew; what it was before is now {former}", file=sys.stderr)
    write_text(job.script_file, text)
    done = subprocess.run(
        ["sbatch", "--parsable", str(job.script_file)], capture_output=True, text=True, timeout=SBATCH_TIMEOUT_S
    )
    if done.returncode:
        raise UserError(f"{job.script_file}: sbatch refuses it: {done.stderr.strip()}")
    return done.stdout.strip().partition(";")[0]  # behind it follows the cluster, where there are several


def _head(job: SlurmJob) -> list[str]:
    where = (
        f"{job.nodes} {'node' if job.nodes == 1 else 'nodes'} with {job.tasks} {'GPUs' if job.gpus else 'processes'}"
    )
    options = {
        "--job-name": _UNSAFE.sub("_", job.folder.name),
        "--chdir": str(Path.cwd()),
        "--output": job.log_file("\0").replace("%", "%%").replace("\0", "%j" if job.array is None else "%A_%a"),
        "--nodes": job.nodes,
        "--ntasks-per-node": job.tasks,
        "--gpus-per-node": job.tasks if job.gpus else None,
        "--gpu-bind": "none" if job.gpus else None,
        "--cpus-per-task": job.cpus,
        "--time": job.time,
        "--partition": job.partition,
        "--account": job.account,
        "--array": f"0-{len(job.array.values) - 1}" if job.array else None,
        "--signal": f"USR1@{WARNING_S}",
        "--open-mode": "append",
    }
    given = [f"{name}={shlex.quote(str(value))}" for name, value in options.items() if value is not None]
    return [
        "#!/bin/bash",
        f"# Trains {_one_line(job.recipe)} on {where} each. Written by 'hybrid-asr train --launch slurm';",
        f"# edit it as you like, and submit it with: sbatch {_one_line(shlex.quote(str(job.script_file)))}",
        *(f"#SBATCH {option}" for option in [*given, "--requeue", *map(shlex.quote, job.more)]),
    ]


def _surroundings(job: SlurmJob) -> list[str]:
    programs = shlex.quote(str(Path(sys.executable).parent))
    lines = [
        "# SLURM's TERM goes to this script, too, which then waits for the training to save.",
        "trap : TERM",
        f'export PATH={programs}:"$PATH"',
        "# Where the processes meet: at the first node, on a port of this job.",
        'MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
        "export MASTER_ADDR MASTER_PORT=$((10000 + SLURM_JOB_ID % 20000))",
    ]
    if job.cpus is not None:
        lines.append(f"export SRUN_CPUS_PER_TASK={job.cpus}  # srun does not take it from sbatch")
    return lines


def _training(job: SlurmJob) -> list[str]:
    words = [shlex.quote(word) for word in (job.recipe, *job.overrides)]
    if job.array is None:
        lines = [f"run={shlex.quote(str(job.folder))}", "job=$SLURM_JOB_ID"]
    else:
        lines = [
            f"values=({shlex.join(job.array.values)})",
            f"runs=({shlex.join(map(str, job.folders))})",
            "value=${values[SLURM_ARRAY_TASK_ID]}",
            "run=${runs[SLURM_ARRAY_TASK_ID]}",
            "job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID",
        ]
        words.append(f'{shlex.quote(job.array.key)}="$value"')
    command = " \\\n    ".join(["srun --kill-on-bad-exit=1 hybrid-asr train", *words, '--folder "$run"'])
    lines.append("seen=$run-try  # where trainer.try_steps trains" if job.trial else "seen=$run")
    return [*lines, "", 'read -r _ before < <(hybrid-asr runs --state "$seen")', command, "status=$?"]


_AFTERWARDS = f"""\
# Stopped by a signal, or killed, be it before there was a run (exit status 0, or above 128; of a mistake it is 2): the
# job goes on in a next turn. Each turn that saves no later step, such as one cut short while it started, leaves a line
# in a file; {IDLE_TURNS} in a row may. What has failed does not go on, nor a job that is canceled or at the end of its
# time, and so not RUNNING.
read -r state saved < <(hybrid-asr runs --state "$seen")
echo "$(date): $seen is $state; step $saved is saved, $before when this turn began"
idle=$run.$job.idle
if ((saved > before)); then rm -f "$idle"; else echo "$(date): $state" >> "$idle"; fi
if [[ $state =~ ^(stopped|killed)$ ]] || [[ $state =~ ^(none|unknown)$ && ($status -eq 0 || $status -gt 128) ]]; then
    if [[ $(squeue --noheader --jobs="$job" --format=%T) == RUNNING ]]; then
        if [[ ! -e $idle || $(wc -l < "$idle") -le {IDLE_TURNS} ]]; then scontrol requeue "$job" && exit; fi
        echo "{IDLE_TURNS + 1} turns in a row have saved no later step: the job ends here; sbatch begins it again"
    fi
fi
rm -f "$idle"
exit "$status"
"""


def _one_line(text: str) -> str:
    return " ".join(text.split())


def parse_more(text: str) -> tuple[str, ...]:
    """Further options of sbatch, split as a shell would. Raises UserError for what is no option."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(f"--sbatch '{text}': {error}") from None
    if not all(word.startswith("-") for word in words):
        raise UserError(f"--sbatch '{text}': give options as --name=value")
    return tuple(words)
