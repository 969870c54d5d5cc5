"""Memory that really runs out: a limit on the addresses of a process in which one batch of all has no room."""

import json
import platform
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from tests.tones import CHECKOUT, LETTERS, RATE, sound

CHILD = """
import json, re, resource, sys
from pathlib import Path
import torch
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.inference.presets import load_decoder
from hybrid_asr.inference.build_decoder import build_task
from hybrid_asr.common.memory import keep_freed_memory
from hybrid_asr.inference.evaluate import evaluate_set
from hybrid_asr.inference.batching import Cost, MemoryBatching, OrderedBatching
from hybrid_asr.run.folder import Run

run, data, room_mb = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
torch.set_num_threads(1)
soft, hard = resource.getrlimit(resource.RLIMIT_AS)
if room_mb:
    resource.setrlimit(resource.RLIMIT_AS, (1 << 45, hard))
keep_freed_memory()
bundle = Run(run).bundle()[0]
bundle.model.eval()
manifest, device = Manifest.read(data), torch.device("cpu")
names = ("ctc_greedy", "joint")
tasks = {name: build_task(bundle, load_decoder(name, bundle.config), search_errors="ignore") for name in names}
evaluate_set(bundle, manifest, tasks, batching=OrderedBatching([0]), device=device)
if room_mb:
    size = 1024 * int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
    resource.setrlimit(resource.RLIMIT_AS, (size + (room_mb << 20), hard))
batching = MemoryBatching(device, Cost(1e-9, 0.0), 1e9)  # an estimate so wrong that all go into one batch
found = evaluate_set(bundle, manifest, tasks, batching=batching, device=device)
texts = {name: [item.text for item in one.items] for name, one in found.items()}
failed = [one.reason for each in found.values() for one in each.failed]
print(json.dumps({"texts": texts, "failed": failed, "cut": batching.most_s < 1e9}))
"""


def child(run, data, room_mb: int) -> dict:
    """What a process finds, with a limit of `room_mb` above what it has, or without one (0)."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(run), str(data), str(room_mb)],
        env={"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc's allocator, and /proc")
def test_with_less_memory_than_a_batch_needs_the_texts_are_the_same(trained, tmp_path):
    rng, lines = np.random.default_rng(5), []
    for number in range(96):
        if number < 16:
            words = ["".join(rng.choice(list(LETTERS), rng.integers(1, 4))) for _ in range(20)]
            samples = sound(" ".join(words), rng)
            soundfile.write(tmp_path / f"{number}.wav", samples, RATE)
            entry = {"audio": f"{number}.wav", "duration_s": len(samples) / RATE, "text": " ".join(words)}
            lines.append(entry)
        else:
            lines.append(lines[number % 16])
    text = "".join(json.dumps(line | {"id": f"u{number}"}) + "\n" for number, line in enumerate(lines))
    (tmp_path / "long.jsonl").write_text(text)
    free, limited = (child(trained, tmp_path / "long.jsonl", room_mb) for room_mb in (0, 75))
    assert not free["cut"] and limited["cut"], "else the limit says nothing"
    assert limited["failed"] == free["failed"] == []
    assert limited["texts"] == free["texts"]
    assert len(set(free["texts"]["joint"])) > 10
