"""recogs-*.txt of icefall: two lines an utterance, `id:<tab>ref=['WORD', ...]` and `id:<tab>hyp=['WORD', ...]`."""

import ast
import re

from hybrid_asr.scoring.formats.source import Line, Source, Transcripts

_LINE = re.compile(r"(?P<id>\S+):\s+(?P<side>ref|hyp)=(?P<words>.*)")


def read_recogs(source: Source) -> Transcripts:
    """One side of the file: its references or its hypotheses. Raises ScoringError for a line that is neither."""
    wanted = "ref" if source.role == "ref" else "hyp"

    def one(number: int, content: str) -> tuple[int, str, Line] | None:
        match = _LINE.fullmatch(content)
        if match is None:
            source.refuse(number, f"is neither 'id: ref=[...]' nor 'id: hyp=[...]'; give {source.option('format')}")
        if match["side"] == wanted:
            return number, match["id"], Line(_words(source, number, match["words"]))
        source.passed_over[f"{match['side']}="] += 1
        return None

    found = [line for line in source.each(source.lines, one) if line]
    if not found:
        source.refuse(1, f"no line has '{wanted}='; give a file that has both sides")
    return source.by_id(found)


def may_be_recogs(content: str) -> bool:
    """Whether a line is one of such a file."""
    return _LINE.fullmatch(content) is not None


def _words(source: Source, number: int, written: str) -> str:
    try:
        words = ast.literal_eval(written)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        words = None
    if isinstance(words, str):
        return words
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        source.refuse(number, f"{written[:40]} is not a list of words in quotes; write ['one', 'two']")
    return " ".join(words)
