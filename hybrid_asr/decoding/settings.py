"""What the settings of all decoders can be asked, so that nobody needs to ask for their kind."""

from typing import NamedTuple

from hybrid_asr.decoding.hypothesis import Hypothesis

LONGEST_S = 120.0  # seconds of audio to which search decoders are exact


class Needs(NamedTuple):
    """What a decoding uses of the model: its heads, and whether it searches the words of a vocabulary."""

    ctc: bool = False
    attention: bool = False
    vocabulary: bool = False


class DecoderSettings:
    """What the settings of a decoder have in common; each kind says what it needs."""

    @property
    def needs(self) -> Needs:
        """What this decoding needs of the model."""
        raise NotImplementedError

    @property
    def lacks_words(self) -> bool:
        """Whether the words that it searches are not named, so that the model must bring a lexicon along."""
        return False

    @property
    def longest_s(self) -> float:
        """Seconds of audio that it takes at most; longer audio is refused."""
        return LONGEST_S

    def rank(self, hypothesis: Hypothesis) -> float:
        """What hypotheses are ordered by, the larger the better."""
        return hypothesis.score
