"""The command line. Torch is imported by what needs it, so that `hybrid-asr --help` answers at once."""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from hybrid_asr import __version__
from hybrid_asr.common.errors import UserError

OK, USER_MISTAKE, INTERRUPTED = 0, 2, 130
ATTENTION = ("of", "layer", "head", "text", "to")  # options of 'show attention' alone


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0, 2 for a user's mistake (one clear message), 130 for Ctrl-C."""
    options = _parse(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal may lack characters, a file name hold broken ones
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return options.run(options) or OK
    except UserError as error:
        if options.debug:
            raise
        print(f"hybrid-asr {options.command}: {error}", file=sys.stderr)
        return USER_MISTAKE
    except KeyboardInterrupt:
        if options.debug:
            raise
        print(f"\nhybrid-asr {options.command}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except OSError as error:  # a full disk, a folder that must not be written to: the system names the file
        if options.debug or error.filename is None:
            raise
        print(f"hybrid-asr {options.command}: {error.filename}: {error.strerror}", file=sys.stderr)
        return USER_MISTAKE


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Settings may stand behind options, too, where argparse takes no more words."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    foreign = [word for word in rest if word.startswith("-") or "overrides" not in options]
    if foreign:
        parser.error(f"unrecognized arguments: {' '.join(foreign)}")
    if rest:
        options.overrides = [*options.overrides, *rest]
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hybrid-asr",
        description="Hybrid CTC/attention speech recognition: prepare data, train, decode, score, transcribe.",
        epilog="Start with: hybrid-asr prepare spoken && hybrid-asr train recipes/spoken/conformer_s.yaml",
    )
    parser.add_argument("--version", action="version", version=f"hybrid-asr {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_prepare(commands)
    _add_train(commands)
    _add_decode(commands)
    _add_score(commands)
    _add_transcribe(commands)
    _add_align(commands)
    _add_import(commands)
    _add_export(commands)
    _add_show(commands)
    for command in commands.choices.values():
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _add_prepare(commands) -> None:
    command = commands.add_parser("prepare", help="write the manifests of a corpus, a table, or a Kaldi folder")
    command.add_argument("corpus", metavar="CORPUS|table:FILE|kaldi:DIR", help="an4, spoken, or your own data")
    command.add_argument("--source", type=Path, metavar="DIR", help="where the corpus already lies")
    command.add_argument("--to", type=Path, metavar="DIR", help="where to write (default data/CORPUS)")
    command.set_defaults(run=_prepare)


def _add_train(commands) -> None:
    command = commands.add_parser("train", help="train a recipe; repeated, it continues where it stopped")
    command.add_argument("recipe", metavar="RECIPE.yaml")
    command.add_argument(
        "overrides", nargs="*", metavar="key=value", help="such as optim.lr=1e-3 or presets.optim=noam"
    )
    command.add_argument("--run", type=Path, dest="folder", metavar="DIR", help="default runs/<corpus>/<recipe>")
    command.add_argument("--fresh", action="store_true", help="forget what the folder holds and start anew")
    command.set_defaults(run=_train)


def _add_decode(commands) -> None:
    command = commands.add_parser("decode", help="decode sets with one or more decoders and score the result")
    command.add_argument("folder", type=Path, metavar="RUN")
    command.add_argument(
        "--sets", default="test", help="train, valid, test or a test set's name, comma-separated (default test)"
    )
    command.add_argument(
        "--decoders",
        help="presets of conf/decode, comma-separated, or all that the model serves: all (default: the recipe's)",
    )
    command.add_argument("--checkpoint", default="average", help="best, last, average or a file (default average)")
    command.add_argument(
        "--sweep",
        metavar="decode.KEY=FIRST:LAST:STEP",
        help="run each value (or a list: 4,10,40) on the validation set, then decode the sets with the best one",
    )
    command.add_argument(
        "--sweep-on",
        default="valid",
        metavar="SET",
        help="another set than valid for the sweep; its values are not for selection, and none is taken",
    )
    command.add_argument(
        "--search-errors",
        choices=("auto", "on", "off"),
        default="auto",
        help="compare each search with one of twice the beam, which takes about twice as long again; auto: for all",
    )
    command.add_argument("overrides", nargs="*", metavar="key=value", help="such as decode.beam=40")
    command.set_defaults(run=_decode)


def _add_score(commands) -> None:
    command = commands.add_parser("score", help="error rates with intervals, from JSON lines, Kaldi text or trn files")
    command.add_argument("reference", type=Path, metavar="REF")
    command.add_argument("hypothesis", type=Path, metavar="HYP")
    command.add_argument("--against", type=Path, metavar="OTHER_HYP", help="a second system: is the difference real?")
    command.add_argument(
        "--metric", choices=("wer", "cer"), default="wer", help="what the difference is tested on (default wer)"
    )
    command.add_argument("--format", choices=("text", "json"), default="text")
    command.set_defaults(run=_score)


def _add_transcribe(commands) -> None:
    command = commands.add_parser("transcribe", help="sound files to text")
    command.add_argument("folder", type=Path, metavar="RUN", help="a run's folder, a model.pt or a checkpoint")
    command.add_argument("paths", nargs="+", metavar="PATH", help="sound files, or folders of them")
    command.add_argument("--decoder", help="a preset of conf/decode (default: the recipe's)")
    command.add_argument("--format", choices=("text", "json"), default="text")
    command.set_defaults(run=_transcribe)


def _add_import(commands) -> None:
    command = commands.add_parser("import", help="make a run of another toolkit's model")
    command.add_argument("toolkit", choices=("espnet",))
    command.add_argument("config", type=Path, metavar="CONFIG.yaml", help="what ESPnet wrote when it trained the model")
    command.add_argument("model", type=Path, metavar="MODEL.pth")
    command.add_argument("--to", type=Path, required=True, metavar="RUN", help="the folder of the run")
    command.add_argument(
        "--bpemodel", type=Path, metavar="FILE", help="the sentencepiece model, where it lies elsewhere"
    )
    command.add_argument(
        "overrides", nargs="*", metavar="key=value", help="such as data.root=data data.test=[an4/test.jsonl]"
    )
    command.set_defaults(run=_import)


def _add_export(commands) -> None:
    command = commands.add_parser("export", help="write a run's model as another toolkit loads it")
    command.add_argument("toolkit", choices=("espnet",))
    command.add_argument("folder", type=Path, metavar="RUN", help="a run's folder, a model.pt or a checkpoint")
    command.add_argument("--to", type=Path, required=True, metavar="DIR")
    command.add_argument("--checkpoint", default="average", help="best, last, average or a file (default average)")
    command.set_defaults(run=_export)


def _add_align(commands) -> None:
    command = commands.add_parser("align", help="when each word of a known text was said in a sound file")
    command.add_argument("folder", type=Path, metavar="RUN", help="a run's folder, a model.pt or a checkpoint")
    command.add_argument("audio", type=Path, metavar="AUDIO", help="a sound file of any length")
    text = command.add_mutually_exclusive_group(required=True)
    text.add_argument("--text", help="what is said in it")
    text.add_argument("--text-file", type=Path, metavar="FILE", help="a file (UTF-8) that says it")
    command.add_argument("--format", choices=("json", "ctm", "textgrid"), default="json")
    command.add_argument("--units", choices=("words", "labels"), default="words")
    command.set_defaults(run=_align)


def _add_show(commands) -> None:
    command = commands.add_parser("show", help="show a configuration, a model, a manifest, a run, a batch or attention")
    command.add_argument("what", choices=("config", "model", "manifest", "run", "batch", "attention"))
    command.add_argument("item", help="a recipe (config), a run (model, run, batch, attention) or a manifest")
    command.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value|STEP|UTTERANCE|FILE",
        help="settings (config), a step (batch), an utterance of the run's sets or a sound file (attention)",
    )
    command.add_argument(
        "--checkpoint",
        help="the weights of a batch: best, last or a file (default: those that it failed with, else last); "
        "of attention the same (default average)",
    )
    attention = command.add_argument_group("attention", "what is drawn of it, and where the picture goes")
    attention.add_argument(
        "--of",
        choices=("decoder", "encoder", "labels"),
        help="the decoder's view of the audio (default), the encoder's of itself, the decoder's of the labels before",
    )
    attention.add_argument("--layer", type=int, help="the layer that is drawn large, from 1")
    attention.add_argument("--head", type=int, help="its head, from 1 (default: the nearest to the CTC alignment)")
    said = attention.add_mutually_exclusive_group()
    said.add_argument("--text", help="what the decoder is made to write (default: what the run's decoder finds)")
    said.add_argument("--reference", action="store_true", help="the utterance's own text instead")
    attention.add_argument("--to", type=Path, metavar="OUT.png|OUT.svg", help="the picture")
    command.set_defaults(run=_show)


def _prepare(options: argparse.Namespace) -> None:
    from hybrid_asr.commands.prepare import prepare

    prepare(options.corpus, source=options.source, to=options.to)


def _train(options: argparse.Namespace) -> int:
    from hybrid_asr.commands.train import train

    return train(options.recipe, options.overrides, folder=options.folder, fresh=options.fresh)


def _decode(options: argparse.Namespace) -> None:
    from hybrid_asr.commands.decode import decode_run

    decode_run(
        options.folder,
        sets=options.sets.split(","),
        decoders=None if options.decoders is None else options.decoders.split(","),
        checkpoint=options.checkpoint,
        overrides=options.overrides,
        sweep=options.sweep,
        sweep_on=options.sweep_on,
        search_errors=options.search_errors,
    )


def _score(options: argparse.Namespace) -> None:
    from hybrid_asr.commands.score import score

    score(options.reference, options.hypothesis, against=options.against, metric=options.metric, form=options.format)


def _transcribe(options: argparse.Namespace) -> int:
    from hybrid_asr.commands.transcribe import transcribe

    return transcribe(
        options.folder, options.paths, decoder=options.decoder, form=options.format, stop_at_error=options.debug
    )


def _import(options: argparse.Namespace) -> None:
    from hybrid_asr.commands.convert import import_espnet

    run = import_espnet(
        options.config, options.model, options.to, bpemodel=options.bpemodel, overrides=options.overrides
    )
    print(f"{run.folder}: a run with ESPnet's model; next: hybrid-asr transcribe {run.folder} FILE.wav")


def _export(options: argparse.Namespace) -> None:
    from hybrid_asr.commands.convert import export_espnet

    export_espnet(options.folder, options.to, checkpoint=options.checkpoint)
    print(f"{options.to}: config.yaml and model.pth, for espnet2.bin.asr_inference.Speech2Text")


def _align(options: argparse.Namespace) -> None:
    from hybrid_asr.commands.align import align

    align(
        options.folder,
        options.audio,
        text=options.text,
        text_file=options.text_file,
        units=options.units,
        form=options.format,
    )


def _show(options: argparse.Namespace) -> None:
    given = [name for name in (*ATTENTION, "reference") if getattr(options, name) not in (None, False)]
    if options.what == "attention":
        _show_attention(options)
        return
    if given:
        raise UserError(f"show {options.what} takes no --{given[0]}; it goes with 'show attention'")
    from hybrid_asr.commands import show

    show.show(options.what, options.item, options.overrides, checkpoint=options.checkpoint)


def _show_attention(options: argparse.Namespace) -> None:
    if len(options.overrides) != 1:
        raise UserError("show attention takes one utterance or sound file: hybrid-asr show attention RUN UTTERANCE")
    from hybrid_asr.commands.show_attention import show_attention

    drawn = show_attention(
        Path(options.item),
        options.overrides[0],
        source="reference" if options.reference else "decoder",
        checkpoint=options.checkpoint or "average",
        **{name: getattr(options, name) for name in ATTENTION},
    )
    print(drawn.path)
    for note in drawn.notes:
        print(f"hybrid-asr show: {note}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
