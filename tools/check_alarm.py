"""Does the alarm of attention fire where it should, and only there?

    python tools/check_alarm.py runs/an4/conformer_s runs/spoken/conformer_s --count 16

Each run's model is diagnosed (hybrid_asr/attention/diagnosis.py) on utterances of its validation set three times: as it
was trained, with fresh weights, and sabotaged: its encoder states shuffled in time. Printed are the leading head's
numbers and whether there is an alarm. Exit status 1 if a trained model alarms, or another one does not.
"""

import argparse
import sys
from pathlib import Path

import torch

from hybrid_asr.attention.alarms import describe_chaos
from hybrid_asr.attention.diagnosis import choose, diagnose
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.models.encoded import Encoded
from hybrid_asr.run import Run

SHOWN = ("monotonicity", "diagonality", "coverage", "overlap", "entropy", "ctc_distance_s", "listening")


def main() -> int:
    """Diagnose, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--count", type=int, default=16, help="utterances (default 16)")
    parser.add_argument("--root", help="data.root, where it is not the run's own")
    options = parser.parse_args()
    print(f"{'':44} {'alarm':6} {'head':5} " + " ".join(f"{name:>14}" for name in SHOWN))
    wrong = 0
    for folder in options.runs:
        run = Run(folder)
        cfg, bundle = run.read_config(), run.bundle()[0]
        manifest = Manifest.read(Path(options.root or cfg.data.root) / cfg.data.valid)
        for state, make in (("trained", lambda one: one), ("untrained", fresh), ("shuffled states", shuffled)):
            name = f"{folder} {state}"
            wrong += judge(name, make(bundle), manifest, options.count, expected=state != "trained")
    print("all as it should be" if not wrong else f"{wrong} judged wrongly")
    return 1 if wrong else 0


def judge(name: str, bundle: Bundle, manifest: Manifest, count: int, *, expected: bool) -> int:
    """Print one model's line; 1 if the alarm is not as expected."""
    bundle.eval()
    found = diagnose(bundle, manifest, choose(manifest, count), torch.device("cpu"))
    if found is None:
        print(f"{name:44} has no attention decoder")
        return 0
    heads = found.heads()
    place, alarm = heads.leading(), describe_chaos(heads)
    numbers = " ".join(f"{found.mean(measure)[place]:14.3f}" for measure in SHOWN)
    print(f"{name:44} {'alarm' if alarm else '-':6} {place[0] + 1}/{place[1] + 1:<3} {numbers}")
    return int(bool(alarm) != expected)


def fresh(bundle: Bundle) -> Bundle:
    """The same model without its training."""
    torch.manual_seed(1)
    found = Bundle.build(bundle.config, bundle.tokenizer, bundle.labels_per_frame)
    found.frontend.load_state_dict(bundle.frontend.state_dict())
    return found


def shuffled(bundle: Bundle) -> Bundle:
    """The same model, whose decoder sees the encoder's states in a random order; used last, it stays so."""

    def shuffle(module: torch.nn.Module, inputs: object, encoded: Encoded) -> Encoded:
        generator, states = torch.Generator().manual_seed(0), encoded.states.clone()
        for one, frames in zip(states, encoded.frames.tolist(), strict=True):
            one[:frames] = one[torch.randperm(frames, generator=generator)]
        return encoded._replace(states=states)

    encoder = bundle.model.encoder
    assert isinstance(encoder, torch.nn.Module)
    encoder.register_forward_hook(shuffle)
    return bundle


if __name__ == "__main__":
    sys.exit(main())
