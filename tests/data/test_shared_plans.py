"""Laws of plans that the processes of a node share: made once, whole, equal to a process's own, gone in the end."""

import multiprocessing
import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hybrid_asr.audio.augment import AugmentConfig
from hybrid_asr.common.memory import held_bytes, keep_freed_memory
from hybrid_asr.data.config import DataConfig
from hybrid_asr.data.sampler import Planner, plan_digest
from hybrid_asr.data.shared_plans import SharedPlans
from tests.data.test_sampler import an4_like, corpus_of

DATA = DataConfig(train="a", valid="b", batch_seconds=25.0)
AUGMENT = AugmentConfig(speeds=(0.9, 1.0, 1.1), join_share=0.4)


def shared_in(root: Path) -> SharedPlans:
    """What one process has; locks of one process exclude those of another object in the same process, too."""
    key = plan_digest(corpus_of(an4_like()), DATA, AUGMENT, 1)
    return SharedPlans(key, size=1, roots=(root,))


def planner(shared: SharedPlans | None) -> Planner:
    return Planner(corpus_of(an4_like()), data=DATA, augment=AUGMENT, seed=1, shared=shared)


def written(root: Path) -> dict[Path, tuple[int, int]]:
    """The arrays with what changes when they are written again."""
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in root.rglob("*.npy")}


def test_the_second_process_maps_what_the_first_has_made_and_the_last_removes_it(tmp_path) -> None:
    root = tmp_path / "plans"
    first, second = shared_in(root), shared_in(root)
    planned = list(planner(first).plan(3).batches)
    assert [path.name for path in root.iterdir() if path.is_dir()] == [
        plan_digest(corpus_of(an4_like()), DATA, AUGMENT, 1)
    ]
    made = written(root)
    assert list(planner(second).plan(3).batches) == planned
    assert written(root) == made and len(made) > 5, "nothing is made twice"
    assert list(planner(None).plan(3).batches) == planned, "a shared plan is that of a process alone"
    first.close()
    assert root.exists()
    second.close()
    assert not root.exists()


def test_old_epochs_are_removed(tmp_path) -> None:
    shared = shared_in(tmp_path / "plans")
    plans = planner(shared)
    for epoch in range(5):
        plans.plan(epoch)
    assert sorted(path.parent.name for path in tmp_path.glob("plans/*/*/order.npy")) == ["epoch-3", "epoch-4"]
    shared.close()


def test_a_plan_is_of_all_that_decides_it() -> None:
    corpus = corpus_of(an4_like())
    digests = {
        plan_digest(corpus, DATA, AUGMENT, 1),
        plan_digest(corpus, DATA, AUGMENT, 2),
        plan_digest(corpus, DATA, AugmentConfig(), 1),
        plan_digest(corpus_of(an4_like(), shift=1), DATA, AUGMENT, 1),
        *(
            plan_digest(corpus, data, AUGMENT, 1)
            for data in (
                *(replace(DATA, batch_seconds=26.0), replace(DATA, plan=1)),
                *(replace(DATA, part_seconds=5.0), replace(DATA, jitter=0.1)),
            )
        ),
    }
    assert len(digests) == 8
    assert plan_digest(corpus, replace(DATA, train="c", valid="d", workers=3), AUGMENT, 1) in digests


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from hybrid_asr.data.shared_plans import SharedPlans; import numpy\n"
        "plans = SharedPlans('killed', size=1, roots=(Path(sys.argv[1]),))\n"
        "plans.arrays('x', lambda: {'x': numpy.ones(3)})\n"
        "os.kill(os.getpid(), 9)"
    )
    root = tmp_path / "plans"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "JAXTYPING_DISABLE": "1"}
    subprocess.run([sys.executable, "-c", script, str(root)], env=environment, check=False)
    assert (root / "killed/x/x.npy").exists()
    shared = shared_in(root)
    assert not (root / "killed").exists()
    shared.close()


def test_a_process_keeps_nothing_of_what_planning_took(tmp_path) -> None:
    """Eight processes on ten million utterances would keep gigabytes."""

    def plan() -> None:
        keep_freed_memory()
        corpus, cpu = corpus_of(an4_like(200_000)), torch.device("cpu")
        before = held_bytes(cpu)
        assert before is not None
        shared = SharedPlans("large", size=1, roots=(tmp_path / "plans",))
        plans = Planner(corpus, data=replace(DATA, batch_seconds=2500.0), augment=AUGMENT, seed=1, shared=shared)
        plans.plan(1)
        kept = (held_bytes(cpu) or 0) - before
        shared.close()
        os._exit(kept > 6e6)

    child = multiprocessing.get_context("fork").Process(target=plan)
    child.start()
    child.join(120)
    assert child.exitcode == 0


def test_a_disk_without_room_means_plans_in_memory_with_a_note(tmp_path, capsys) -> None:
    shared, limits = shared_in(tmp_path / "plans"), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))  # no file may be larger
    try:
        planned = list(planner(shared).plan(1).batches)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert planned == list(planner(None).plan(1).batches)
    shared.close()
    assert not (tmp_path / "plans").exists()
    assert "note: each process keeps the plans of epochs in its own memory" in capsys.readouterr().err


@pytest.mark.parametrize("root", ["/proc/none", "/nowhere/none"])
def test_no_folder_means_plans_in_memory(root, capsys) -> None:
    shared = SharedPlans("key", size=1, roots=(Path(root),))
    assert shared.arrays("x", lambda: {"x": np.ones(2)})["x"].sum() == 2
    assert "MB are free" in capsys.readouterr().err
