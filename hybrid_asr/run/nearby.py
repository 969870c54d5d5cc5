"""Which run was meant: hints for a path where none lies."""

import difflib
from itertools import chain
from pathlib import Path

from hybrid_asr.common.problems import examples
from hybrid_asr.config.locate import recipes
from hybrid_asr.config.words import one_of

RUNS = Path("runs")


def runs_here() -> list[Path]:
    """The runs below `runs/` in the current folder, in their order."""
    return sorted(file.parent for file in chain(RUNS.glob("*/config.yaml"), RUNS.glob("*/*/config.yaml")))


def hint_for_run(path: Path) -> str:
    """The run that was meant by `path`: that of a recipe, one of this name elsewhere, the nearest name, or all."""
    runs = runs_here()
    name = path.with_suffix("") if path.suffix == ".yaml" else path
    recipe = "/".join(name.parts[-2:])
    same = [
        run for run in runs if run.name == name.name and (run.parts[-2:] == name.parts[-2:] or len(name.parts) == 1)
    ]
    same = same or [run for run in runs if run.name == name.name]
    if path.suffix == ".yaml" or (recipe in recipes() and not same):
        its = f"its run is {one_of([str(run) for run in same])}" if same else "train it first"
        return f"that is a recipe; {its}" + ("" if same else f": hybrid-asr train {path}")
    near = same or [run for run in runs if difflib.get_close_matches(name.name, [run.name], n=1, cutoff=0.6)]
    if near:
        return f"did you mean {one_of([str(run) for run in near])}?"
    there = f"; {RUNS}/ has {examples([str(run.relative_to(RUNS)) for run in runs])}" if runs else ""
    return f"train first: hybrid-asr train RECIPE --folder {path}{there}"
