"""The arguments of the command line: what each command takes, with its help."""

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path

from hybrid_asr import __version__
from hybrid_asr.arguments.cluster import add_launch, add_runs, add_study, join_sbatch
from hybrid_asr.arguments.common import Commands, add_channel, add_command, add_recipe
from hybrid_asr.arguments.data import add_check, add_lexicon, add_ngram, add_pack, add_prepare, add_probe
from hybrid_asr.arguments.models import add_export, add_import, add_show
from hybrid_asr.common.files import expand_home
from hybrid_asr.config.words import flag_hint, suggest, targets

OTHER_NAMES = {  # what other toolkits call their commands
    "recognize recognise infer inference predict asr": "transcribe",
    "eval evaluate test validate": "decode",
    "wer cer compute_wer": "score",
    "fit finetune fine_tune resume": "train",
    "data preprocess download": "prepare",
    "lm arpa": "ngram",
    "info describe report": "show",
    "list ls status experiments": "runs",
}

OUTPUTS = ("output", "out", "output-dir", "outfile", "output-file", "o")  # what others call the file of results

TRANSCRIPT_FORMATS = ("trn", "stm", "ctm", "kaldi", "jsonl", "csv", "tsv", "recogs")


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options of one command, whose name is `command`; a mistake ends the process with status 2.

    Settings (key=value) may also follow options, where argparse itself takes no more positional arguments.
    """
    parser = build_parser()
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words:
        parser.print_help(sys.stderr)
        parser.exit(2)
    if not words[0].startswith("-") and words[0] not in (known := commands_of(parser)):
        meant = targets(words[0], OTHER_NAMES)
        near = f"did you mean '{meant}'?" if meant else suggest(words[0], known)
        parser.error(f"no such command: '{words[0]}'; {near}")
    words = join_sbatch(words)
    options, rest = parser.parse_known_args(words)
    for name, value in vars(options).items():
        if isinstance(value, Path):
            setattr(options, name, expand_home(value))
    foreign = [word for word in rest if word.startswith("-") or "overrides" not in options]
    if foreign:
        command = commands_of(parser)[options.command]
        hint = _foreign_hint(foreign[0], words, command, settings="overrides" in options)
        command.error(f"unrecognized arguments: {' '.join(foreign)}{hint}")
    if rest:
        options.overrides = [*options.overrides, *rest]
    return options


def _foreign_hint(flag: str, words: Sequence[str], command: argparse.ArgumentParser, *, settings: bool) -> str:
    """What was meant by a flag that the command does not have: an option of a near name, another way, a setting."""
    if not flag.startswith("--"):
        return ""
    name = flag.partition("=")[0]
    own = [option for action in command._actions for option in action.option_strings if option.startswith("--")]
    if near := difflib.get_close_matches(name, own, n=1, cutoff=0.75):
        return f"; did you mean {near[0]}?"
    if name.lstrip("-") in OUTPUTS and "--to" not in own and "--run" not in own:
        return "; what is printed goes into a file with > FILE"
    return f"; {_flag_hint(flag, words)}" if settings else ""


def _flag_hint(flag: str, words: Sequence[str]) -> str:
    """The setting that a flag stands for which is no option of ours; what follows it may be its value."""
    from hybrid_asr.config.schema import all_paths
    from hybrid_asr.run.config import RunConfig  # this loads torch, which only such a mistake needs

    following = [*words, ""][words.index(flag) + 1] if flag in words else ""
    return flag_hint(flag, "" if following.startswith("--") else following, dict.fromkeys(all_paths(RunConfig)))


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of all commands, by their names."""
    [commands] = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return dict(commands.choices)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="hybrid-asr",
        description="Hybrid CTC/attention speech recognition: prepare data, train, decode, score, transcribe.",
        epilog="Start with: hybrid-asr prepare spoken && hybrid-asr train recipes/spoken/conformer_s.yaml\n"
        "Options of a command: hybrid-asr COMMAND --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"hybrid-asr {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands")
    add_prepare(commands)
    add_check(commands)
    add_pack(commands)
    add_probe(commands)
    _add_train(commands)
    _add_decode(commands)
    _add_score(commands)
    _add_transcribe(commands)
    _add_align(commands)
    add_lexicon(commands)
    add_ngram(commands)
    add_import(commands)
    add_export(commands)
    add_show(commands)
    add_runs(commands)
    add_study(commands)
    for command in commands.choices.values():
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _add_train(commands: Commands) -> None:
    command = add_command(
        commands,
        "train",
        "train a recipe, or resume its training",
        "Train the model of a recipe. The same command again resumes from the last checkpoint, with the same result "
        "bit for bit as a training that was never interrupted.",
        "recipes/spoken/conformer_s.yaml",
        "recipes/spoken/conformer_s.yaml trainer.epochs=1 --folder runs/try",
        "mine.yaml presets.optim=noam optim.lr=1e-3",
        "mine.yaml --launch slurm --nodes 4 --gpus 8 --time 24:00:00 --partition P --dry-run",
    )
    add_recipe(command)
    command.add_argument(
        "--folder",
        "--run",
        type=Path,
        metavar="DIR",
        help="the run's folder (default runs/CORPUS/RECIPE)",
    )
    command.add_argument("--fresh", action="store_true", help="discard what the folder holds and train from scratch")
    add_launch(command)


def _add_decode(commands: Commands) -> None:
    command = add_command(
        commands,
        "decode",
        "decode sets with one or more decoders and score the results",
        "Decode sets of a run and score them: writes hypotheses.jsonl, report.json and report.txt to "
        "RUN/decode/SET/DECODER/ and prints one table. Each utterance is read and encoded once for all decoders.",
        "runs/spoken/conformer_s --decoders ctc_greedy,attention,joint",
        "runs/spoken/conformer_s --sets valid,test decode.beam=40",
        "runs/spoken/conformer_s --sweep decode.ctc_weight=0:1:0.1",
    )
    command.add_argument("folder", type=Path, metavar="RUN", help="a run's folder")
    command.add_argument(
        "--sets",
        default="test",
        metavar="SETS",
        help="train, valid, test or a test set's name, comma-separated (default test)",
    )
    command.add_argument(
        "--decoders",
        metavar="NAMES|all",
        help="decoders by name (presets of conf/decode), or all that the model supports (default: the recipe's own)",
    )
    command.add_argument(
        "--checkpoint", default="average", metavar="NAME|FILE", help="best, last, average or a file (default average)"
    )
    command.add_argument(
        "--sweep",
        metavar="decode.KEY=FIRST:LAST:STEP",
        help="try each value (or a list: 4,10,40) on the validation set, then decode the sets with the best one",
    )
    command.add_argument(
        "--sweep-on",
        default="valid",
        metavar="SET",
        help="sweep on another set than valid: for curves only, no value is chosen",
    )
    command.add_argument(
        "--search-errors",
        choices=("auto", "on", "off"),
        default="auto",
        help="count search errors against twice the beam, which about triples the time; auto: with --decoders all",
    )
    command.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="settings, such as decode.beam=40"
    )


