"""Write recipes/<corpus>/results.json from run folders: every configuration tried with its validation rate, one chosen.

    hybrid-asr decode RUN --sets valid --decoders ctc_greedy,attention,joint      # every run
    python -m tools.results.recipe_results recipes/an4 runs/an4/*               # says which run is chosen
    hybrid-asr decode CHOSEN --sets test --decoders ctc_greedy,attention,joint    # that one alone
    python -m tools.results.recipe_results recipes/an4 runs/an4/*               # now with the test set's rates

The choice is made on the validation set alone: the lowest rate of the decoder `--by`. Test rates are listed for the
chosen run only, over all utterances and over those whose sentence does not stand in training.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.files import write_text
from hybrid_asr.config.schema import plain
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.inference.report import DecodingReport
from hybrid_asr.models.bundle import read_torch
from hybrid_asr.run.config import signature, weight_settings
from hybrid_asr.run.folder import Run
from hybrid_asr.scoring.report import Scored, report


def main() -> int:
    """Read the runs, write results.json, print the choice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, help="the folder recipes/<corpus>")
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--by", default="joint", help="the decoder whose validation rate decides (default joint)")
    options = parser.parse_args()
    tried = [describe(Run(folder)) for folder in options.runs]
    measured = [entry for entry in tried if options.by in entry["valid"]]
    if not measured:
        raise UserError(f"none of the runs has decode/valid/{options.by}/report.json: decode valid with it first")
    chosen = min(measured, key=lambda entry: entry["valid"][options.by]["wer"])
    run = Run(options.runs[tried.index(chosen)])
    common = set.intersection(*(_settings(Run(folder)) for folder in options.runs))
    for entry, folder in zip(tried, options.runs, strict=True):
        entry["settings"] = {path: json.loads(value) for path, value in sorted(_settings(Run(folder)) - common)}
    content = {
        "selection": f"lowest valid.{options.by}.wer",
        "chosen": chosen["name"],
        "common_settings": {path: json.loads(value) for path, value in sorted(common)},
        "tried": tried,
        "test": {
            place.name: rates(place, run)
            for place in sorted((run.folder / "decode" / "test").glob("*"))
            if (place / "report.json").is_file()
        },
    }
    place = options.recipe / "results.json"
    if place.is_file():  # what compare_models.py has put there stays
        content |= {key: value for key, value in json.loads(place.read_text("utf-8")).items() if key == "models"}
    write_text(place, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    print(f"chosen: {chosen['name']}, valid {options.by} WER {chosen['valid'][options.by]['wer']:.2%}")
    return 0


def _settings(run: Run) -> set[tuple[str, str]]:
    """What decides the weights, as comparable pairs."""
    return {(path, json.dumps(value)) for path, value in weight_settings(plain(run.read_config())).items()}


def describe(run: Run) -> dict[str, Any]:
    """One tried configuration: what it took and what it reached on the validation set."""
    state = read_torch(run.checkpoint_folder / "last.ckpt")
    return {
        "name": run.folder.name,
        "signature": signature(run.read_config())[:16],
        "parameters": sum(v.numel() for name, v in state["state_dict"].items() if name.startswith("model.")),
        "steps": state["step"],
        "epochs": len(state["history"]),
        "train_s": round(state["elapsed_s"]),
        "valid": {
            place.name: rates(place, None)
            for place in sorted((run.folder / "decode" / "valid").glob("*"))
            if (place / "report.json").is_file()
        },
    }


def rates(place: Path, unseen_by: Run | None) -> dict[str, Any]:
    """The rates of a decoding; with a run also those of the sentences that do not stand in its training set."""
    content = DecodingReport.read(place).to_json()
    kept = (
        "wer",
        "wer_ci95",
        "cer",
        "ser",
        "substitutions",
        "deletions",
        "insertions",
        "reference_words",
        "utterances",
        "cut",
        "empty",
        "rtf",
    )
    row = {"decoder": content["decoder"]} | {name: content[name] for name in kept}
    if unseen_by is not None:
        row["unseen_sentences"] = unseen(place, unseen_by)
    return row


def unseen(place: Path, run: Run) -> dict[str, Any]:
    """The rates of the utterances whose sentence is not in training."""
    cfg = run.read_config()
    paths = [Path(cfg.data.root) / entry.manifest for entry in cfg.data.train_manifests]
    train = Manifest.read_all(paths, audio="unchecked")
    known = {cfg.text.spell(utterance.text, utterance.language) for utterance in train}
    rows = [json.loads(line) for line in (place / "hypotheses.jsonl").read_text(encoding="utf-8").splitlines()]
    items = [
        Scored(row["id"], row["reference"], row["text"], row.get("speaker"))
        for row in rows
        if row["reference"] not in known
    ]
    scores = report(items, metric=cfg.metric).to_json()
    return {name: scores[name] for name in ("wer", "wer_ci95", "utterances", "reference_words")}


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"recipe_results: {error}")
