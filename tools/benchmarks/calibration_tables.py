"""The tables of tools.benchmarks.calibration, in Markdown."""

from typing import NamedTuple

UTTERANCES = (130, 1000)
SPEAKERS = (10, 40)
FEW = (3, 5, 10, 20, 40)  # speakers


class Row(NamedTuple):
    """The share of repetitions in which something happened, in per cent, with its standard error."""

    kind: str  # "false finds", "coverage" or "power"
    what: str
    null: str
    seeds: int
    utterances: int
    speakers: int
    percent: float
    error: float
    wanted: float


def few_table(rows: list[Row]) -> str:
    """One line an interval, one column a number of speakers."""
    groups: dict[str, list[str]] = {}
    for row in rows:
        if row.kind == "few speakers":
            groups.setdefault(row.what, []).append(f"{row.percent:.1f}")
    head = ["| interval of | " + " | ".join(f"{speakers} speakers" for speakers in FEW) + " |", "| --- " * 6 + "|"]
    return "\n".join(head + [f"| {what} | {' | '.join(cells)} |" for what, cells in groups.items()])


def table(rows: list[Row], kind: str) -> str:
    """One line a null and number of seeds, one column a size of the test set and what was tried."""
    chosen = [row for row in rows if row.kind == kind]
    lines = [
        f"| null | seeds | {'interval of' if kind == 'coverage' else 'test'} | "
        + " | ".join(f"{utterances}, {speakers}" for utterances in UTTERANCES for speakers in SPEAKERS)
        + " |"
    ]
    lines.append("| --- " * (3 + len(UTTERANCES) * len(SPEAKERS)) + "|")
    groups: dict[tuple[str, int, str], list[str]] = {}
    for row in chosen:
        what = "t, speakers" if kind == "power" else row.what
        cell = f"{row.percent:.1f} ({row.what})" if kind == "power" else f"{row.percent:.1f}"
        groups.setdefault((row.null, row.seeds, what), []).append(cell)
    lines += [f"| {null} | {seeds} | {what} | {' | '.join(cells)} |" for (null, seeds, what), cells in groups.items()]
    return "\n".join(lines)