def _add_score(commands: Commands) -> None:
    command = add_command(
        commands,
        "score",
        "error rates with intervals; paired tests of two systems",
        "Word, character and sentence error rates with 95 % intervals, from JSON lines, Kaldi text, CSV, TSV and "
        "NIST's trn, stm and ctm. With --against also the difference of two systems on the same utterances, with "
        "paired tests.",
        "data/spoken/test.jsonl runs/spoken/conformer_s/decode/test/joint/hypotheses.jsonl",
        "ref.trn mine.trn --against theirs.trn --metric cer",
        "ref.stm mine.ctm --rules basic@2    # words by their times, case and punctuation ignored",
    )
    command.add_argument("reference", type=Path, metavar="REF", help="a manifest, or a file in another format")
    command.add_argument("hypothesis", type=Path, metavar="HYP", help="a hypotheses.jsonl, or a file in another format")
    command.add_argument(
        "--against", type=Path, metavar="OTHER_HYP", help="a second system: is the difference significant?"
    )
    command.add_argument(
        "--metric", choices=("wer", "cer"), default="wer", help="the rate that is compared (default wer)"
    )
    command.add_argument("--format", choices=("text", "json"), default="text", help="of the report (default text)")
    command.add_argument("--rules", metavar="RULES", help="spell both sides by these rules, such as basic@2, first")
    command.add_argument(
        "--language", metavar="CODE", help="for --rules: how capitals are read, such as tr for Turkish"
    )
    _add_formats(command)


