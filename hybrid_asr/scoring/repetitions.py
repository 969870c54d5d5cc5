"""Repetition loops: a decoder that says the same again and again."""

from hybrid_asr.scoring.align import Unit, split

LONGEST = 8  # units of what is repeated
TIMES = 4  # in a row


def has_loop(reference: str, hypothesis: str, unit: Unit, *, longest: int = LONGEST, times: int = TIMES) -> bool:
    """Whether the hypothesis repeats 1 to `longest` units (words or characters) `times` times in a row or more.

    A repetition that the reference holds as a whole, such as "no no no no", was said and is no loop.
    """
    said, written = split(reference, unit), split(hypothesis, unit)
    for size in range(1, longest + 1):
        equal = 0  # units in a row that stand there `size` before, too
        for place in range(size, len(written) + 1):
            if place < len(written) and written[place] == written[place - size]:
                equal += 1
                continue
            if equal >= size * (times - 1) and not _holds(said, written[place - equal - size : place]):
                return True
            equal = 0
    return False


def _holds(units: list[str], run: list[str]) -> bool:
    """Whether the units hold a run of them."""
    return any(units[start : start + len(run)] == run for start in range(len(units) - len(run) + 1))
