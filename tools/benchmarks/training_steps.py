"""Our training steps as the benchmark runs them: the large Conformer of the workload, and the small recipe's."""

import dataclasses
import itertools
import statistics
from collections.abc import Callable, Iterator
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from hybrid_asr.audio.augment import SpecAugment
from hybrid_asr.audio.features import Features
from hybrid_asr.common.memory import keep_freed_memory
from hybrid_asr.config.compose import compose
from hybrid_asr.config.schema import plain
from hybrid_asr.data.dataset import Batch
from hybrid_asr.losses import attention_loss, ctc_feasible, ctc_loss, joint_loss
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.models.conformer import ConformerConfig
from hybrid_asr.models.hybrid import ModelConfig, build_model
from hybrid_asr.models.transformer_decoder import TransformerDecoderConfig
from hybrid_asr.nn import cpu, onednn
from hybrid_asr.run.config import RunConfig
from hybrid_asr.text.tokenizer import train_tokenizer
from hybrid_asr.training.module import batch_loss, host_frames
from hybrid_asr.training.optim import build_optimizer
from tools.benchmarks.sidebyside import timed
from tools.peers.toolkits import Sizes, count


@dataclasses.dataclass(frozen=True)
class Variant:
    """How a step runs. The first three are the toolkit's remedies, the rest is the model and what else can be tried."""

    onednn: bool = True
    keep_memory: bool = True
    byte_masks: bool = True
    bf16: bool = False
    relative: bool = False
    channels: int = 256
    fused_adamw: bool = True
    compiled: bool = (
        False  # with changing shapes Inductor 2.13 fails on a CPU: "cannot determine truth value of 1 < s66"
    )
    one_shape: bool = False
    dropout: bool = True

    def settle(self) -> None:
        """Make this process what the variant says; for good."""
        if self.keep_memory:
            keep_freed_memory()
        if not self.onednn:
            mock.patch.object(onednn, "onednn_is_faster", lambda: False).start()
        if not self.byte_masks:
            mock.patch.object(cpu.Dropout, "forward", _torch_dropout).start()


def _torch_dropout(self: cpu.Dropout, values: Tensor) -> Tensor:
    return nn.functional.dropout(values, self.p, self.training)


SAME = Variant(relative=True)
LARGE = {
    "same layers": SAME,
    "same layers, products by MKL": dataclasses.replace(SAME, onednn=False),
    "same layers, memory given back": dataclasses.replace(SAME, keep_memory=False),
    "same layers, nn.Dropout": dataclasses.replace(SAME, byte_masks=False),
    "same layers, without all three": dataclasses.replace(SAME, onednn=False, keep_memory=False, byte_masks=False),
    "same layers, bf16": dataclasses.replace(SAME, bf16=True),
    "rotary positions, layer norm": Variant(),
    "conformer_m": Variant(channels=64),
    "conformer_m, bf16": Variant(channels=64, bf16=True),
}
PLAIN = Variant(onednn=False, keep_memory=False, byte_masks=False, fused_adamw=False)
SMALL = {
    "plain (MKL, nn.Dropout, AdamW by tensor)": PLAIN,
    "plain + products by oneDNN": dataclasses.replace(PLAIN, onednn=True),
    "plain + memory kept": dataclasses.replace(PLAIN, keep_memory=True),
    "plain + masks of bytes": dataclasses.replace(PLAIN, byte_masks=True),
    "plain + fused AdamW": dataclasses.replace(PLAIN, fused_adamw=True),
    "all remedies": Variant(),
    "all, without dropout": Variant(dropout=False),
    "all, bf16": Variant(bf16=True),
    "all, one shape": Variant(one_shape=True),
    "all, one shape, torch.compile": Variant(one_shape=True, compiled=True),
}


class LargeStep:
    """The workload's model in our layers."""

    def __init__(self, variant: Variant, sizes: Sizes):
        rate, relative = sizes.dropout, variant.relative
        inner = rate if relative else 0.0  # the peers' attention weights have dropout, our presets' have none
        encoder = ConformerConfig(
            dim=sizes.dim,
            layers=sizes.layers,
            heads=sizes.heads,
            feed_forward=sizes.feed_forward,
            kernel=sizes.kernel,
            channels=variant.channels,
            dropout=rate,
            attention_dropout=inner,
            positions="relative" if relative else "rotary",
            norm="batch" if relative else "layer",
        )
        decoder = TransformerDecoderConfig(
            dim=sizes.dim,
            layers=sizes.decoder_layers,
            heads=sizes.heads,
            feed_forward=sizes.feed_forward,
            dropout=rate,
            attention_dropout=inner,
        )
        self.sizes, self.bf16 = sizes, variant.bf16
        self.model = build_model(
            ModelConfig(encoder=encoder, decoder=decoder),
            features=sizes.features,
            vocab_size=sizes.units,
            sos=sizes.units - 1,
            ctc_weight=sizes.ctc_weight,
        ).train()

    def parameters(self) -> int:
        return count(self.model)

    def train_step(self, values: Tensor, frames: Tensor, labels: Tensor, label_lengths: Tensor) -> float:
        """As `Toolkit.train_step`."""
        sizes = self.sizes
        self.model.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            outputs = self.model(Features(values, frames), labels)
            assert outputs.ctc_log_probs is not None and outputs.logits is not None
            ctc = ctc_loss(outputs.ctc_log_probs, outputs.frames, labels, label_lengths, blank=0)
            attention = attention_loss(
                outputs.logits, labels, label_lengths, eos=sizes.units - 1, smoothing=sizes.smoothing
            )
            feasible = ctc_feasible(outputs.frames, labels, label_lengths)
            loss = joint_loss(ctc, attention, feasible, ctc_weight=sizes.ctc_weight).total.mean()
        loss.backward()
        return float(loss.detach())


