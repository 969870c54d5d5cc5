"""Score a decoding against transcripts shuffled between utterances: what a model that does not listen could reach.

    python tools/shuffled_control.py runs/spoken/conformer_s/decode/test/joint/hypotheses.jsonl

A low rate here would mean that the sentences are so alike that a low word error rate proves nothing.
"""

import json
import random
import sys
from pathlib import Path

from hybrid_asr.scoring.report import Scored, report


def main() -> None:
    """Print the rate as it is and the rate against shuffled references."""
    rows = [json.loads(line) for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()]
    references = [row["reference"] for row in rows]
    shuffled = references.copy()
    random.Random(1).shuffle(shuffled)
    for name, texts in (("its own references", references), ("shuffled references", shuffled)):
        scores = report([Scored(row["id"], text, row["text"]) for row, text in zip(rows, texts, strict=True)])
        print(f"{name}: WER {scores.wer.value:.2%}")


if __name__ == "__main__":
    main()
