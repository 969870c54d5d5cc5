"""Do attention and CTC, where they disagree, tell which words are wrong?

    python tools/error_prediction.py runs/an4/conformer_s --decoder joint --sets valid,test

For each word of a decoding: is it an error (against the reference), and what signs of doubt does it show
(hybrid_asr/attention/doubt.py)? Printed is the area under the ROC curve of each sign, with its 95 % interval over
utterances: 0.5 is guessing, 1 is a sign that every wrong word has more of than any right one. A sign is chosen on the
validation set and judged on the test set. Words that were left out have no sign: deletions are not counted.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hybrid_asr.attention.doubt import Doubt, doubts
from hybrid_asr.audio import io
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.encoding import hear
from hybrid_asr.errors import UserError
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.run import Run, set_paths
from hybrid_asr.scoring.align import align_all
from hybrid_asr.scoring.ranking import area_under_curve

SIGNS = [name for name in Doubt._fields if name != "text"]
TOGETHER = 16


def main() -> None:
    """Print a table for each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--decoder", default="joint", help="folder of the decoding below decode/SET/")
    parser.add_argument("--sets", default="valid,test")
    parser.add_argument("--root", help="data.root, where it is not the run's own")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    run = Run(options.run)
    bundle, _ = run.bundle()
    bundle.eval()
    if bundle.model.ctc is None or bundle.model.decoder is None:
        raise SystemExit(f"{options.run}: needs a model with both heads, a hybrid")
    cfg = run.read_config()
    found = {}
    for name, path in set_paths(cfg, options.sets.split(",")).items():
        if options.root:
            path = Path(options.root) / path.relative_to(cfg.data.root)
        place = options.run / "decode" / name / options.decoder / "hypotheses.jsonl"
        if not place.is_file():
            raise SystemExit(f"{place}: no such decoding; first: hybrid-asr decode {options.run} --sets {name}")
        rows = [json.loads(line) for line in place.read_text(encoding="utf-8").splitlines()]
        found[name] = table(bundle, Manifest.read(path), rows)
        print(text(name, options.decoder, found[name]))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def table(bundle: Bundle, manifest: Manifest, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The area of each sign over the words of a decoding."""
    places = {one.id: place for place, one in enumerate(manifest)}
    signs, wrong, owners, unaligned = [], [], [], 0
    for first in range(0, len(rows), TOGETHER):
        part = [row for row in rows[first : first + TOGETHER] if row["text"]]
        samples = [io.read(manifest.audio_path(places[row["id"]]), rate=bundle.frontend.rate) for row in part]
        heard = hear(bundle, samples, torch.device("cpu"))
        for row, words in zip(part, doubts(bundle, heard, [one["text"] for one in part]), strict=True):
            [steps] = align_all([row["reference"]], [row["text"]])
            said = [step for step in steps if step.hypothesis]
            if words is None:
                unaligned += len(said)
                continue
            if [word.text for word in words] != [step.hypothesis for step in said]:
                raise UserError(f"{row['id']}: the words {[word.text for word in words]} are not those of its text")
            signs += [[getattr(word, name) for name in SIGNS] for word in words]
            wrong += [step.kind != "equal" for step in said]
            owners += [row["id"]] * len(words)
    values, bad = np.array(signs), np.array(wrong)
    return {
        "words": len(bad),
        "wrong": int(bad.sum()),
        "unaligned": unaligned,
        "areas": {
            name: area_under_curve(values[:, place], bad, utterances=owners)._asdict()
            for place, name in enumerate(SIGNS)
        },
    }


def text(name: str, decoder: str, found: dict[str, Any]) -> str:
    """The table for people."""
    head = f"{name}/{decoder}: {found['words']} words, {found['wrong']} wrong, {found['unaligned']} not aligned"
    lines = [head, f"  {'sign':12} {'area':>6}  95 %"]
    for sign, area in found["areas"].items():
        lines.append(f"  {sign:12} {area['value']:6.3f}  {area['ci95'][0]:.3f} to {area['ci95'][1]:.3f}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
