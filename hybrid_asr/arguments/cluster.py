"""The arguments of what starts and watches trainings on a cluster."""

import argparse
from pathlib import Path

from hybrid_asr.arguments.common import Commands, add_command


class _Once(argparse.Action):
    """Takes a value, and refuses a second one."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        if getattr(namespace, self.dest) is not None:
            raise argparse.ArgumentError(
                self, "is given twice; one job has one array: submit a job for each other value"
            )
        setattr(namespace, self.dest, values)


def add_launch(command: argparse.ArgumentParser) -> None:
    """The options that go with `train --launch`."""
    group = command.add_argument_group("as a job of a cluster")
    group.add_argument("--launch", choices=("slurm",), help="write a batch script beside the run's folder, submit it")
    group.add_argument("--nodes", type=_positive, metavar="N", help="nodes (default 1)")
    group.add_argument("--gpus", type=_positive, metavar="N", help="GPUs of each node, with a process for each")
    group.add_argument("--tasks", type=_positive, metavar="N", help="processes on each node, without GPUs (default 1)")
    group.add_argument("--cpus", type=_positive, metavar="N", help="CPUs for each process (default: the cluster's)")
    group.add_argument("--time", metavar="HH:MM:SS", help="time limit of a turn; the job is requeued until it is done")
    group.add_argument("--partition", metavar="NAME", help="the partition")
    group.add_argument("--account", metavar="NAME", help="the account that is charged")
    group.add_argument(
        "--array",
        action=_Once,
        metavar="KEY=VALUE,...",
        help="a run for each value of a setting, such as seed=1,2,3",
    )
    group.add_argument("--sbatch", metavar="OPTIONS", help="further options of sbatch, such as '--exclusive --mem=0'")
    group.add_argument("--dry-run", action="store_true", help="print the script; nothing is written or submitted")


def join_sbatch(words: list[str]) -> list[str]:
    """`--sbatch OPTIONS` as one word, since argparse takes what begins with a dash for an option of ours."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] == "--sbatch":
            joined[-1] = f"--sbatch={word}"
        else:
            joined.append(word)
    return joined


def add_runs(commands: Commands) -> None:
    """`hybrid-asr runs`."""
    command = add_command(
        commands,
        "runs",
        "list runs: state, epoch, error rate, speed, where",
        "List the runs below folders: those that train first, then the latest. 'killed' is one whose process has ended "
        "without saying so; a folder that is damaged is named with the reason.",
        "                         # below runs/",
        "runs/spoken --json",
    )
    command.add_argument("places", nargs="*", type=Path, metavar="DIR", help="where to look (default runs)")
    command.add_argument("--json", action="store_true", help="print all that is known, as JSON")
    command.add_argument(
        "--state", action="store_true", help="for scripts: print the state and the saved step of one run alone"
    )


def add_study(commands: Commands) -> None:
    """`hybrid-asr study`."""
    command = add_command(
        commands,
        "study",
        "train variants with several seeds, and say which is better",
        "Train and decode what a study file describes, as far as it is not done yet: variants of recipes, each with "
        "all seeds. Then say which variants are better than the baseline, with intervals: study.md, study.json, "
        "runs.csv.",
        "recipes/an4/studies/joint_training.yaml --dry-run",
        "recipes/an4/studies/joint_training.yaml --jobs 2",
    )
    command.add_argument("file", type=Path, metavar="STUDY.yaml", help="the study's file")
    command.add_argument("--to", type=Path, metavar="DIR", help="its folder (default runs/CORPUS/studies/STUDY)")
    command.add_argument("--jobs", type=_positive, metavar="N", help="trainings side by side (default: one a core)")
    command.add_argument("--dry-run", action="store_true", help="check all of it and print what there is to do")


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number from 1")
    return int(text)
