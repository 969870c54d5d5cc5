"""Checks on random numbers of the contract that every encoder and decoder keeps; a plugin that fails is refused.

Axes: B utterances, T' encoder frames, L labels, V vocabulary.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from hybrid_asr.audio.features import Features
from hybrid_asr.models.encoded import Encoded
from hybrid_asr.models.plugin import PluginError, plugin_errors

LONG = (400, 1601)  # lengths of features as of usual audio, at which output_length is checked as well
MOST_FRAMES = 400  # of features: within them a first encoder frame must come, or nothing short can be recognized
TOLERANCE = 1e-3  # of the largest number: float32 rounds otherwise in a batch, a leak of padding is much larger
_DECODER = ("start", "step", "reorder", "keep")


def check_encoder(encoder: nn.Module, features: int, label: str) -> None:
    """Try `encoder` on short utterances of various lengths, in evaluation mode.

    Raises PluginError, which begins with `label`, where an attribute is missing, `output_length` is not what comes out,
    or padding changes an utterance. On the device "meta" only the attributes can be checked.
    """
    for name in ("width", "stride"):
        value = _attribute(encoder, name, label)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise PluginError(f"{label}: '{name}' is {value!r}; it must be a whole number of 1 or more")
    if not callable(_attribute(encoder, "output_length", label)):
        raise PluginError(f"{label}: 'output_length' must be a method, from feature frames to encoder frames")
    with plugin_errors(label, "fails in output_length"):
        lengths = _trial_lengths(encoder, label)
    if torch.get_default_device().type != "meta":
        with _evaluating(encoder), torch.no_grad(), plugin_errors(label, "fails on random features"):
            _try_encoder(encoder, lengths, features, label)


def check_decoder(decoder: nn.Module, *, memory_dim: int, vocab_size: int, sos: int, label: str) -> None:
    """Try `decoder` on random states: log probabilities of a known text at once must equal those step by step, also
    after rows were reordered or dropped.

    Raises PluginError, which begins with `label`. On the device "meta" only the methods can be checked.
    """
    lacking = [name for name in _DECODER if not callable(getattr(decoder, name, None))]
    if lacking:
        raise PluginError(
            f"{label}: it lacks {', '.join(lacking)}, without which nothing can be searched; "
            "write them as hybrid_asr.models.decoder.Decoder describes"
        )
    if torch.get_default_device().type != "meta":
        with _evaluating(decoder), torch.no_grad(), plugin_errors(label, "fails on random encoder states"):
            _try_decoder(decoder, memory_dim, vocab_size, sos, label)


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Put the module into evaluation mode in this context; afterwards each of its parts is in its former mode."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def _attribute(module: nn.Module, name: str, label: str) -> Any:
    try:
        return getattr(module, name)
    except AttributeError:
        raise PluginError(
            f"{label}: it has no '{name}'; an encoder has width, stride and output_length, "
            "see hybrid_asr.models.encoder.Encoder"
        ) from None


def _trial_lengths(encoder: Any, label: str) -> list[int]:
    """Lengths about where the first encoder frames come, and one that is too short, once they make sense at all."""
    counts = [encoder.output_length(frames) for frames in range(MOST_FRAMES + 1)]
    wrong = [n for n, count in enumerate(counts) if isinstance(count, bool) or not isinstance(count, int) or count < 0]
    if wrong:
        raise PluginError(
            f"{label}: output_length({wrong[0]}) is {counts[wrong[0]]!r}; it must be a whole number of 0 or more"
        )
    falls = [n for n, (count, following) in enumerate(pairwise(counts)) if following < count]
    if falls or counts[0] != 0 or counts[-1] == 0:
        n = falls[0] if falls else 0
        shown = f"{counts[n]} for {n} frames, {counts[n + 1]} for {n + 1}, {counts[-1]} for {MOST_FRAMES}"
        raise PluginError(
            f"{label}: output_length is {shown}; it must begin with 0 for 0, never fall, and rise within these"
        )
    first, stride = next(n for n, count in enumerate(counts) if count), encoder.stride
    for n in range(first, MOST_FRAMES + 1 - stride):
        if counts[n + stride] != counts[n] + 1:
            raise PluginError(
                f"{label}: 'stride' is {stride}, but output_length is {counts[n]} for {n} feature frames and "
                f"{counts[n + stride]} for {stride} more, not {counts[n] + 1}; correct one of the two"
            )
    return [first + 6 * stride + 1, first, first + stride, first + 2 * stride + stride // 2, first - 1]


def _try_encoder(encoder: Any, lengths: list[int], features: int, label: str) -> None:
    values = torch.randn(len(lengths), max(lengths), features, generator=torch.Generator().manual_seed(1))
    for row, frames in enumerate(lengths):
        values[row, frames:] = 0  # as features are behind the real frames
    together = _encoded(encoder, values, lengths, label)
    for row, frames in enumerate(lengths):
        if count := _refuse_other_length(encoder, frames, together.frames[row], label):
            alone = _encoded(encoder, values[row : row + 1, :frames], [frames], label).states[0, :count]
            _refuse_leak(alone, together.states[row, :count], f"{frames} feature frames", f"{max(lengths)}", label)

    for frames in LONG:
        encoded = _encoded(encoder, values[:1, :1].expand(1, frames, features), [frames], label)
        _refuse_other_length(encoder, frames, encoded.frames[0], label)


def _refuse_other_length(encoder: Any, frames: int, computed: Tensor, label: str) -> int:
    """`output_length` of a number of feature frames; raises PluginError if another number was computed."""
    expected = encoder.output_length(frames)
    if expected != int(computed):
        raise PluginError(
            f"{label}: of {frames} feature frames come {int(computed)} encoder frames, output_length({frames}) says "
            f"{expected}; correct output_length: the batches of an epoch and the bounds of a search depend on it"
        )
    return expected


def _encoded(encoder: Any, values: Tensor, lengths: list[int], label: str) -> Encoded:
    """The encoder's output; raises PluginError if its type or shape is wrong."""
    encoded = encoder(Features(values, torch.tensor(lengths)))
    if not isinstance(encoded, Encoded):
        kind = type(encoded).__name__
        raise PluginError(f"{label}: it gives a {kind}; let it give hybrid_asr.models.encoded.Encoded(states, frames)")
    states, frames = encoded
    needs = max(encoder.output_length(length) for length in lengths)
    fits = states.ndim == 3 and states.shape[::2] == (len(values), encoder.width) and states.shape[1] >= needs
    if not fits or frames.shape != (len(values),) or frames.is_floating_point():
        raise PluginError(
            f"{label}: states are {tuple(states.shape)} and frames {tuple(frames.shape)} of {frames.dtype}; for "
            f"{len(values)} utterances they must be ({len(values)}, {needs}, {encoder.width}), by output_length and "
            f"width, and ({len(values)},), whole numbers"
        )
    return encoded


