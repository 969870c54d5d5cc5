"""The results of decoding: hypotheses, best first, and the errors of decoding."""

from typing import Literal, NamedTuple

from hybrid_asr.common.errors import UserError

WIDEST = 10_000  # hypotheses of a beam, and texts of an n-best: more is a mistake, and exhausts the memory
Ended = Literal["eos", "cut"]


class DecodeError(UserError):
    """A decoder that the model does not support, or encoder outputs that cannot be decoded."""


class UtteranceError(DecodeError):
    """Utterances of a batch, by their indices, that cannot be decoded; `reason` is worded for one alone."""

    def __init__(self, utterances: list[int], reason: str) -> None:
        super().__init__(f"utterances {utterances} of the batch: {reason}")
        self.reason = reason


def nan_error(utterances: list[int]) -> UtteranceError:
    """The error for utterances, by their indices in the batch, whose scores are NaN."""
    return UtteranceError(utterances, "NaN in the scores; check the audio, or use another checkpoint")


class Hypothesis(NamedTuple):
    """One labeling of an utterance, without blank, sos and eos.

    `score` is a natural logarithm: the weighted sum of `parts` plus any bonus for length. `parts` holds the unweighted
    log probability under each scorer that ran, `ctc` and `attention`.

    `ended` is `eos` if the search chose the end, `cut` if the bound on length forced it.

    A decoder that decides on words gives them as `text`, and as `counts` how many labels each of them took; else `text`
    is None, and the tokenizer makes it of the labels.
    """

    labels: tuple[int, ...]
    score: float
    parts: dict[str, float]
    ended: Ended
    text: str | None = None
    counts: tuple[int, ...] = ()


Nbest = list[Hypothesis]
