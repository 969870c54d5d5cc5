"""Who trains together is told by torchrun, srun or Lightning; what contradicts them is refused before files are made.

The variables of SLURM are those that SLURM 22.05 sets, as docs/lessons.md tells.
"""

import pytest
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

from hybrid_asr.common.errors import UserError
from hybrid_asr.run.folder import Run
from hybrid_asr.training.config import TrainerConfig
from hybrid_asr.training.launch_environment import (
    Launch,
    detect_launch,
    is_rank_zero,
    resolve_devices,
    unused_tasks,
    unused_world,
)
from hybrid_asr.training.trainer import check_devices, cluster_environment
from tests.tones import process, train, words

TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "RANK": "3", "LOCAL_RANK": "1"}
SRUN = {
    **{"SLURM_JOB_NAME": "train", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "2", "SLURM_NNODES": "1"},
    **{"SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NODEID": "0", "SLURM_STEP_TASKS_PER_NODE": "2"},
}
BATCH = {
    **{"ENVIRONMENT": "BATCH", "SLURM_JOB_NAME": "job.sh", "SLURM_NTASKS": "2", "SLURM_NNODES": "1"},
    **{"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_NTASKS_PER_NODE": "2"},
}
SALLOC = {"SLURM_JOB_NAME": "interactive", "SLURM_NTASKS": "2", "SLURM_NNODES": "1"}
SHELL = SALLOC | {"SLURM_STEP_ID": str(0xFFFFFFFA), "SLURM_PROCID": "0"}  # salloc with use_interactive_step
PTY = SRUN | {"SLURM_JOB_NAME": "bash", "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_STEP_TASKS_PER_NODE": "1"}
POD = {"MASTER_ADDR": "job-master-0", "MASTER_PORT": "23456", "WORLD_SIZE": "3", "RANK": "2"}
CHILD = {"LOCAL_RANK": "1", "NODE_RANK": "0", "WORLD_SIZE": "2"}
LAUNCHES = {
    "nothing": ({}, None),
    "torchrun": (TORCHRUN, Launch("torchrun", 4, 2, 3)),
    "torchrun within srun": (SRUN | {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"} | TORCHRUN, Launch("torchrun", 4, 2, 3)),
    "srun": (SRUN, Launch("srun", 2, 2, 1)),
    "srun on two nodes": (
        SRUN | {"SLURM_NTASKS": "4", "SLURM_NNODES": "2", "SLURM_STEP_TASKS_PER_NODE": "2(x2)"},
        Launch("srun", 4, 2, 1),
    ),
    "srun in an interactive allocation": (SRUN | {"SLURM_JOB_NAME": "interactive"}, Launch("srun", 2, 2, 1)),
    "srun in a batch script": (BATCH | SRUN, Launch("srun", 2, 2, 1)),
    "srun of one task in a larger job": (
        SRUN | {"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_NTASKS_PER_NODE": "2"},
        Launch("srun", 1, 1, 0),
    ),
    "a batch script": (BATCH, None),
    "salloc": (SALLOC, None),
    "salloc with a name of its own": (SALLOC | {"SLURM_JOB_NAME": "mine"}, None),
    "a shell on a node of an allocation": (SHELL, None),
    "srun --pty bash": (PTY, None),
    "a child of Lightning": (CHILD, Launch("the environment", 2, None, 1)),
    "a child of Lightning in a batch script": (BATCH | CHILD, Launch("the environment", 2, None, 1)),
    "a pod of a PyTorchJob": (POD, Launch("a PyTorchJob", 3, 1, 2)),
    "the first pod of a PyTorchJob": (POD | {"RANK": "0"}, Launch("a PyTorchJob", 3, 1, 0)),
    "the only pod of a PyTorchJob": (POD | {"WORLD_SIZE": "1", "RANK": "0"}, None),
    "torchrun in a pod of a PyTorchJob": (POD | {"PET_NPROC_PER_NODE": "2"} | TORCHRUN, Launch("torchrun", 4, 2, 3)),
    "after a training in this process": ({"LOCAL_RANK": "0", "NODE_RANK": "0"}, None),
}


@pytest.mark.parametrize(("environment", "expected"), LAUNCHES.values(), ids=LAUNCHES)
def test_the_environment_tells_who_trains_together(environment, expected):
    assert detect_launch(environment) == expected
    assert is_rank_zero(environment) == (expected is None or expected.rank == 0)


def test_tasks_that_nobody_has_started_are_told():
    assert unused_tasks(None, BATCH) == 2
    assert unused_tasks(None, {}) == unused_tasks(None, PTY) == unused_tasks(detect_launch(SRUN), SRUN) == 0


def test_the_world_of_a_launcher_that_is_not_known_is_named(monkeypatch, capsys):
    assert unused_world(None, {"WORLD_SIZE": "2", "RANK": "1"}) == "WORLD_SIZE=2"
    assert unused_world(None, {"OMPI_COMM_WORLD_SIZE": "4"}) == "OMPI_COMM_WORLD_SIZE=4"
    assert not any(unused_world(None, {"WORLD_SIZE": size}) for size in ("", "1", "many"))
    torchrun = Launch("torchrun", 2, 2, 0)
    assert not unused_world(torchrun, {"WORLD_SIZE": "2"})
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert check_devices(TrainerConfig(epochs=1), None).devices == 1
    assert "WORLD_SIZE=2 is not used, this one process trains" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (SRUN | {"SLURM_NTASKS": "3", "SLURM_NNODES": "2", "SLURM_STEP_TASKS_PER_NODE": "2,1"}, "--ntasks-per-node"),
        (SRUN | {"SLURM_NTASKS": "4", "SLURM_NNODES": "2", "SLURM_STEP_TASKS_PER_NODE": "3,1"}, "--ntasks-per-node"),
        (
            POD | {"PET_NPROC_PER_NODE": "8"},
            "PET_NPROC_PER_NODE is 8, and this pod has one process; start it by torchrun",
        ),
        (POD | {"RANK": "3"}, "RANK is 3, and WORLD_SIZE 3: the processes are numbered from 0"),
        (TORCHRUN | {"WORLD_SIZE": "3"}, "as many on each node"),
        (TORCHRUN | {"WORLD_SIZE": "many"}, "WORLD_SIZE is 'many'"),
    ],
)
def test_unequal_nodes_are_refused(environment, message):
    with pytest.raises(UserError, match=message):
        detect_launch(environment)


