"""Scorers: what a search asks for the next label of every hypothesis, for a whole batch at once.

Axes: N hypotheses (those of an utterance stand side by side), U utterances, V labels.
"""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from hybrid_asr.decoding import ctc_prefix
from hybrid_asr.decoding.ctc_prefix import PrefixState
from hybrid_asr.models.decoder import Decoder
from hybrid_asr.models.encoded import Encoded

State = TypeVar("State")


Increments = Float[Tensor, "hyps vocab"]


@runtime_checkable
class Scorer(Protocol[State]):
    """Scores the next label of every live hypothesis. A state is a value: no method changes the one it is given."""

    def start(self, encoded: Encoded, beams: int) -> State:
        """No labels yet: `beams` hypotheses of each utterance, hypothesis n belongs to utterance n // beams."""
        ...

    def score(self, state: State, last: Int[Tensor, " hyps"]) -> tuple[Increments, State]:
        """log p(c | g) of every label c, and the state to go on from, since scoring may grow a cache.

        In float32, or float64 for a model of that; the tensor is the caller's. `last` ends each g (sos at first). The
        end has its score at eos; what blank has does not count.
        """
        ...

    def advance(self, state: State, parents: Int[Tensor, " hyps"], labels: Int[Tensor, " hyps"]) -> State:
        """Go on with the survivors: row n continues `parents[n]`, of the same utterance, by `labels[n]`."""
        ...

    def keep(self, state: State, utterances: Int[Tensor, " live"]) -> State:
        """Drop all utterances but `utterances`, with their hypotheses."""
        ...


@runtime_checkable
class AttentionDecoder(Decoder[Any], Protocol):
    """An attention decoder of any kind; its states are private to it."""


class AttentionScorer:
    """An attention decoder as a scorer: the logarithm of its distribution of the next label."""

    def __init__(self, decoder: AttentionDecoder) -> None:
        self.decoder = decoder

    def start(self, encoded: Encoded, beams: int) -> Any:
        """The decoder's state without labels."""
        return self.decoder.start(encoded, beams)

    def score(self, state: Any, last: Int[Tensor, " hyps"]) -> tuple[Increments, Any]:
        """The decoder's log probabilities of the next label."""
        log_probs, state, _ = self.decoder.step(state, last)
        return log_probs, state

    def advance(self, state: Any, parents: Int[Tensor, " hyps"], labels: Int[Tensor, " hyps"]) -> Any:
        """The decoder's state for the survivors."""
        return self.decoder.reorder(state, parents)

    def keep(self, state: Any, utterances: Int[Tensor, " live"]) -> Any:
        """The decoder's state for the remaining utterances."""
        return self.decoder.keep(state, utterances)


class CtcPrefixScorer:
    """CTC prefix probabilities as a scorer: log ψ(g·c) - log ψ(g), and for eos log P(g) - log ψ(g).

    `head` gives the log probabilities of every frame.
    """

    def __init__(self, head: Callable[[Encoded], Float[Tensor, "batch time vocab"]], *, blank: int, eos: int) -> None:
        self.head = head
        self.blank = blank
        self.eos = eos

    def start(self, encoded: Encoded, beams: int) -> PrefixState:
        """The forward variables of the empty labeling."""
        return ctc_prefix.start(self.head(encoded), encoded.frames, beams, blank=self.blank)

    def score(self, state: PrefixState, last: Int[Tensor, " hyps"]) -> tuple[Increments, PrefixState]:
        """Increments of the CTC prefix score, and that of the end at `eos`."""
        increments = ctc_prefix.increments(state)
        increments[:, self.eos] = ctc_prefix.ending(state)
        return increments, state

    def advance(self, state: PrefixState, parents: Int[Tensor, " hyps"], labels: Int[Tensor, " hyps"]) -> PrefixState:
        """The forward variables of the survivors."""
        return ctc_prefix.advance(state, parents, labels)

    def keep(self, state: PrefixState, utterances: Int[Tensor, " live"]) -> PrefixState:
        """The forward variables of the remaining utterances."""
        return ctc_prefix.keep(state, utterances)