def _add_formats(command: argparse.ArgumentParser) -> None:
    """How the files of `score` are read, where their names and contents do not say it."""
    group = command.add_argument_group("formats", "By default as a file is called, else as its content shows.")
    for role, what in (("ref", "REF"), ("hyp", "HYP"), ("against", "OTHER_HYP")):
        group.add_argument(f"--{role}-format", choices=TRANSCRIPT_FORMATS, help=f"the format of {what}")
    for role, what in (("ref", "references"), ("hyp", "hypotheses"), ("against", "hypotheses of OTHER_HYP")):
        group.add_argument(f"--{role}-field", metavar="NAME", help=f"the JSON field or column that holds the {what}")
    group.add_argument(
        "--ids", choices=("exact", "stem"), default="exact", help="stem: folder and ending of an id are ignored"
    )
    group.add_argument(
        "--markup",
        choices=("nist", "none"),
        default="nist",
        help="none: '{ a / b }' and '(word)' in trn, stm and ctm are words, not alternatives and optional words",
    )


def _add_transcribe(commands: Commands) -> None:
    command = add_command(
        commands,
        "transcribe",
        "transcribe audio files",
        "Transcribe audio files, and all audio files in folders; wav, flac, mp3, ogg, SPHERE and others, of any "
        "sampling rate. A file that cannot be transcribed is named, the others are, and the exit status is 2. What "
        "else a folder holds is counted and named by suffix; hidden files are left out.",
        "runs/spoken/conformer_s hello.wav",
        "runs/spoken/conformer_s recordings/ --format json    # words with times and confidence",
    )
    command.add_argument("folder", type=Path, metavar="RUN", help="a run's folder, a model.pt or a checkpoint")
    command.add_argument(
        "paths",
        nargs="+",
        metavar="PATH|decode.KEY=VALUE",
        help="audio files, or folders of them; settings of the decoder, such as decode.beam=20",
    )
    command.add_argument("--decoder", metavar="NAME", help="a preset of conf/decode (default: the recipe's own)")
    add_channel(command)
    command.add_argument("--format", choices=("text", "json"), default="text", help="of the output (default text)")


def _add_align(commands: Commands) -> None:
    command = add_command(
        commands,
        "align",
        "align a known text with its audio (forced alignment)",
        "When each word, or label, of a known text is said in an audio file of any length: forced alignment by CTC.",
        'runs/spoken/conformer_s hello.wav --text "hello"',
        "runs/spoken/conformer_s hello.wav --text-file hello.txt --format textgrid > hello.TextGrid",
    )
    command.add_argument("folder", type=Path, metavar="RUN", help="a run's folder, a model.pt or a checkpoint")
    command.add_argument("audio", type=Path, metavar="AUDIO", help="an audio file of any length")
    add_channel(command)
    text = command.add_mutually_exclusive_group(required=True)
    text.add_argument("--text", help="the text that is said in it")
    text.add_argument("--text-file", type=Path, metavar="FILE", help="a file (UTF-8) with this text")
    command.add_argument(
        "--format", choices=("json", "ctm", "textgrid"), default="json", help="of the output (default json)"
    )
    command.add_argument(
        "--units", choices=("words", "labels"), default="words", help="what is given times (default words)"
    )
