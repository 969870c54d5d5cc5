"""Commands of wav.scp: what is read in place of them is what they would have written."""

import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hybrid_asr.audio import io
from hybrid_asr.data.pipe_programs import Source
from hybrid_asr.data.pipes import parse_entry
from hybrid_asr.data.table_checks import LineError

RATE = 16000
EQUAL = 1e-4  # a step of 16 bits is 3e-5, and sox adds one of noise where it shortens samples


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> Path:
    """A call of two channels that differ, as wav and flac, and a mono flac: 0.7 s of tones at 16 kHz."""
    folder = tmp_path_factory.mktemp("sounds of a call")
    time = np.arange(11200) / RATE
    both = np.stack([0.4 * np.sin(2 * np.pi * 310 * time), 0.3 * np.sin(2 * np.pi * 930 * time * (1 + time))], 1)
    for name, samples in {"call.wav": both, "call.flac": both, "one.flac": both[:, 1]}.items():
        soundfile.write(folder / name, samples, RATE, subtype="PCM_16")
    return folder


@pytest.mark.parametrize(
    "command",
    [
        "flac -c -d -s one.flac",
        "flac -dcs call.flac",
        "flac --silent --stdout --decode 'one.flac' 2>/dev/null",
        "cat call.wav",
        "sox call.wav -t wav -",
        "sox -t wav call.wav -c 1 -b 16 -t wav -",
        "sox call.flac -t wavpcm - remix 2",
        "sox -V1 -D --type flac call.flac --type=wav --bits=16 - remix 1",
        "sox call.wav -t wav - remix -",
        "sox call.wav -t wav - channels 1 rate -v 16k",
        "flac -c -d -s call.flac | sox -t wav - -t wav - remix 2",
        "flac -cds call.flac | sox -t wav - -c 1 -t wav - | cat",
        "ffmpeg -nostdin -v 8 -i call.flac -f wav -acodec pcm_s16le -ac 1 -",
        "ffmpeg -v error -i call.wav -vn -f wav -ar 16000 pipe:1",
        "ffmpeg -hide_banner -i call.wav -af 'pan=mono|c0=c1' -f wav - 2> /dev/null",
        "cat one.flac | flac -dcs -",
    ],
)
def test_the_file_that_is_read_for_a_command_has_the_samples_of_its_output(sounds, command) -> None:
    for part in command.split(" | "):
        program = shlex.split(part)[0]
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    done = subprocess.run(command, shell=True, cwd=sounds, capture_output=True, check=True)
    (sounds / "output").write_bytes(done.stdout)
    source = parse_entry(command + "|")
    channel = source.channel if isinstance(source.channel, int) else None
    found, expected = io.read(sounds / source.path, channel=channel), io.read(sounds / "output")
    assert len(found) == len(expected) == 11200 and np.abs(found - expected).max() < EQUAL
    channels = soundfile.info(sounds / "output").channels
    assert (source.channel == "all") == (channels == soundfile.info(sounds / source.path).channels)


def test_another_rate_changes_nothing_that_is_heard(sounds) -> None:
    if shutil.which("sox") is None:
        pytest.skip("sox is not installed")
    command = "sox call.wav -r 44.1k -b 24 -t wav - remix 1 rate -v 44100"
    output = subprocess.run(shlex.split(command), cwd=sounds, capture_output=True, check=True).stdout
    (sounds / "output").write_bytes(output)
    assert parse_entry(f"{command} |") == Source("call.wav", 1, 44100.0)
    inside = slice(400, -400)  # filters differ at the ends
    difference = io.read(sounds / "call.wav", channel=1)[inside] - io.read(sounds / "output")[inside]
    assert np.abs(difference).max() < 1e-3


@pytest.mark.parametrize(
    ("entry", "source"),
    [
        ("a b.wav", Source("a b.wav")),
        ("/opt/sph2pipe_v2.5/sph2pipe -f wav -p -c 2 /ldc/a.sph |", Source("/ldc/a.sph", 2)),
        ("sph2pipe -f wav -pc1 a\\ b.sph|", Source("a b.sph", 1)),
        ("sph2pipe -f wav -p a.sph |", Source("a.sph")),
        ("sph2pipe -f wav -p -c 1 a.sph | sox -t wav - -r 8k -t wav - |", Source("a.sph", 1, 8000.0)),
        ("ffmpeg -v error -i a.mp4 -map_channel 0.0.1 -f wav -ar 16000 pipe:1 |", Source("a.mp4", 2, 16000.0)),
        ("sox -r 16k a.wav -t wav - |", None),
        ("sox a.wav -r 8000 -t wav - rate 16k |", Source("a.wav", rate=16000.0)),
    ],
)
def test_channel_and_rate_of_a_command(entry, source) -> None:
    if source is None:
        with pytest.raises(LineError, match="'-r 16k' before the input overrules what the file says of itself"):
            parse_entry(entry)
    else:
        assert parse_entry(entry) == source


