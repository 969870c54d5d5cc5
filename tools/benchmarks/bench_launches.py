"""What does a step of the search cost a GPU?  Launches and host reads, counted on a CPU that takes a GPU's branches.

    python -m tools.benchmarks.bench_launches [--only joint_b8] [--json FILE]

The workload: a Transformer decoder of six layers (narrow: the number of launches does not depend on the widths), batch
8, beam 10, CTC weight 0.3. Every operation that is neither a view nor an allocation counts as one launch, and every
read by which the host waits for the device as one read. What is done once for a batch is left out: a search of 32
labels is compared with one of 12.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from hybrid_asr.decoding.joint import JointSearch, Part, SearchConfig
from hybrid_asr.decoding.scorer import AttentionScorer, CtcPrefixScorer
from hybrid_asr.models.encoded import Encoded
from hybrid_asr.models.transformer_decoder import TransformerDecoder, TransformerDecoderConfig
from tests.device_work import Work, device_branches

FEW, MANY = 12, 32  # labels
FRAMES, WIDTH, LAYERS, BATCH, BEAM = 60, 16, 6, 8, 10


class Case(NamedTuple):
    """A search that is counted."""

    padded: bool = True
    units: int = 500
    ctc_weight: float = 0.3
    length_bonus: float = 0.0


CASES = {
    "joint_b8": Case(),
    "joint_b8 without padding": Case(padded=False),
    "joint_b8 with a length bonus": Case(length_bonus=0.3),
    "joint_b8, 5000 units": Case(units=5000),
    "attention_b8": Case(ctc_weight=0.0),
    "ctc_b8": Case(ctc_weight=1.0),
}


def main(words: Sequence[str]) -> int:
    """Print the table, and the operations of its first row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=CASES, default=list(CASES), help="these alone")
    options = parser.parse_args(words)
    rows = []
    print(f"{LAYERS} layers, batch {BATCH}, beam {BEAM}: launches and host reads a step")
    for name in options.only:
        launches, reads = count(CASES[name])
        rows += [
            {"what": name, "ours": launches.total(), "unit": "launches a step", "operations": dict(launches)},
            {"what": name, "ours": reads.total(), "unit": "host reads a step", "places": dict(reads)},
        ]
        print(f"  {name:30} {launches.total():7.2f} {reads.total():6.2f}  {', '.join(reads)}")
    operations = Counter(rows[0]["operations"]).most_common()
    print(f"{rows[0]['what']}: " + ", ".join(f"{name} {times:g}" for name, times in operations))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0


def count(case: Case) -> tuple[Counter[str], Counter[str]]:
    """Launches by operation and reads by place, of one step."""
    few, many = (work_of(case, labels) for labels in (FEW, MANY))
    return a_step(many.kernels - few.kernels), a_step(many.reads - few.reads)


def a_step(times: Counter[str]) -> Any:
    """Shares of whole numbers."""
    return Counter({name: number / (MANY - FEW) for name, number in times.items()})


def work_of(case: Case, labels: int) -> Work:
    """What a search for exactly so many labels asks of the device."""
    torch.manual_seed(0)
    eos = case.units - 1
    sizes = TransformerDecoderConfig(dim=WIDTH, layers=LAYERS, heads=2, feed_forward=2 * WIDTH)
    decoder = TransformerDecoder(sizes, WIDTH, case.units, eos).eval()
    torch.nn.init.constant_(decoder.output.bias[eos:].detach(), -1e4)  # it does not end by itself
    frames = FRAMES - torch.arange(BATCH) * case.padded
    log_probs = torch.randn(BATCH, FRAMES, case.units).log_softmax(-1)
    both = {
        "ctc": (CtcPrefixScorer(lambda _: log_probs, blank=0, eos=eos), case.ctc_weight),
        "attention": (AttentionScorer(decoder), 1 - case.ctc_weight),
    }
    parts = [Part(name, scorer, weight) for name, (scorer, weight) in both.items() if weight > 0]
    cfg = SearchConfig(beam=BEAM, ctc_weight=case.ctc_weight, length_bonus=case.length_bonus)
    search = JointSearch(parts, cfg, blank=0, sos=eos, eos=eos)
    encoded = Encoded(torch.randn(BATCH, FRAMES, WIDTH), frames)
    with torch.no_grad(), device_branches(), Work() as work:
        search(encoded, torch.full((BATCH,), labels))
    return work


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
