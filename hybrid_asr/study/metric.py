"""What variants are judged by: a rate of a set by a decoder, written `test.joint.wer`."""

from typing import Literal, NamedTuple, TypeAlias, get_args

from hybrid_asr.common.errors import UserError

Rate: TypeAlias = Literal["wer", "cer", "ser", "rtf"]
RATES: tuple[Rate, ...] = get_args(Rate)


class StudyError(UserError):
    """A study that cannot be run; the message names the variant, the cause and the remedy."""


class Metric(NamedTuple):
    """A rate of a set by a decoder: error rates, or `rtf`, the time of decoding for a second of audio."""

    set_name: str
    decoder: str
    rate: Rate

    def __str__(self) -> str:
        return ".".join(self)

    @classmethod
    def parse(cls, text: str) -> "Metric":
        """`test.joint.wer`. Raises StudyError for anything else."""
        place, _, rate = text.rpartition(".")
        set_name, _, decoder = place.rpartition(".")
        if not (set_name and decoder):
            raise StudyError(f"metric '{text}': write SET.DECODER.RATE, such as test.joint.wer")
        for known in RATES:
            if rate == known:
                return cls(set_name, decoder, known)
        raise StudyError(f"metric '{text}': there is no rate '{rate}'; there are {', '.join(RATES)}")
