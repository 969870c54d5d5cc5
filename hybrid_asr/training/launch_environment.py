"""Who starts the processes that train together: torchrun, srun, or this program; and which of them this one is.

A launcher sets environment variables for each process, and these decide how many processes there are. What SLURM 22.05
sets where is in docs/lessons.md.
"""

import dataclasses
import os
import re
from collections.abc import Mapping
from typing import Literal

from hybrid_asr.common.errors import UserError
from hybrid_asr.training.config import TrainerConfig

FIRST_SPECIAL_STEP = 0xFFFFFFF0  # SLURM numbers an allocation's interactive, batch and outer steps from the top
INTERACTIVE = ("bash", "interactive")  # names of SLURM jobs in which a person types; Lightning decides by them, too


@dataclasses.dataclass(frozen=True)
class Launch:
    """What a launcher has started: `processes` in all, this one being number `rank`.

    `per_node` of them run on each node; None where the launcher does not say.
    """

    launcher: Literal["torchrun", "srun", "a PyTorchJob", "the environment"]
    processes: int
    per_node: int | None
    rank: int


def detect_launch(environment: Mapping[str, str] = os.environ) -> Launch | None:
    """What the environment says about a launcher; None for a process that a person, or a batch script, has started.

    Raises UserError where the nodes have unequal numbers of processes, or a variable is not a number.
    """
    if "TORCHELASTIC_RUN_ID" in environment:  # as torch.distributed.is_torchelastic_launched()
        processes, per_node = _number(environment, "WORLD_SIZE"), _number(environment, "LOCAL_WORLD_SIZE")
        if processes % per_node:
            raise UserError(f"torchrun: {processes} processes, {per_node} of them here; start as many on each node")
        return Launch("torchrun", processes, per_node, _number(environment, "RANK"))
    if _is_srun_task(environment):
        return _srun(environment)
    if {"LOCAL_RANK", "WORLD_SIZE"} <= environment.keys():  # Lightning's own children, and launchers like torchrun
        per_node = _number(environment, "LOCAL_WORLD_SIZE") if "LOCAL_WORLD_SIZE" in environment else None
        return Launch("the environment", _number(environment, "WORLD_SIZE"), per_node, _rank(environment))
    if _is_pod(environment):
        return _pod(environment)
    return None


