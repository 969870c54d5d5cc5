"""Two real processes (gloo) see disjoint shares of the same global batches, and evaluate every utterance once."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.tones import CHECKOUT

PROCESS = """
import json, os, sys
import torch, torch.distributed as dist
from hybrid_asr.audio.augment import AugmentConfig
from hybrid_asr.data.label_counts import label_counts
from hybrid_asr.data.dataset import SpeechDataset
from hybrid_asr.data.loader import build_loader
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.data.config import DataConfig
from hybrid_asr.data.sampler import Planner, PlanSampler
from hybrid_asr.inference.batching import SharedBatching
from hybrid_asr.text.characters import CharTokenizerConfig
from hybrid_asr.text.tokenizer import AS_IT_IS, train_tokenizer

if __name__ == "__main__":
    store, manifest, outcome = sys.argv[1:4]
    rank, ranks = int(sys.argv[4]), int(sys.argv[5])
    dist.init_process_group("gloo", init_method=f"file://{os.path.abspath(store)}", rank=rank, world_size=ranks)
    manifest = Manifest.read(manifest)
    tokenizer = train_tokenizer(CharTokenizerConfig(), [utterance.text for utterance in manifest])
    dataset = SpeechDataset(manifest, tokenizer=tokenizer, text=AS_IT_IS, rate=16000)
    counts = label_counts(manifest, tokenizer, AS_IT_IS)
    data = DataConfig(train="a", valid="b", batch_seconds=4.0)
    augment = AugmentConfig(speeds=(0.9, 1.0, 1.1), join_share=0.5, join_max_s=2.0)
    planner = Planner(dataset.corpus(counts), data=data, augment=augment, seed=1)
    steps_before = planner.steps  # of epoch 0
    sampler = PlanSampler(
        planner, rank=rank, ranks=ranks, accumulation=2, first=steps_before, total=2 * steps_before
    )
    steps = []
    for batch in build_loader(dataset, sampler, workers=0, prefetch=1):
        own = ((batch.label_lengths + 1) * batch.weights).sum()
        dist.all_reduce(own)  # hangs, and fails by the time limit, if the processes had different numbers of parts
        ids = [name for name, weight in zip(batch.ids, batch.weights) if weight > 0]
        steps.append({"ids": ids, "divisor": batch.divisor, "labels": own.item()})
    names = [utterance.id for utterance in manifest]
    plan = planner.plan(1)
    batches = [["+".join(names[i] for i in row.indices) for row in batch.utterances] for batch in plan.batches]
    shares = SharedBatching(2.0, rank, ranks).batches(manifest.durations)
    evaluated = [names[index] for share in shares for index in share]
    with open(f"{outcome}-{rank}.json", "w") as file:
        json.dump({"steps": steps, "batches": batches, "evaluated": evaluated}, file)
    dist.barrier()
    dist.destroy_process_group()
"""


@pytest.fixture
def outcomes(tmp_path: Path, make_manifest) -> list[dict]:
    """What each of two processes saw."""
    manifest = make_manifest(np.linspace(0.2, 0.8, 31).round(2))
    script = tmp_path / "process.py"
    script.write_text(PROCESS)
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "JAXTYPING_DISABLE": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, script, "store", manifest.path, "seen", str(rank), "2"], env=environment, cwd=tmp_path
        )
        for rank in range(2)
    ]
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    return [json.loads((tmp_path / f"seen-{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.slow
def test_two_processes_share_the_same_batches_and_evaluate_every_utterance_once(outcomes) -> None:
    first, second = outcomes
    assert first["batches"] == second["batches"], "the global batches do not depend on the rank"
    assert len(first["steps"]) == len(second["steps"]) == 2 * len(first["batches"])
    for update, batch in enumerate(first["batches"]):
        parts = [seen["steps"][2 * update : 2 * update + 2] for seen in outcomes]  # two accumulated parts each
        ids = [Counter(name for step in steps for name in step["ids"]) for steps in parts]
        assert not ids[0] & ids[1], "disjoint"
        assert ids[0] + ids[1] == Counter(batch), "together the whole batch"
        for steps in parts:
            labels = sum(step["labels"] for step in steps)  # already summed over the processes
            assert {step["divisor"] for step in steps} == {labels}, "the divisor is the global batch's"
    everyone = Counter(name for batch in first["batches"] for row in batch for name in row.split("+"))
    assert everyone == Counter(f"train-{index}" for index in range(31))
    evaluated = [seen["evaluated"] for seen in outcomes]
    assert all(evaluated) and Counter(evaluated[0] + evaluated[1]) == everyone


KILLED = """
import os, signal, sys
from hybrid_asr.data.dataset import SpeechDataset
from hybrid_asr.data.loader import build_loader
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.data.plan import Part, PlannedUtterance
from hybrid_asr.text.characters import CharTokenizer
from hybrid_asr.text.tokenizer import AS_IT_IS

if __name__ == "__main__":
    manifest = Manifest.read(sys.argv[1])
    tokenizer = CharTokenizer.train([utterance.text for utterance in manifest])
    dataset = SpeechDataset(manifest, tokenizer=tokenizer, text=AS_IT_IS, rate=16000)
    parts = [Part((PlannedUtterance((0,), 1.0, 1.0),), None)] * 50
    loader = build_loader(dataset, parts, workers=1, prefetch=1)
    loaded = iter(loader)
    next(loaded)
    print(loader._iterator._workers[0].pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def lives(process: int) -> bool:
    """Whether a process is there and no zombie, which an init that does not look after its children leaves."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_workers_leave_soon_after_their_training_was_killed(tmp_path: Path, make_manifest) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "JAXTYPING_DISABLE": "1"}
    command = [sys.executable, script, make_manifest([0.3, 0.4]).path]
    with open(tmp_path / "seen", "w") as seen:  # a file: a pipe would wait for the worker, which holds it, too
        process = subprocess.Popen(command, env=environment, stdout=seen)
        assert process.wait(timeout=120) == -signal.SIGKILL
    worker = int((tmp_path / "seen").read_text())
    deadline = time.monotonic() + 20
    while lives(worker) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not lives(worker), "a worker has outlived its training"


def test_a_worker_leaves_an_employer_that_has_ended_and_that_nobody_has_waited_for():
    code = "from hybrid_asr.data import parallel; parallel.WATCH_S = 0.05; print(); parallel.leave_with({})"
    with subprocess.Popen(["sleep", "60"]) as employer:
        words = [sys.executable, "-u", "-c", code.format(employer.pid)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, cwd=CHECKOUT) as worker:
            try:
                assert worker.stdout is not None and worker.stdout.readline()
                time.sleep(0.3)
                assert worker.poll() is None
                employer.kill()
                assert worker.wait(20) == 1
            finally:
                worker.kill()
