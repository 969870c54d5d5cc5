"""`hybrid-asr align`: when each word, or label, of a known text was said in an audio file."""

from pathlib import Path

from hybrid_asr.inference.align import Format, Unit, format_alignment, read_text
from hybrid_asr.recognizer import load


def align(
    run: Path,
    audio: Path,
    *,
    text: str | None,
    text_file: Path | None,
    units: Unit,
    channel: int | None,
    form: Format,
) -> None:
    """Print the alignment of `audio` with `text`, or with the content of `text_file` (UTF-8)."""
    if text is None:
        assert text_file is not None, "the command line wants one of them"
        text = read_text(text_file)
    print(format_alignment(load(run).align(audio, text, units=units, channel=channel), form), end="")
