"""torch.compile gives what eager gives. In a process of its own: the compiler fails under jaxtyping's hook."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.models.tiny import each_encoder

CODE = """
import sys

import torch

from tests.models.tiny import ENCODERS, build, joint, speech

kind, backend, shapes = sys.argv[1:]
model = build(next(cfg for cfg in ENCODERS if cfg.kind == kind))
torch._dynamo.config.allow_rnn = True  # else an LSTM is refused
compiled = torch.compile(model, backend=backend, fullgraph=True, dynamic=shapes == "any")
batches = (([60, 23], [5, 3]), ([41, 31], [4, 6]))
for frames, labels in batches if shapes == "any" else batches[:1]:
    batch = speech(frames, labels)
    results = []
    for forward in (model, compiled):
        losses = joint(forward(batch.features, batch.labels), batch).total
        results.append([losses, *torch.autograd.grad(losses.sum(), list(model.parameters()))])
    for eager, other in zip(*results, strict=True):
        torch.testing.assert_close(other, eager, rtol=0, atol=1e-9)
print("equal")
"""


def run(*words: str, checkout: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, *words],
        cwd=checkout,
        env=os.environ | {"JAXTYPING_DISABLE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.stdout.strip() == "equal", done.stderr


@pytest.mark.slow
@each_encoder
def test_the_traced_graph_equals_eager(encoder, checkout):
    run(encoder.kind, "aot_eager", "any", checkout=checkout)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler: apt-get install g++")
def test_compiled_code_equals_eager(checkout):
    """For one shape: of any shape, inductor (torch 2.13) cannot compile a Conv2d over one channel on a CPU."""
    run("conformer", "inductor", "one", checkout=checkout)
