"""What a result was computed with: versions, the code's commit, the machine."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

from hybrid_asr import __version__

_CHECKOUT = Path(__file__).resolve().parents[2]
_PACKAGES = ("torch", "lightning", "numpy")
_GIT_TIMEOUT_S = 10.0  # for a checkout on a slow network disk


def environment() -> dict[str, str]:
    """Versions, commit, hardware, host and threads, by readable names; what is unknown is left out.

    `commit` is there only where the code lies in a git checkout of its own; `+changes` follows it where tracked files
    differ from it.
    """
    entries = code_versions()
    entries |= {"CPU": _cpu(), "cores": _cores(), "memory": _memory(), "GPU": _gpus()}
    entries |= {"host": platform.node(), "system": platform.platform(), "OMP threads": _threads()}
    entries |= {"SLURM job": _slurm_job()}
    return {name: value for name, value in entries.items() if value}


def code_versions() -> dict[str, str]:
    """What code runs here: versions, and the commit of our own; those that are not known are empty."""
    entries = {"hybrid-asr": __version__, "commit": commit(), "python": platform.python_version()}
    return entries | {name: _version(name) for name in _PACKAGES}


def commit(checkout: Path = _CHECKOUT) -> str:
    """The commit of the code in `checkout`; empty where that is not the top of a git working tree."""
    top = _git(checkout, "rev-parse", "--show-toplevel")
    if not top or Path(top).resolve() != checkout:  # a virtual environment inside of somebody else's repository
        return ""
    head = _git(checkout, "rev-parse", "HEAD") or ""
    changed = _git(checkout, "status", "--porcelain", "--untracked-files=no")
    return f"{head} +changes" if head and changed else head


def _git(folder: Path, *words: str) -> str | None:
    """What git prints; None where there is no git, or it refuses or does not answer."""
    try:
        done = subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, timeout=_GIT_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _cores() -> str:
    """Those that this process may use, and those that the machine has."""
    usable, installed = len(os.sched_getaffinity(0)), os.cpu_count() or 0
    return str(usable) if usable == installed else f"{usable} of {installed}"


def _memory() -> str:
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"


def _gpus() -> str:
    import torch

    return ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))


def _slurm_job() -> str:
    """Its number, and that of the task in an array."""
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ.get('SLURM_ARRAY_TASK_ID', '')}"
    return os.environ.get("SLURM_JOB_ID", "")


def _threads() -> str:
    import torch

    return os.environ.get("OMP_NUM_THREADS") or str(torch.get_num_threads())