RESOLVED = [
    ({}, {}, (1, 1)),
    ({}, {"devices": 3}, (3, 1)),
    ({}, {"devices": 3, "nodes": 2}, (3, 2)),
    (TORCHRUN, {}, (2, 2)),
    (TORCHRUN, {"devices": 2}, (2, 2)),
    (TORCHRUN, {"devices": 2, "nodes": 2}, (2, 2)),
    (SRUN, {}, (2, 1)),
    (POD, {}, (1, 3)),
    (CHILD, {"devices": 2}, (2, 1)),
    (CHILD, {"nodes": 2}, (1, 2)),
    (CHILD, {}, (2, 1)),
]


@pytest.mark.parametrize(("environment", "given", "expected"), RESOLVED)
def test_auto_is_what_the_launcher_has_started(environment, given, expected):
    cfg = resolve_devices(TrainerConfig(epochs=1, **given), detect_launch(environment))
    assert (cfg.devices, cfg.nodes) == expected
    assert cfg.processes() == expected[0] * expected[1]


@pytest.mark.parametrize(
    ("environment", "given"),
    [
        (TORCHRUN, {"devices": 1}),
        (TORCHRUN, {"devices": 4}),
        (TORCHRUN, {"nodes": 1}),
        (SRUN, {"devices": 1, "nodes": 1}),
        (SRUN, {"nodes": 2}),
        (POD, {"devices": 2}),
        (CHILD, {"devices": 3}),
        (CHILD, {"devices": 1, "nodes": 1}),
    ],
)
def test_a_number_that_contradicts_the_launcher_is_refused(environment, given):
    with pytest.raises(
        UserError, match=r"^trainer\.(devices|nodes)=\d.* has started \d processes.*leave both settings at auto"
    ):
        resolve_devices(TrainerConfig(epochs=1, **given), detect_launch(environment))


