"""`hybrid-asr transcribe`: audio files to text, one line a file as soon as it is there."""

import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from hybrid_asr.audio.folders import find_recordings
from hybrid_asr.common.errors import UserError
from hybrid_asr.recognizer import load

_SETTING = re.compile(r"(decode|presets)\.[\w.]+=")


def transcribe(
    run: Path,
    paths: Sequence[str],
    *,
    decoder: str | None,
    channel: int | None,
    form: Literal["text", "json"],
    stop_at_error: bool,
) -> int:
    """Print the transcripts of files, and of all recordings in folders; returns the exit status.

    A bad file does not keep the others from being transcribed: it is named on standard error, and the status is 2.
    Words such as `decode.beam=4` in `paths` are settings, unless files are called so. With `stop_at_error` the first
    bad file raises UserError. Of several files each transcript has its path before it.
    """
    settings = [path for path in paths if _SETTING.match(path) and not os.path.lexists(path)]
    recognizer = load(run, decoder=decoder, overrides=settings)
    paths = [path for path in paths if path not in settings]
    if not paths:
        raise UserError(f"{' '.join(settings)}: these are settings; name audio files or folders, too")
    bad_files: list[Path] = []

    def report(path: Path, error: UserError) -> None:
        if stop_at_error:
            raise error
        bad_files.append(path)
        print(f"hybrid-asr transcribe: {error}", file=sys.stderr, flush=True)

    def tell(note: str) -> None:
        print(f"note: {note}", file=sys.stderr, flush=True)

    files = find_recordings(paths, refuse=report, tell=tell)
    several = len(files) + len(bad_files) > 1
    for transcript in recognizer.stream(files, channel=channel, bad=report):
        if form == "json":
            print(json.dumps(transcript.to_json(), ensure_ascii=False), flush=True)
        else:
            print(f"{transcript.path}\t{transcript.text}" if several else transcript.text, flush=True)
    return 2 if bad_files else 0
