"""The recurrent attention decoder.  Axes: U utterances, K hypotheses of each, L labels, H heads, T' frames, D width."""

from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from hybrid_asr.config.schema import config
from hybrid_asr.models.decoder_step import StepOutput, log_softmax
from hybrid_asr.models.encoded import Encoded
from hybrid_asr.models.settings import AttentionSettings
from hybrid_asr.nn.cpu import Dropout, Linear, LoopLinear
from hybrid_asr.nn.progress import ProgressDependent
from hybrid_asr.nn.recurrent import begin_gates, lstm_cell
from hybrid_asr.nn.rnn_attention import AttentionConfig, Memory, build_attention

Share = Annotated[float, Field(ge=0, le=1)]


@config
class SamplingConfig:
    """Scheduled sampling (Bengio et al., 2015): how often training feeds back a label drawn from the model.

    The rate is 0 for the first `start` of the training and rises linearly to `rate`, which it has from `full` on; both
    are shares of all updates. Evaluation never samples.
    """

    rate: Share = 0.0
    start: Share = 0.0
    full: Share = 0.5

    def __post_init__(self) -> None:
        if self.full < self.start:
            raise ValueError(f"full {self.full} must not be less than start {self.start}")

    def rate_at(self, progress: float) -> float:
        """The rate when a share of the training is done."""
        if progress >= self.full:
            return self.rate
        return self.rate * max(0.0, (progress - self.start) / (self.full - self.start))


@config
class LstmDecoderConfig(AttentionSettings):
    """Sizes of a recurrent decoder: `dim` cells in each of `layers`, labels embedded in `embedding` dimensions."""

    kind: Literal["lstm"] = "lstm"
    dim: Annotated[int, Field(gt=0)]
    embedding: Annotated[int, Field(gt=0)]
    attention: AttentionConfig
    layers: Annotated[int, Field(gt=0, le=100)] = 1
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    sampling: SamplingConfig = SamplingConfig()

    @property
    def learns_attention(self) -> bool:
        """All kinds but `fixed` do."""
        return self.attention.is_learned

    @property
    def can_be_guided(self) -> bool:
        """Wherever attention is learned."""
        return self.learns_attention

    @property
    def follows_progress(self) -> bool:
        """The rate of scheduled sampling does."""
        return self.sampling.rate > 0


class LstmState(NamedTuple):
    """The decoder's state between steps. `hidden` and `cell` have an entry per layer, (U, K, D)."""

    memory: Memory
    hidden: tuple[Tensor, ...]
    cell: tuple[Tensor, ...]
    context: Float[Tensor, "utterances hyps width"]
    weights: Float[Tensor, "utterances heads hyps time"]


class Gates(nn.ModuleList):
    """A ModuleList typed by what it holds."""

    def __iter__(self) -> Iterator[Linear]:  # type: ignore[override]
        return super().__iter__()  # type: ignore[return-value]


