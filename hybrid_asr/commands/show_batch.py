"""`hybrid-asr show batch`: repeats one update with the rows, speeds, masks and dropout that training had."""

import dataclasses
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from hybrid_asr.commands.training_data import build_dataset, build_planner, read_training_set
from hybrid_asr.commands.training_model import build_module
from hybrid_asr.common.errors import UserError
from hybrid_asr.data.dataset import Batch
from hybrid_asr.data.label_counts import label_counts
from hybrid_asr.losses import JointLoss
from hybrid_asr.run.config import RunConfig
from hybrid_asr.run.folder import Run
from hybrid_asr.training.module import SpeechModule
from hybrid_asr.training.nonfinite import NonfinitePart
from hybrid_asr.training.strategy import autocast

CLIPPED = 0.999  # full scale is 1


@dataclasses.dataclass(frozen=True)
class Row:
    """One utterance, or joined pair, of a batch; losses in nats an utterance, `gradient` the norm of its loss's."""

    id: str
    rank: int
    part: int
    seconds: float
    speed: float
    labels: int
    frames: int
    loss: float
    ctc: float
    attention: float
    gradient: float
    remarks: str


@dataclasses.dataclass(frozen=True)
class Replayed:
    """An update: its rows, its loss in nats per label, the norm of its gradient, and where that is not finite."""

    step: int
    steps_per_epoch: int
    weights: str
    rows: list[Row]
    loss: float
    gradient_norm: float
    spoiled: dict[str, tuple[int, int]]
    remarks: list[str]

    def text(self) -> str:
        """All of it, for the terminal."""
        epoch, batch = divmod(self.step - 1, self.steps_per_epoch)
        lines = [
            f"step {self.step}: batch {batch + 1} of {self.steps_per_epoch} of epoch {epoch + 1}, "
            f"weights of {self.weights}",
            f"{'rank part':9}  {'seconds':>7} {'speed':>5} {'labels':>6} {'frames':>6}  {'loss':>9} {'ctc':>9} "
            f"{'attention':>9} {'gradient':>9}  id",
        ]
        for row in self.rows:
            numbers = "".join(f" {value:9.4g}" for value in (row.loss, row.ctc, row.attention, row.gradient))
            head = f"{row.rank:4} {row.part:4}  {row.seconds:7.2f} {row.speed:5g} {row.labels:6} {row.frames:6} "
            lines.append(f"{head}{numbers}  {row.id}{'  ! ' + row.remarks if row.remarks else ''}")
        lines.append(f"loss {self.loss:.6g} nats per label, norm of the gradient {self.gradient_norm:.6g}")
        lines += [
            f"gradient not finite in {bad} of {count} weights of {group}"
            for group, (bad, count) in self.spoiled.items()
        ]
        return "\n".join([*lines, *self.remarks])


def replay(run: Run, step: int, checkpoint: str | None = None) -> Replayed:
    """Do the forward and backward pass of update `step` (from 1, as in metrics.csv) again, without applying it.

    With the weights that `nonfinite.jsonl` names for it, else those of `checkpoint` (default `last`).
    Raises UserError for a step that the training does not have.
    """
    cfg = run.read_config()
    written = _nonfinite_parts(run, step)
    kept = next((part.weights for part in written if part.weights), "")
    weights = checkpoint or (str(run.checkpoint_folder / kept) if kept else "last")
    bundle = run.bundle(weights)[0]
    manifest = read_training_set(cfg).manifest
    planner = build_planner(cfg, bundle, manifest, label_counts(manifest, bundle.tokenizer, cfg.text))
    total = cfg.trainer.total_steps(planner.steps)
    if not 1 <= step <= total:
        raise UserError(f"show batch: {run.folder} has the steps 1 to {total}, not {step}; choose one of these")
    epoch, batch_index = divmod(step - 1, planner.steps)
    ranks = cfg.trainer.processes()
    turns = planner.accumulation(ranks)
    dataset = build_dataset(cfg, bundle, manifest)
    module = build_module(cfg, bundle, planner.steps)
    parts = [
        (rank, turn, dataset[planner.plan(epoch).share(rank, ranks, turns)[batch_index * turns + turn]])
        for turn in range(turns)
        for rank in range(ranks)
    ]
    rows, loss = [], 0.0
    for rank, turn, batch in parts:
        losses = _forward(module, batch, cfg, step=step - 1, part=turn, rank=rank)
        rows += list(_rows(module, batch, losses, rank, turn))
        share = (losses.total * batch.weights).sum() / batch.divisor
        loss += float(share.detach())
        share.backward()
    norm = float(torch.nn.utils.get_total_norm(list(_gradients(module).values())))
    remarks = [text for _, _, batch in parts for text in (*batch.unread, *batch.told)] + _differences(written, rows)
    return Replayed(step, planner.steps, weights, rows, loss, norm, _spoiled(module), remarks)


