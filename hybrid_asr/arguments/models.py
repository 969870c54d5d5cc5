"""The arguments of the commands that convert and show models."""

import argparse
from pathlib import Path

from hybrid_asr.arguments.common import Commands, add_channel, add_command


def add_import(commands: Commands) -> None:
    command = add_command(
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


def add_export(commands: Commands) -> None:
    command = add_command(
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


def add_show(commands: Commands) -> None:
    command = add_command(
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
    add_channel(attention)
    text = attention.add_mutually_exclusive_group()
    text.add_argument("--text", help="the text that the decoder is given (default: the best hypothesis)")
    text.add_argument("--reference", action="store_true", help="give it the utterance's reference instead")
    attention.add_argument("--to", type=Path, metavar="OUT.png|OUT.svg", help="the picture's file")
