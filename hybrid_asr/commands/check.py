"""`hybrid-asr check`: the gate before training, whole: audio, transcripts, sets, budgets; with a page."""

import dataclasses
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hybrid_asr.commands.training_data import build_planner, ctc_least_seconds, idle_processes, read_training_set
from hybrid_asr.commands.training_model import learn_tokenizer, untrained_bundle
from hybrid_asr.common.errors import UserError
from hybrid_asr.common.files import write_text
from hybrid_asr.common.problems import tell_user
from hybrid_asr.config.compose import compose
from hybrid_asr.data.audio_set import AudioOfSet, measure_set
from hybrid_asr.data.check import inspect_training
from hybrid_asr.data.findings import Findings, look_at_audio, look_at_rates, look_at_sound, look_for_same_audio
from hybrid_asr.data.label_counts import CheckError, LabelCounts, describe_empty, label_counts
from hybrid_asr.data.manifest import Manifest, ManifestError
from hybrid_asr.data.oddities import manifest_oddities
from hybrid_asr.data.transcript_rejects import reject_transcripts
from hybrid_asr.inference.encode import shortest_audio
from hybrid_asr.pages.data_page import DataPage, data_page
from hybrid_asr.run.config import RunConfig, set_paths
from hybrid_asr.training.optim import warmup_doubt

PAGE, REJECTS = "check.html", "rejected.jsonl"


class Texts(NamedTuple):
    """What the transcripts say: a line for each set, labels (None where there is no tokenizer), characters."""

    lines: Sequence[str]
    counts: Mapping[str, LabelCounts]
    characters: Mapping[str, np.ndarray]
    facts: Mapping[str, str]


def check(recipe: str, overrides: Sequence[str] = (), *, jobs: int | None = None, to: Path | None = None) -> None:
    """Check all that a training of `recipe` reads; writes a page and the rejects to `to` (checks/CORPUS/RECIPE).

    Raises CheckError with everything that a training must not begin with, after the page is written.
    """
    begin = time.monotonic()
    composed = compose(recipe, overrides)
    cfg = composed.parse(RunConfig)
    source = composed.recipe or Path(recipe)
    folder = to or Path("checks") / source.resolve().parent.name / source.stem
    _refuse(folder, jobs)
    sets, notes = _read_sets(cfg)
    findings = Findings(sets)
    for note in notes:
        findings.add(*note)
    audio = _measure(sets, folder, jobs)
    skip = cfg.data.unreadable_share if cfg.data.unreadable == "skip" else None
    look_at_audio(findings, audio, skip_share=skip)
    look_at_sound(findings, audio, cfg.data.check)
    look_for_same_audio(findings, audio, cfg.data.check.same_audio)
    texts = _look_at_texts(cfg, findings)
    look_at_rates(findings, texts.characters, cfg.data.check)
    rejected = findings.write_rejects(folder / REJECTS)
    page = DataPage(
        f"{source.resolve().parent.name}/{source.stem}", findings, audio, texts.counts, texts.characters, texts.facts
    )
    write_text(folder / PAGE, data_page(page))
    decoded = sum(of.decoded for of in audio.values())
    _tell(findings, texts, rejected, folder)
    utterances = sum(map(len, sets.values()))
    print(f"{utterances} utterances, audio of {decoded} read now, {time.monotonic() - begin:.0f} s: {folder / PAGE}")
    if findings.refused:
        refused = [finding.text for finding in findings.found if finding.severity == "refused"]
        raise CheckError("\n".join([*refused, f"the training must not begin; {folder / PAGE} shows all of it"]))


def _refuse(folder: Path, jobs: int | None) -> None:
    """What would fail only after all audio is read. Raises UserError."""
    if jobs is not None and jobs < 1:
        raise UserError(f"--jobs {jobs}: at least one process is needed")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--to {folder}: is a file, not a folder; name another place")
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise UserError(f"--to {folder}: cannot be written to; name another folder")


def _tell(findings: Findings, texts: Texts, rejected: int, folder: Path) -> None:
    print("\n".join(texts.lines))
    for severity in ("warning", "note"):
        for finding in findings.found:
            if finding.severity == severity:
                tell_user(f"{severity}: {finding.text}")
    if rejected:
        print(f"{rejected} utterances are better left out: {folder / REJECTS}")
    print("\n".join(f"{name}: {value}" for name, value in texts.facts.items()))


