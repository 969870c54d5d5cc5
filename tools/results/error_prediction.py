"""Do attention and CTC, where they disagree, tell which words are wrong?

    python -m tools.results.error_prediction runs/an4/conformer_s --decoder joint --sets valid,test

For each word of a decoding: is it an error (against the reference), and what signs of doubt does it show
(hybrid_asr/attention/confidence.py)? Printed is the area under the ROC curve of each sign, with its 95 % interval over
utterances: 0.5 is guessing, 1 is a sign that every wrong word has more of than any right one. A sign is chosen on the
validation set and judged on the test set. Words that were left out have no sign: deletions are not counted.

Below each table stands what marks are worth that the sign `ctc` sets: at the threshold of the best F1 on the first of
the sets, and at the page's usual one.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hybrid_asr.attention.confidence import ErrorSigns, error_signs
from hybrid_asr.attention.labeled_words import label_words
from hybrid_asr.common.errors import UserError
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.pages.low_confidence import USUAL
from hybrid_asr.run.config import set_paths
from hybrid_asr.run.folder import Run
from hybrid_asr.scoring.align import Unit
from hybrid_asr.scoring.roc import area_under_curve, best_cut
from hybrid_asr.scoring.scores import Scored

SIGNS = [name for name in ErrorSigns._fields if name != "text"]


class Seen(NamedTuple):
    """The words of a set: their signs, which are wrong, of which utterance; and how many could not be aligned."""

    signs: np.ndarray
    wrong: np.ndarray
    owners: list[str]
    unaligned: int


def main() -> None:
    """Print a table for each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--decoder", default="joint", help="folder of the decoding below decode/SET/")
    parser.add_argument("--sets", default="valid,test", help="the first one chooses the threshold")
    parser.add_argument("--unit", choices=("word", "character"), default="word")
    parser.add_argument("--root", help="data.root, where it is not the run's own")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    run = Run(options.run)
    bundle = run.bundle()[0].eval()
    if bundle.model.ctc is None or bundle.model.decoder is None:
        raise SystemExit(f"{options.run}: needs a model with both heads, a hybrid")
    cfg = run.read_config()
    found, cut = {}, None
    for name, path in set_paths(cfg, options.sets.split(",")).items():
        if options.root:
            path = Path(options.root) / path.relative_to(cfg.data.root)
        place = options.run / "decode" / name / options.decoder / "hypotheses.jsonl"
        if not place.is_file():
            raise SystemExit(f"{place}: no such decoding; first: hybrid-asr decode {options.run} --sets {name}")
        rows = [json.loads(line) for line in place.read_text(encoding="utf-8").splitlines()]
        items = [Scored(row["id"], row["reference"], row["text"]) for row in rows]
        seen = look(bundle, Manifest.read(path), items, options.unit)
        if seen.wrong.all() or not seen.wrong.any():
            raise SystemExit(
                f"{place}: {int(seen.wrong.sum())} of {len(seen.wrong)} words that CTC can align are wrong, so that "
                "nothing can be told apart; choose another set (--sets) or decoder (--decoder)"
            )
        cut = best_cut(seen.signs[:, 0], seen.wrong) if cut is None else cut
        found[name] = table(seen, [cut, USUAL["wer" if options.unit == "word" else "cer"]])
        print(text(f"{name}/{options.decoder}", options.unit, found[name]))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def look(bundle: Bundle, manifest: Manifest, rows: list[Scored], unit: Unit) -> Seen:
    """Every word of a decoding, with all its signs."""
    signs, wrong, owners, unaligned = [], [], [], 0
    for one in label_words(bundle, manifest, rows, error_signs, unit=unit):
        if one.error_signs is None:
            unaligned += len(one.wrong)
            continue
        signs += [[getattr(word, name) for name in SIGNS] for word in one.error_signs]
        wrong += one.wrong
        owners += [one.id] * len(one.error_signs)
    return Seen(np.array(signs), np.array(wrong), owners, unaligned)


def table(seen: Seen, cuts: list[float]) -> dict[str, Any]:
    """The area of each sign, and what marks by CTC's are worth."""
    areas = {
        name: area_under_curve(seen.signs[:, place], seen.wrong, utterances=seen.owners)._asdict()
        for place, name in enumerate(SIGNS)
    }
    marks = []
    for cut in cuts:
        marked = seen.signs[:, SIGNS.index("ctc")] > cut
        marks.append({"nats": cut, "marked": int(marked.sum()), "caught": int((marked & seen.wrong).sum())})
    counts = {"words": len(seen.wrong), "wrong": int(seen.wrong.sum()), "unaligned": seen.unaligned}
    return counts | {"areas": areas, "marks": marks}


def text(name: str, unit: Unit, found: dict[str, Any]) -> str:
    """The table for people."""
    head = f"{name}: {found['words']} {unit}s, {found['wrong']} wrong, {found['unaligned']} not aligned"
    lines = [head, f"  {'sign':12} {'area':>6}  95 %"]
    for sign, area in found["areas"].items():
        ends = "–" if area["ci95"] is None else "{:.3f} to {:.3f}".format(*area["ci95"])
        lines.append(f"  {sign:12} {area['value']:6.3f}  {ends}")
    for one in found["marks"]:
        precision, recall = one["caught"] / max(one["marked"], 1), one["caught"] / found["wrong"]
        above = f"  ctc above {one['nats']:.3f} (support below {math.exp(-one['nats']):.0%})"
        lines.append(f"{above}: {one['marked']} marked, precision {precision:.2f}, recall {recall:.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error_prediction: {error}")
