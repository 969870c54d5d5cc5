"""A corpus synthesized with eSpeak NG: no download, and byte-identical on every run.

A small grammar writes the sentences, eSpeak NG (the wheel `espeakng-loader`, in the extra `demo`) reads them. What
keeps the test honest:

- a voice is an English accent with one of eSpeak's ordinary variants, such as `en-us+f1`. The variant makes the vocal
  tract and the pitch, so whole variants are held out: no voice of `valid` or `test` has a sibling in `train`;
- a hash of a sentence's text decides which set it belongs to: the sets share no sentence, short ones included;
- every fifth name is spelled in `test` and `lengths` alone.

`lengths` is like `test`, with the same voices, and has as many utterances of each number of words: error rates over
the length of an utterance need long ones, which the grammar seldom writes.

eSpeak's output depends on all that its process has synthesized before, and on the clock for breathy voices. The
utterances are therefore split into SHARDS fresh child processes (this file, run as a program), each with a fixed
sequence and a fixed seed; how many run at once changes no byte.
"""

import ctypes
import hashlib
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hybrid_asr.audio import io
from hybrid_asr.common.errors import UserError
from hybrid_asr.data.manifest import Utterance

SEED = 1
MAX_WORDS = 30
SIZES = {"train": 3000, "valid": 200, "test": 600, "lengths": 10 * MAX_WORDS}
SHARDS = 2
RATE = 16000
SILENT = 30  # of 32768: eSpeak's pauses are zero
SILENCE_S = (0.1, 0.25)  # before and after the speech
SNR_DB = (25.0, 40.0)