def _forward(module: SpeechModule, batch: Batch, cfg: RunConfig, *, step: int, part: int, rank: int) -> JointLoss:
    with autocast(cfg.trainer.precision, "cpu"):
        return module.losses(batch, step=step, part=part, rank=rank)[0]


def _rows(module: SpeechModule, batch: Batch, losses: JointLoss, rank: int, part: int) -> Iterator[Row]:
    """What `Row` holds of each row of a batch; its gradient is that of its own loss."""
    weights = [weight for weight in module.model.parameters() if weight.requires_grad]
    for row, name in enumerate(batch.ids):
        gradients = torch.autograd.grad(losses.total[row], weights, retain_graph=True, allow_unused=True)
        norm = torch.nn.utils.get_total_norm([gradient for gradient in gradients if gradient is not None])
        samples = int(batch.samples[row])
        frames = module.model.output_length(module.frontend.frames(samples))
        yield Row(
            id=name,
            rank=rank,
            part=part,
            seconds=samples / module.frontend.rate,
            speed=batch.speeds[row],
            labels=int(batch.label_lengths[row]),
            frames=frames,
            loss=float(losses.total[row].detach()),
            ctc=float(losses.ctc[row].detach()),
            attention=float(losses.attention[row].detach()),
            gradient=float(norm),
            remarks=", ".join(_remarks(module, batch, losses, row)),
        )


def _remarks(module: SpeechModule, batch: Batch, losses: JointLoss, row: int) -> Iterator[str]:
    """What is strange about a row."""
    samples, count = int(batch.samples[row]), int(batch.label_lengths[row])
    audio, labels = batch.audio[row : row + 1, :samples], batch.labels[row, :count]
    if batch.weights[row] == 0:
        yield "a filler, which does not count"
    if not audio.isfinite().all():
        yield "audio not finite"
    elif not audio.any():
        yield "audio all zeros"
    elif (clipped := float((audio.abs() >= CLIPPED).float().mean())) > 0.001:
        yield f"{clipped:.1%} of the audio at full scale"
    with torch.no_grad():
        values = module.frontend(audio, torch.tensor([samples])).values
    if not values.isfinite().all():
        yield "features not finite"
    if unknown := int((labels == module.bundle.tokenizer.unk).sum()):
        yield f"{unknown} labels unknown to the tokenizer"
    if losses.infeasible[row]:
        yield "too short for CTC"


def _gradients(module: SpeechModule) -> dict[str, Tensor]:
    return {name: weight.grad for name, weight in module.model.named_parameters() if weight.grad is not None}


def _spoiled(module: SpeechModule) -> dict[str, tuple[int, int]]:
    """Of the parts of the model whose gradient is not finite somewhere: in how many weights, and of how many."""
    counts: dict[str, list[int]] = {}
    for name, gradient in _gradients(module).items():
        entry = counts.setdefault(".".join(name.split(".")[:3]), [0, 0])
        entry[0] += not bool(gradient.isfinite().all())
        entry[1] += 1
    return {group: (bad, count) for group, (bad, count) in counts.items() if bad}


def _nonfinite_parts(run: Run, step: int) -> list[NonfinitePart]:
    """The parts of this update in nonfinite.jsonl: there are some if training left it out."""
    if not run.nonfinite_file.is_file():
        return []
    lines = run.nonfinite_file.read_text(encoding="utf-8", errors="replace").splitlines()
    return [part for part in map(NonfinitePart.from_line, lines) if part is not None and part.step == step]


def _differences(written: list[NonfinitePart], rows: list[Row]) -> list[str]:
    """Whether the batch is the one that was written down, and its losses."""
    if not written:
        return []
    order = sorted(written, key=lambda part: (part.part, part.rank))
    ids = [name for part in order for name in part.ids]
    if ids != [row.id for row in rows]:
        return ["warning: training had other utterances here: the data, or the number of devices, have changed"]
    losses = [loss for part in order for loss in part.loss]
    same = all(_close_numbers(row.loss, loss) for row, loss in zip(rows, losses, strict=True))
    return ["the losses are those that training had" if same else _not_same(losses)]


def _not_same(losses: list[float]) -> str:
    shown = ", ".join(map(str, losses))
    return f"training had other losses ({shown}): on another device, or with weights of some steps earlier"


def _close_numbers(first: float, second: float) -> bool:
    both_nonfinite = not math.isfinite(first) and not math.isfinite(second)
    return both_nonfinite or math.isclose(first, second, rel_tol=1e-4, abs_tol=1e-4)