def is_rank_zero(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this is the first of the processes that train together, or the only one."""
    if "TORCHELASTIC_RUN_ID" in environment:
        return _number(environment, "RANK") == 0
    if _is_srun_task(environment):
        return _number(environment, "SLURM_PROCID") == 0
    if _is_pod(environment):
        return _number(environment, "RANK") == 0
    return _rank(environment) == 0


def _rank(environment: Mapping[str, str]) -> int:
    """The number of a process by what Lightning sets; beyond 0 it may be off, since nodes are not counted here."""
    if "LOCAL_RANK" not in environment:
        return 0
    node = _number(environment, "NODE_RANK" if "NODE_RANK" in environment else "GROUP_RANK", default=0)
    return _number(environment, "RANK", default=_number(environment, "LOCAL_RANK") + node)


def _is_srun_task(environment: Mapping[str, str]) -> bool:
    """Whether srun has started this process, as one of its tasks.

    SLURM sets most variables in an allocation's shell and in a batch script, too: there nobody has started the others.
    """
    if not {"SLURM_NTASKS", "SLURM_PROCID"} <= environment.keys():
        return False
    step = environment.get("SLURM_STEP_ID", "")
    if step.isdigit() and int(step) >= FIRST_SPECIAL_STEP:
        return False
    if not step and environment.get("ENVIRONMENT") == "BATCH":
        return False
    alone = _number(environment, "SLURM_NTASKS") == 1  # such as the shell of srun --pty bash
    return not (alone and environment.get("SLURM_JOB_NAME") in INTERACTIVE)


def _srun(environment: Mapping[str, str]) -> Launch:
    processes = _number(environment, "SLURM_NTASKS")
    nodes = _number(environment, "SLURM_STEP_NUM_NODES", default=_number(environment, "SLURM_NNODES", default=1))
    rank = _number(environment, "SLURM_PROCID")
    spread = environment.get("SLURM_STEP_TASKS_PER_NODE", "")  # such as 4(x2), or 3,1
    if processes % nodes or not re.fullmatch(r"(\d+(\(x\d+\))?)?", spread):
        raise UserError(
            f"srun: {processes} tasks on {nodes} nodes{f', {spread} of them on each' if spread else ''}; "
            "all nodes must have as many: give srun --ntasks-per-node"
        )
    return Launch("srun", processes, processes // nodes, rank)


def _is_pod(environment: Mapping[str, str]) -> bool:
    """Whether this is one of several processes that say where they meet, and nothing of places on a node.

    So Kubernetes' PyTorchJob starts them, one in each pod.
    """
    named = {"MASTER_ADDR", "RANK", "WORLD_SIZE"} <= environment.keys() and "LOCAL_RANK" not in environment
    return named and _number(environment, "WORLD_SIZE") > 1


def _pod(environment: Mapping[str, str]) -> Launch:
    """PyTorchJob's `nprocPerNode` counts on torchrun, which reads PET_NPROC_PER_NODE and the like by itself."""
    if environment.get("PET_NPROC_PER_NODE", "1") != "1":
        raise UserError(
            f"PET_NPROC_PER_NODE is {environment['PET_NPROC_PER_NODE']}, and this pod has one process; start it by "
            "torchrun, which takes all it needs from the PyTorchJob: torchrun --no-python hybrid-asr train RECIPE"
        )
    processes, rank = _number(environment, "WORLD_SIZE"), _number(environment, "RANK")
    if rank >= processes:
        raise UserError(f"RANK is {rank}, and WORLD_SIZE {processes}: the processes are numbered from 0")
    return Launch("a PyTorchJob", processes, 1, rank)


def _number(environment: Mapping[str, str], name: str, *, default: int | None = None) -> int:
    text = environment.get(name, "" if default is None else str(default))
    if not text.isascii() or not text.isdigit():
        raise UserError(f"the environment variable {name} is '{text}', a whole number is needed; start with torchrun")
    return int(text)


def resolve_devices(cfg: TrainerConfig, launch: Launch | None) -> TrainerConfig:
    """Replace `auto` for `devices` and `nodes` by what the launcher has started, or by 1 where there is no launcher.

    Raises UserError where a given number is not what the launcher has started.
    """
    if launch is None:
        per_node, nodes = (1 if value == "auto" else value for value in (cfg.devices, cfg.nodes))
    else:
        per_node, nodes = _started(cfg, launch)
        fits = cfg.devices in ("auto", per_node) and cfg.nodes in ("auto", nodes)
        if not fits or per_node * nodes != launch.processes:
            given = {"trainer.devices": cfg.devices, "trainer.nodes": cfg.nodes}
            settings = " ".join(f"{name}={value}" for name, value in given.items() if value != "auto")
            raise UserError(
                f"{settings}: {launch.launcher} has started {launch.processes} processes, on {nodes} "
                f"{'node' if nodes == 1 else 'nodes'}; leave both settings at auto, or start as many as they say"
            )
    return dataclasses.replace(cfg, devices=per_node, nodes=nodes)


def _started(cfg: TrainerConfig, launch: Launch) -> tuple[int, int]:
    """Processes on each node, and nodes; by what is given where the launcher gives only their product."""
    if launch.per_node is not None:
        return launch.per_node, launch.processes // launch.per_node
    if cfg.nodes != "auto":
        return max(launch.processes // cfg.nodes, 1), cfg.nodes
    if cfg.devices != "auto":
        return cfg.devices, max(launch.processes // cfg.devices, 1)
    return launch.processes, 1


def unused_tasks(launch: Launch | None, environment: Mapping[str, str] = os.environ) -> int:
    """Tasks of a SLURM job that nobody has started with srun, where there are several."""
    tasks = _number(environment, "SLURM_NTASKS", default=1)
    return tasks if launch is None and tasks > 1 else 0


def unused_world(launch: Launch | None, environment: Mapping[str, str] = os.environ) -> str:
    """A variable of another launcher by which several processes were started, such as WORLD_SIZE=2; else empty.

    MPI sets such, and not where the processes meet.
    """
    names = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
    sizes = {name: environment.get(name, "") for name in names if launch is None}
    return next((f"{name}={size}" for name, size in sizes.items() if size.isdigit() and int(size) > 1), "")
