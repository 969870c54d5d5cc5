"""The thin LightningModule: model and losses in, one number and a few sums out.  Axes: B utterances."""

import copy
import hashlib
from typing import Any

import lightning as L
import torch
from jaxtyping import Int
from lightning.pytorch.strategies.model_parallel import ModelParallelStrategy
from torch import Tensor

from hybrid_asr.audio.augment import MaskCounts, SpecAugment
from hybrid_asr.data.dataset import Batch
from hybrid_asr.losses import (
    Guided,
    JointLoss,
    LossConfig,
    attention_loss,
    ctc_feasible,
    guided_loss,
    joint_loss,
)
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.models.hybrid import HybridModel, Outputs
from hybrid_asr.nn.progress import set_progress
from hybrid_asr.text.tokenizer import Tokenizer
from hybrid_asr.training.deterministic import ctc_for
from hybrid_asr.training.loss_scale import LossScale
from hybrid_asr.training.nonfinite import PartLosses
from hybrid_asr.training.optim import OptimConfig, build_optimizer, lr_share, set_lr
from hybrid_asr.training.sharding import shard, whole


def derive_seed(*parts: int | str) -> int:
    """A seed that is a function of `parts`, such as (seed, step, part, rank): no generator's state has to be saved."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def batch_loss(
    outputs: Outputs,
    batch: Batch,
    tokenizer: Tokenizer,
    cfg: LossConfig,
    *,
    host_frames: Int[Tensor, " batch"],
    guide: float = 0.0,
) -> JointLoss:
    """The joint loss of each utterance of a batch, with the weight `guide` of guided attention.

    `host_frames` is `outputs.frames` on the host, as `host_frames(bundle, batch)` gives it without asking the device.
    """
    labels, lengths = batch.labels, batch.label_lengths
    ctc = attention = None
    if outputs.ctc_log_probs is not None:
        host_lengths = torch.tensor(batch.host_label_lengths)
        ctc_loss = ctc_for(outputs.ctc_log_probs.device)
        ctc = ctc_loss(outputs.ctc_log_probs, host_frames, labels, host_lengths, blank=tokenizer.blank)
    if outputs.logits is not None:
        attention = attention_loss(outputs.logits, labels, lengths, eos=tokenizer.eos, smoothing=cfg.smoothing)
    guided = None
    if outputs.attention is not None:
        guided = Guided(guided_loss(outputs.attention, outputs.frames, lengths, width=cfg.guide.width), guide)
    feasible = ctc_feasible(outputs.frames, labels, lengths)
    return joint_loss(ctc, attention, feasible, ctc_weight=cfg.ctc_weight, guided=guided)


def host_frames(bundle: Bundle, batch: Batch) -> Int[Tensor, " batch"]:
    """The encoder frames of each utterance, counted on the host."""
    frames = (bundle.frontend.frames(samples) for samples in batch.host_samples)
    return torch.tensor([bundle.model.output_length(count) for count in frames])


def _each(losses: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in losses.items()}


class SpeechModule(L.LightningModule):
    """Trains a bundle's model. `step` counts updates over the whole training, also across interruptions."""

    model: HybridModel

    def __init__(
        self, bundle: Bundle, *, loss: LossConfig, optim: OptimConfig, mask: SpecAugment, mask_from: int, seed: int
    ):
        super().__init__()
        self.bundle, self.loss, self.optim, self.seed = bundle, loss, optim, seed
        self.frontend, self.model = bundle.frontend, bundle.model
        self.mask = mask
        self.mask_from = mask_from  # the first step that is masked
        self.first_step = 0  # where this process took over
        self.total_steps = 1
        self.accumulate = 1
        self.sums: dict[str, Tensor] = {}  # of the update under way, on the device
        self.parts: list[PartLosses] = []  # of the update under way
        self.unaligned: list[tuple[tuple[str, ...], Tensor]] = []
        self.float16 = False  # whether the forward pass is in float16
        self.loss_scale: LossScale | None = None  # then, from the start of the training on

    @property
    def step(self) -> int:
        """Updates done so far."""
        return self.first_step + self.trainer.global_step

    def losses(self, batch: Batch, *, step: int, part: int, rank: int) -> tuple[JointLoss, MaskCounts | None]:
        """The losses of one part of update number `step` (from 0), and what was masked: a function of this place."""
        torch.manual_seed(derive_seed(self.seed, step, part, rank))
        progress = step / self.total_steps
        set_progress(self.model, progress)
        guide = self.loss.guide.weight_at(progress)
        masked = None
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            features = self.frontend(batch.audio, batch.samples)
            if step >= self.mask_from:
                features, masked = self.mask(features)
        outputs = self.model(features, batch.labels, weights="all" if guide > 0 else "none")
        counts = host_frames(self.bundle, batch)
        losses = batch_loss(outputs, batch, self.bundle.tokenizer, self.loss, host_frames=counts, guide=guide)
        return losses, masked

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one part, scaled so that all parts on all devices add up to the global batch's nats per label."""
        part = batch_idx % self.accumulate
        losses, masked = self.losses(batch, step=self.step, part=part, rank=self.global_rank)
        if masked is not None:
            self._add(time_masked=masked.time_share, frequency_masked=masked.freq_share)
        parts = {"loss": losses.total, "ctc": losses.ctc, "attention": losses.attention}
        self._add(**{name: (value.detach() * batch.weights).sum() / batch.divisor for name, value in parts.items()})
        unaligned = losses.infeasible & (batch.weights > 0)  # a filler is counted where it belongs
        self._add(infeasible=unaligned.sum(), parts=batch.weights.new_ones(()))
        self.unaligned.append((batch.ids, unaligned))
        self.parts.append(PartLosses(part, batch.ids, batch.speeds, batch.seconds, **_each(parts)))
        # DDP takes the mean over ranks and Lightning the mean over parts: undo both
        loss = (losses.total * batch.weights).sum() / batch.divisor * (self.trainer.world_size * self.accumulate)
        # times 1, or NaN where it is not finite: then so is the gradient, and all devices learn of it
        loss = loss * (1 + 0 * loss.detach())
        return loss if self.loss_scale is None else self.loss_scale.of(loss)

    def configure_model(self) -> None:
        """Spread the weights over the processes where the strategy says so.

        `bundle` then keeps a model of its own: the whole, by which validation and files go (`gather_weights`).
        """
        if isinstance(self.trainer.strategy, ModelParallelStrategy) and self.model is self.bundle.model:
            self.model = copy.deepcopy(self.bundle.model)
            shard(self.model, self.trainer.strategy.device_mesh["data_parallel"])

    def gather_weights(self) -> None:
        """Bring the weights together in `bundle`, in all processes, where they are spread."""
        if self.model is not self.bundle.model:
            self.bundle.model.to(self.device).eval()
            self.bundle.model.load_state_dict({name: whole(value) for name, value in self.model.state_dict().items()})

    def on_fit_start(self) -> None:
        """In float16, begin with a scale of the loss."""
        if self.float16:
            self.loss_scale = LossScale(self.device)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimizer; the learning rate is set at every step."""
        return build_optimizer(self.optim, self.model)

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        """Set the learning rate of this very update, so that no scheduler has a state."""
        set_lr(optimizer, self.optim.lr * lr_share(self.optim, self.step, self.total_steps))
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        """Bound the norm of the whole gradient and keep what it was; where it is not finite, leave the update out.

        The device itself decides, since to ask it would stop it; all have the same gradient and decide alike. AdamW
        looks at `found_inf`, and then changes neither weights nor its own state.
        """
        if self.loss_scale is not None:
            self.loss_scale.undo(weight.grad for weight in self.model.parameters() if weight.grad is not None)
        norm = whole(torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.optim.clip))
        self._add(gradient_norm=norm)
        finite = torch.isfinite(norm)
        optimizer.found_inf = (~finite).float()
        if self.loss_scale is not None:
            self.loss_scale.update(optimizer.found_inf)
        self.sums = {name: torch.where(finite, value, 0) for name, value in self.sums.items()}
        self._add(skipped=optimizer.found_inf)

    def take_sums(self) -> tuple[dict[str, Tensor], list[PartLosses]]:
        """Hand over the sums of the last update, and the losses of its parts, and begin anew."""
        sums, self.sums = self.sums, {}
        parts, self.parts = self.parts, []
        return sums, parts

    def take_unaligned(self) -> tuple[list[str], Tensor]:
        """The ids of the rows since the last call, and which of them CTC could not align: they had no CTC loss."""
        seen, self.unaligned = self.unaligned, []
        return [name for ids, _ in seen for name in ids], torch.cat([unaligned for _, unaligned in seen])

    def _add(self, **values: Tensor) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value