ACCENTS = ("en", "en-029", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-gb-x-rp", "en-us")
VARIANTS = {
    "train": ("m1", "m2", "m5", "m7", "m8", "f1", "f3", "f5"),
    "valid": ("m3", "f2"),
    "test": ("m4", "m6", "f4"),
    "lengths": ("m4", "m6", "f4"),
}
TENTHS = {"train": range(7), "valid": range(7, 8), "test": range(8, 10)}  # of all texts
ALWAYS_TRAINED = {"hello"}

SPELLED = """
    aaron adam alex alice amy andrew angela anna arthur barbara ben betty brian carla carol charles chloe colin daisy
    daniel david deborah diana dominic edward elena elizabeth emma eric felix fiona frank fred gabriel george grace
    harold hazel helen henry hugo irene isabel ivan jack james jane jason jeffrey jessica joseph julia karen keith kevin
    laura leo linda lucy marcus margaret martin mary max michael monique nancy nicole nora oliver oscar patrick paul
    peter quentin rachel ralph rebecca robert roxanne ruth sam sarah simon sophie susan thomas tina tracy vera victor
    vivian walter wanda wendy william xavier yasmin yvonne zoe
"""
NAMES = SPELLED.split()
TEST_NAMES = NAMES[4::5]

# The kinds of utterance in turn. A sixth are spelled names: 100 in `test`, so that each name comes there once.
KINDS = ("greeting", "number", "date", "spelled", "command", "sentence")

# A rule a paragraph; a capital letter is said by its name; <spelled> is a name, letter by letter.
GRAMMAR = """
greeting = <hello> | <hello> <who> | <hello> <who> <polite> | good <daytime> <who> | good <daytime> <who> <polite>
    | goodbye | goodbye <who> | good night <who> | thank you <who> | thank you very much | thank you very much <who>
    | <hello> and welcome to <place> | <hello> i am <friend> from <place> | we will meet <when> | how are you <when>
    | nice to meet you | nice to meet you <who>
hello = hello | hello | hi
polite = how are you | how are you <when> | nice to meet you
who = <friend> | my friend | <friend> and <friend>
friend = anna | david | emma | peter | susan | william | helen | thomas
daytime = morning | afternoon | evening
when = today | tonight | tomorrow | next week | next <weekday> | on <weekday> | this <daytime> | in the <daytime>

number = <below100> | <below1000> | <thousands> | <phone> | my number is <phone> | <digit> point <digit> <digit>
    | <below1000> <unit> | it costs <below1000> dollars | the answer is <below1000> | <below100> and <below100>
    | it is <below100> miles from <place> to <place> | we sold <below1000> <things> <when>
    | <plate> | the code is <plate> | room <letter> <below100>
phone = <digit> <digit> <digit> <digit> | <digit> <digit> <digit> <digit> <digit>
    | <digit> <digit> <digit> <digit> <digit> <digit> <digit>
digit = zero | one | two | three | four | five | six | seven | eight | nine
count = two | three | four | five | six | seven | eight | nine
teen = ten | eleven | twelve | thirteen | fourteen | fifteen | sixteen | seventeen | eighteen | nineteen
tens = twenty | thirty | forty | fifty | sixty | seventy | eighty | ninety
below100 = <teen> | <teen> | <teen> | <tens> | <tens> <count>
below1000 = <count> | <below100> | <count> hundred | <count> hundred and <below100>
thousands = <count> thousand | <count> thousand <count> hundred
    | <below100> thousand <count> hundred and <below100>
unit = dollars | minutes | miles
plate = <letter> <letter> <digit> <digit> | <letter> <letter> <letter> <digit>
letter = A | B | C | D | E | F | G | H | I | J | K | L | M | N | O | P | Q | R | S | T | U | V | W | X | Y | Z

date = <day> | <weekday> the <day> | <day> <year> | it is <weekday> the <day> | my birthday is on the <day>
    | we will meet on <weekday> at <time> | at <time> | the train leaves at <time> on <weekday> | <month> <year>
    | from <weekday> to <weekday> | from the <day> to the <day>
day = <nth> of <month> | <nth> of <month> | twenty <first> of <month> | <late> of <long>
first = first | second | third | fourth | fifth | sixth | seventh | eighth
nth = <first> | <first> | <first> | ninth | tenth | twelfth
late = thirtieth | thirty first
long = january | march | may | july | august | october | december
month = <long> | <short>
short = february | april | june | september | november
weekday = monday | tuesday | wednesday | thursday | friday | saturday | sunday
year = nineteen <tens> <count> | nineteen <teen> | two thousand and <count> | twenty <teen>
time = <hour> | <hour> <half> | half past <hour> | quarter to <hour> | <hour> in the <daytime>
hour = one | two | three | four | five | six | seven | eight | nine | ten | eleven | twelve
half = fifteen | thirty | forty five

spelled = <name> | my name is <name> | please spell <name> | the name is <name> | write <name> | his name is <name>
    | her name is <name> | it is spelled <name> | please call <name> <when> | <hello> my name is <name>
    | <hello> i am <name> | <someone> is called <name> | the name of <someone> is <name>

command = turn <on> the <device> | please turn the <device> <on> | turn the <device> in the <room> <on>
    | open the <door> | please close the <door> | <open> the <door> of the <room> | play some music <when>
    | set a timer for <below100> minutes | set the alarm for <time> | call <friend> | please call <friend> <when>
    | send a message to <who> | stop | stop the <device> | go back to <place> | go to room <letter> <below100>
    | show me the way to <place> | find the <look> <thing> | bring <something> to the <room>
    | bring <count> <things> to <friend>
on = on | off
open = open | close
device = light | radio | heater
door = door | window | gate
room = kitchen | garden | bedroom | office

sentence = <clause> | <clause> | <clause> | <clause> <when> | <clause> <link> <clause> | <clause> <link> <clause>
    | when <clause> <clause> | <friend> says that <clause> | <clause> <link> <clause> <link> <clause> <when>
clause = <someone> <did> <something> | <someone> <did> <something> | <someone> <went> <where>
    | <someone> bought <count> <things> and <something> | i think that <someone> <did> <something> <where>
link = and | but | because | before | while
someone = the old man | the young woman | my brother | my sister | our teacher | the doctor | a little girl
    | <friend> | he | she
did = found | bought | carried | painted | wanted | lost | opened
something = the <thing> | the <look> <thing> | a <look> <thing> | <count> <look> <things>
look = red | green | blue | white | black | small | big | new
thing = <door> | book | table | chair | ticket | picture | box | radio
things = books | apples | tickets | chairs
went = walked | slept | waited | worked
where = in the <room> | near the river | at <place> | behind the house | under the bridge | by the sea
place = london | paris | boston | the station | the market | the hotel
"""


class Spoken(NamedTuple):
    """One utterance as a child process is asked for it."""

    id: str
    words: str  # letters that are said by their names are upper case
    voice: str  # eSpeak's name: accent+variant
    words_a_minute: int
    pitch: int  # 0 to 100 on eSpeak's scale, 50 is the voice's own
    gap: int  # extra pause between words, units of 10 ms

    @property
    def text(self) -> str:
        """The transcript."""
        return self.words.lower()

    @property
    def audio(self) -> str:
        """The path of the audio, relative to the corpus."""
        return f"audio/{self.id}.wav"


def prepare(source: Path | None, to: Path) -> dict[str, list[Utterance]]:
    """Synthesize the sets train, valid, test and lengths into `to/audio`; the audio paths are relative to `to`.

    Raises UserError for a `source`, since there is nothing to read, and where eSpeak NG is not installed.
    """
    if source is not None:
        raise UserError(f"--source {source}: the corpus 'spoken' is made here and reads nothing; leave --source out")
    return generate(to, seed=SEED, sizes=SIZES)


def generate(to: Path, *, seed: int, sizes: dict[str, int]) -> dict[str, list[Utterance]]:
    """Synthesize `sizes` utterances a set; if that fails, nothing of it stays and an older corpus is untouched."""
    espeak_paths()
    sets = plan(seed=seed, sizes=sizes)
    to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to, prefix=".speaking-") as unfinished:
        Path(unfinished, "audio").mkdir()
        speak_in_children([spoken for utterances in sets.values() for spoken in utterances], Path(unfinished), seed)
        shutil.rmtree(to / "audio", ignore_errors=True)
        Path(unfinished, "audio").rename(to / "audio")
    return {name: [_utterance(spoken, to) for spoken in utterances] for name, utterances in sets.items()}


