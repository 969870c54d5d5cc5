"""Against NIST's sclite itself: trn with alternatives, and ctm against stm by time."""

import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hybrid_asr.scoring.files import Reading, score_files
from hybrid_asr.scoring.report import ErrorReport
from tests.scoring.test_alternatives import pairs, random_reference

SCLITE = ["sctk", "sclite"] if shutil.which("sctk") else ["sclite"]
pytestmark = pytest.mark.skipif(shutil.which(SCLITE[0]) is None, reason="needs NIST's sclite (Debian: sctk)")
Counts = tuple[int, int, int, int]  # words, substitutions, deletions, insertions


def sclite(folder: Path, *files: str) -> dict[str, Counts]:
    """The counts of each utterance by sclite, optional words deletable, case kept."""
    options = [*files, "-D", "-s", "-o", "pralign", "stdout"]
    run = subprocess.run([*SCLITE, *options], cwd=folder, capture_output=True, text=True, timeout=60)
    found = re.findall(r"id: \((\S+)\)(?:.|\n)*?Scores: \(#C #S #D #I\) (\d+) (\d+) (\d+) (\d+)", run.stdout)
    assert found, run.stdout + run.stderr
    return {key: (int(c) + int(s) + int(d), int(s), int(d), int(i)) for key, c, s, d, i in found}


def ours(folder: Path, ref: str, hyp: str) -> tuple[ErrorReport, list[str]]:
    told: list[str] = []
    scores = score_files(folder / ref, folder / hyp, reading=Reading(tell=told.append))
    assert isinstance(scores, ErrorReport)
    return scores, told


def check(scores: ErrorReport, theirs: dict[str, Counts], names: dict[str, str], *, differing: int) -> None:
    """Never more errors than sclite, and the same four counts except in `differing` utterances.

    Its costs (4, 3, 3, and 2 for an optional word) may prefer an alignment with an error more, and decide ties.
    """
    assert len(theirs) == len(scores.rows)
    other = 0
    for row in scores.rows:
        words, counts = row.words, theirs[names[row.id]]
        assert words.errors <= sum(counts[1:]), (row.written, row.hypothesis)
        other += counts != (words.reference, words.substitutions, words.deletions, words.insertions)
    assert other <= differing


def test_alternatives_and_optional_words(tmp_path: Path) -> None:
    chosen = list(pairs(250, seed=2))
    for name, side in (("ref.trn", 0), ("hyp.trn", 1)):
        lines = [f"{pair[side]} (spk-u{number})\n" for number, pair in enumerate(chosen)]
        (tmp_path / name).write_text(";; made by chance\n" + "".join(lines))
    theirs = sclite(tmp_path, "-r", "ref.trn", "trn", "-h", "hyp.trn", "trn", "-i", "rm")
    scores, _ = ours(tmp_path, "ref.trn", "hyp.trn")
    check(scores, theirs, {key: key for key in theirs}, differing=10)


ODD = [
    ("{ a { b / c } / d } e", "a c e"),
    ("{ { a / b } { c / @ } / { d } } e", "b e"),
    ("{ @ } b", "b"),
    ("(a) b (c)", "b"),
    ("(a) b (c)", "x b y"),
    ("(a)", ""),
    ("(a)", "b"),
    ("(wor-) b", "b"),
    ("{ (a) b / c } d", "b d"),
    ("(a b) c", "c"),
    ("well-known wor- -ds", "well known word -ds"),
    ("@ a @", "a"),
    ("{ a/b / c } d", "a/b d"),
    ("a b", "{ a / x } { c / b }"),
    ("a b", ""),
    ("", "a b"),
    ("a ;; b", "a"),
]


def test_what_stands_at_the_ends_is_empty_or_has_marks_in_words(tmp_path: Path) -> None:
    """Cases that a reviewer thought of: alike to the count."""
    for name, side in (("ref.trn", 0), ("hyp.trn", 1)):
        lines = [f"{pair[side]} (spk-u{number})\n" for number, pair in enumerate(ODD)]
        (tmp_path / name).write_text("".join(lines))
    theirs = sclite(tmp_path, "-r", "ref.trn", "trn", "-h", "hyp.trn", "trn", "-i", "rm")
    scores, _ = ours(tmp_path, "ref.trn", "hyp.trn")
    check(scores, theirs, {key: key for key in theirs}, differing=0)


def test_words_fall_into_the_same_segments(tmp_path: Path) -> None:
    draw = random.Random(3)
    segments, words, names, times = [], [], {}, dict.fromkeys(("s1", "s2"), 0)
    for file in range(30):
        end = 0.0
        for _ in range(draw.randint(1, 8)):
            begin = round(end + draw.choice([0, 0, 0.5, -0.3]) + 0.3, 2)
            end = round(begin + draw.randint(1, 4) / 2, 2)
            speaker, ignored = draw.choice(["s1", "s2"]), draw.random() < 0.15
            text = "IGNORE_TIME_SEGMENT_IN_SCORING" if ignored else random_reference(draw)
            segments.append(f"f{file:02} A {speaker} {begin:.2f} {end:.2f} <o,f0> {text}")
            if not ignored:
                names[f"f{file:02}-A-{begin:.2f}-{end:.2f}"] = f"{speaker}-{times[speaker]:03}"
                times[speaker] += 1
        at = 0.0  # no word has its middle where a segment ends: rounding decides there
        while at < end + 1:
            at = round(at + draw.randint(1, 8) / 10, 2)
            words.append(
                f"f{file:02} A {at + 0.013:.3f} {draw.choice([0.0, 0.1, 0.2]):.2f} {draw.choice('abcdex')} 0.9"
            )
    (tmp_path / "ref.stm").write_text("".join(f"{line}\n" for line in segments))
    (tmp_path / "hyp.ctm").write_text("".join(f"{line}\n" for line in words))
    theirs = sclite(tmp_path, "-r", "ref.stm", "stm", "-h", "hyp.ctm", "ctm")
    scores, told = ours(tmp_path, "ref.stm", "hyp.ctm")
    check(scores, theirs, names, differing=12)
    assert len(scores.rows) > 80 and "not scored" in told[-1]
    assert re.search(r"passed over: confidence \(\d+\)", "\n".join(told))
