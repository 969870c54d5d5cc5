"""The matched-pair sentence segment word error test, MAPSSWE (Gillick and Cox, 1989; Pallett et al., 1990).

Both systems' alignments are cut where two reference units in a row are right in both, with nothing inserted between
them: errors on the two sides of such a cut are taken as independent. Each segment between cuts that has an error gives
one difference, the first system's errors minus the second's, and their mean is tested against 0 by a normal z. As in
NIST's sclite the alignment costs 4 for a substitution and 3 for an insertion or deletion, of equal ones that is taken
which, from the end, substitutes before it inserts, and inserts before it deletes.

The test knows neither speakers nor seeds: where segments of one speaker go wrong together its p is too small.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from hybrid_asr.scoring.student_t import normal_p

SUBSTITUTION, GAP = 4, 3  # the costs of sclite
BOUNDARY = 2  # units in a row that are right in both systems


class SegmentTest(NamedTuple):
    """Segments with errors, the mean and standard deviation of their differences, and the test of the mean.

    `z` and `p` (two-sided) are None where all differences are equal, but not 0: nothing is known of their spread.
    """

    segments: int
    mean: float
    deviation: float
    z: float | None
    p: float | None


class Aligned(NamedTuple):
    """Where one system errs: `wrong[i]` is reference unit i, `inserted[i]` the number of units before it.

    `inserted` has one entry more, for what is inserted at the end.
    """

    wrong: list[bool]
    inserted: list[int]


def mapsswe(triples: Iterable[tuple[Sequence[str], Sequence[str], Sequence[str]]]) -> SegmentTest:
    """Test two systems on (reference, first hypothesis, second hypothesis) of each utterance, split into units."""
    pairs = (segment_errors(align_as_sclite(ref, a), align_as_sclite(ref, b)) for ref, a, b in triples)
    return segment_test(list(itertools.chain.from_iterable(pairs)))


def segment_test(pairs: Sequence[tuple[int, int]]) -> SegmentTest:
    """Test both systems' errors in each segment; segments without any do not count."""
    differences = np.array([a - b for a, b in pairs if a or b], dtype=np.float64)
    count = len(differences)
    if not differences.any():
        return SegmentTest(count, 0.0, 0.0, 0.0, 1.0)
    mean = float(differences.mean())
    deviation = float(differences.std(ddof=1)) if count > 1 else 0.0
    if deviation == 0:
        return SegmentTest(count, mean, 0.0, None, None)
    z = mean / (deviation / math.sqrt(count))
    return SegmentTest(count, mean, deviation, z, normal_p(z))


def segment_errors(first: Aligned, second: Aligned) -> list[tuple[int, int]]:
    """The errors of both systems in each segment of an utterance that has any."""
    segments: list[tuple[int, int]] = []
    current, right = [0, 0], 0
    for before, wrong in zip(
        zip(first.inserted, second.inserted, strict=True),
        [*zip(first.wrong, second.wrong, strict=True), (False, False)],
        strict=True,
    ):
        if any(before) or any(wrong):
            right = 0
        current = [sum(counts) for counts in zip(current, before, wrong, strict=True)]
        right += not any(wrong)
        if right == BOUNDARY and any(current):
            segments.append((current[0], current[1]))
            current = [0, 0]
    return segments + ([(current[0], current[1])] if any(current) else [])


def align_as_sclite(reference: Sequence[str], hypothesis: Sequence[str]) -> Aligned:
    """The alignment of least cost that sclite takes."""
    wrong, inserted = [False] * len(reference), [0] * (len(reference) + 1)
    if list(reference) == list(hypothesis):
        return Aligned(wrong, inserted)
    costs = _costs(reference, hypothesis)
    row, column = len(reference), len(hypothesis)
    while row or column:
        here = costs[row][column]
        unequal = SUBSTITUTION * (reference[row - 1] != hypothesis[column - 1]) if row and column else None
        if unequal is not None and here == costs[row - 1][column - 1] + unequal:
            wrong[row - 1] = bool(unequal)
            row, column = row - 1, column - 1
        elif column and here == costs[row][column - 1] + GAP:
            inserted[row] += 1
            column -= 1
        else:
            wrong[row - 1] = True
            row -= 1
    return Aligned(wrong, inserted)


def _costs(reference: Sequence[str], hypothesis: Sequence[str]) -> list[list[int]]:
    """The least cost of each beginning of the reference beside each of the hypothesis."""
    ids: dict[str, int] = {}
    units = np.array([ids.setdefault(unit, len(ids)) for unit in hypothesis], dtype=np.int64)
    gaps = GAP * np.arange(len(hypothesis) + 1)
    rows = [gaps]
    for unit in reference:
        above = rows[-1]
        best = above + GAP
        different = SUBSTITUTION * (units != ids.get(unit, -1))
        best[1:] = np.minimum(best[1:], above[:-1] + different)
        rows.append(np.minimum.accumulate(best - gaps) + gaps)  # then units are inserted behind the best of each row
    return [row.tolist() for row in rows]
