"""Does the alarm of attention fire where it should, and only there?

    python -m tests.stress.check_alarm runs/an4/las runs/spoken/conformer_s --draws 8

Each run's model is diagnosed (hybrid_asr/attention/diagnosis.py) on utterances of its validation set three times: as it
was trained, with fresh weights, and sabotaged: its encoder states shuffled in time. It is done with as many utterances
as a training looks at, chosen as a training chooses them and then by chance, so that it shows how much the verdict
hangs on them. Printed are the means over these draws of the leading head's numbers, the lowest and highest `listening`,
and how many draws alarm. Exit status 1 if a draw of a trained model alarms, or one of another does not; 2 if there is
no model to judge.
"""

import argparse
import random
import sys
from pathlib import Path

import numpy as np
import torch

from hybrid_asr.attention.alarms import describe_problem
from hybrid_asr.attention.diagnosis import LONGEST_S, choose_utterances, diagnose, shuffled_frames
from hybrid_asr.attention.measures import Measures
from hybrid_asr.common.errors import UserError
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.models.encoded import Encoded
from hybrid_asr.run.folder import Run

SHOWN = (*Measures._fields, "listening")


def main() -> int:
    """Diagnose, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--count", type=positive, default=8, help="utterances of a draw (default 8, as in a training)")
    parser.add_argument("--draws", type=positive, default=8, help="default 8")
    parser.add_argument("--root", help="data.root, where it is not the run's own")
    options = parser.parse_args()
    print(f"{'':44} {'alarms':7} " + " ".join(f"{name:>14}" for name in SHOWN) + "   listening from, to")
    wrong = 0
    for folder in options.runs:
        run = Run(folder)
        cfg, bundle = run.read_config(), run.bundle()[0]
        if bundle.model.decoder is None:
            raise UserError(f"{folder}: a model without an attention decoder; there is nothing to judge")
        manifest = Manifest.read(Path(options.root or cfg.data.root) / cfg.data.valid)
        draws = choose_draws(manifest, options.count, options.draws)
        for state, make in (("trained", lambda one: one), ("untrained", fresh), ("shuffled states", shuffled)):
            wrong += label_words(f"{folder} {state}", make(bundle), manifest, draws, expected=state != "trained")
    print("all as it should be" if not wrong else f"{wrong} draws judged wrongly")
    return 1 if wrong else 0


def positive(text: str) -> int:
    """A number of the command line."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


def choose_draws(manifest: Manifest, count: int, draws: int) -> list[list[int]]:
    """The utterances that a training looks at, then others by chance."""
    short = np.flatnonzero(manifest.durations <= LONGEST_S).tolist()
    chance = random.Random(1)
    return [choose_utterances(manifest, count)] + [
        chance.sample(short, min(count, len(short))) for _ in range(draws - 1)
    ]


def label_words(name: str, bundle: Bundle, manifest: Manifest, draws: list[list[int]], *, expected: bool) -> int:
    """Print one model's line; returns how many draws were not judged as expected."""
    bundle.eval()
    numbers, alarms = [], 0
    for places in draws:
        found = diagnose(bundle, manifest, places, torch.device("cpu"))
        assert found is not None, "there is a decoder, and audio of more than a frame"
        row = found.row()
        numbers.append([row.get(f"attention.{shown}", np.nan) for shown in SHOWN])
        alarms += describe_problem(found.heads()) is not None
    table = np.array(numbers)
    means = " ".join(f"{value:14.3f}" for value in table.mean(0))
    print(f"{name:44} {alarms}/{len(draws):<5} {means}   {table[:, -1].min():.3f} {table[:, -1].max():.3f}", flush=True)
    return len(draws) - alarms if expected else alarms


def fresh(bundle: Bundle) -> Bundle:
    """The same model without its training."""
    torch.manual_seed(1)
    found = Bundle.build(bundle.config, bundle.tokenizer, bundle.labels_per_frame)
    found.frontend.load_state_dict(bundle.frontend.state_dict())
    return found


def shuffled(bundle: Bundle) -> Bundle:
    """The same model, whose decoder sees the encoder's states in a random order; used last, it stays so."""

    def shuffle(module: torch.nn.Module, inputs: object, encoded: Encoded) -> Encoded:
        return shuffled_frames(encoded, seed=1000)  # another order than those of the diagnosis

    encoder = bundle.model.encoder
    assert isinstance(encoder, torch.nn.Module)
    encoder.register_forward_hook(shuffle)
    return bundle


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"check_alarm: {error}", file=sys.stderr)
        sys.exit(2)
