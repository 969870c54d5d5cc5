"""A page of models beside each other: what each took and reached, by every decoder that it supports."""

import datetime
from collections.abc import Sequence
from typing import NamedTuple

from hybrid_asr import __version__
from hybrid_asr.common.environment import environment
from hybrid_asr.pages.charts import Drawing
from hybrid_asr.pages.kit import render
from hybrid_asr.scoring.intervals import Rate


class Compared(NamedTuple):
    """One model of a corpus."""

    recipe: str
    about: str
    parameters: int
    minutes: str  # of training, as they are shown
    epochs: int
    rates: dict[str, Rate]  # WER of the test set by decoder
    control: float | None  # the best WER of the same training on transcripts of other utterances
    speed: dict[int, float]  # seconds of an utterance -> seconds of audio for a second of training


class Corpus(NamedTuple):
    """The models of a corpus; `lengths` is the chart of their rates over the length of utterances."""

    name: str
    utterances: int
    words: int
    models: Sequence[Compared]
    lengths: Drawing | None

    @property
    def decoders(self) -> list[str]:
        """All that a model of the corpus supports, in the order of their first."""
        return list(dict.fromkeys(name for model in self.models for name in model.rates))

    @property
    def least(self) -> dict[str, float]:
        """The lowest rate of each decoder."""
        return {
            name: min(model.rates[name].value for model in self.models if name in model.rates) for name in self.decoders
        }


def comparison_page(corpora: Sequence[Corpus], *, command: str) -> str:
    """The page as text; `command` is what made its numbers."""
    return render(
        "model_comparison.html",
        corpora=corpora,
        command=command,
        made=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M"),
        version=__version__,
        maker=environment(),
    )
