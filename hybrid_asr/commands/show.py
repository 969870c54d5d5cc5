"""`hybrid-asr show`: a configuration with its sources, a model's parts, a manifest's contents, a run's state,
one batch."""

import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hybrid_asr.commands.show_batch import replay
from hybrid_asr.common.errors import UserError
from hybrid_asr.common.lock import read_holder
from hybrid_asr.config.compose import compose
from hybrid_asr.config.files import load_yaml
from hybrid_asr.config.show import show as show_config
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.inference.report import DecodingReport, ReportError
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.recognizer import refuse_other_files
from hybrid_asr.run.config import RunConfig, signature
from hybrid_asr.run.folder import Run
from hybrid_asr.training.checkpoint import Checkpoints
from hybrid_asr.training.metrics import read_metrics


def show(what: str, item: str, overrides: Sequence[str] = (), *, checkpoint: str | None = None) -> None:
    """Print what is asked for. Raises UserError that names what is missing."""
    if what == "batch":
        print(replay(Run(Path(item)), _step(overrides), checkpoint).text())
        return
    if checkpoint:
        raise UserError(f"show {what} takes no --checkpoint; it goes with 'show batch' and 'show attention'")
    if overrides and what != "config":
        raise UserError(f"show {what} takes no settings, got {overrides[0]}; they go with 'show config'")
    match what:
        case "config":
            print(show_config(compose(item, overrides), RunConfig))
        case "model":
            print(describe_model(item))
        case "manifest":
            manifest = Manifest.read(Path(item))
            for note in manifest.notes:
                print(f"warning: {note}", file=sys.stderr)
            print(describe_manifest(manifest))
        case "run":
            print(describe_run(Run(Path(item))))


def _step(words: Sequence[str]) -> int:
    if len(words) != 1 or not words[0].isdecimal():
        raise UserError("show batch takes one step, as in metrics.csv: hybrid-asr show batch RUN STEP")
    return int(words[0])


def describe_model(item: str) -> str:
    """The parts of a model with their numbers of parameters; `item` is a run, a model.pt or a checkpoint."""
    refuse_other_files(Path(item))
    bundle = Run(Path(item)).bundle()[0] if Path(item).is_dir() else Bundle.load(item)
    model, tokenizer = bundle.model, bundle.tokenizer
    counts: Counter[str] = Counter()
    for name, weight in model.named_parameters():
        counts[".".join(name.split(".")[:2])] += weight.numel()
    lines = [f"{name:32} {count:>12,}" for name, count in counts.items()]
    lines.append(f"{'all':32} {sum(counts.values()):>12,}")
    lines.append(
        f"units: {tokenizer.vocab_size}, text: {bundle.text.name()}, "
        f"at most {bundle.labels_per_frame:.3f} labels a frame"
    )
    lines.append(f"heads: {', '.join(name for name in ('ctc', 'decoder') if getattr(model, name) is not None)}")
    return "\n".join(lines)


def describe_manifest(manifest: Manifest) -> str:
    """Sizes and the first few utterances."""
    seconds = manifest.durations
    utterances = [manifest[index] for index in range(len(manifest))]
    words = Counter(word for utterance in utterances for word in utterance.text.split())
    speakers = {utterance.speaker for utterance in utterances if utterance.speaker}
    low, middle, high = np.percentile(seconds, [0, 50, 100])
    return "\n".join(
        [
            f"{manifest.path}: {len(manifest)} utterances, {seconds.sum() / 3600:.2f} h, {len(speakers)} speakers",
            f"seconds: least {low:.2f}, median {middle:.2f}, most {high:.2f}",
            f"words: {sum(words.values())}, {len(words)} different",
            f"most frequent: {', '.join(word for word, _ in words.most_common(8))}",
            *(f"{utterance.id}  {utterance.duration_s:.2f} s  {utterance.text}" for utterance in utterances[:5]),
        ]
    )


def describe_run(run: Run) -> str:
    """The progress of a training and what it has reached."""
    cfg = run.read_config()
    checkpoints = Checkpoints(run.checkpoint_folder, cfg.trainer.average, cfg.trainer.average_count)
    state = checkpoints.load_last()
    lines = [f"{run.folder}: signature {signature(cfg)[:16]}", *describe_origin(run), *describe_status(run)]
    if state is None:
        return "\n".join(
            [*lines, *(() if run.model_file.is_file() else ("no step has been saved yet",)), *_decoded(run)]
        )
    unit, length = cfg.trainer.length
    of = f" of {length}" if unit == "epochs" else ""
    step = f"{state.step} of {length}" if unit == "steps" else str(state.step)
    lines.append(f"saved at step {step}, {len(checkpoints.history)}{of} epochs done")
    written = read_metrics(run.metrics_file) if os.path.lexists(run.metrics_file) else []
    rows = [row for row in written if any(name.startswith("valid.") and row[name] for name in row)]
    for row in rows[-5:]:
        lines.append(
            "  ".join(
                f"{name} {float(value):.4g}"
                for name, value in row.items()
                if value and name.startswith(("epoch", "valid."))
            )
        )
    return "\n".join([*lines, *_decoded(run)])


def _decoded(run: Run) -> list[str]:
    """The decodings with their checkpoints, and those that cannot be read with the reason."""
    lines = []
    for folder in sorted({path.parent for path in run.folder.glob("decode/*/*/*") if path.name[:1] != "."}):
        name = folder.relative_to(run.folder)
        try:
            source = DecodingReport.read(folder).source
        except ReportError as error:
            lines.append(f"passed over: {name}: {error.why}")
            continue
        lines.append(f"decoded: {name}" + ("" if source is None else f", checkpoint {source.checkpoint}"))
    return lines


def describe_origin(run: Run) -> list[str]:
    """Where an imported model comes from; nothing of one that was trained here."""
    if not run.origin_file.is_file():
        return []
    origin = load_yaml(run.origin_file)
    return [f"imported from {origin.get('toolkit')}: {origin.get('model')}, SHA-256 {str(origin.get('sha256'))[:16]}"]


def describe_status(run: Run) -> list[str]:
    """What became of the training, and what it warned of."""
    status = run.status()
    if status is None:
        return []
    head = f"{status.state} at step {status.step} of {status.total}, {status.updated}"
    who = read_holder(run.folder)
    if status.state == "running" and who is not None:
        head += f", {who.text()}"
    if status.state == "killed":
        head += "; the same command goes on from what is saved"
    return [
        head,
        *filter(None, [status.message]),
        *(f"warning: {text}" for text in status.alarms),
    ]
