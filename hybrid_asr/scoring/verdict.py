"""Verdicts on variants of a study, in words that a reader can quote and a reviewer accepts.

Every variant is compared with one baseline on the same units; the p of all comparisons are corrected together (Holm,
1979). A difference is found where the corrected p is below 0.05. With one seed the verdict is on two trainings, never
on the methods.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Int

from hybrid_asr.scoring.crossed_effects import difference_effect, difference_interval, difference_p
from hybrid_asr.scoring.intervals import Interval
from hybrid_asr.scoring.power import Needed, more_needed, smallest_difference, spread_of
from hybrid_asr.scoring.scores import ScoringError
from hybrid_asr.scoring.student_t import LEVEL
from hybrid_asr.scoring.text_report import counted

Unit = Literal["utterance", "speaker"]
FEWEST_SEEDS = 3  # for a verdict on methods: of two the spread is all but unknown


@dataclass(frozen=True, kw_only=True)
class Variant:
    """The errors of a variant in each unit, one row for each of its seeds.

    Variants with the same `trainings`, which is not empty, differ in decoding alone: their rows are paired by seed. An
    outside system has one row and no seed: that output is what is compared.
    """

    name: str
    errors: Int[np.ndarray, "seeds units"]
    seeds: tuple[int, ...]
    trainings: str = ""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A variant beside the baseline; `difference` is its rate minus the baseline's, below 0 where it is better."""

    variant: str
    baseline: str
    difference: float
    ci95: Interval | None
    p: float | None
    p_holm: float | None  # corrected for all `comparisons`
    comparisons: int
    seeds: tuple[int, int]  # of both; 0 for an outside system
    units: int
    unit: Unit
    smallest: float  # the difference that 80 % of such comparisons would find
    needed: Needed  # for a difference as it was seen; None where it was found

    @property
    def found(self) -> bool:
        """Whether the two differ."""
        return self.p_holm is not None and self.p_holm < LEVEL

    @property
    def of_trainings(self) -> bool:
        """Whether a single training stands for a method, so that nothing is said about the methods."""
        return 1 in self.seeds

    def to_json(self) -> dict[str, Any]:
        """Plain containers: rates are fractions, None is null."""
        return {
            "variant": self.variant,
            "baseline": self.baseline,
            "difference": self.difference,
            "ci95": list(self.ci95) if self.ci95 else None,
            "p": self.p,
            "p_holm": self.p_holm,
            "comparisons": self.comparisons,
            "seeds": list(self.seeds),
            "units": self.units,
            "unit": self.unit,
            "found": self.found,
            "of_trainings": self.of_trainings,
            "smallest_difference": self.smallest,
            "needed": self.needed._asdict(),
            "text": self.text(),
        }

    def text(self) -> str:
        """One sentence."""
        better, worse = (self.variant, self.baseline) if self.difference <= 0 else (self.baseline, self.variant)
        points = f"{100 * abs(self.difference):.1f} points"
        if self.of_trainings:
            better, worse = (self._named(name) for name in (better, worse))
        if self.found:
            text = f"{better} is better than {worse} by {points} ({self._evidence()})"
        elif self.difference == 0:
            text = f"no verdict: {better} and {worse} have the same rate ({self._evidence()})"
        else:
            text = f"no verdict: {better} is ahead of {worse} by {points} ({self._evidence()}); {self._remedy()}"
        return f"{text}; {self._caution()}" if self.of_trainings else text

    def _named(self, name: str) -> str:
        """A training, or what is more than one."""
        seeds = self.seeds[0] if name == self.variant else self.seeds[1]
        return f"this training of {name}" if seeds == 1 else name

    def _evidence(self) -> str:
        low, high = self.ci95 or (0.0, 0.0)
        if self.difference <= 0:
            low, high = -high, -low
        interval = f"95 % interval {100 * low:.1f} to {100 * high:.1f}" if self.ci95 else "no interval"
        parts = [interval, "no p" if self.p is None else f"p = {self.p:.2g}"]
        if self.comparisons > 1 and self.p_holm is not None:
            parts.append(f"{self.p_holm:.2g} by Holm's correction for {self.comparisons} comparisons")
        return ", ".join([*parts, self._seeds(), counted(self.units, self.unit)])

    def _seeds(self) -> str:
        first, second = self.seeds
        if first == second or not second:
            return counted(first, "seed") if first else "single outputs"
        return f"{first} and {counted(second, 'seed')}" if first else counted(second, "seed")

    def _remedy(self) -> str:
        """What would lead to a verdict."""
        seeds, units = self.needed
        ways = []
        if seeds and not self.of_trainings:
            ways.append(counted(seeds, "seed") + " more")
        if units:
            ways.append(f"{_round(units)} test {self.unit}s more")
        if ways:
            return f"about {', or '.join(ways)}{',' if len(ways) > 1 else ''} would be needed"
        if max(self.seeds) > 1:
            return "for a difference so small both more seeds and more test data would be needed"
        return "no sensible amount of test data would do for a difference so small"

    def _caution(self) -> str:
        """Why one training is no method."""
        more = FEWEST_SEEDS - 1
        which = "these two trainings" if self.seeds == (1, 1) else "a single training"
        return f"this is about {which}, at least {more} seeds more are needed for a verdict on the method"


