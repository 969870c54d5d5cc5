"""The Transformer decoder.  Axes: B utterances, L labels, N hypotheses, T' frames, H heads, D width, V vocabulary."""

from collections.abc import Iterator
from typing import Annotated, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from hybrid_asr.common.masks import valid_mask
from hybrid_asr.config.schema import config
from hybrid_asr.models.decoder_step import StepOutput, log_softmax
from hybrid_asr.models.encoded import Encoded
from hybrid_asr.models.settings import AttentionSettings
from hybrid_asr.nn.attention import CrossAttention, KeysValues, SelfAttention, attention_weights
from hybrid_asr.nn.cpu import Dropout, Linear
from hybrid_asr.nn.feed_forward import FeedForward
from hybrid_asr.nn.kv_cache import KVCache
from hybrid_asr.nn.positions import sinusoids

MORE_POSITIONS = 128  # the table of positions begins with so many, and doubles


@config
class TransformerDecoderConfig(AttentionSettings):
    """Sizes of a Transformer decoder; `norm_eps: 1e-12` is ESPnet's."""

    # as in TransformerSizes: a shared base would move `kind` behind the other keys in saved configurations
    kind: Literal["transformer"] = "transformer"
    dim: Annotated[int, Field(gt=0)]
    layers: Annotated[int, Field(gt=0, le=1000)]
    heads: Annotated[int, Field(gt=0)]
    feed_forward: Annotated[int, Field(gt=0)]
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    attention_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    norm_eps: Annotated[float, Field(gt=0, le=1e-3)] = 1e-5

    def __post_init__(self) -> None:
        if self.dim % self.heads or self.dim % 2:
            raise ValueError(
                f"dim {self.dim} must be a multiple of heads {self.heads}, and even: sine and cosine make pairs"
            )


class TransformerState(NamedTuple):
    """The decoder's state between steps: each layer's keys and values of the encoder, and the cache of the labels."""

    memory: list[KeysValues]  # (U, H, T', D/H), one per layer
    memory_bias: Float[Tensor, "utterances 1 1 time"] | None  # 0 at real frames, elsewhere -inf; None without padding
    kv_cache: KVCache
    positions: Float[Tensor, "positions dim"]  # the table of the first steps; it grows
    steps: int