def _read_sets(cfg: RunConfig) -> tuple[dict[str, Manifest], list[tuple]]:
    """All sets, their audio unopened, the training set as it is trained on; and what is told of it.

    Raises ManifestError with the problems of all manifests.
    """
    unopened = dataclasses.replace(cfg, data=dataclasses.replace(cfg.data, audio="unchecked"))
    sets, problems, notes = {}, [], []
    try:
        training = read_training_set(unopened)
        sets["train"] = training.manifest
        if training.outside:
            text = f"{training.outside} training utterances are left out by data.min_seconds and data.max_seconds"
            notes.append(("note", "length", text))
        if training.empty:
            notes.append(("note", "empty", training.empty))
    except UserError as error:
        problems.append(str(error))
    for name, path in set_paths(cfg, ["valid", "test"]).items():
        if path in [source.path for known in sets.values() for source in known.files]:
            continue
        try:
            sets[name] = Manifest.read(path, audio="unchecked")
        except ManifestError as error:
            problems.append(str(error))
    if problems:
        raise ManifestError("\n".join(problems))
    return sets, notes


def _measure(sets: Mapping[str, Manifest], folder: Path, jobs: int | None) -> dict[str, AudioOfSet]:
    return {name: measure_set(manifest, folder / f".audio-{name}.npz", jobs=jobs) for name, manifest in sets.items()}


def _look_at_texts(cfg: RunConfig, findings: Findings) -> Texts:
    """The transcripts beside the tokenizer, CTC and the plan; what cannot be prepared is refused, with its reason."""
    sets, train = findings.sets, findings.sets["train"]
    characters = {name: _characters(cfg, manifest) for name, manifest in sets.items()}
    try:
        tokenizer = learn_tokenizer(cfg, train)
        bundle = untrained_bundle(cfg, tokenizer)
    except UserError as error:
        findings.add("refused", "model", str(error))
        return Texts([], {}, characters, {})
    counts = {name: label_counts(manifest, tokenizer, cfg.text, empty="allow") for name, manifest in sets.items()}
    if nothing := np.flatnonzero(counts["train"].labels == 0).tolist():
        findings.add("refused", "empty", describe_empty(train, nothing, cfg.text))
    least, shortest = ctc_least_seconds(cfg, bundle, counts["train"]), shortest_audio(bundle)
    odd = [
        oddity for name, manifest in sets.items() for oddity in manifest_oddities(manifest, of=name, spelling=cfg.text)
    ]
    others = {name: manifest for name, manifest in sets.items() if name != "train"}
    report = inspect_training(
        *(train, others, counts),
        least=least,
        shortest=shortest,
        speeds=cfg.augment.speeds,
        oddities=odd,
        policy=cfg.data.check,
    )
    findings.add_all("refused", "transcripts and sets", report.refused)
    findings.add_all("warning", "transcripts and sets", report.warnings)
    findings.add_all("note", "transcripts and sets", report.notes)
    reject_transcripts(findings, counts, report, least, shortest, cfg.data.check)
    facts = {"model": f"{tokenizer.vocab_size} units, a frame of the encoder every {1000 * bundle.frame_s:g} ms"}
    try:
        planner = build_planner(cfg, bundle, train, counts["train"])
        planner.accumulation(cfg.trainer.processes())
        idle = idle_processes(cfg, planner)
    except UserError as error:
        findings.add("refused", "budget", str(error))
        return Texts(report.sets, counts, characters, facts)
    if idle:
        findings.add("warning", "budget", idle)
    total = cfg.trainer.total_steps(planner.steps)
    if doubt := warmup_doubt(cfg.optim, total, length=cfg.trainer.length[0]):
        findings.add("refused", "warm-up", doubt)
    longest = train.durations.max() / min(cfg.augment.speeds)
    facts |= {
        "first epoch": planner.plan(0).statistics.text(),
        "training": f"{total} updates, a warm-up of {cfg.optim.warmup}",
        "longest": f"{longest:.1f} s at its slowest speed, data.batch_seconds {cfg.data.batch_seconds:g}, "
        f"data.device_seconds {cfg.data.device_seconds or 'none'}",
    }
    return Texts(report.sets, counts, characters, facts)


def _characters(cfg: RunConfig, manifest: Manifest) -> np.ndarray:
    """The characters of each transcript as it is learned, without spaces."""
    spelled = (cfg.text.spell(utterance.text, utterance.language) for utterance in manifest)
    return np.array([sum(not letter.isspace() for letter in text) for text in spelled], dtype=np.float64)
