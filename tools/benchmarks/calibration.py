"""How often tests find a difference that is not there, intervals miss the truth, and a planted difference is found.

    python -m tools.benchmarks.calibration --json calibration.json

Prints the tables of docs/statistics.md; takes some minutes of one core.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from hybrid_asr.scoring.bootstrap import bootstrap_p, times_drawn
from hybrid_asr.scoring.crossed_effects import Effect, difference_effect, rate_effect
from hybrid_asr.scoring.intervals import ends_around
from hybrid_asr.scoring.power import Spread, smallest_difference, spread_of
from hybrid_asr.scoring.ratio_error import ratio_error
from hybrid_asr.scoring.significance import FEWEST, sign_flip_p
from hybrid_asr.scoring.student_t import LEVEL, normal_p, t_p, t_quantile
from tools.benchmarks.calibration_tables import FEW, SPEAKERS, UTTERANCES, Row, few_table, table
from tools.benchmarks.simulated_errors import RATE, Effects, Null, Setting, Simulated

NULLS: tuple[Null, ...] = ("utterances", "speakers", "seeds")
SEEDS = (1, 3, 5, 10)
AT_ONCE = 25  # repetitions, with the same numbers of utterances of the speakers
RESAMPLES = 2000
Found = dict[str, Bool[np.ndarray, " R"]]


def false_finds(drawn: Simulated, random: np.random.Generator) -> Found:
    """Which repetitions each test takes for a difference."""
    whole = {"utterances": drawn, "speakers": drawn.by_speaker()}
    found: Found = {}
    for unit, data in whole.items():
        effect = difference_effect(data.errors[:, 0], data.errors[:, 1], data.reference)
        found[f"t, {unit}"] = _t_test(effect)
    if drawn.errors.shape[2] == 1:
        for unit, data in whole.items():
            found[f"bootstrap, {unit}"] = _resampled(data, random) < LEVEL
        found["MAPSSWE"] = mapsswe_p(drawn, random) < LEVEL
        return found
    seeds = drawn.errors.shape[2]
    repeated = np.repeat(drawn.reference, seeds, axis=1)
    pooled = drawn.errors.transpose(0, 1, 3, 2).reshape(len(repeated), 2, 1, -1)
    found["seeds pooled as utterances"] = _t_test(difference_effect(pooled[:, 0], pooled[:, 1], repeated))
    return found


def coverage(drawn: Simulated) -> Found:
    """Which intervals of the first variant's rate hold the truth."""
    found: Found = {}
    for unit, data in (("utterances", drawn), ("speakers", drawn.by_speaker())):
        effect = rate_effect(data.errors[:, 0], data.reference)
        low, high = ends_around(effect.value, t_quantile(effect.freedom) * effect.error)
        found[f"rate, {unit}"] = np.asarray((low <= RATE) & (high >= RATE))
    return found


def mapsswe_p(drawn: Simulated, random: np.random.Generator) -> Float[np.ndarray, " R"]:
    """MAPSSWE of outputs whose errors lie anywhere in their utterances: wrong words, none inserted."""
    return np.array(
        [
            _segments_p(np.minimum(errors[:, 0], reference), reference, random)
            for errors, reference in zip(drawn.errors, drawn.reference, strict=True)
        ]
    )