def _try_decoder(decoder: Any, memory_dim: int, vocab_size: int, sos: int, label: str) -> None:
    generator = torch.Generator().manual_seed(1)
    frames = torch.tensor([9, 4])
    states = torch.randn(2, 9, memory_dim, generator=generator)
    states[1, 4:] = 0
    labels = torch.randint(0, vocab_size, (4, 3), generator=generator)  # two texts for each utterance
    logits = decoder(Encoded(states, frames), labels)
    if logits.shape != (4, 4, vocab_size):
        raise PluginError(
            f"{label}: for 4 texts of 3 labels of a vocabulary of {vocab_size}, two for each of 2 utterances, its "
            f"logits are {tuple(logits.shape)}; they must be (4, 4, {vocab_size}): one more than labels, for the end"
        )
    known = logits.log_softmax(-1)
    alone = decoder(Encoded(states[1:, :4], frames[1:]), labels[2:]).log_softmax(-1)
    _refuse_leak(alone, known[2:], "4 encoder frames", "9", label)
    state = decoder.start(Encoded(states, frames), 2)
    rows, last = torch.arange(4), torch.full((4,), sos)
    for step in range(4):
        attention = decoder.step(state, last, weights="all").attention
        if not isinstance(attention, Tensor) or attention.ndim != 4 or attention.shape[1::2] != (len(rows), 9):
            shape = tuple(attention.shape) if isinstance(attention, Tensor) else attention
            raise PluginError(
                f"{label}: step with weights='all' gives the attention {shape}; for {len(rows)} hypotheses and 9 "
                f"encoder frames it must be (layers, {len(rows)}, heads, 9), even where a head attends to nothing"
            )
        _refuse_weights(attention, frames[rows // 2], label)
        log_probs, state, _ = decoder.step(state, last)
        _refuse_steps(log_probs, known[rows, step], step, label)
        if step == 1:  # hypotheses of an utterance are swapped and one is copied, then the first utterance leaves
            rows = rows[[1, 0, 3, 3]]
            state = decoder.reorder(state, torch.tensor([1, 0, 3, 3]))
        if step == 2:
            rows, state = rows[2:], decoder.keep(state, torch.tensor([1]))
        last = labels[rows, min(step, 2)]


def _refuse_weights(attention: Tensor, frames: Tensor, label: str) -> None:
    """Attention of each head sums to one over an utterance's real frames, or to zero; all else is refused."""
    sums, behind = attention.sum(-1), attention * (torch.arange(attention.shape[-1]) >= frames[:, None])[:, None]
    normalized = ((sums - 1).abs() <= TOLERANCE) | (sums.abs() <= TOLERANCE)
    if not (normalized.all() and (attention >= -TOLERANCE).all() and (behind.abs() <= TOLERANCE).all()):
        raise PluginError(
            f"{label}: step with weights='all' gives weights from {attention.min():.2g} to {attention.max():.2g} "
            f"whose sums lie between {sums.min():.2g} and {sums.max():.2g}; they must be 0 or more, sum to 1 over the "
            "real frames (or to 0, of a head that attends to nothing), and be 0 behind them"
        )


def _refuse_steps(log_probs: Tensor, expected: Tensor, step: int, label: str) -> None:
    if log_probs.shape != expected.shape:
        raise PluginError(f"{label}: step gives {tuple(log_probs.shape)}; it must give {tuple(expected.shape)}")
    if not _near(log_probs, expected):
        after = {2: " after reorder", 3: " after keep"}.get(step, "")
        raise PluginError(
            f"{label}: step {step + 1}{after} differs from the whole text at once by up to "
            f"{(log_probs - expected).abs().max():.2g} nats; a search would rank by other numbers than were trained"
        )


def _refuse_leak(alone: Tensor, beside: Tensor, what: str, wide: str, label: str) -> None:
    if not (beside.isfinite().all() and alone.isfinite().all()):
        raise PluginError(
            f"{label}: its output for {what} is not finite, though the input has the range of ordinary speech"
        )
    if not _near(beside, alone):
        raise PluginError(
            f"{label}: its output for {what} changes by up to {(beside - alone).abs().max():.2g} where they are "
            f"padded to {wide}, so that results depend on an utterance's neighbors; mask what follows the real "
            "frames (hybrid_asr.common.masks.valid_mask)"
        )


def _near(actual: Tensor, expected: Tensor) -> bool:
    """Equal but for rounding; nothing is near a number that is not finite."""
    return bool(((actual - expected).abs() <= TOLERANCE * expected.abs().max().clamp(min=1e-6)).all())
