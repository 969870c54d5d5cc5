"""How fast is a training step?  Ours beside ESPnet's and SpeechBrain's, what each remedy brings, where the time goes.

    make bench WHAT=training                  # `small`
    python -m tools.benchmarks.bench_training small        # an4/conformer_s, remedy by remedy
    python -m tools.benchmarks.bench_training large        # Conformer 12 x 256, 8 x 10 s; peers, if installed
    python -m tools.benchmarks.bench_training shares       # the same without peers, remedy by remedy
    python -m tools.benchmarks.bench_training profile

Each contestant is a process of its own; they take turns, and medians over the rounds count. A step is: gradients to
zero, forward, 0.3 CTC + 0.7 attention with smoothing 0.1, backward; for `small` also features, masks, clipping, AdamW.
`--realtime` (root) puts the measured section before all other processes of a shared machine.
"""

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tools.benchmarks.sidebyside import Contest, Row, closing, installed, medians, ratio, serve, timed
from tools.benchmarks.training_steps import (
    LARGE,
    SMALL,
    LargeStep,
    SmallStep,
    build_large,
    flops,
    products_per_second,
    profile,
)
from tools.peers.toolkits import Espnet, Sizes, SpeechBrain

SECONDS, UTTERANCES, LABELS = 10.0, 8, 40
LIBRARIES = {"ESPnet 202511": "espnet2", "SpeechBrain 1.1.2": "speechbrain"}
PEERS = {"ESPnet 202511": Espnet, "SpeechBrain 1.1.2": SpeechBrain}


def main() -> int:
    """Read the command line; as a worker, serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("large", "shares", "small", "profile"))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, help="default 2; 1 for small")
    parser.add_argument("--realtime", action="store_true")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these contestants alone")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.threads = options.threads or (1 if options.what == "small" else 2)
    if options.worker:
        return serve(lambda: contestant(options))
    rows = {"large": large, "shares": shares, "small": small, "profile": profiles}[options.what](options)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    last, status = closing(rows, Contest.asked)
    print(last)
    return status


def contestant(options: argparse.Namespace) -> Callable[[Row], Row]:
    """What runs a step of the named kind for each request."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    name = options.worker
    if name in SMALL:
        small_step = SmallStep(SMALL[name])
        return lambda request: {"seconds": timed(small_step.run, realtime=options.realtime)[0]}
    step = PEERS[name](Sizes()) if name in PEERS else build_large(LARGE[name], Sizes())
    batch = made_batch(Sizes())

    def answer(request: Row) -> Row:
        if request.get("describe"):
            return {"parameters": step.parameters()}
        seconds, loss = timed(lambda: step.train_step(*batch), realtime=options.realtime)
        return {"seconds": seconds, "loss": loss}

    return answer


def made_batch(sizes: Sizes) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noise of full length and random labels, clear of every toolkit's special ones: the same for all."""
    generator = torch.Generator().manual_seed(1)
    frames = round(SECONDS * 100)
    values = torch.randn(UTTERANCES, frames, sizes.features, generator=generator)
    labels = torch.randint(3, sizes.units - 1, (UTTERANCES, LABELS), generator=generator)
    return values, torch.full((UTTERANCES,), frames), labels, torch.full((UTTERANCES,), LABELS)


def contest(options: argparse.Namespace, names: list[str]) -> tuple[Contest, dict[str, Any]]:
    """Run the rounds and print a line for each contestant."""
    names = [name for name in names if not options.only or name in options.only]
    names = [name for name in names if name not in LIBRARIES or installed(LIBRARIES[name])]
    passed = [options.what, "--threads", str(options.threads), *(["--realtime"] if options.realtime else [])]
    rivals = Contest("tools.benchmarks.bench_training", names, threads=options.threads, options=passed)
    found = medians(rivals.rounds(options.rounds), "seconds")
    return rivals, found


def circumstances(options: argparse.Namespace) -> str:
    """What a table was measured under."""
    return (
        f"{options.threads} threads, {options.rounds} rounds, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}"
    )


