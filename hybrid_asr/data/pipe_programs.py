"""Programs that only decode, as Kaldi's wav.scp calls them: the file that their arguments name, and its channel."""

import getopt
import re
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

STDIN = "-"
_STDOUT = ("-", "/dev/stdout", "pipe:", "pipe:1")
PERTURBED = ("speed", "tempo", "vol", "gain", "norm", "pitch", "reverb")
_SOX_LONG = {"--type": "-t", "--rate": "-r", "--bits": "-b", "--channels": "-c", "--encoding": "-e"}
_SOX_FLAGS = ("-D", "-G", "-q", "-R", "-S", "-V", "--no-dither", "--guard", "--clobber", "--ignore-length")
_LOSSLESS = ("wav", "wavpcm", "flac", "aiff", "au", "sph", "sox")  # containers whose samples are those of the file
_FFMPEG_FLAGS = ("-nostdin", "-y", "-n", "-hide_banner", "-nostats", "-vn", "-sn", "-dn", "-bitexact")
_FFMPEG_IGNORED = ("-v", "-loglevel", "-threads", "-ab", "-b:a", "-map_metadata")
_FFMPEG_VALUES = {
    "-f": ("wav", "flac"),
    "-ac": ("1",),
    "-sample_fmt": ("s16", "s32", "flt"),
    **dict.fromkeys(("-acodec", "-codec:a", "-c:a"), ("pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "flac")),
}


class Source(NamedTuple):
    """What an entry stands for: a file, the channel of it (1 is the first), and the rate in Hz it is resampled to."""

    path: str
    channel: int | Literal["mean", "all"] = "all"
    rate: float | None = None


class Refused(Exception):
    """Why a command cannot be replaced by reading a file; `kind` is the same for all that have the same cause."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.kind = kind


def _one_file(program: str, files: Sequence[str]) -> str:
    if len(files) > 1:
        raise Refused("several files", f"{program} is given {len(files)} files: {' '.join(files)}")
    return files[0] if files else STDIN


def _flac(arguments: list[str]) -> Source:
    harmless = ["silent", "totally-silent", "force", "decode-through-errors", "warnings-as-errors"]
    found, files = getopt.gnu_getopt(arguments, "dcsfFw", ["decode", "stdout", *harmless])
    names = {name for name, _ in found}
    if not (names & {"-d", "--decode"} and names & {"-c", "--stdout"}):
        raise Refused("flac without -c -d", "flac writes wav to its standard output with -c -d only")
    return Source(_one_file("flac", files))


def _sph2pipe(arguments: list[str]) -> Source:
    found, files = getopt.gnu_getopt(arguments, "pf:c:")
    options = dict(found)
    if options.get("-f", "wav") not in ("wav", "rif"):
        raise Refused("sph2pipe -f", f"sph2pipe writes '{options['-f']}', not wav")
    channel = options.get("-c")
    if channel not in (None, "1", "2"):
        raise Refused("sph2pipe -c", f"sph2pipe knows the channels 1 and 2, not '{channel}'")
    return Source(_one_file("sph2pipe", files), int(channel) if channel else "all")


def _sox(arguments: list[str]) -> Source:
    """`sox [OPTIONS] FILE [OPTIONS] - [EFFECTS]`; options stand before the file that they are about."""
    files: list[str] = []
    options: dict[str, str] = {}
    words = [part for word in arguments for part in (word.split("=", 1) if word.startswith("--") else [word])]
    while words and not (len(files) > 1 and files[-1] in _STDOUT):
        word = words.pop(0)
        word = _SOX_LONG.get(word, word)
        if word == STDIN or not word.startswith("-"):
            if not files:
                _check_sox_input(options)
                options = {}
            files.append(word)
        elif word[:2] in _SOX_LONG.values():
            options[word[:2]] = word[2:] or (words.pop(0) if words else "")
        elif word not in _SOX_FLAGS and not re.fullmatch(r"-V\d", word):
            raise _sox_error(word, f"its option '{word}' may change the samples")
    if len(files) < 2 or files[-1] not in _STDOUT:
        raise _sox_error("output", "sox does not write to its standard output")
    channel, rate = _sox_output(options)
    for effect in _sox_effects(words):
        channel, rate = (channel if effect.channel == "all" else effect.channel), effect.rate or rate
    return Source(_one_file("sox", files[:-1]), channel, rate)


def _sox_error(kind: str, message: str) -> Refused:
    perturbation = kind.lstrip("-")
    return Refused(perturbation if perturbation in PERTURBED else f"sox {kind}", message)


def _check_sox_input(options: dict[str, str]) -> None:
    for name, value in options.items():
        if name != "-t" or value.lstrip(".") not in (*_LOSSLESS, "mp3", "ogg"):
            raise _sox_error(name, f"'{name} {value}' before the input overrules what the file says of itself")


def _sox_output(options: dict[str, str]) -> tuple[Literal["mean", "all"], float | None]:
    """Channel and rate of an output with these options."""
    accepted = {
        "-t": [prefix + kind for kind in _LOSSLESS for prefix in ("", ".")],
        "-b": ["16", "24", "32"],
        "-c": ["1"],
        "-e": ["signed", "signed-integer", "float", "floating-point"],
        "-r": [options.get("-r", "")],
    }
    for name, value in options.items():
        if value not in accepted[name]:
            raise _sox_error(name, f"its output has '{name} {value}', which is not one of {', '.join(accepted[name])}")
    return "mean" if "-c" in options else "all", _rate(options["-r"]) if "-r" in options else None


def _sox_effects(words: list[str]) -> list[Source]:
    """What each effect does: takes a channel or the mean, or resamples. Others are refused."""
    effects: list[Source] = []
    while words:
        match words:
            case ["remix", channel, *rest] if channel.isdecimal() and channel != "0":
                effects.append(Source("", int(channel)))
            case ["remix", "-" | "1-", *rest] | ["channels", "1", *rest]:
                effects.append(Source("", "mean"))
            case ["rate", rate, *rest] if re.fullmatch(r"[\d.]+k?", rate):
                effects.append(Source("", rate=_rate(rate)))
            case ["rate", option, *rest] if re.fullmatch(r"-[qlmhvsIML]+", option):
                rest.insert(0, "rate")
            case ["rate" | "dither", *rest]:
                pass
            case _:
                raise _sox_error(words[0], f"its effect '{' '.join(words)}' changes the samples")
        words = rest
    return effects


def _ffmpeg(arguments: list[str]) -> Source:
    """`ffmpeg -i FILE -f wav -`, with options that give 16-bit samples of one or all channels, at any rate."""
    files: list[str] = []
    outputs: list[str] = []
    channel: int | Literal["mean", "all"] = "all"
    rate: float | None = None
    words = list(arguments)
    while words:
        word = words.pop(0)
        if word in _FFMPEG_FLAGS:
            continue
        if word in _STDOUT or not word.startswith("-"):
            outputs.append(word)
            continue
        value = words.pop(0) if words else ""
        if word == "-i":
            files.append(value)
        elif word in _FFMPEG_IGNORED:
            pass
        elif files and word == "-ar":
            rate = _rate(value)
        elif files and value in _FFMPEG_VALUES.get(word, ()):
            channel = "mean" if word == "-ac" and channel == "all" else channel
        elif files and (taken := _ffmpeg_channel(word, value)):
            channel = taken
        else:
            where = "" if files else " before the input"
            raise Refused(f"ffmpeg {word}", f"ffmpeg's '{word} {value}'{where} may change the samples")
    if len(outputs) != 1 or outputs[0] not in _STDOUT:
        raise Refused("ffmpeg's output", "ffmpeg does not write to its standard output")
    source = _one_file("ffmpeg", files)
    return Source(STDIN if source in ("pipe:0", "/dev/stdin") else source, channel, rate)


def _ffmpeg_channel(option: str, value: str) -> int | None:
    """The channel that an option of ffmpeg's takes, which counts from 0."""
    patterns = {"-map_channel": r"0\.0\.(\d+)", "-af": r"pan=(?:mono|1c)\|c0=c(\d+)"}
    found = re.fullmatch(patterns.get(option, "(?!)"), value)
    return int(found[1]) + 1 if found else None


def _rate(text: str) -> float:
    """Hertz, from `16000` or `16k`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(k?)", text)
    if not found:
        raise Refused("a rate", f"'{text}' is no rate")
    return float(found[1]) * (1000 if found[2] else 1)


PROGRAMS: dict[str, Callable[[list[str]], Source]] = {
    "flac": _flac,
    "sph2pipe": _sph2pipe,
    "sox": _sox,
    "ffmpeg": _ffmpeg,
    "cat": lambda arguments: Source(_one_file("cat", arguments)),
}
