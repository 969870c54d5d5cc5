"""trn: `word word (id)`, NIST's transcripts by utterance, with comments behind `;;` and alternatives."""

from hybrid_asr.scoring.formats.source import Line, Source, Transcripts


def read_trn(source: Source) -> Transcripts:
    """The texts in a trn file. Raises ScoringError for a line without an id and for an id that occurs twice."""

    def one(number: int, content: str) -> tuple[int, str, Line]:
        text, key = _split(content)
        if not key:
            what = f"does not end in '(id)', as lines of trn do; add it, or give {source.option('format')}"
            source.refuse(number, what)
        return number, " ".join(key.split()), source.line(number, text.strip())

    return source.by_id(source.each(source.uncommented, one))


def ends_in_id(content: str) -> bool:
    """Whether a line ends as those of trn do, in an id of one word."""
    return len(_split(content)[1].split()) == 1


def _split(content: str) -> tuple[str, str]:
    """The text and the id of a line, which is empty where the line is none of trn."""
    text, bracket, key = content.removesuffix(")").rpartition("(")
    return (text, key.strip()) if bracket and content.endswith(")") and ")" not in key else (content, "")
