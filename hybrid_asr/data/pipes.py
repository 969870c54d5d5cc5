"""Commands of Kaldi's wav.scp that only decode a file: the file is read instead. No command is ever run.

Known are flac, sph2pipe, sox, ffmpeg and cat, alone or piped into each other, as far as their output has the samples of
the file, or of one of its channels, perhaps at another rate. All else is refused by name.
"""

import getopt
import re
import shlex
from collections.abc import Sequence
from pathlib import PurePath

from hybrid_asr.data.pipe_programs import PERTURBED, PROGRAMS, STDIN, Refused, Source
from hybrid_asr.data.table_checks import BAD_LINE, LineError

ARCHIVE, URL = "audio in a Kaldi archive", "audio that is not on this machine"
_UNPACK = (
    'write it to files with Kaldi: mkdir wav; awk \'{print $1, "wav/" $1 ".wav"}\' wav.scp > files.scp; '
    "wav-copy scp:wav.scp scp:files.scp; then put files.scp in place of wav.scp"
)
_OUTSIDE_SHELLS = "write its output to a file and name that instead"


def parse_entry(entry: str) -> Source:
    """What an entry of wav.scp stands for: a file, or a command that decodes one. Raises LineError for others.

    As in Kaldi, `FILE:1234` is a place in an archive, and what ends with `|` is a command.
    """
    if entry.endswith("|"):
        return parse_command(entry[:-1])
    if re.search(r":\d+(\[[\d:,]*\])?$", entry) or re.match(r"(ark|scp)[,:]", entry):
        raise LineError(f"'{entry}' lies in a Kaldi archive, which is not read; {_UNPACK}", ARCHIVE)
    if re.match(r"[a-z][a-z0-9+.]+://", entry):
        raise LineError(
            f"'{entry}' is not on this machine, and nothing is downloaded; download it, and name the file", URL
        )
    if entry == STDIN or entry.startswith("|"):
        raise LineError(f"'{entry}' is no file; name the audio file", BAD_LINE)
    return Source(entry)


def parse_command(command: str) -> Source:
    """What `command` (without the `|` at its end) reads. Raises LineError with cause and remedy."""
    try:
        stages = _stages(re.sub(r"\s2>\s*/dev/null\b", " ", command))
        source = _parse_stage(stages[0])
        for stage in stages[1:]:
            source = _chained(source, _parse_stage(stage), stage[0])
        if source.path == STDIN:
            raise Refused("standard input", "it reads its standard input, which is empty here")
    except Refused as error:
        remedy = _OUTSIDE_SHELLS
        if error.kind in PERTURBED:
            remedy = "leave perturbed copies out (training perturbs by itself), or write them to files"
        what = f"the command '{command.strip()} |' is not run, and no file can be read for it: {error}; {remedy}"
        raise LineError(what, f"a command that is not run ({error.kind})") from None
    return source


def _stages(command: str) -> list[list[str]]:
    """The words of each command of a pipe. Raises Refused for what only a shell understands."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|&;<>()")
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        words = list(lexer)
    except ValueError:
        raise Refused("quotes", "a quote in it is not closed") from None
    stages: list[list[str]] = [[]]
    for word in words:
        if word == "|":
            stages.append([])
        elif set(word) <= set("|&;<>()") or "$" in word or "`" in word:
            raise Refused("a shell", f"only a shell understands '{word}'")
        else:
            stages[-1].append(word)
    if not all(stages):
        raise Refused("nothing", "there is no program beside a '|'")
    return stages


def _parse_stage(words: Sequence[str]) -> Source:
    program = PurePath(words[0]).name
    if program not in PROGRAMS:
        raise Refused(program, f"'{program}' is none of {', '.join(PROGRAMS)}")
    try:
        return PROGRAMS[program](list(words[1:]))
    except getopt.GetoptError as error:
        raise Refused(f"{program} -{error.opt}", f"{program}: {error.msg}") from None


def _chained(first: Source, second: Source, program: str) -> Source:
    """What a pipe of two commands reads."""
    if second.path != STDIN:
        raise Refused("a second file", f"'{program}' reads '{second.path}', not what the command before it writes")
    if first.channel != "all" and second.channel not in ("all", "mean", 1):
        raise Refused("a channel of one", f"'{program}' takes channel {second.channel} of a single one")
    rates = [rate for rate in (first.rate, second.rate) if rate]
    channel = second.channel if first.channel == "all" else first.channel
    return Source(first.path, channel, min(rates, default=None))
