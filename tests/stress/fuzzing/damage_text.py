"""Damage to text: encodings, ends of lines, odd characters, numbers that cannot be meant."""

import re

from .table import HYP, LINES, TEXT, YAML, Case, damages

NUMBER = re.compile(r"(?<![\w.-])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.-])")
NUMBERED = ("manifest", "table", "table-json", "kaldi", "lhotse", "metrics", "report", *YAML)  # with meaning


def replaced(case: Case, number: str) -> str:
    """Write `number` in the place of some number, and return what stood there."""
    text = case.text
    found = list(NUMBER.finditer(text))
    if not found:
        case.text = text + number
        return ""
    one = case.rng.choice(found)
    case.text = text[: one.start()] + number + text[one.end() :]
    return one.group()


@damages(TEXT)
def utf_16(case: Case) -> None:
    """Encoded in UTF-16, as old Windows programs save."""
    case.data = case.text.encode("utf-16")


@damages(TEXT)
def latin_1(case: Case) -> None:
    """A letter that is encoded in Latin-1."""
    data, at = case.data, case.place(len(case.data))
    case.data = data[:at] + "Müller".encode("latin-1") + data[at:]


@damages(TEXT, unseen=TEXT)
def byte_order_mark(case: Case) -> None:
    """A byte order mark in front: harmless."""
    case.text = "\ufeff" + case.text


@damages(TEXT)
def nul_byte(case: Case) -> None:
    """A NUL byte somewhere."""
    data, at = case.data, case.place(len(case.data))
    case.data = data[:at] + b"\0" + data[at:]


@damages(TEXT, unseen=LINES)
def ends_of_old_macs(case: Case) -> None:
    """Lines that end with a carriage return alone."""
    case.text = case.text.replace("\n", "\r")


@damages(TEXT, unseen=TEXT)
def ends_of_windows(case: Case) -> None:
    """Lines that end with carriage return and line feed: harmless."""
    case.text = case.text.replace("\n", "\r\n")


@damages(TEXT, unseen=TEXT)
def very_long_line(case: Case) -> None:
    """A line of four million characters."""
    lines = case.lines
    at = case.place(len(lines))
    lines[at] = lines[at].rstrip("\n") + "x" * 4_000_000 + "\n"
    case.lines = lines


@damages(TEXT, unseen=LINES)
def many_empty_lines(case: Case) -> None:
    """A hundred thousand empty lines at the end."""
    case.text = case.text + "\n" * 100_000


@damages(LINES, unseen=LINES)
def many_lines(case: Case) -> None:
    """The last line twenty thousand times."""
    case.lines = [*case.lines, *([case.lines[-1]] * 20_000)]


@damages(TEXT, unseen=TEXT)
def odd_characters(case: Case) -> None:
    """Characters that some programs stumble over: other ends of lines, directions, combining marks, emoji."""
    odd = case.rng.choice(
        ["\u2028", "\x85", "\u202e", "e\u0301\u0301\u0301", "👩‍👩‍👧", "\u200b", "\ufeff", "\u00a0", "ﬁ"]
    )
    text, at = case.text, case.place(len(case.text))
    case.text = text[:at] + odd + text[at:]


@damages(TEXT, unseen=(*LINES, "report"))
def control_character(case: Case) -> None:
    """An escape sequence of a terminal, a bell, a vertical tab."""
    text, at = case.text, case.place(len(case.text))
    case.text = text[:at] + case.rng.choice(["\x1b[2J", "\x07", "\x0b", "\x0c", "\x1c", "\x7f"]) + text[at:]


@damages(TEXT)
def half_a_character(case: Case) -> None:
    """The first byte of a character of two, and not the second."""
    data, at = case.data, case.place(len(case.data))
    case.data = data[:at] + b"\xc3" + data[at:]


@damages(TEXT, unseen=TEXT)
def line_missing(case: Case) -> None:
    """One line is missing."""
    lines = case.lines
    del lines[case.place(len(lines))]
    case.lines = lines


