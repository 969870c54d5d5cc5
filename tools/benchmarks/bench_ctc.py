"""Our CTC by scans beside torch's: seconds of a loss and its gradient, taken in turns; medians.

python -m tools.benchmarks.bench_ctc [--rounds 9] [--device cpu]
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from hybrid_asr.losses import ctc_loss
from hybrid_asr.nn.ctc_scan import ctc_by_scans

CASES = ((8, 100, 20, 30), (16, 250, 60, 500), (32, 400, 80, 500))  # utterances, frames, labels, vocabulary


def seconds(loss: Callable[..., Tensor], case: tuple[int, int, int, int], device: str) -> float:
    """How long the loss and its gradient take once."""
    batch, frames, labels, vocab = case
    random = torch.Generator().manual_seed(1)
    logits = torch.randn(batch, frames, vocab, generator=random).to(device).requires_grad_()
    lengths = torch.randint(labels // 2, labels + 1, (batch,), generator=random)
    times = torch.randint(3 * frames // 4, frames + 1, (batch,), generator=random)
    texts = torch.randint(1, vocab, (batch, labels), generator=random).to(device)
    log_probs = logits.log_softmax(-1)
    _wait(device)
    began = time.perf_counter()
    torch.autograd.grad(loss(log_probs, times, texts, lengths, blank=0).sum(), log_probs)
    _wait(device)
    return time.perf_counter() - began


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """Print a line for each case."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=9)
    arguments.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = arguments.parse_args()
    for case in CASES:
        taken: dict[str, list[float]] = {"ours": [], "torch": []}
        for _ in range(options.rounds + 1):  # the first warms up
            taken["ours"].append(seconds(ctc_by_scans, case, options.device))
            taken["torch"].append(seconds(ctc_loss, case, options.device))
        ours, other = (1000 * statistics.median(taken[name][1:]) for name in ("ours", "torch"))
        print(
            "utterances {}, frames {}, labels {}, vocabulary {}:".format(*case),
            f"ours {ours:.1f} ms, torch {other:.1f} ms, {ours / other:.1f} times",
        )


if __name__ == "__main__":
    main()
