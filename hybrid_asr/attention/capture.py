"""The weights of every attention in a model, teacher-forced on a given text.

Axes: B utterances, T' encoder frames, H heads, Q queries, K keys, L labels.

An encoder of patches has several keys for each of its T' time steps, one a band of frequency: those of a step are
neighbors, the lowest band first.
"""

import contextlib
from collections.abc import Collection, Iterator
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hybrid_asr.attention.teacher_forcing import teacher_forced
from hybrid_asr.audio.features import Features
from hybrid_asr.models.encoded import Encoded
from hybrid_asr.models.hybrid import HybridModel
from hybrid_asr.nn.attention import CrossAttention, ScaledDotProduct

AttentionKind = Literal["decoder", "encoder", "labels"]
"""The decoder's cross-attention to the encoder's frames, the encoder's self-attention, the decoder's self-attention."""


@runtime_checkable
class HasBands(Protocol):
    """An encoder whose attention goes over time and frequency: `bands` patches in each time step."""

    bands: int


def bands_of(model: HybridModel) -> int:
    """Patches in each time step of the encoder; 1 where its attention is over time alone."""
    return model.encoder.bands if isinstance(model.encoder, HasBands) else 1


class Weights(NamedTuple):
    """The weights of one kind of attention for a batch; each row sums to one over an utterance's real keys.

    A query that is padding, and a row behind the end of a text, mean nothing.
    """

    of: AttentionKind
    layers: dict[int, Float[Tensor, "batch heads queries keys"]]  # those that were asked for, by number, the first is 0
    layer_count: int  # layers of this kind that the model has
    bands: int  # keys of one time step


@contextlib.contextmanager
def record_weights(
    modules: Collection[ScaledDotProduct], passes: Collection[int] | None = None
) -> Iterator[list[Tensor | None]]:
    """While the block runs, each forward pass of one of `modules` appends its weights (B, H, Q, K) to the list.

    Passes that are not among `passes`, where these are given, append None. The weights are computed a second time by a
    forward hook, so that a model costs nothing more where they are not recorded. They are those without dropout.
    """
    recorded: list[Tensor | None] = []

    def record(module: ScaledDotProduct, arguments: tuple[Any, ...], keywords: dict[str, Any], _: Tensor) -> None:
        wanted = passes is None or len(recorded) in passes
        with torch.no_grad():
            recorded.append(module.weights(*arguments, **keywords) if wanted else None)

    with contextlib.ExitStack() as hooks:
        for module in modules:
            hooks.callback(module.register_forward_hook(record, with_kwargs=True).remove)
        yield recorded


def self_attention_modules(model: HybridModel, of: Literal["encoder", "labels"]) -> list[ScaledDotProduct]:
    """The modules that compute self-attention in the encoder, or over the labels in the decoder."""
    part = model.encoder if of == "encoder" else model.decoder
    if not isinstance(part, nn.Module):
        return []
    cross = {id(module.kernel) for module in part.modules() if isinstance(module, CrossAttention)}
    return [module for module in part.modules() if isinstance(module, ScaledDotProduct) and id(module) not in cross]


def attention_kinds(model: HybridModel) -> list[AttentionKind]:
    """The kinds of attention that a model has, cross-attention first."""
    cross: list[AttentionKind] = [] if model.decoder is None else ["decoder"]
    own: tuple[Literal["encoder", "labels"], ...] = ("encoder", "labels")
    return [*cross, *(of for of in own if self_attention_modules(model, of))]


@torch.no_grad()
def compute_weights(
    model: HybridModel,
    features: Features,
    encoded: Encoded,
    labels: Int[Tensor, "batch labels"],
    *,
    sos: int,
    of: AttentionKind,
    layers: Collection[int] | None = None,
) -> Weights:
    """The weights of one kind of attention, teacher-forced on `labels`, of some layers or of all.

    `encoded` are the encoder's states of `features`; only the encoder's own attention encodes them once more. The model
    must have this kind (see `attention_kinds`); layers that it does not have are left out.
    """
    assert not model.training, "dropout would act: call eval() first"
    assert of in attention_kinds(model), f"the model has no attention of the kind '{of}'"
    if of == "decoder":
        assert model.decoder is not None
        rows = teacher_forced(model.decoder, encoded, labels, sos=sos)
        wanted = [number for number in range(rows.shape[1]) if layers is None or number in layers]
        return Weights(of, {number: rows[:, number] for number in wanted}, rows.shape[1], 1)
    with record_weights(self_attention_modules(model, of), layers) as recorded:
        if of == "encoder":
            model.encode(features)
        elif model.decoder is not None:
            model.decoder(encoded, labels)
    bands = bands_of(model) if of == "encoder" else 1
    kept = {number: weights for number, weights in enumerate(recorded) if weights is not None}
    return Weights(of, kept, len(recorded), bands)


def over_time(weights: Float[Tensor, "heads queries keys"], bands: int) -> Float[Tensor, "heads query_steps key_steps"]:
    """From time step to time step: summed over the bands of the keys, the mean over those of the queries."""
    return _grid(weights, bands).sum(4).mean(2)


def over_frequency(
    weights: Float[Tensor, "heads queries keys"], bands: int
) -> Float[Tensor, "heads query_bands key_bands"]:
    """From band to band: summed over the time steps of the keys, the mean over those of the queries."""
    return _grid(weights, bands).sum(3).mean(1)


def _grid(weights: Tensor, bands: int) -> Tensor:
    """(H, Q, K) to (H, time, bands, time, bands)."""
    return weights.unflatten(2, (-1, bands)).unflatten(1, (-1, bands))