@damages(TEXT, unseen=("metrics", "report", *YAML))
def line_repeated(case: Case) -> None:
    """One line stands there twice."""
    lines = case.lines
    at = case.place(len(lines))
    case.lines = [*lines[: at + 1], *lines[at:]]


@damages(TEXT, unseen=TEXT)
def line_cut(case: Case) -> None:
    """One line ends in its middle."""
    lines = case.lines
    at = case.place(len(lines))
    lines[at] = lines[at][: case.place(len(lines[at]))] + "\n"
    case.lines = lines


@damages(TEXT, unseen=TEXT)
def lines_joined(case: Case) -> None:
    """The end of a line is missing."""
    lines = case.lines
    at = case.place(len(lines))
    lines[at] = lines[at].rstrip("\n")
    case.lines = lines


@damages(TEXT, unseen=TEXT)
def word_repeated(case: Case) -> None:
    """A word stands there twice."""
    words = re.split(r"(\s+)", case.text)
    at = case.place(len(words))
    case.text = "".join([*words[: at + 1], " ", *words[at:]])


@damages(TEXT, unseen=TEXT)
def punctuation_missing(case: Case) -> None:
    """A colon, comma, quote, brace or bracket is missing."""
    text = case.text
    found = [place for place, letter in enumerate(text) if letter in ':,"{}[]()' or letter in "\t'"]
    at = case.rng.choice(found) if found else 0
    case.text = text[:at] + text[at + 1 :]


@damages(TEXT, unseen=TEXT)
def tabs_for_spaces(case: Case) -> None:
    """Tabs where there were spaces."""
    case.text = case.text.replace("  ", "\t") if "  " in case.text else case.text.replace(" ", "\t")


@damages(NUMBERED, unseen=("metrics",))
def number_not_a_number(case: Case) -> None:
    """NaN in the place of a number, in one of its spellings."""
    replaced(case, case.rng.choice(["NaN", ".nan"] if case.kind in YAML else ["NaN", "nan"]))


@damages(NUMBERED, unseen=("metrics",))
def number_infinite(case: Case) -> None:
    """Infinity in the place of a number, in one of its spellings."""
    replaced(case, case.rng.choice([".inf", "-.inf"] if case.kind in YAML else ["Infinity", "-Infinity"]))


@damages(NUMBERED, unseen=NUMBERED)
def number_negative(case: Case) -> None:
    """A negative number."""
    replaced(case, case.rng.choice(["-1", "-0.5", "-100000", "-0"]))


@damages(NUMBERED, unseen=NUMBERED)
def number_huge(case: Case) -> None:
    """A number beyond what floats or words of the machine hold."""
    replaced(case, case.rng.choice(["1e308", "1e999", "9" * 25, "9223372036854775808", "1" * 400]))


@damages(NUMBERED, unseen=NUMBERED)
def number_of_5000_digits(case: Case) -> None:
    """More digits than Python turns into a number."""
    replaced(case, "7" * 5000)


@damages(NUMBERED, unseen=NUMBERED)
def float_for_int(case: Case) -> None:
    """A fraction where a whole number may stand."""
    replaced(case, case.rng.choice(["1.5", "2.0", "1e1", "0.1"]))


@damages(NUMBERED, unseen=NUMBERED)
def number_as_text(case: Case) -> None:
    """A number in quotes, in other digits, or with separators."""
    replaced(case, case.rng.choice(['"12"', "'12'", "١٢", "1_000", "0x10", "1,5", "12 s", "1e", "--1"]))


@damages(NUMBERED, unseen=NUMBERED)
def number_missing(case: Case) -> None:
    """Nothing where a number stood."""
    replaced(case, "")


@damages(HYP, unseen=HYP)
def parentheses_about(case: Case) -> None:
    """Parentheses around half of the lines, or in them, so that it may look like trn."""
    case.lines = [
        f"({line.strip()})\n" if case.rng.random() < 0.5 else line.replace(" ", " (x) ", 1) for line in case.lines
    ]


@damages(HYP)
def another_set(case: Case) -> None:
    """The ids are those of other utterances."""
    case.text = re.sub(r"\bu(\d)\b", r"v\1", case.text)
