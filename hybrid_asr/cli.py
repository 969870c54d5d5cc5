"""The command line. Torch is imported by what needs it, so that `hybrid-asr --help` answers at once."""

import argparse
import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hybrid_asr.arguments import parse_arguments
from hybrid_asr.common.errors import AudioWarning, UserError

OK, USER_MISTAKE, INTERRUPTED = 0, 2, 130
PYTHONS_FORMAT = warnings.formatwarning
LAUNCH = ("nodes", "gpus", "tasks", "cpus", "time", "partition", "account", "array", "sbatch")  # with train --launch
ATTENTION = ("of", "layer", "head", "text", "to", "channel")  # options of 'show attention' alone


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0, 2 for a user's mistake (one clear message), 130 for Ctrl-C."""
    options = parse_arguments(arguments)
    warnings.formatwarning = _format_warning
    if isinstance(sys.stdout, io.TextIOWrapper):  # not every terminal can print every character
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return RUN[options.command](options) or OK
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
    except BrokenPipeError:  # whoever reads our output, such as `head`, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except OSError as error:  # a full disk, a folder that must not be written to: the system names the file
        if options.debug or error.filename is None:
            raise
        print(f"hybrid-asr {options.command}: {error.filename}: {error.strerror}", file=sys.stderr)
        return USER_MISTAKE


def _format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """What is doubtful about a sound file as one line; other warnings as Python writes them."""
    if issubclass(category, AudioWarning):
        return f"warning: {message}\n"
    return PYTHONS_FORMAT(message, category, filename, lineno, line)


def _prepare(options: argparse.Namespace) -> None:
    from hybrid_asr.commands.prepare import prepare
    from hybrid_asr.data.prepared import reading_options

    prepare(
        options.corpus,
        source=options.source,
        to=options.to,
        options=reading_options(
            keep_going=options.keep_going,
            split=options.split,
            ignore_columns=options.ignore_columns,
            columns=options.columns,
        ),
    )


def _train(options: argparse.Namespace) -> int:
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # a lost process is told by us, not by stacks of C++
    given = {name: getattr(options, name) for name in LAUNCH if getattr(options, name) is not None}
    if options.launch:
        return _launch(options, given)
    if given or options.dry_run:
        raise UserError(f"--{next(iter(given), 'dry-run')} goes with --launch slurm; without it, training starts here")
    from hybrid_asr.commands.train import train

    return train(options.recipe, options.overrides, folder=options.folder, fresh=options.fresh)


def _pack(options: argparse.Namespace) -> None:
    from hybrid_asr.commands.pack import pack

    pack(
        options.manifest,
        to=options.to,
        shard_size=options.shard_size,
        jobs=options.jobs,
        shuffle=options.shuffle,
        whole=options.whole,
    )


def _check(options: argparse.Namespace) -> None:
    from hybrid_asr.commands.check import check

    check(options.recipe, options.overrides, jobs=options.jobs, to=options.to)


def _launch(options: argparse.Namespace, given: dict[str, Any]) -> int:
    if options.fresh:
        raise UserError(
            "--fresh: a job that is requeued would discard what it has trained; give --folder DIR, or remove the folder"
        )
    from hybrid_asr.commands.launch import Resources, launch_on_slurm

    launch_on_slurm(
        options.recipe,
        options.overrides,
        folder=options.folder,
        resources=Resources(**given),
        dry_run=options.dry_run,
    )
    return OK


def _runs(options: argparse.Namespace) -> None:
    from hybrid_asr.commands.runs import print_runs, print_state

    places = options.places or [Path("runs")]
    if options.state:
        print_state(places)
    else:
        print_runs(places, as_json=options.json)


def _study(options: argparse.Namespace) -> int:
    from hybrid_asr.commands.study import study

    return study(options.file, to=options.to, jobs=options.jobs, dry_run=options.dry_run)


def _probe(options: argparse.Namespace) -> None:
    from hybrid_asr.commands.probe import probe

    probe(options.recipe, options.overrides, memory=options.memory, buckets=options.buckets, minutes=options.minutes)


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

    roles = ("ref", "hyp", "against")
    score(
        options.reference,
        options.hypothesis,
        against=options.against,
        metric=options.metric,
        form=options.format,
        formats={role: getattr(options, f"{role}_format") for role in roles if getattr(options, f"{role}_format")},
        fields={role: getattr(options, f"{role}_field") for role in roles if getattr(options, f"{role}_field")},
        ids=options.ids,
        marks=options.markup == "nist",
        rules=options.rules,
        language=options.language,
    )


def _transcribe(options: argparse.Namespace) -> int:
    from hybrid_asr.commands.transcribe import transcribe

    return transcribe(
        options.folder,
        options.paths,
        decoder=options.decoder,
        channel=options.channel,
        form=options.format,
        stop_at_error=options.debug,
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
        channel=options.channel,
        form=options.format,
    )


def _lexicon(options: argparse.Namespace) -> int:
    from hybrid_asr.commands.lexicon import lexicon

    return lexicon(
        options.manifests,
        to=options.to,
        source=options.source,
        rules=options.rules,
        stress=options.stress,
        guess=options.guess,
        fit_on=options.fit_on,
    )


def _ngram(options: argparse.Namespace) -> None:
    from hybrid_asr.commands.ngram import ngram

    ngram(
        options.texts,
        units=options.units,
        order=options.order,
        to=options.to,
        rules=options.rules,
        words=options.words,
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
        raise UserError("show attention takes one utterance or audio file: hybrid-asr show attention RUN UTTERANCE")
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


RUN: dict[str, Callable[[argparse.Namespace], int | None]] = {
    "prepare": _prepare,
    "check": _check,
    "pack": _pack,
    "probe": _probe,
    "train": _train,
    "decode": _decode,
    "score": _score,
    "transcribe": _transcribe,
    "align": _align,
    "lexicon": _lexicon,
    "ngram": _ngram,
    "import": _import,
    "export": _export,
    "show": _show,
    "runs": _runs,
    "study": _study,
}


if __name__ == "__main__":
    sys.exit(main())
