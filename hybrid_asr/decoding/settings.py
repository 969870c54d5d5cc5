"""What the settings of all decoders can be asked, so that nobody needs to ask for their kind."""

import abc
import dataclasses
from typing import Literal, NamedTuple, TypeVar

from hybrid_asr.decoding.hypothesis import WIDEST, Hypothesis

S = TypeVar("S", bound="DecoderSettings")
B = TypeVar("B", bound="BeamSettings")

LONGEST_S = 120.0  # seconds of audio to which search decoders are exact


class Needs(NamedTuple):
    """What a decoding uses of the model: its heads, and the words that it searches.

    These are "given" by the settings, or they are those of the "model", which must bring a lexicon along.
    """

    ctc: bool = False
    attention: bool = False
    words: Literal["none", "given", "model"] = "none"


class DecoderSettings(abc.ABC):
    """What the settings of a decoder have in common; each kind says what it needs."""

    @property
    @abc.abstractmethod
    def needs(self) -> Needs:
        """What this decoding needs of the model."""

    @property
    def longest_s(self) -> float:
        """Seconds of audio that it takes at most; longer audio is refused."""
        return LONGEST_S

    @property
    def hypotheses(self) -> int:
        """How many hypotheses of an utterance the search goes on with at once."""
        return 1

    @property
    def texts(self) -> int:
        """How many texts of an utterance it gives at most."""
        return 1

    def rank(self, hypothesis: Hypothesis) -> float:
        """What hypotheses are ordered by, the larger the better."""
        return hypothesis.score

    def with_texts(self: S, count: int) -> S:
        """The same decoder with an n-best of up to `count` texts, as far as it gives more than one."""
        return self

    def wider(self: S) -> S | None:
        """The same search with twice the beam and its best text alone; None where there is no beam, or none so wide."""
        return None


class BeamSettings(DecoderSettings):
    """The settings of a search with a `beam`, of which the best `nbest` are given."""

    beam: int
    nbest: int

    @property
    def hypotheses(self) -> int:
        """The width of the beam."""
        return self.beam

    @property
    def texts(self) -> int:
        """The length of the n-best."""
        return self.nbest

    def with_texts(self: B, count: int) -> B:
        """The same with an n-best of at least `count`, as far as the beam goes."""
        return dataclasses.replace(self, nbest=max(self.nbest, min(count, self.beam)))  # pyright: ignore

    def wider(self: B) -> B | None:
        """The same search with twice the beam and its best text alone; None beyond the widest beam there may be."""
        if 2 * self.beam > WIDEST:
            return None
        return dataclasses.replace(self, beam=2 * self.beam, nbest=1)  # pyright: ignore
