"""Errors of systems that are equal, or differ by a known amount, with the effects that real ones have.

Axes: R repetitions, V two variants, S seeds, U utterances, P speakers.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int

Null = Literal["utterances", "speakers", "seeds"]
RATE = 0.1
WORDS = 7  # of an utterance: one, and a geometric number more


@dataclass(frozen=True, kw_only=True)
class Effects:
    """Standard deviations of the factors on the rate, each of mean 1 and a gamma distribution.

    Those of speakers are what a system for synthetic speech showed (0.13 and 0.19), rounded up; that of seeds is the
    spread of 15 trainings of one system on AN4 over their mean.
    """

    utterance: float = 0.8
    utterance_of_variant: float = 0.5
    speaker: float = 0.25
    speaker_of_variant: float = 0.25
    seed: float = 0.28
    seed_on_utterance: float = 0.5

    def under(self, null: Null) -> "Effects":
        """Of utterances alone, of speakers as well, or of seeds, too."""
        if null == "seeds":
            return self
        return Effects(
            speaker=self.speaker * (null == "speakers"),
            speaker_of_variant=self.speaker_of_variant * (null == "speakers"),
            seed=0.0,
            seed_on_utterance=0.0,
        )


class Simulated(NamedTuple):
    """The errors of two variants, the words of the utterances, and who spoke each."""

    errors: Int[np.ndarray, "R 2 S U"]
    reference: Int[np.ndarray, "R U"]
    speakers: Int[np.ndarray, " U"]

    def by_speaker(self) -> "Simulated":
        """The same with speakers as units."""
        member = np.eye(self.speakers.max() + 1, dtype=np.int64)[self.speakers]
        sums = self.errors.astype(np.float64) @ member  # exact, and faster than with whole numbers
        return Simulated(sums.astype(np.int64), self.reference @ member, np.arange(member.shape[1]))


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is simulated; `difference` is the second variant's rate minus the first's."""

    null: Null
    seeds: int
    utterances: int
    speakers: int
    difference: float = 0.0
    effects: Effects = field(default_factory=Effects)

    def draw(self, random: np.random.Generator, repetitions: int) -> Simulated:
        """So many sets with the outputs of both variants; speakers have unequal numbers of utterances."""
        effects, size = self.effects.under(self.null), (repetitions, 2, self.seeds, self.utterances)
        shares = random.dirichlet(np.full(self.speakers, 4.0))
        drawn = random.choice(self.speakers, self.utterances - self.speakers, p=shares)
        speakers = np.concatenate([np.arange(self.speakers), drawn])
        reference = random.geometric(1 / WORDS, size=(repetitions, self.utterances))
        rates = RATE + self.difference * np.array([-0.5, 0.5])

        def factor(spread: float, *shape: int) -> np.ndarray:
            return random.gamma(spread**-2, spread**2, size=shape) if spread else np.ones((1,) * len(shape))

        expected = (rates[:, None, None] * reference[:, None, None, :]) * np.ones(size)
        expected *= factor(effects.utterance, repetitions, 1, 1, self.utterances)
        expected *= factor(effects.utterance_of_variant, repetitions, 2, 1, self.utterances)
        everyone = np.ones((1, 1, 1, self.speakers))
        expected *= (factor(effects.speaker, repetitions, 1, 1, self.speakers) * everyone)[..., speakers]
        expected *= (factor(effects.speaker_of_variant, repetitions, 2, 1, self.speakers) * everyone)[..., speakers]
        expected *= factor(effects.seed, repetitions, 2, self.seeds, 1)
        expected *= factor(effects.seed_on_utterance, *size)
        return Simulated(random.poisson(expected), reference, speakers)
