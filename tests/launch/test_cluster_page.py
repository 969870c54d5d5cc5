"""The commands of docs/cluster.md and docs/training.md that start several processes work, on a small corpus."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.documents import blocks, commands
from tests.tones import CHECKOUT

PAGES = ("docs/cluster.md", "docs/training.md")
PRINTED = [command for page in PAGES for command in commands(page) if command.text.startswith(("torchrun ", "srun "))]
SMALL = "trainer.epochs=1 --folder run"


def as_here(command: str, tones: Path, port: int) -> str:
    """The command with the corpus, the machine and the number of processes that are here."""
    command = command.partition("  #")[0]
    command = re.sub(r" --folder \S+", "", command)
    command = re.sub(
        r"(an4/conformer_s|recipes/spoken/conformer_s.yaml)", f"{tones}/tiny.yaml data.root={tones}", command
    )
    command = command.replace("--nproc-per-node 8", "--nproc-per-node 1").replace(" --gpus-per-node=4", "")
    command = re.sub(r"(ntasks-per-node=|nproc-per-node )4", r"\g<1>2", command)
    command = command.replace("HOST:29500", f"localhost:{port}").replace("HOST", f"localhost --master-port {port}")
    return f"{command} {SMALL}"


@pytest.mark.slow
@pytest.mark.parametrize("printed", PRINTED, ids=[command.text[:50] for command in PRINTED])
def test_a_printed_launch_trains_one_run_on_all_its_processes(printed, tones, slurm, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        command = as_here(printed.text, tones, free.getsockname()[1])
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = slurm | {"PATH": path, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
    nodes = [command] if "--nnodes 2" not in command else [command, command.replace("--node-rank 0", "--node-rank 1")]
    started = [
        subprocess.Popen(["bash", "-c", each], env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        for each in nodes
    ]
    told = [process.communicate(timeout=240)[1] for process in started]
    assert [process.returncode for process in started] == [0] * len(nodes), "\n".join(told)
    assert sum(text.count("epoch 1: valid") for text in told) == 1, "one process speaks for all"
    assert json.loads((tmp_path / "run/status.json").read_text())["state"] == "finished"
    assert yaml.safe_load((tmp_path / "run/config.yaml").read_text())["trainer"]["devices"] == 2 // len(nodes)


def test_the_manifest_for_kubernetes_has_the_same_pods_in_both_roles():
    [manifest] = [yaml.safe_load("\n".join(block.lines)) for block in blocks(PAGES[0]) if block.language == "yaml"]
    roles = manifest["spec"]["pytorchReplicaSpecs"]
    assert roles["Worker"] == roles["Master"] | {"replicas": 3}
    [container] = roles["Master"]["template"]["spec"]["containers"]
    assert container["name"] == "pytorch"
    assert str(container["resources"]["limits"]["nvidia.com/gpu"]) == manifest["spec"]["nprocPerNode"]
