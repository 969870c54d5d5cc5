"""`hybrid-asr transcribe`: audio files to text, one line a file as soon as it is there."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from hybrid_asr.common.errors import UserError
from hybrid_asr.recognizer import expand, load


def transcribe(
    run: Path, paths: Sequence[str], *, decoder: str | None, form: Literal["text", "json"], stop_at_error: bool
) -> int:
    """Print the transcripts of files, and of all audio files in folders; returns the exit status.

    A bad file does not keep the others from being transcribed: it is named on standard error, and the status is 2.
    With `stop_at_error` the first one raises UserError.
    """
    several = len(expand(paths)) > 1
    recognizer = load(run, decoder=decoder)
    bad_files: list[Path] = []

    def report(path: Path, error: UserError) -> None:
        bad_files.append(path)
        print(f"hybrid-asr transcribe: {error}", file=sys.stderr, flush=True)

    for transcript in recognizer.stream(paths, bad=None if stop_at_error else report):
        if form == "json":
            print(json.dumps(transcript.to_json(), ensure_ascii=False), flush=True)
        else:
            print(f"{transcript.path}\t{transcript.text}" if several else transcript.text, flush=True)
    return 2 if bad_files else 0
