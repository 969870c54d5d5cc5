"""Kaldi text: `id word word ...`, which ESPnet, WeNet and others write, too."""

from hybrid_asr.scoring.formats.source import Line, Source, Transcripts


def read_kaldi(source: Source) -> Transcripts:
    """The texts in a Kaldi text file. Raises ScoringError for an id that occurs twice."""

    def one(content: str) -> tuple[str, Line]:
        key, *words = content.split(maxsplit=1)
        return key, Line(words[0] if words else "")

    return source.by_id((number, *one(content)) for number, content in source.lines)
