"""The Transformer decoder.  Axes: B utterances, L labels, N hypotheses, T' frames, H heads, D width, V units."""

from collections.abc import Iterator
from typing import Annotated, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from hybrid_asr.config.schema import config
from hybrid_asr.lengths import valid_mask
from hybrid_asr.models.encoded import Encoded
from hybrid_asr.nn.attention import CrossAttention, KeysValues, SelfAttention, attention_weights
from hybrid_asr.nn.dropout import Dropout
from hybrid_asr.nn.feed_forward import FeedForward
from hybrid_asr.nn.linear import Linear
from hybrid_asr.nn.positions import sinusoids


@config
class TransformerDecoderConfig:
    """Sizes of a Transformer decoder."""

    kind: Literal["transformer"] = "transformer"
    dim: Annotated[int, Field(gt=0)]
    layers: Annotated[int, Field(gt=0, le=1000)]
    heads: Annotated[int, Field(gt=0)]
    feed_forward: Annotated[int, Field(gt=0)]
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    attention_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def __post_init__(self):
        if self.dim % self.heads or self.dim % 2:
            raise ValueError(
                f"dim {self.dim} must be a multiple of heads {self.heads}, and even: sine and cosine make pairs"
            )


class TransformerState(NamedTuple):
    """What a decoder remembers between steps: of each layer the encoder's keys and values and the labels' so far."""

    memory: list[KeysValues]  # (B, H, T', D/H), one per layer
    past: list[KeysValues]  # (N, H, steps, D/H), one per layer
    frames: Int[Tensor, " batch"]
    owner: Int[Tensor, " hyps"]  # the utterance of each hypothesis


class StepOutput(NamedTuple):
    """One step for all hypotheses; `attention` holds the cross-attention of every layer where it was asked for."""

    log_probs: Float[Tensor, "hyps units"]
    state: TransformerState
    attention: Float[Tensor, "layers hyps heads time"] | None


class TransformerDecoderLayer(nn.Module):
    """Self-attention over the labels so far, attention over the encoder states, feed-forward, each behind a norm."""

    def __init__(self, cfg: TransformerDecoderConfig, memory_dim: int):
        super().__init__()
        self.self_attention = SelfAttention(cfg.dim, cfg.heads, dropout=cfg.attention_dropout)
        self.cross_attention = CrossAttention(cfg.dim, memory_dim, cfg.heads, dropout=cfg.attention_dropout)
        self.feed_forward = FeedForward(cfg.dim, cfg.feed_forward, dropout=cfg.dropout, activation="relu")
        self.norms = nn.ModuleList(nn.LayerNorm(cfg.dim) for _ in range(3))
        self.dropout = Dropout(cfg.dropout)

    def forward(self, x: Tensor, states: Tensor, look: Tensor) -> Tensor:
        """All steps at once, as in training."""
        x = x + self.dropout(self.self_attention(self.norms[0](x), None, causal=True))
        x = x + self.dropout(self.cross_attention(self.norms[1](x), self.cross_attention.memory(states), look))
        return x + self.dropout(self.feed_forward(self.norms[2](x)))

    def step(self, x: Tensor, past: KeysValues, memory: KeysValues, look: Tensor) -> tuple[Tensor, KeysValues, Tensor]:
        """One step (N, 1, D); returns its output, the longer past, and the queries that went to the encoder states."""
        queries, new = self.self_attention.queries_keys_values(self.norms[0](x))
        past = KeysValues(*(torch.cat(pair, dim=2) for pair in zip(past, new, strict=True)))
        x = x + self.self_attention.mix(queries, past, None)
        asked = self.norms[1](x)
        x = x + self.cross_attention(asked, memory, look)
        return x + self.feed_forward(self.norms[2](x)), past, asked


class Layers(nn.ModuleList):
    """A ModuleList that tells what it holds."""

    def __iter__(self) -> Iterator[TransformerDecoderLayer]:  # type: ignore[override]
        return super().__iter__()  # type: ignore[return-value]


