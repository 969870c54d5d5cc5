"""Repetition loops: hypotheses in which a decoder repeats the same words again and again."""

from hybrid_asr.scoring.align import Unit, split

LONGEST = 8  # units of what is repeated
TIMES = 4  # in a row


def has_loop(reference: str, hypothesis: str, unit: Unit, *, longest: int = LONGEST, times: int = TIMES) -> bool:
    """Whether the hypothesis repeats 1 to `longest` units (words or characters) `times` times in a row or more.

    A repetition that is in the reference as a whole, such as "no no no no", was spoken and is no loop.
    """
    spoken, written = split(reference, unit), split(hypothesis, unit)
    for size in range(1, longest + 1):
        equal = 0  # units in a row that equal the one `size` before them
        for index in range(size, len(written) + 1):
            if index < len(written) and written[index] == written[index - size]:
                equal += 1
                continue
            if equal >= size * (times - 1) and not _contains(spoken, written[index - equal - size : index]):
                return True
            equal = 0
    return False


def _contains(units: list[str], run: list[str]) -> bool:
    """Whether `run` is a contiguous part of `units`."""
    return any(units[start : start + len(run)] == run for start in range(len(units) - len(run) + 1))