class LstmDecoder(ProgressDependent):
    """LSTM fed by context and previous label until the end (Bahdanau et al., 2015; Chorowski et al., 2015).

    At each step the previous state is the query for the context, c_i = Σ_j α_ij h_j; the previous label and c_i give
    the next state; state and context give the distribution of the label.
    """

    def __init__(self, cfg: LstmDecoderConfig, memory_dim: int, vocab_size: int, sos: int) -> None:
        super().__init__()
        self.dim, self.sos, self.sampling = cfg.dim, sos, cfg.sampling
        self.embedding = nn.Embedding(vocab_size, cfg.embedding)
        self.attention = build_attention(cfg.attention, query_dim=cfg.dim, memory_dim=memory_dim)
        context = self.attention.width
        self.label = Linear(cfg.embedding, 4 * cfg.dim)  # the part of the gates' inputs that is known before the loop
        below = [context] + [cfg.dim] * (cfg.layers - 1)
        self.gates = Gates(Linear(width + cfg.dim, 4 * cfg.dim, bias=index > 0) for index, width in enumerate(below))
        for layer, width in zip(self.gates, below, strict=True):
            bias = layer.bias if layer.bias is not None else self.label.bias
            begin_gates(layer.weight[:, :width], layer.weight[:, width:], bias, forget=slice(cfg.dim, 2 * cfg.dim))
        self.dropout = Dropout(cfg.dropout)
        self.merge = Linear(cfg.dim + context, cfg.dim)
        self.output = Linear(cfg.dim, vocab_size)

    def forward(self, encoded: Encoded, labels: Int[Tensor, "rows labels"]) -> Float[Tensor, "rows labels+1 vocab"]:
        """Logits of every label and of the end, given the true labels before it; padding on the right has no effect.

        There may be K labelings of each utterance: row n belongs to utterance n // K. In training, scheduled sampling
        replaces some of the input labels by samples from the model, drawn with torch's default generator.
        """
        return self._logits(self._unroll(encoded, labels)).flatten(0, 1)

    def attended(
        self, encoded: Encoded, labels: Int[Tensor, "rows labels"]
    ) -> tuple[Float[Tensor, "rows labels+1 vocab"], Float[Tensor, "rows heads labels+1 time"]]:
        """The same, and the attention weights of every step."""
        states = self._unroll(encoded, labels)
        weights = torch.stack([state.weights for state in states], dim=3)  # (U, H, K, L + 1, T')
        return self._logits(states).flatten(0, 1), weights.transpose(1, 2).flatten(0, 1)

    def start(self, encoded: Encoded, beams: int) -> LstmState:
        """No labels yet: `beams` hypotheses for each utterance, hypothesis n belongs to utterance n // beams.

        The encoder states are projected here, once for all steps and hypotheses.
        """
        memory = self.attention.memory(*encoded)
        zeros = encoded.states.new_zeros(len(encoded.states), beams, self.dim)
        context = encoded.states.new_zeros(len(encoded.states), beams, self.attention.width)
        layers = (zeros,) * len(self.gates)
        return LstmState(memory, layers, layers, context, self.attention.first(memory, beams))

    def step(
        self, state: LstmState, last: Int[Tensor, " hyps"], *, weights: Literal["none", "all"] = "none"
    ) -> StepOutput:
        """Log probabilities of the next label of every hypothesis whose last label is `last` (sos at first)."""
        utterances, hyps, _ = state.context.shape
        after = self._advance(state, self._gate_inputs(last.view(utterances, hyps)), self.gates)
        attention = after.weights.transpose(1, 2).flatten(0, 1)[None] if weights == "all" else None
        return StepOutput(log_softmax(self._logits([after]).flatten(0, 2)), after, attention)

    def reorder(self, state: LstmState, parents: Int[Tensor, " kept"]) -> LstmState:
        """Continue with the hypotheses `parents`, equally many of each utterance; a parent may occur several times."""
        utterances = len(state.context)

        def take(part: Tensor) -> Tensor:
            return part.flatten(0, 1)[parents].unflatten(0, (utterances, -1))

        hidden, cell = (tuple(map(take, parts)) for parts in (state.hidden, state.cell))
        weights = take(state.weights.transpose(1, 2)).transpose(1, 2)
        return LstmState(state.memory, hidden, cell, take(state.context), weights)

    def keep(self, state: LstmState, utterances: Int[Tensor, " live"]) -> LstmState:
        """Drop all utterances but `utterances`, with their hypotheses; the rest are in that order."""
        hidden, cell = (tuple(part[utterances] for part in parts) for parts in (state.hidden, state.cell))
        context, weights = state.context[utterances], state.weights[utterances]
        return LstmState(state.memory.keep(utterances), hidden, cell, context, weights)

    def _unroll(self, encoded: Encoded, labels: Int[Tensor, "rows labels"]) -> list[LstmState]:
        """The states while `labels` and the end are predicted."""
        utterances = len(encoded.states)
        inputs = F.pad(labels, (1, 0), value=self.sos).view(utterances, len(labels) // utterances, -1)
        rate = self.sampling.rate_at(self.progress) if self.training else 0.0
        steps, gates = self._gate_inputs(inputs).unbind(2), [LoopLinear(layer) for layer in self.gates]
        states = [self._advance(self.start(encoded, inputs.shape[1]), steps[0], gates)]
        for gate_inputs in steps[1:]:
            if rate > 0:
                gate_inputs = self._sample_labels(gate_inputs, states[-1], rate)
            states.append(self._advance(states[-1], gate_inputs, gates))
        return states

    def _sample_labels(self, gate_inputs: Tensor, state: LstmState, rate: float) -> Tensor:
        """Replace a share `rate` of the true labels' gate inputs by those of labels drawn from the model."""
        with torch.no_grad():
            probabilities = self._logits([state])[:, :, 0].float().softmax(-1)
            drawn = (probabilities / torch.empty_like(probabilities).exponential_()).argmax(-1)
            replaced = torch.rand(drawn.shape, device=drawn.device) < rate
        return torch.where(replaced[..., None], self._gate_inputs(drawn), gate_inputs)

    def _gate_inputs(self, labels: Int[Tensor, "*steps"]) -> Float[Tensor, "*steps gates"]:
        """The labels' contribution to the gates of the first layer."""
        return self.label(self.dropout(self.embedding(labels)))

    def _advance(
        self,
        state: LstmState,
        gate_inputs: Float[Tensor, "utterances hyps gates"],
        gates: Iterable[Callable[[Tensor], Tensor]],
    ) -> LstmState:
        """One step of all hypotheses."""
        context, weights = self.attention(state.hidden[-1], state.memory, state.weights)
        hidden, cell, below, label = [], [], context, gate_inputs
        for layer, layer_hidden, layer_cell in zip(gates, state.hidden, state.cell, strict=True):
            below, new_cell = lstm_cell(layer(torch.cat([below, layer_hidden], dim=-1)) + label, layer_cell)
            hidden.append(below)
            cell.append(new_cell)
            label = 0.0  # only the first layer is given the label
        return LstmState(state.memory, tuple(hidden), tuple(cell), context, weights)

    def _logits(self, states: list[LstmState]) -> Float[Tensor, "utterances hyps steps vocab"]:
        """The logits of each state and its context, for all steps at once."""
        inputs = torch.stack([torch.cat([state.hidden[-1], state.context], dim=-1) for state in states], dim=2)
        return self.output(self.dropout(self.merge(self.dropout(inputs)).tanh()))
