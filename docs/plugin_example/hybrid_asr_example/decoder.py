"""A GRU over the labels so far, with attention to the encoder's states.

Axes: B utterances, N hypotheses, K of them to an utterance, L labels, T' encoder frames, D width.
"""

from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from hybrid_asr.common.masks import valid_mask
from hybrid_asr.config.schema import config
from hybrid_asr.models.decoder import StepOutput
from hybrid_asr.models.encoded import Encoded
from hybrid_asr.models.plugin import DecoderPlugin


@config
class GruDecoderConfig:
    """What `model.decoder.options` may hold."""

    dim: Annotated[int, Field(gt=0)]


class GruState(NamedTuple):
    """A state is a value: a step makes a new one and leaves the old one as it is."""

    memory: Tensor  # (B, T', D)
    real: Tensor  # (B, 1, T'), False where memory is padding
    hidden: Tensor  # (B, K, D)


class GruDecoder(nn.Module):
    """Dot-product attention with the GRU's output as the query (Luong et al., 2015)."""

    def __init__(self, cfg: GruDecoderConfig, *, memory_dim: int, vocab_size: int, sos: int):
        super().__init__()
        self.sos = sos
        self.embedding = nn.Embedding(vocab_size, cfg.dim)
        self.gru = nn.GRU(cfg.dim, cfg.dim, batch_first=True)
        self.memory = nn.Linear(memory_dim, cfg.dim)
        self.output = nn.Linear(2 * cfg.dim, vocab_size)

    def forward(self, encoded: Encoded, labels: Tensor) -> Tensor:
        """Logits (N, L + 1, V) of every label and of the end, given those before; row n is of utterance n // K."""
        state = self.start(encoded, len(labels) // len(encoded.frames))
        hidden, _ = self.gru(self.embedding(nn.functional.pad(labels, (1, 0), value=self.sos)))  # (N, L + 1, D)
        utterances, steps = len(encoded.frames), hidden.shape[1]
        logits, _ = self._attend(hidden.reshape(utterances, -1, hidden.shape[2]), state)  # (B, K (L + 1), V)
        return logits.reshape(-1, steps, logits.shape[2])

    def start(self, encoded: Encoded, beams: int) -> GruState:
        """The state before the first label: hypothesis n belongs to utterance n // beams."""
        memory = self.memory(encoded.states)
        real = valid_mask(encoded.frames, memory.shape[1])[:, None]
        return GruState(memory, real, memory.new_zeros(len(memory), beams, memory.shape[2]))

    def step(self, state: GruState, last: Tensor, *, weights: Literal["none", "all"] = "none") -> StepOutput:
        """Log probabilities (N, V) of the label after `last`."""
        _, hidden = self.gru(self.embedding(last)[:, None], state.hidden.flatten(0, 1)[None])
        after = state._replace(hidden=hidden.view_as(state.hidden))
        logits, attended = self._attend(after.hidden, after)
        attention = attended.flatten(0, 1)[None, :, None] if weights == "all" else None  # one layer, one head
        return StepOutput(logits.flatten(0, 1).log_softmax(-1), after, attention)

    def reorder(self, state: GruState, parents: Tensor) -> GruState:
        """Select the hypotheses `parents`, equally many of each utterance."""
        hidden = state.hidden.flatten(0, 1)[parents]
        return state._replace(hidden=hidden.view(len(state.memory), -1, hidden.shape[1]))

    def keep(self, state: GruState, utterances: Tensor) -> GruState:
        """Drop all other utterances, with their hypotheses."""
        return GruState(state.memory[utterances], state.real[utterances], state.hidden[utterances])

    def _attend(self, queries: Tensor, state: GruState) -> tuple[Tensor, Tensor]:
        """Logits of queries (B, Q, D), and their attention weights (B, Q, T')."""
        scores = queries @ state.memory.transpose(1, 2) / queries.shape[2] ** 0.5
        weights = scores.masked_fill(~state.real, -torch.inf).softmax(-1).masked_fill(~state.real, 0.0)
        return self.output(torch.cat([queries, weights @ state.memory], dim=-1)), weights


plugin = DecoderPlugin(config=GruDecoderConfig, build=GruDecoder)
