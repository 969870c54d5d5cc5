"""Memory that is freed stays with the process, so that the next step does not fetch it again."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import torch
from hybrid_asr.memory import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
model = torch.nn.Sequential(*(layer for _ in range(4) for layer in (torch.nn.Linear(64, 64), torch.nn.ReLU())))
values = torch.randn(150_000, 64)
def steps(count):
    for _ in range(count):
        model.zero_grad()
        model(values).square().mean().backward()
steps(6)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
steps(4)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc's allocator")
def test_a_training_step_uses_the_memory_of_the_one_before():
    pages = {
        how: int(subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True).stdout)
        for how in ("kept", "given back")
    }
    assert pages["kept"] < pages["given back"] / 4, pages