def _utterance(spoken: Spoken, to: Path) -> Utterance:
    duration_s = io.info(to / spoken.audio).duration_s
    return Utterance(
        id=spoken.id,
        audio=spoken.audio,
        duration_s=duration_s,
        text=spoken.text,
        speaker=spoken.voice,
        language="en",
    )


# The sentences


def plan(*, seed: int, sizes: dict[str, int]) -> dict[str, list[Spoken]]:
    """The sentences, voices and prosody of each set; no sentence comes twice in `valid` or in `test`.

    In `lengths` the utterances have 1 to MAX_WORDS words in turn.
    """
    rules = read_rules(GRAMMAR)
    return {name: _plan_set(name, size, rules, random.Random(f"{seed} {name}")) for name, size in sizes.items()}


def read_rules(grammar: str) -> dict[str, list[list[str]]]:
    """Parse `name = a <rule> | b` into {name: [[a, <rule>], [b]]}; an indented line continues its rule."""
    lines = [line for line in grammar.replace("\n    ", " ").splitlines() if line]
    rules = dict(line.split(" = ") for line in lines)
    return {name: [choice.split() for choice in choices.split(" | ")] for name, choices in rules.items()}


def _plan_set(subset: str, size: int, rules: dict[str, list[list[str]]], rng: random.Random) -> list[Spoken]:
    voices = [f"{accent}+{variant}" for accent in ACCENTS for variant in VARIANTS[subset]]
    allowed = NAMES if subset in ("test", "lengths") else [name for name in NAMES if name not in TEST_NAMES]
    names = itertools.cycle(rng.sample(allowed, len(allowed)))
    said: set[str] = set()
    utterances = []
    for index, kind in zip(range(size), itertools.cycle(KINDS), strict=False):
        if subset == "lengths":
            name, words = _write_of_length(1 + index % MAX_WORDS, rules, rng)
        else:
            name = next(names) if kind == "spelled" else ""
            words = _write(kind, name, subset, rules, rng, said)
        if subset in ("valid", "test"):
            said.add(words)
        manner = (rng.randint(125, 175), rng.randint(40, 60), rng.randint(2, 6) if name else 0)
        utterances.append(Spoken(f"{subset}-{index:04d}", words, rng.choice(voices), *manner))
    return utterances


def _write(
    kind: str, name: str, subset: str, rules: dict[str, list[list[str]]], rng: random.Random, said: set[str]
) -> str:
    """Draw sentences until one belongs to `subset`, is short enough and not yet `said`."""
    rules = {**rules, "name": [list(name.upper())]}
    while True:
        words = _expand(kind, rules, rng)
        text = " ".join(words)
        if home(text) == subset and len(words) <= MAX_WORDS and text not in said:
            return text


def _write_of_length(length: int, rules: dict[str, list[list[str]]], rng: random.Random) -> tuple[str, str]:
    """Draw sentences of any kind until one has `length` words and belongs to `test`: the name it spells, its words."""
    while True:
        kind, name = rng.choice(KINDS), rng.choice(NAMES)
        words = _expand(kind, {**rules, "name": [list(name.upper())]}, rng)
        if len(words) == length and home(" ".join(words)) == "test":
            return name if kind == "spelled" else "", " ".join(words)


def _expand(rule: str, rules: dict[str, list[list[str]]], rng: random.Random) -> list[str]:
    words = []
    for part in rng.choice(rules[rule]):
        words += _expand(part[1:-1], rules, rng) if part.startswith("<") else [part]
    return words


def home(words: str) -> str:
    """The one set that this sentence belongs to: a property of its text alone, so that rare and common ones mix."""
    tenth = int(hashlib.sha256(words.lower().encode()).hexdigest(), 16) % 10
    return "train" if words in ALWAYS_TRAINED else next(name for name, part in TENTHS.items() if tenth in part)


# The audio