def compare_variants(
    variants: Sequence[Variant], baseline: str, reference: Int[np.ndarray, " units"], *, unit: Unit
) -> list[Verdict]:
    """Compare all others with the variant called `baseline`; `reference` has the words of each unit.

    The units are speakers wherever these are known. Raises ScoringError where paired variants have other seeds, and
    KeyError for an unknown baseline.
    """
    base = {variant.name: variant for variant in variants}[baseline]
    others = [variant for variant in variants if variant.name != baseline]
    effects = [
        difference_effect(other.errors, base.errors, reference, same_trainings=_paired(other, base)) for other in others
    ]
    values = [difference_p(effect) for effect in effects]
    corrected = holm([value for value in values if value is not None])
    verdicts = []
    for other, effect, p in zip(others, effects, values, strict=True):
        p_holm = None if p is None else corrected.pop(0)
        spread = spread_of(other.errors, base.errors, reference, same_trainings=_paired(other, base))
        seeds = min((len(each.errors) for each in (other, base) if len(each.errors) > 1), default=1)
        sizes = {"seeds": seeds, "units": len(reference)}
        found = p_holm is not None and p_holm < LEVEL
        verdicts.append(
            Verdict(
                variant=other.name,
                baseline=baseline,
                difference=float(effect.value),
                ci95=difference_interval(effect),
                p=p,
                p_holm=p_holm,
                comparisons=len(others),
                seeds=(len(other.seeds), len(base.seeds)),
                units=len(reference),
                unit=unit,
                smallest=smallest_difference(spread, **sizes),
                needed=Needed(None, None) if found else more_needed(spread, float(effect.value), **sizes),
            )
        )
    return verdicts


def holm(values: Sequence[float]) -> list[float]:
    """Each p corrected for all of them: the chance of one false find among them stays at its level (Holm, 1979)."""
    corrected = [0.0] * len(values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        largest = max(largest, min(1.0, (len(values) - rank) * values[index]))
        corrected[index] = largest
    return corrected


def _paired(first: Variant, second: Variant) -> bool:
    """Whether the rows of both come from the same trainings."""
    same = first.trainings != "" and first.trainings == second.trainings
    if same and first.seeds != second.seeds:
        raise ScoringError(
            f"{first.name} and {second.name} differ in decoding alone, but have outputs of the seeds "
            f"{list(first.seeds)} and {list(second.seeds)}: decode the same trainings by both"
        )
    return same


def _round(number: int) -> int:
    """A rough number, as it is meant."""
    size = 10 ** max(len(str(number)) - 1, 0)
    return -(-number // size) * size if size > 1 else number