def build_large(variant: Variant, sizes: Sizes) -> LargeStep:
    """The large step of a variant, in a process that is as the variant says."""
    variant.settle()
    return LargeStep(variant, sizes)


class SmallStep:
    """The step of recipes/an4/conformer_s.yaml on noise with AN4's lengths; each has other shapes, as in training."""

    def __init__(self, variant: Variant):
        variant.settle()
        self.cfg = compose("an4/conformer_s").parse(RunConfig)
        if not variant.dropout:
            overrides = ["model.encoder.dropout=0", "model.decoder.dropout=0"]
            self.cfg = compose("an4/conformer_s", overrides).parse(RunConfig)
        tokenizer = train_tokenizer(self.cfg.tokenizer, ["ABCDEFGHIJKLMNOPQRSTUVWXYZ '"])
        self.bundle = Bundle.build(plain(self.cfg), tokenizer, labels_per_frame=0.0)
        self.model, self.bf16 = self.bundle.model.train(), variant.bf16
        self.forward = torch.compile(self.model, dynamic=False) if variant.compiled else self.model
        self.mask = SpecAugment(self.cfg.augment.spec).train()
        self.optimizer = build_optimizer(self.cfg.optim, self.model)
        if not variant.fused_adamw:
            groups = [
                {name: group[name] for name in ("params", "weight_decay")} for group in self.optimizer.param_groups
            ]
            self.optimizer = torch.optim.AdamW(groups, lr=self.cfg.optim.lr, foreach=False)
        self.batches = itertools.repeat(next(self._batches())) if variant.one_shape else self._batches()

    def run(self) -> float:
        """Ten updates; their mean loss."""
        return statistics.fmean(self._step(next(self.batches)) for _ in range(10))

    def _step(self, batch: Batch) -> float:
        with torch.no_grad():
            features, _ = self.mask(self.bundle.frontend(batch.audio, batch.samples))
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            outputs, frames = self.forward(features, batch.labels), host_frames(self.bundle, batch)
            losses = batch_loss(outputs, batch, self.bundle.tokenizer, self.cfg.loss, host_frames=frames)
        loss = losses.total.sum() / batch.divisor
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.cfg.optim.clip)
        self.optimizer.step()
        return float(loss.detach())

    def _batches(self) -> Iterator[Batch]:
        """Rows of nearly one length that fill the recipe's seconds; 7 labels a second, as in AN4."""
        generator, rate = torch.Generator().manual_seed(1), self.bundle.frontend.rate
        while True:
            longest = 1.0 + 5.0 * float(torch.rand((), generator=generator))
            rows = max(1, int(self.cfg.data.batch_seconds / longest))
            samples = (rate * longest * (1 - 0.1 * torch.rand(rows, generator=generator))).long()
            lengths = (samples / rate * 7).long().clamp(min=1)
            labels = torch.randint(
                2, self.bundle.tokenizer.vocab_size - 1, (rows, int(lengths.max())), generator=generator
            )
            audio = 0.1 * torch.randn(rows, int(samples.max()), generator=generator)
            weights, divisor = torch.ones(rows), float((lengths + 1).sum())
            ids = tuple(str(row) for row in range(rows))
            counts = tuple(samples.tolist()), tuple(lengths.tolist())
            yield Batch(ids, audio, samples, labels, lengths, *counts, weights, divisor, float(samples.sum()) / rate)


def flops(step: LargeStep, batch: tuple[Tensor, Tensor, Tensor, Tensor]) -> int:
    """Floating-point operations of a step's matrix products and convolutions, forward and backward."""
    with mock.patch.object(onednn, "onednn_is_faster", lambda: False), FlopCounterMode(display=False) as counter:
        step.train_step(*batch)
    return counter.get_total_flops()


def products_per_second(*, realtime: bool) -> dict[str, float]:
    """Operations per second of the feed-forward's first product, by each library and precision; medians of 15."""
    rows, inputs, outputs = 1992, 256, 2048
    left, right = torch.randn(rows, inputs), torch.randn(outputs, inputs)
    half = left.bfloat16(), right.bfloat16()
    ways: dict[str, Callable[[], Tensor]] = {
        "MKL": lambda: left @ right.t(),
        "oneDNN": lambda: onednn.linear(left, right),
        "oneDNN in bf16": lambda: half[0] @ half[1].t(),
    }
    seconds = {name: [timed(way, realtime=realtime)[0] for _ in range(18)][3:] for name, way in ways.items()}
    return {name: 2 * rows * inputs * outputs / statistics.median(found) for name, found in seconds.items()}


def profile(step: Callable[[], float], *, realtime: bool, lines: int = 16) -> str:
    """A table of the operations that take most of a step's time, by their own time."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as torch_profile

    for _ in range(3):
        step()
    with torch_profile(activities=[ProfilerActivity.CPU]) as found:
        timed(step, realtime=realtime)
    rows = sorted(found.key_averages(), key=lambda row: -row.self_cpu_time_total)
    total = sum(row.self_cpu_time_total for row in rows)
    return "\n".join(
        f"{row.key:56} {row.count:6} {row.self_cpu_time_total / 1e3:9.1f} ms  {row.self_cpu_time_total / total:6.1%}"
        for row in rows[:lines]
    )