def large(options: argparse.Namespace) -> list[Row]:
    """Ours and the peers."""
    names = [*PEERS, "same layers", "same layers, bf16", "conformer_m", "conformer_m, bf16"]
    rivals, found = contest(options, names)
    described = {name: rivals.ask(name, describe=True)["parameters"] for name in found}
    rivals.close()
    print(f"{UTTERANCES} x {SECONDS:g} s, {circumstances(options)}")
    print(
        f"{'':24} {'seconds':>8} {'least':>7} {'most':>7}  {'parameters':>12}  " + "  ".join(f"{p:>18}" for p in PEERS)
    )
    rows: list[Row] = []
    for name, (middle, least, most) in found.items():
        ratios = [found[peer][0] / middle for peer in PEERS if peer in found]
        print(
            f"{name:24} {middle:8.2f} {least:7.2f} {most:7.2f}  {described[name]:12,}  "
            + "  ".join(f"{value:17.2f}x" for value in ratios)
        )
        if name not in PEERS:
            rows += [
                ratio(f"training step: {name} against {peer}", middle, found[peer][0], "seconds")
                for peer in PEERS
                if peer in found
            ]
    if "same layers" in found:
        rows += floors(options, found["same layers"][0])
    return rows


def floors(options: argparse.Namespace, seconds: float) -> list[Row]:
    """The step against its products alone, at the speed of each library."""
    torch.set_num_threads(options.threads)
    count = flops(build_large(LARGE["same layers"], Sizes()), made_batch(Sizes()))
    rows = []
    for library, rate in products_per_second(realtime=options.realtime).items():
        floor = count / rate
        print(
            f"products of 'same layers': {count / 1e9:.0f} GFLOP, {floor:.2f} s at {library}'s "
            f"{rate / 1e9:.0f} GFLOP/s; the step takes {seconds / floor:.2f} times that"
        )
        rows.append({"what": f"step / floor of {library}", "ours": seconds, "other": floor, "ratio": floor / seconds})
    return [row | {"unit": "seconds"} for row in rows]


def shares(options: argparse.Namespace) -> list[Row]:
    """What each remedy brings to the large step: taken away from `same layers`, and added towards the defaults."""
    taken = [name for name in LARGE if name.startswith("same layers, ") and "bf16" not in name]
    added = [name for name in LARGE if name not in ("same layers", *taken)]
    return [row for names in (taken, added) for row in remedies(options, ["same layers", *names], "same layers")]


def small(options: argparse.Namespace) -> list[Row]:
    """What each remedy brings to the step of an4/conformer_s."""
    return remedies(options, list(SMALL), "all remedies")


def remedies(options: argparse.Namespace, names: list[str], reference: str) -> list[Row]:
    """A table of variants against one of them; of large ones, no more than five find room in 24 GB."""
    rivals, found = contest(options, names)
    rivals.close()
    print(f"{options.what}, {circumstances(options)}")
    for name, (middle, least, most) in found.items():
        times = middle / found[reference][0]
        print(
            f"{name:44} {1e3 * middle:8.1f} ms  ({1e3 * least:.1f} … {1e3 * most:.1f})  {times:5.2f} of '{reference}'"
        )
    return [ratio(f"{reference} against {name}", found[reference][0], found[name][0], "seconds") for name in found]


def profiles(options: argparse.Namespace) -> list[Row]:
    """Where the time of a large and of a small step goes."""
    torch.set_num_threads(options.threads)
    batch = made_batch(Sizes())
    for name in ("same layers", "conformer_m, bf16"):
        step: LargeStep = build_large(LARGE[name], Sizes())
        print(f"\n{name}")
        print(profile(lambda step=step: step.train_step(*batch), realtime=options.realtime))
    small_step = SmallStep(SMALL["all remedies"])
    print("\nan4/conformer_s, one thread")
    torch.set_num_threads(1)
    print(profile(small_step.run, realtime=options.realtime))
    return []


if __name__ == "__main__":
    sys.exit(main())
