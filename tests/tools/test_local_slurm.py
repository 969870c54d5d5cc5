"""A real SLURM with two nodes on this machine: its nodes have names of their own; where it cannot run it says why."""

import os
import subprocess

import pytest

from tests.conftest import CHECKOUT

SCRIPT = CHECKOUT / "tools/local_slurm.sh"


@pytest.mark.slow
def test_two_nodes_know_each_other_by_name(slurm):
    command = ["srun", "-N2", "-n2", "-l", "bash", "-c", "hostname; getent hosts n1 | wc -l"]
    done = subprocess.run(command, env=slurm, capture_output=True, text=True, timeout=60)
    assert sorted(done.stdout.split("\n")) == ["", "0: 1", "0: n1", "1: 1", "1: n2"], done.stderr


@pytest.mark.slow
def test_a_second_start_in_its_folder_is_refused(slurm):
    folder = os.path.dirname(slurm["SLURM_CONF"])
    done = subprocess.run([SCRIPT, "start", folder], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (2, f"local_slurm: {folder}: a SLURM was started here; stop it first\n")


def test_what_is_missing_is_named(tmp_path):
    """With nothing on PATH but what the script itself needs."""
    for program in ("bash", "id", "realpath"):
        (tmp_path / program).symlink_to(f"/usr/bin/{program}")
    done = subprocess.run(
        ["/bin/bash", SCRIPT, "start", tmp_path / "slurm"], env={"PATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode == 2
    message = "run apt-get install --no-install-recommends slurm-wlm munge" if os.geteuid() == 0 else "not root"
    assert message in done.stderr
    assert not (tmp_path / "slurm").exists()
