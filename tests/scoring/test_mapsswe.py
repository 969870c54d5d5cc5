"""MAPSSWE gives the numbers of NIST's sc_stats, and what its authors describe."""

import math
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hybrid_asr.scoring.mapsswe import Aligned, align_as_sclite, mapsswe, segment_errors, segment_test
from hybrid_asr.scoring.student_t import normal_p
from tests.scoring.corrupted import RATES, Pair, corrupted

# What sc_stats 1.3 prints for the pairs of `corrupted`: segments, mean, standard deviation, z and p, by
#     sctk sclite -r ref.trn trn -h a.trn trn a -i rm -s -o sgml stdout -f 0 > a.sgml    (and so for b)
#     cat a.sgml b.sgml | sctk sc_stats -p -t mapsswe -v -n -                            (p: with -u for -v)
# test_sc_stats_says_the_same runs these commands.
PRINTED = [
    "102 0.039 1.151 0.344 0.734",
    "66 -0.106 1.025 -0.841 0.401",
    "186 -0.091 1.469 -0.848 0.401",
    "30 -0.100 0.995 -0.551 0.582",
    "160 0.075 1.185 0.801 0.424",
    "134 -0.396 1.117 -4.098 <0.001",
    "129 -0.922 1.094 -9.576 <0.001",
    "164 0.585 1.657 4.523 <0.001",
    "70 -0.443 0.927 -3.998 <0.001",
    "168 -0.500 1.559 -4.156 <0.001",
    "134 0.403 1.856 2.513 0.012",
    "54 1.241 0.512 17.823 <0.001",
]
SC_STATS = shutil.which("sctk")


def printed(pair: Pair) -> str:
    """Our numbers as sc_stats prints them; it takes p from a table, by two decimals of z, and so does this."""
    found = mapsswe(zip(*pair, strict=True))
    assert found.z is not None and found.p is not None
    tabulated = normal_p(math.floor(100 * abs(found.z)) / 100)
    assert found.p <= tabulated <= found.p + 0.009
    p = "<0.001" if tabulated < 0.001 else f"{tabulated:.3f}"
    return f"{found.segments} {found.mean:.3f} {found.deviation:.3f} {found.z:.3f} {p}"


@pytest.mark.parametrize("number", range(len(RATES)))
def test_the_numbers_are_those_of_sc_stats(number: int) -> None:
    assert printed(corrupted(number)) == PRINTED[number]


@pytest.mark.slow
@pytest.mark.skipif(SC_STATS is None, reason="needs NIST's sc_stats (Debian: sctk)")
@pytest.mark.parametrize("number", range(len(RATES)))
def test_sc_stats_says_the_same(number: int, tmp_path: Path) -> None:
    pair = corrupted(number)
    for name, rows in (("ref", pair.reference), ("a", pair.first), ("b", pair.second)):
        lines = [f"{' '.join(words)} (s{row % 10}-u{row})\n" for row, words in enumerate(rows)]
        (tmp_path / f"{name}.trn").write_text("".join(lines), encoding="utf-8")
    for name in "ab":
        files = ["-r", "ref.trn", "trn", "-h", f"{name}.trn", "trn", name]
        command = ["sctk", "sclite", *files, "-i", "rm", "-s", "-o", "sgml", "stdout", "-f", "0"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
        (tmp_path / "both.sgml").open("a").write(done.stdout)

    def sc_stats(*options: str) -> str:
        command = ["sctk", "sc_stats", "-p", "-t", "mapsswe", *options]
        with (tmp_path / "both.sgml").open() as both:
            return subprocess.run(
                command, cwd=tmp_path, stdin=both, capture_output=True, encoding="latin-1", timeout=60, check=True
            ).stdout

    figures = re.search(
        r"# segs: (\d+)\).*mean: (\S+)\) \(std dev: (\S+)\) \(Z Stat: (\S+)\)", sc_stats("-v", "-n", "-")
    )
    p = re.search(r"MP +\|\| +a +\|[^\n]* (<?[01]\.\d{3})", sc_stats("-u", "-n", "-"))
    assert figures and p
    assert " ".join([*figures.groups(), p[1]]) == printed(pair) == PRINTED[number]


def test_two_words_right_in_both_end_a_segment() -> None:
    reference = list("abcdefgh")
    first = list("xbcxefgh")  # b and c are right in both: two segments
    second = list("abcdexgx")  # between d and f, and f and h, only one is: they stay together
    assert segment_errors(align_as_sclite(reference, first), align_as_sclite(reference, second)) == [(1, 0), (1, 2)]


def test_what_is_inserted_between_right_words_ends_no_segment() -> None:
    first = Aligned([True, False, False, False, False], [0, 0, 1, 0, 0, 0])
    second = Aligned([False] * 5, [0, 0, 0, 0, 0, 2])
    assert segment_errors(first, second) == [(2, 0), (0, 2)]


def test_alignments_cost_what_sclites_do() -> None:
    """One substitution and one insertion cost 7, two insertions and a deletion 9; two substitutions 8."""
    assert align_as_sclite(list("ab"), list("xac")) == Aligned([False, True], [1, 0, 0])
    assert align_as_sclite(list("abc"), list("bcd")) == Aligned([True, False, False], [0, 0, 0, 1])
    assert align_as_sclite(["a"], []) == Aligned([True], [0, 0])
    assert align_as_sclite([], ["a"]) == Aligned([], [1])


def test_the_sign_is_that_of_the_first_system() -> None:
    pair = corrupted(6)
    found = mapsswe(zip(*pair, strict=True))
    swapped = mapsswe(zip(pair.reference, pair.second, pair.first, strict=True))
    assert found.mean < 0 and found.z is not None and swapped.z == -found.z and swapped.p == found.p


def test_without_a_spread_there_is_no_p() -> None:
    assert segment_test([(1, 0)] * 5) == (5, 1.0, 0.0, None, None)
    assert segment_test([(0, 0), (2, 1)]) == (1, 1.0, 0.0, None, None)
    assert segment_test([(2, 2), (0, 0)]) == (1, 0.0, 0.0, 0.0, 1.0)
    assert segment_test([]) == (0, 0.0, 0.0, 0.0, 1.0)