class TransformerDecoderLayer(nn.Module):
    """Self-attention over the labels so far, attention over the encoder states, feed-forward, each behind a norm."""

    def __init__(self, cfg: TransformerDecoderConfig, memory_dim: int) -> None:
        super().__init__()
        self.self_attention = SelfAttention(cfg.dim, cfg.heads, dropout=cfg.attention_dropout)
        self.cross_attention = CrossAttention(cfg.dim, memory_dim, cfg.heads, dropout=cfg.attention_dropout)
        self.feed_forward = FeedForward(cfg.dim, cfg.feed_forward, dropout=cfg.dropout, activation="relu")
        self.norms = nn.ModuleList(nn.LayerNorm(cfg.dim, eps=cfg.norm_eps) for _ in range(3))
        self.dropout = Dropout(cfg.dropout)

    def forward(self, x: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """All steps at once, as in training; `mask` is True at the real frames of `states`."""
        x = x + self.dropout(self.self_attention(self.norms[0](x), None, causal=True))
        queries = self.norms[1](x).view(len(states), -1, x.shape[2])  # all labelings of an utterance in one row
        x = x + self.dropout(self.cross_attention(queries, self.cross_attention.memory(states), mask).view_as(x))
        return x + self.dropout(self.feed_forward(self.norms[2](x)))

    def step(
        self, x: Tensor, cache: KVCache, layer: int, memory: KeysValues, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """One step (U, K, D), all hypotheses of an utterance at once; returns its output and the cross queries."""
        roles = self.self_attention.roles(self.norms[0](x))
        x = x + self.self_attention.mix(roles[0], cache.write(layer, roles[1:]), cache.bias[:, None])
        cross_queries = self.cross_attention.queries(self.norms[1](x))
        x = x + self.cross_attention.mix(cross_queries, memory, bias)
        return x + self.feed_forward(self.norms[2](x)), cross_queries


class Layers(nn.ModuleList):
    """A ModuleList typed by what it holds."""

    def __iter__(self) -> Iterator[TransformerDecoderLayer]:  # type: ignore[override]
        return super().__iter__()  # type: ignore[return-value]


class TransformerDecoder(nn.Module):
    """Autoregressive decoder with attention over the encoder states (Vaswani et al., 2017; Dong et al., 2018)."""

    def __init__(self, cfg: TransformerDecoderConfig, memory_dim: int, vocab_size: int, sos: int) -> None:
        super().__init__()
        self.width, self.sos = cfg.dim, sos
        self.embedding = nn.Embedding(vocab_size, cfg.dim)
        nn.init.normal_(self.embedding.weight, std=cfg.dim**-0.5)  # times sqrt(dim) below: as large as the positions
        self.dropout = Dropout(cfg.dropout)
        self.layers = Layers(TransformerDecoderLayer(cfg, memory_dim) for _ in range(cfg.layers))
        self.norm = nn.LayerNorm(cfg.dim, eps=cfg.norm_eps)
        self.output = Linear(cfg.dim, vocab_size)

    def forward(self, encoded: Encoded, labels: Int[Tensor, "rows labels"]) -> Float[Tensor, "rows labels+1 vocab"]:
        """Logits of every label and of the end, given the true labels before it; padding on the right has no effect.

        There may be K labelings of each utterance: row n belongs to utterance n // K.
        """
        inputs = nn.functional.pad(labels, (1, 0), value=self.sos)  # (B, L + 1)
        x = self.dropout(self._embed(inputs, self._positions(inputs.shape[1])))
        mask = valid_mask(encoded.frames, encoded.states.shape[1])[:, None, None]
        for layer in self.layers:
            x = layer(x, encoded.states, mask)
        return self.output(self.norm(x))

    def start(self, encoded: Encoded, beams: int) -> TransformerState:
        """No labels yet: `beams` hypotheses for each utterance, hypothesis n belongs to utterance n // beams.

        The encoder states are projected here, once, for all layers, steps and hypotheses.
        """
        memory = [layer.cross_attention.memory(encoded.states) for layer in self.layers]
        like = memory[0].keys
        utterances, heads, time, width = like.shape
        padded = ~valid_mask(encoded.frames, time)[:, None, None]
        bias = like.new_zeros(padded.shape).masked_fill_(padded, -torch.inf) if padded.any() else None
        cache = KVCache.empty(len(memory), utterances, beams, heads=heads, width=width, like=like)
        return TransformerState(memory, bias, cache, self._positions(MORE_POSITIONS), 0)

    def step(
        self, state: TransformerState, last: Int[Tensor, " hyps"], *, weights: Literal["none", "all"] = "none"
    ) -> StepOutput:
        """Log probabilities of the next label of every hypothesis whose last label is `last` (sos at first)."""
        cache, table, steps = state.kv_cache.grow(), state.positions, state.steps
        if steps == len(table):
            table = self._positions(2 * steps)
        x = self._embed(last.view(cache.bias.shape[:2]), table[steps])
        attention = []
        for index, (layer, memory) in enumerate(zip(self.layers, state.memory, strict=True)):
            x, queries = layer.step(x, cache, index, memory, state.memory_bias)
            if weights == "all":
                real = None if state.memory_bias is None else state.memory_bias == 0.0
                attention.append(attention_weights(queries, memory.keys, real).transpose(1, 2).flatten(0, 1))
        log_probs = log_softmax(self.output(self.norm(x)).flatten(0, 1))
        after = TransformerState(state.memory, state.memory_bias, cache, table, steps + 1)
        return StepOutput(log_probs, after, torch.stack(attention) if attention else None)

    def reorder(self, state: TransformerState, parents: Int[Tensor, " kept"]) -> TransformerState:
        """Continue with the hypotheses `parents`, equally many of each utterance; a parent may occur several times."""
        return state._replace(kv_cache=state.kv_cache.reorder(parents))

    def keep(self, state: TransformerState, utterances: Int[Tensor, " live"]) -> TransformerState:
        """Drop all utterances but `utterances`, with their hypotheses; the rest are in that order."""
        memory = [KeysValues(*(part[utterances] for part in pair)) for pair in state.memory]
        bias = None if state.memory_bias is None else state.memory_bias[utterances]
        return TransformerState(memory, bias, state.kv_cache.keep(utterances), state.positions, state.steps)

    def _embed(
        self, labels: Int[Tensor, "rows labels"], positions: Float[Tensor, "*labels dim"]
    ) -> Float[Tensor, "rows labels dim"]:
        """Embedding times sqrt(D) plus the positions, one for each label or one for all."""
        return self.embedding(labels) * self.width**0.5 + positions

    def _positions(self, count: int) -> Float[Tensor, "{count} dim"]:
        """The table of the first positions."""
        return sinusoids(count, self.width, self.embedding.weight)
