"""What all tests share.  It must not import hybrid_asr: jaxtyping's hook checks only what is imported after it."""

import gc
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests import type_checks

CHECKOUT = Path(__file__).resolve().parents[1]

# A deadline would measure the machine; where nobody looks, the examples are the same in every run.
settings.register_profile("ours", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("ours")

type_checks.install()


def pytest_collection_finish():
    """One thread a process, since the tests are many small computations; and what stays until the end is no garbage.

    The library collects garbage, which took a second each time.  A process that only hands out tests needs no torch.
    """
    import torch

    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The root of the source checkout."""
    return CHECKOUT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder `shared` beside the checkout: corpora, and the oracles that hold peers' outputs."""
    folder = CHECKOUT.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"needs the folder {folder}, which is not part of the repository")
    return folder


@pytest.fixture(scope="session")
def slurm(tmp_path_factory) -> Iterator[dict[str, str]]:
    """The environment in which srun, sbatch and scontrol talk to a real SLURM with the nodes n1 and n2."""
    script, folder = CHECKOUT / "tools/local_slurm.sh", tmp_path_factory.mktemp("slurm")
    started = subprocess.run([script, "start", folder], stderr=subprocess.PIPE, text=True, timeout=120)
    if started.returncode:
        pytest.skip(f"needs a SLURM on this machine: {started.stderr.strip().splitlines()[-1]}")
    yield os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
    subprocess.run([script, "stop", folder], check=True, timeout=60)


@pytest.fixture(scope="session")
def tones(tmp_path_factory) -> Path:
    """A folder with a corpus of tones and the recipe to learn it, `tiny.yaml` (tests/tones.py); nobody writes to it."""
    from tests.tones import write_corpus

    return write_corpus(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="session")
def trained(tones, tmp_path_factory) -> Path:
    """A run that has learned the tones, with the weights of its last six epochs; tests that change it take a copy."""
    from tests.tones import train

    run = tmp_path_factory.mktemp("runs") / "trained"
    assert train(tones, run, "trainer.epochs=12", "trainer.average_count=6") == 0
    return run


@pytest.fixture(scope="module")
def bundle(trained):
    """The model that has learned the tones, in evaluation; nobody changes it."""
    from hybrid_asr.run.folder import Run

    return Run(trained).bundle()[0].eval()
