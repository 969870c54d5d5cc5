"""`hybrid-asr study`: train and decode what a study lacks, then write its verdicts."""

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hybrid_asr.common.lock import FolderLock
from hybrid_asr.common.problems import examples, tell_user
from hybrid_asr.scoring.text_report import counted
from hybrid_asr.study.config import Study, read_study
from hybrid_asr.study.plan import make_plan
from hybrid_asr.study.results import collect
from hybrid_asr.study.running import Workplace, run_missing
from hybrid_asr.study.table import load
from hybrid_asr.study.verdicts import judge
from hybrid_asr.study.writing import markdown, write_study


def study(file: Path, *, to: Path | None, jobs: int | None, dry_run: bool) -> int:
    """Run a study and print its verdicts; returns 1 where a training has failed, else 0.

    Raises UserError, before anything is trained, that names every problem of the file with its variant.
    """
    read = read_study(file)
    plan = make_plan(read)
    place = Workplace(to or default_folder(file), plan)
    if (place.folder / "study.json").exists():
        load(place.folder / "study.json")  # of this version, or it stays as it is
    _tell_odd(read)
    _tell_left(place)
    print(_plan_text(place))
    if dry_run:
        return 0
    with _held(place.folder), _terminated_as_interrupted():
        shutil.copyfile(file, place.folder / "study.yaml")
        failed = run_missing(place, jobs=jobs or len(os.sched_getaffinity(0)), tell=_say)
        results = collect(place, failed)
        found = judge(results)
        write_study(place.folder, results, found)
    print(markdown(results, found))
    print(f"written: {place.folder}/study.md, study.json, runs.csv", file=sys.stderr)
    return 1 if failed else 0


def default_folder(file: Path) -> Path:
    """runs/<corpus>/studies/<study> in the current folder."""
    above = file.resolve().parent
    corpus = above.parent if above.name == "studies" else above
    return Path("runs") / corpus.name / "studies" / file.stem


def _tell_odd(study: Study) -> None:
    """What a reader should know before time is spent."""
    if len(study.cfg.seeds) == 1:
        tell_user("note: with one seed a verdict is about these trainings, not about the methods: give three or more")
    for variant in study.variants:
        if variant.metrics[0].set_name == "valid":
            tell_user(f"note: variant '{variant.name}': judged on the set that its epochs were chosen on")


def _tell_left(place: Workplace) -> None:
    """Trainings of a former version of the file: they stay, and count for nothing."""
    known = {key[:8] for key in place.plan.trainings}
    left = [run.name for run in sorted(place.trainings.glob("*-????????")) if run.name.rpartition("-")[2] not in known]
    if left:
        tell_user(
            f"note: {counted(len(left), 'training')} in {place.trainings} that no variant of "
            f"{place.plan.study.where} has as it is now: {examples(left)}; they are left alone"
        )


def _plan_text(place: Workplace) -> str:
    """What there is to do."""
    plan = place.plan
    lines = []
    for one in plan.variants:
        if one.variant.hypotheses is not None:
            lines.append(f"{one.name}: {one.variant.hypotheses}, by {one.metric}")
            continue
        trained = sum(map(place.is_trained, one.trainings))
        wanted = [(training, decoding) for training in one.trainings for decoding in one.decodings]
        decoded = sum(place.decoded(*each) is not None for each in wanted)
        lines.append(
            f"{one.name}: {counted(len(one.trainings), 'training')} ({trained} done), "
            f"{counted(len(wanted), 'decoding')} ({decoded} done), by {one.metric}"
        )
    left = [training for training in plan.trainings.values() if not place.is_trained(training)]
    hours = sum(training.audio_s * (training.cfg.trainer.epochs or 0) for training in left) / 3600
    lines.append(
        f"{len(plan.trainings)} different trainings, {len(left)} to be done: {hours:.1f} hours of audio, each epoch "
        f"counted; in {place.folder}"
    )
    return "\n".join(lines)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    lock = FolderLock(folder)
    lock.take()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM stops the trainings, too, as Ctrl-C does."""

    def stop(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    former = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)