class TransformerDecoder(nn.Module):
    """Autoregressive decoder with attention over the encoder states (Vaswani et al., 2017; Dong et al., 2018)."""

    def __init__(self, cfg: TransformerDecoderConfig, memory_dim: int, units: int, sos: int):
        super().__init__()
        self.width, self.sos = cfg.dim, sos
        self.embedding = nn.Embedding(units, cfg.dim)
        nn.init.normal_(self.embedding.weight, std=cfg.dim**-0.5)  # times sqrt(dim) below: as large as the positions
        self.dropout = Dropout(cfg.dropout)
        self.layers = Layers(TransformerDecoderLayer(cfg, memory_dim) for _ in range(cfg.layers))
        self.norm = nn.LayerNorm(cfg.dim)
        self.output = Linear(cfg.dim, units)

    def forward(self, encoded: Encoded, labels: Int[Tensor, "batch labels"]) -> Float[Tensor, "batch labels+1 units"]:
        """Logits of every label and of the end, given the true labels before; padding, to the right, is not seen."""
        inputs = nn.functional.pad(labels, (1, 0), value=self.sos)  # (B, L + 1)
        x = self.dropout(self._embed(inputs, 0))
        look = valid_mask(encoded.frames, encoded.states.shape[1])[:, None, None]
        for layer in self.layers:
            x = layer(x, encoded.states, look)
        return self.output(self.norm(x))

    def start(self, encoded: Encoded, beams: int) -> TransformerState:
        """Nothing said yet: `beams` hypotheses for each utterance, hypothesis n belongs to utterance n // beams."""
        utterances = encoded.frames.shape[0]
        owner = torch.arange(utterances, device=encoded.states.device).repeat_interleave(beams)
        memory = [layer.cross_attention.memory(encoded.states) for layer in self.layers]
        nothing = [
            KeysValues(*(part.new_zeros(len(owner), part.shape[1], 0, part.shape[3]) for part in m)) for m in memory
        ]
        return TransformerState(memory, nothing, encoded.frames, owner)

    def step(
        self, state: TransformerState, last: Int[Tensor, " hyps"], *, weights: Literal["none", "all"] = "none"
    ) -> StepOutput:
        """Log probabilities of the next label of every hypothesis whose last label is `last` (sos at first)."""
        x = self._embed(last[:, None], state.past[0].keys.shape[2])
        look = valid_mask(state.frames, state.memory[0].keys.shape[2])[state.owner][:, None, None]
        past, seen = [], []
        for layer, before, shared in zip(self.layers, state.past, state.memory, strict=True):
            memory = KeysValues(*(part[state.owner] for part in shared))
            x, longer, asked = layer.step(x, before, memory, look)
            past.append(longer)
            if weights == "all":
                seen.append(attention_weights(layer.cross_attention.queries(asked), memory.keys, look)[:, :, 0])
        logits = self.output(self.norm(x))[:, 0]
        wide = logits if logits.dtype == torch.float64 else logits.float()
        return StepOutput(wide.log_softmax(-1), state._replace(past=past), torch.stack(seen) if seen else None)

    def reorder(self, state: TransformerState, parents: Int[Tensor, " kept"]) -> TransformerState:
        """Go on with the hypotheses `parents`, in that order; one may stand there more than once or not at all."""
        past = [KeysValues(*(part[parents] for part in pair)) for pair in state.past]
        return state._replace(past=past, owner=state.owner[parents])

    def keep(self, state: TransformerState, utterances: Int[Tensor, " live"]) -> TransformerState:
        """Let all utterances but `utterances` leave, with their hypotheses; the others stand in that order."""
        owner, rows = (state.owner == utterances[:, None]).nonzero().T
        past = self.reorder(state, rows).past
        memory = [KeysValues(*(part[utterances] for part in pair)) for pair in state.memory]
        return TransformerState(memory, past, state.frames[utterances], owner)

    def _embed(self, labels: Int[Tensor, "rows steps"], first: int) -> Float[Tensor, "rows steps dim"]:
        """Embedding times sqrt(D) plus the positions from `first` on."""
        embedded = self.embedding(labels) * self.width**0.5
        return embedded + sinusoids(first + labels.shape[1], self.width, embedded)[first:]