@pytest.mark.parametrize(
    ("entry", "kind", "why"),
    [
        ("sox a.wav -t wav - trim 0 3 |", "sox trim", "its effect 'trim 0 3' changes the samples; write its output"),
        ("sox a.wav -t wav - speed 0.9 |", "speed", "leave perturbed copies out (training perturbs by itself)"),
        ("sox --vol 0.8 -t wav a.wav -t wav - |", "vol", "leave perturbed copies out"),
        ("flac -cds a.flac | sox -t wav - -t wav - tempo 1.1 |", "tempo", "leave perturbed copies out"),
        ("sox a.wav -t wav - remix 1,2 |", "sox remix", "its effect 'remix 1,2'"),
        ("sox a.wav -t wav - remix 0 |", "sox remix", "its effect 'remix 0'"),
        ("sox a.wav -t wav - rate |", None, None),
        ("sox a.wav -t wav b.wav |", "sox output", "does not write to its standard output"),
        ("sox a.wav b.wav -t wav - |", "several files", "sox is given 2 files: a.wav b.wav"),
        ("sox -t raw -r 8k -b 8 a.raw -t wav - |", "sox -t", "'-t raw' before the input"),
        ("sox a.wav -t mp3 - |", "sox -t", "its output has '-t mp3'"),
        ("sox a.wav -b 8 -t wav - |", "sox -b", "its output has '-b 8'"),
        ("sox a.wav -e mu-law -t wav - |", "sox -e", "its output has '-e mu-law'"),
        ("sox --norm a.wav -t wav - |", "norm", "its option '--norm' may change the samples"),
        ("flac a.flac |", "flac without -c -d", "with -c -d only"),
        ("flac -cd --skip=10 a.flac |", "flac -skip", "option --skip not recognized"),
        ("flac -cd |", "standard input", "it reads its standard input, which is empty here"),
        ("sph2pipe -t 1:2 a.sph |", "sph2pipe -t", "option -t not recognized"),
        ("sph2pipe -f raw a.sph |", "sph2pipe -f", "sph2pipe writes 'raw', not wav"),
        ("sph2pipe -f wav -c 3 a.sph |", "sph2pipe -c", "knows the channels 1 and 2, not '3'"),
        ("ffmpeg -ss 3 -i a.mp4 -f wav - |", "ffmpeg -ss", "ffmpeg's '-ss 3' before the input may change the samples"),
        ("ffmpeg -i a.mp4 -af volume=2 -f wav - |", "ffmpeg -af", "ffmpeg's '-af volume=2' may change the samples"),
        ("ffmpeg -i a.mp4 -f s16le - |", "ffmpeg -f", "ffmpeg's '-f s16le'"),
        ("ffmpeg -i a.mp4 a.wav |", "ffmpeg's output", "does not write to its standard output"),
        ("cat a.wav b.wav |", "several files", "cat is given 2 files"),
        ("gunzip -c a.wav.gz |", "gunzip", "'gunzip' is none of flac, sph2pipe, sox, ffmpeg, cat"),
        ("wav-copy ark:a.ark - |", "wav-copy", "'wav-copy' is none of"),
        ("cat a.wav; rm -r data |", "a shell", "only a shell understands ';'"),
        ("cat $HOME/a.wav |", "a shell", "only a shell understands '$HOME/a.wav'"),
        ("cat 'a.wav |", "quotes", "a quote in it is not closed"),
        ("cat a.wav | cat b.wav |", "a second file", "'cat' reads 'b.wav'"),
        ("sph2pipe -f wav -c 2 a.sph | sox -t wav - -t wav - remix 2 |", "a channel of one", "takes channel 2"),
        ("| |", "nothing", "there is no program beside a '|'"),
    ],
)
def test_a_command_that_changes_the_samples_is_refused(entry, kind, why) -> None:
    if kind is None:
        assert parse_entry(entry) == Source("a.wav")
        return
    with pytest.raises(LineError) as caught:
        parse_entry(entry)
    assert caught.value.kind == f"a command that is not run ({kind})"
    assert why in str(caught.value) and f"the command '{entry}' is not run" in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "kind", "why"),
    [
        ("dump/raw.1.ark:1234", "audio in a Kaldi archive", "wav-copy scp:wav.scp scp:files.scp"),
        ("dump/raw.1.ark:1234[0:99]", "audio in a Kaldi archive", "archive, which is not read"),
        ("ark:wav.ark", "audio in a Kaldi archive", "archive, which is not read"),
        ("scp,p:wav.scp", "audio in a Kaldi archive", "archive, which is not read"),
        ("https://example.org/a.wav", "audio that is not on this machine", "nothing is downloaded"),
        ("-", "a line that cannot be used", "'-' is no file"),
    ],
)
def test_what_is_no_file_is_named(entry, kind, why) -> None:
    with pytest.raises(LineError) as caught:
        parse_entry(entry)
    assert caught.value.kind == kind and why in str(caught.value)
