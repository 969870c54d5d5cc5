"""One update on a batch of a given shape, really done: forward, backward, optimizer; how much memory and time it took.

On a CPU it is done by a process of its own, so that the peak is that of this update, and that a system which kills for
memory does not kill the search.
"""

import multiprocessing.connection
import time
from multiprocessing.context import ForkServerContext
from typing import NamedTuple

import torch
from torch import Tensor

from hybrid_asr.audio.features import GlobalStatistics
from hybrid_asr.commands.probe_search import Outcome
from hybrid_asr.commands.training_model import build_module, untrained_bundle
from hybrid_asr.common.errors import UserError
from hybrid_asr.common.memory import held_bytes, keep_freed_memory, limited_memory, measure_peak, release_unused
from hybrid_asr.data.dataset import Batch
from hybrid_asr.inference.out_of_memory import is_out_of_memory
from hybrid_asr.run.config import RunConfig
from hybrid_asr.text.tokenizer import Tokenizer
from hybrid_asr.training.module import SpeechModule
from hybrid_asr.training.optim import build_optimizer

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Shape(NamedTuple):
    """A batch of equal rows: how many, their seconds, their labels; a CPU works on `threads` (0: torch's choice)."""

    rows: int
    seconds: float
    labels: int
    threads: int = 0


def try_shape(
    cfg: RunConfig, tokenizer: Tokenizer, shape: Shape, device: torch.device, *, limit: int, timeout_s: float
) -> Outcome | None:
    """Do an update on `device`; None where memory ran out, `limit` bytes on a CPU, or time, `timeout_s` there.

    Raises UserError with what went wrong otherwise.
    """
    if device.type == "cuda":
        try:
            return measure_update(cfg, tokenizer, shape, device)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            del error
        finally:
            release_unused()
        return None
    context = ForkServerContext()
    context.set_forkserver_preload(["hybrid_asr.commands.probe_trial"])
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_in_child, args=(there, cfg, tokenizer, shape, limit), daemon=True)
    child.start()
    there.close()
    try:
        answer = here.recv() if here.poll(timeout_s) else None
    except EOFError:
        child.join()
        killed = (child.exitcode or 0) < 0  # as the system does where memory runs out
        answer = None if killed else f"its process ended with status {child.exitcode}"
    finally:
        child.kill()
        child.join()
        here.close()
    if isinstance(answer, str):
        raise UserError(f"an update of {shape.rows} rows of {shape.seconds:.1f} s failed: {answer}")
    return answer


def _in_child(
    answer: multiprocessing.connection.Connection, cfg: RunConfig, tokenizer: Tokenizer, shape: Shape, limit: int
) -> None:
    keep_freed_memory()
    if shape.threads:
        torch.set_num_threads(shape.threads)
    try:
        with limited_memory(limit):
            result = measure_update(cfg, tokenizer, shape, torch.device("cpu"))
    except (RuntimeError, MemoryError) as error:
        result = None if is_out_of_memory(error) else f"{type(error).__name__}: {error}"
    answer.send(result)


def measure_update(cfg: RunConfig, tokenizer: Tokenizer, shape: Shape, device: torch.device) -> Outcome:
    """The peak of memory and the seconds of the second of two updates, whose gradients are those of the first, too.

    So it holds what a step of an accumulating training holds: weights, the optimizer's state, gradients, activations.
    Where several processes train, the buckets of gradients that they exchange come on top.
    """
    bundle = untrained_bundle(cfg, tokenizer)
    batch = _batch(shape, bundle.frontend.rate, tokenizer)
    if cfg.features.cmvn == "global":
        statistics = GlobalStatistics(bundle.frontend.width)
        statistics.add(bundle.frontend.raw(batch.audio[:1], batch.samples[:1]))
        bundle.frontend.set_global(statistics)
    module = build_module(cfg, bundle, steps_per_epoch=1).to(device)
    optimizer = build_optimizer(cfg.optim, module.model)
    batch = batch.to(device, non_blocking=False)

    def update() -> float:
        _update(module, batch, cfg, optimizer)
        begin = time.perf_counter()
        _update(module, batch, cfg, optimizer)
        return time.perf_counter() - begin

    seconds, peak = measure_peak(device, update)
    if peak is None:
        peak = held_bytes(device) or 0
    exchanged = sum(weight.numel() * 4 for weight in module.model.parameters() if weight.requires_grad)
    return Outcome(peak + (exchanged if cfg.trainer.processes() > 1 else 0), seconds)


def _update(module: SpeechModule, batch: Batch, cfg: RunConfig, optimizer: torch.optim.Optimizer) -> None:
    dtype, device = _AUTOCAST.get(cfg.trainer.precision), batch.audio.device
    with torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None):
        losses, _ = module.losses(batch, step=0, part=0, rank=0)
    (losses.total * batch.weights).sum().div(batch.divisor).backward()
    torch.nn.utils.clip_grad_norm_(module.model.parameters(), cfg.optim.clip)
    optimizer.step()
    _wait(losses.total)


def _wait(result: Tensor) -> None:
    """Let a GPU finish, so that time is that of the work."""
    if result.device.type == "cuda":
        torch.cuda.synchronize(result.device)


def _batch(shape: Shape, rate: int, tokenizer: Tokenizer) -> Batch:
    """Noise and labels drawn at random: how much memory they take does not depend on what they say."""
    samples = max(1, round(shape.seconds * rate))
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, tokenizer.vocab_size, (shape.rows, shape.labels), generator=generator)
    special = torch.isin(labels, torch.tensor([tokenizer.blank, tokenizer.sos, tokenizer.eos]))
    return Batch(
        ids=tuple(map(str, range(shape.rows))),
        audio=0.1 * torch.randn(shape.rows, samples, generator=generator),
        samples=torch.full((shape.rows,), samples),
        labels=torch.where(special, tokenizer.unk, labels),
        label_lengths=torch.full((shape.rows,), shape.labels),
        host_samples=(samples,) * shape.rows,
        host_label_lengths=(shape.labels,) * shape.rows,
        weights=torch.ones(shape.rows),
        divisor=float(shape.rows * (shape.labels + 1)),
        seconds=shape.rows * shape.seconds,
    )