def espeak_paths() -> tuple[str, str]:
    """Return eSpeak NG's library and data folder. Raises UserError where they are not installed."""
    try:
        import espeakng_loader
    except ImportError as error:
        raise UserError(
            "the corpus 'spoken' needs eSpeak NG, which is not installed: pip install 'hybrid-asr[demo]'"
        ) from error
    return espeakng_loader.get_library_path(), espeakng_loader.get_data_path()


def speak_in_children(utterances: list[Spoken], folder: Path, seed: int) -> None:
    """Write the audio of all utterances below `folder`. Raises UserError if a child process fails."""
    with ThreadPoolExecutor(SHARDS) as pool:  # the threads only wait
        shards = [utterances[shard::SHARDS] for shard in range(SHARDS)]
        list(pool.map(lambda shard: _run_child(shard, folder, seed), shards))


def _run_child(utterances: list[Spoken], folder: Path, seed: int) -> None:
    package = str(Path(io.__file__).parents[2])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    child = subprocess.run(
        [sys.executable, __file__, str(folder), str(seed)],
        input=json.dumps(utterances),
        text=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    if child.returncode != 0:
        reason = (child.stderr.strip().splitlines() or [f"exit status {child.returncode}"])[-1]
        raise UserError(
            f"eSpeak NG could not synthesize the corpus: {reason}; reinstall it: pip install 'hybrid-asr[demo]'"
        )


class Espeak:
    """eSpeak NG by its C interface (speak_lib.h): text in, samples out."""

    _SYNCHRONOUS, _UTF8, _RATE, _PITCH, _WORD_GAP = 2, 1, 1, 3, 7  # enumerators of speak_lib.h

    def __init__(self) -> None:
        library, data = espeak_paths()
        self._library = ctypes.CDLL(library)
        self.rate: int = self._library.espeak_Initialize(self._SYNCHRONOUS, 0, data.encode(), 0)
        if self.rate <= 0:
            raise UserError(f"eSpeak NG does not start with its data in {data}")
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # of breath; eSpeak has just taken it from the clock
        self._pieces: list[np.ndarray] = []
        signature = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int16), ctypes.c_int, ctypes.c_void_p)
        self._callback = signature(self._collect)  # kept, since the library holds but a pointer
        self._library.espeak_SetSynthCallback(self._callback)

    def _collect(self, samples: "ctypes._Pointer[ctypes.c_int16]", count: int, _events: int) -> int:
        if samples and count:
            self._pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0  # go on

    def say(self, spoken: Spoken) -> np.ndarray:
        """Return int16 samples at `self.rate`. Raises UserError for a voice that eSpeak lacks."""
        # An unknown voice is no error to eSpeak: it goes on with the last one.
        if self._library.espeak_SetVoiceByName(spoken.voice.encode()) != 0:
            raise UserError(f"eSpeak NG has no voice {spoken.voice!r}")
        settings = {self._RATE: spoken.words_a_minute, self._PITCH: spoken.pitch, self._WORD_GAP: spoken.gap}
        for parameter, value in settings.items():
            self._library.espeak_SetParameter(parameter, value, 0)
        # In front of another word "a" is taken for the article, in capitals too; "eigh" is the letter in every accent.
        words = ["eigh" if word == "A" else word.lower() for word in spoken.words.split()]
        text = " ".join(words).encode() + b"\0"
        self._pieces.clear()
        if self._library.espeak_Synth(text, len(text), 0, 1, 0, self._UTF8, None, None) != 0 or not self._pieces:
            raise UserError(f"eSpeak NG gave no audio for {spoken.words!r}")
        return np.concatenate(self._pieces)


def record(samples: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Make a recording of clean speech: silence around it, another level, light white noise, RATE samples a second."""
    loud = np.flatnonzero(np.abs(samples) > SILENT)
    speech = io.change_speed(samples[loud[0] : loud[-1] + 1].astype(np.float32) / 32768, rate / RATE, RATE)
    speech *= rng.uniform(0.3, 0.8) / np.abs(speech).max()
    silences = (rng.uniform(*SILENCE_S, size=2) * RATE).astype(int)
    recording = np.pad(speech, silences)
    noise_level = np.sqrt(np.mean(speech**2)) * 10 ** (-rng.uniform(*SNR_DB) / 20)
    return (recording + noise_level * rng.standard_normal(len(recording))).astype(np.float32)


def main(folder: Path, seed: int) -> None:
    """Synthesize the utterances of standard input: all that a child process does."""
    espeak = Espeak()
    for spoken in [Spoken(*fields) for fields in json.load(sys.stdin)]:
        rng = np.random.default_rng([seed, *spoken.id.encode()])
        io.write(folder / spoken.audio, record(espeak.say(spoken), espeak.rate, rng), RATE)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