def test_a_contradiction_is_refused_before_anything_is_written(tones, tmp_path, monkeypatch, capsys):
    alone = {"WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}
    for name, value in (TORCHRUN | alone).items():
        monkeypatch.setenv(name, value)
    assert train(tones, tmp_path / "run", "trainer.devices=2") == 2
    assert "trainer.devices=2: torchrun has started 1 processes, on 1 node; leave" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_nodes_that_nobody_has_started_are_refused(tones, tmp_path, capsys):
    """Lightning would wait for them for ever."""
    assert train(tones, tmp_path / "run", "trainer.nodes=2") == 2
    assert "trainer.nodes=2: no launcher has started the processes of the other nodes" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_of_several_gpus_one_is_used_by_default(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert check_devices(TrainerConfig(epochs=1), None).devices == 1
    assert "training on 1 of 4 GPUs; trainer.devices=4 takes all" in capsys.readouterr().err
    assert check_devices(TrainerConfig(epochs=1, devices=4), None).devices == 4
    assert not capsys.readouterr().err
    with pytest.raises(UserError, match="8 GPUs are wanted, 4 are visible"):
        check_devices(TrainerConfig(epochs=1, devices=8), None)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [(SRUN, SLURMEnvironment), (BATCH, LightningEnvironment), (TORCHRUN, type(None)), ({}, type(None))],
    ids=["srun", "a batch script", "torchrun", "nothing"],
)
def test_lightning_is_told_of_srun_alone(environment, expected, monkeypatch):
    """In a batch script it would wait for tasks that nobody has started."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "2")
    launch = detect_launch()
    plugin = cluster_environment(resolve_devices(TrainerConfig(epochs=1), launch), launch)
    assert type(plugin) is expected
    assert not isinstance(plugin, SLURMEnvironment) or not plugin.auto_requeue


USR1 = """
import os, signal, threading, time
os.environ |= {environment!r}
def watch():
    while not os.path.isfile({metrics!r}) or len(open({metrics!r}).readlines()) < 6:
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGUSR1)
threading.Thread(target=watch, daemon=True).start()
"""


@pytest.mark.slow
def test_usr1_of_slurm_saves_in_the_runs_folder_alone(tones, tmp_path):
    """Lightning would write hpc_ckpt_1.ckpt where the user stands, and load what lies there by that name."""
    alone = SRUN | {"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_STEP_TASKS_PER_NODE": "1"}
    run, here = tmp_path / "run", tmp_path / "here"
    here.mkdir()
    (here / "hpc_ckpt_7.ckpt").write_bytes(b"of another training")
    code = USR1.format(environment=alone, metrics=str(run / "metrics.csv"))
    done = process(*words(tones, run, "trainer.epochs=8"), code=code, cwd=here)
    assert done.returncode == 0, done.stderr  # as of any task of a launcher
    assert "everything is saved; go on with:" in done.stderr
    assert [path.name for path in here.iterdir()] == ["hpc_ckpt_7.ckpt"]
    assert (run / "checkpoints/last.ckpt").is_file()


def test_a_configuration_of_the_version_before_resumes(tones, tmp_path, capsys):
    """It says one device and one node."""
    run = tmp_path / "run"
    assert train(tones, run, "trainer.epochs=1") == 0
    settings = Run(run).written_settings()
    assert [settings[f"trainer.{name}"] for name in ("devices", "nodes")] == [1, 1]
    assert settings["data.plan"] == 2, "a new run has today's plan"
    assert train(tones, run, "trainer.epochs=1", "trainer.devices=1", "trainer.nodes=1") == 0