def planted(setting: Setting, random: np.random.Generator, repetitions: int) -> tuple[float, float]:
    """The difference that 80 % of studies over speakers should find, and the share that did.

    A rate that is higher varies more: the difference is found in a few rounds, each with the spread of the last.
    """
    for _ in range(4):
        spread = _mean_spread([data.by_speaker() for data in _chunks(setting, random, max(repetitions // 4, 100))])
        size = smallest_difference(spread, seeds=setting.seeds, units=setting.speakers)
        setting = replace(setting, difference=size)
    shares = [
        _t_test(difference_effect(data.errors[:, 0], data.errors[:, 1], data.reference))
        for data in (chunk.by_speaker() for chunk in _chunks(setting, random, repetitions))
    ]
    return setting.difference, float(np.concatenate(shares).mean())


def few_speakers(data: Simulated, random: np.random.Generator) -> Found:
    """Which intervals over speakers hold the truth: ours, and the percentiles of the bootstrap, which they replaced."""
    errors, reference = data.errors[:, :, 0], data.reference
    times = times_drawn(reference.shape[1], RESAMPLES, random).T.astype(np.float64)
    found = {"rate": coverage(data)["rate, speakers"]}
    effect = difference_effect(data.errors[:, 0], data.errors[:, 1], reference)
    found["difference"] = ~_t_test(effect)
    for what, counts, truth in (("rate", errors[:, 0], RATE), ("difference", errors[:, 0] - errors[:, 1], 0.0)):
        low, high = np.percentile(counts @ times / (reference @ times), [2.5, 97.5], axis=1)
        found[f"{what}, bootstrap's percentiles"] = (low <= truth) & (high >= truth)
    return found


def _segments_p(errors: Int[np.ndarray, "2 U"], reference: Int[np.ndarray, " U"], random: np.random.Generator) -> float:
    """One repetition: a new segment begins behind two right words in a row, and in another utterance."""
    utterance = np.repeat(np.arange(len(reference)), reference)
    begins = np.concatenate([[0], reference.cumsum()[:-1]])
    wrong = []
    for counts in errors:
        order = np.lexsort((random.random(len(utterance)), utterance))
        rank = np.empty(len(utterance), np.int64)
        rank[order] = np.arange(len(utterance)) - begins[utterance[order]]
        wrong.append(rank < counts[utterance])
    places = np.flatnonzero(wrong[0] | wrong[1])
    if not len(places):
        return 1.0
    apart = (np.diff(places) > 2) | (np.diff(utterance[places]) > 0)
    segment = np.concatenate([[0], apart.cumsum()])
    difference = np.bincount(segment, wrong[0][places].astype(float) - wrong[1][places])
    deviation = difference.std(ddof=1) if len(difference) > 1 else 0.0
    return normal_p(difference.mean() / deviation * np.sqrt(len(difference))) if deviation else 1.0


def _t_test(effect: Effect) -> Bool[np.ndarray, " R"]:
    return np.asarray(t_p(effect.value / effect.error, effect.freedom) < LEVEL)


def _resampled(data: Simulated, random: np.random.Generator) -> Float[np.ndarray, " R"]:
    """The p of the paired bootstrap, or of sign flips where units are few, as `paired_test` gives it."""
    differences = data.errors[:, 0, 0] - data.errors[:, 1, 0]
    units = differences.shape[1]
    if units < FEWEST:
        return np.array([sign_flip_p(row) for row in differences])
    times = times_drawn(units, RESAMPLES, random).astype(np.float64)
    sums = differences @ times.T  # the signs of sums are those of rates
    beyond = np.minimum((sums <= 0).sum(axis=1), (sums >= 0).sum(axis=1))
    freedom = np.asarray(ratio_error(differences, data.reference).freedom)
    pairs = zip(beyond, freedom, strict=True)
    return np.array([bootstrap_p(int(tail), RESAMPLES, units=units, freedom=float(one)) for tail, one in pairs])


def _mean_spread(chunks: list[Simulated]) -> Spread:
    """The parts of the variance, averaged over repetitions: each alone is far too rough to be the truth."""
    spreads = [
        spread_of(errors[0], errors[1], reference)
        for data in chunks
        for errors, reference in zip(data.errors, data.reference, strict=True)
    ]
    seed, single = (tuple(np.mean([one[part] for one in spreads], axis=0).tolist()) for part in (0, 2))
    unit, freedom = (float(np.mean([one[part] for one in spreads])) for part in (1, 4))
    return Spread(seed, unit, single, spreads[0].units, freedom)


def _chunks(setting: Setting, random: np.random.Generator, repetitions: int) -> Iterator[Simulated]:
    for start in range(0, repetitions, AT_ONCE):
        yield setting.draw(random, min(AT_ONCE, repetitions - start))


def _shares(setting: Setting, random: np.random.Generator, repetitions: int) -> Iterator[Row]:
    """All tests and intervals of one setting."""
    chunks = [(false_finds(data, random), coverage(data)) for data in _chunks(setting, random, repetitions)]
    for kind, parts, wanted in (
        ("false finds", [a for a, _ in chunks], 5.0),
        ("coverage", [b for _, b in chunks], 95.0),
    ):
        for what in parts[0]:
            yield _row(
                kind, what, setting, float(np.concatenate([part[what] for part in parts]).mean()), repetitions, wanted
            )


def _row(kind: str, what: str, setting: Setting, share: float, repetitions: int, wanted: float) -> Row:
    error = 100 * np.sqrt(wanted / 100 * (1 - wanted / 100) / repetitions)
    sizes = setting.null, setting.seeds, setting.utterances, setting.speakers
    return Row(kind, what, *sizes, round(100 * share, 1), round(float(error), 2), wanted)


def measure(repetitions: int, seed: int, tell: Callable[[Row], None]) -> list[Row]:
    """All settings; the same seed gives the same numbers."""
    rows: list[Row] = []
    settings = [
        Setting(null=null, seeds=seeds, utterances=utterances, speakers=speakers)
        for null in NULLS
        for seeds in SEEDS
        for utterances in UTTERANCES
        for speakers in SPEAKERS
    ]
    for number, setting in enumerate(settings):
        random = np.random.default_rng([seed, number])
        found = list(_shares(setting, random, repetitions))
        if (setting.null, setting.seeds > 1) in (("speakers", False), ("seeds", True)):
            size, share = planted(setting, random, repetitions)
            found.append(_row("power", f"{100 * size:.1f} points", setting, share, repetitions, 80.0))
        rows += found
        for row in found:
            tell(row)
    for number, (speakers, strength) in enumerate((speakers, strength) for strength in (1, 2) for speakers in FEW):
        effects = Effects(speaker=0.25 * strength, speaker_of_variant=0.25 * strength)
        setting = Setting(null="speakers", seeds=1, utterances=30 * speakers, speakers=speakers, effects=effects)
        random = np.random.default_rng([seed, len(settings) + number])
        chunks = [few_speakers(data.by_speaker(), random) for data in _chunks(setting, random, repetitions)]
        for what in chunks[0]:
            share = float(np.concatenate([chunk[what] for chunk in chunks]).mean())
            named = f"{what}, effects of {effects.speaker}"
            rows.append(_row("few speakers", named, setting, share, repetitions, 95.0))
            tell(rows[-1])
    return rows


def main() -> None:
    """Measure all, print the tables, write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, required=True, metavar="F", help="where the rows go")
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rows = measure(args.repetitions, args.seed, lambda row: print(*row, flush=True))
    args.json.write_text(json.dumps([row._asdict() for row in rows], indent=1) + "\n", encoding="utf-8")
    for kind in ("false finds", "coverage", "power"):
        print(f"\n{kind}\n\n{table(rows, kind)}")
    print(f"\nfew speakers\n\n{few_table(rows)}")


if __name__ == "__main__":
    main()
