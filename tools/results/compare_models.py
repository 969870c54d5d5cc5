"""One table of all models of a corpus: trained, decoded by all they support, beside controls; and their speed.

    python -m tools.results.compare_models an4 spoken      # trains what is not trained yet, then prints the table
    python -m tools.results.compare_models an4 --recipes las additive --no-controls
    python -m tools.results.compare_models an4 --report    # trains nothing: the table of the runs that are there

Each recipe is trained by `hybrid-asr train` in runs/<corpus>/<recipe>, one thread each, `--together` of them side by
side; a run that it starts from is trained first, and its minutes are added. Its control, in
runs/<corpus>/<recipe>-control, is the same training on transcripts shuffled between utterances: what it reaches is what
a model reaches that cannot listen; an eighth of the epochs is enough for it to learn the sentences alone. Rates of
decoders are those of the test set with what the recipe says; what a recipe says was chosen on the validation set. An
interrupted comparison goes on where it stopped; a run of another configuration than its recipe has now is refused.

Where the corpus has a lexicon, CTC is decoded with it, too (`lexicon`), and with the words of the training transcripts
alone (`lexicon (train)`).

Speed is measured here and now (training_speed.py) in utterances of 2, 5, 10 and 20 s. `--json` keeps how it falls with
their length, `--page` writes all as a page to look at, with error rates over the length of utterances where the corpus
has a set `lengths`, and `--results` writes the rows into recipes/<corpus>/results.json.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.files import write_text
from hybrid_asr.config.compose import compose
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.pages.model_comparison import comparison_page
from hybrid_asr.run.config import RunConfig
from hybrid_asr.run.folder import Run
from hybrid_asr.run.former_defaults import with_former_defaults
from hybrid_asr.study.shuffled import write_shuffled
from tools.results import training_speed
from tools.results.compared_rows import (
    BUDGET,
    Row,
    data_folder,
    describe,
    folder,
    for_page,
    growth,
    keep,
    lexica,
    over_budget,
    recipe_file,
    recipe_tree,
    starts_from,
    table,
)

SHUFFLED = "train-shuffled.jsonl"
SHORTER = 8  # a control has so many times fewer epochs
CONTROL = ("data.check.infeasible=warn",)  # a long text on short audio is no mistake here

Wanted = tuple[str, bool]  # a recipe, and whether its control is meant


def main() -> int:
    """Train, decode, measure, print."""
    options = read_options()
    rows: list[Row] = []
    problems: list[str] = []
    for corpus in options.corpora:
        names = options.recipes or known_recipes(corpus)
        wanted = [
            (name, control) for control in (False, True) for name in names if not (control and options.no_controls)
        ]
        refuse_stale(corpus, wanted)
        if not options.report:
            train_all(corpus, wanted, options.together)
        found = [describe(corpus, name, control=control, complain=problems.append) for name, control in wanted]
        rows += [row for row in found if row is not None]
    if not options.no_speed:
        add_speed([row for row in rows if not row["control"]])
    print(table(rows))
    if dear := [row for row in rows if over_budget(row)]:
        names = ", ".join(f"{row['corpus']}/{row['recipe']}" for row in dear)
        print(f">: more than the budget of {BUDGET:g} minutes of one core: {names}; ~: by the clock, work beside it")
    if options.json:
        write_text(options.json, json.dumps(growth(rows), indent=1) + "\n")
    if options.page:
        found = [corpus for name in options.corpora if (corpus := for_page(name, rows)) is not None]
        write_text(
            options.page,
            comparison_page(found, command=f"python -m tools.results.compare_models {' '.join(sys.argv[1:])}"),
        )
    for corpus in options.corpora if options.results else ():
        keep(Path("recipes", corpus, "results.json"), [row for row in rows if row["corpus"] == corpus])
    print("".join(f"warning: {problem}\n" for problem in problems), end="", file=sys.stderr)
    return 2 if problems else 0


def read_options() -> argparse.Namespace:
    """The command line, its corpora and recipes checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="+", help="folders of recipes/")
    parser.add_argument("--recipes", nargs="+", metavar="NAME", help="these alone; default: all of the corpus")
    parser.add_argument("--no-controls", action="store_true")
    parser.add_argument("--report", action="store_true", help="train and decode nothing")
    parser.add_argument("--together", type=int, default=2, help="trainings side by side (default 2)")
    parser.add_argument("--no-speed", action="store_true")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--page", type=Path, metavar="FILE")
    parser.add_argument("--results", action="store_true", help="write recipes/<corpus>/results.json")
    options = parser.parse_args()
    options.corpora = list(dict.fromkeys(options.corpora))
    for corpus in options.corpora:
        known = known_recipes(corpus)
        for name in options.recipes or known[:1] or ["*"]:
            if name not in known:
                parser.error(f"recipes/{corpus}/{name}.yaml: no such recipe; there are {', '.join(known) or 'none'}")
    return options


def known_recipes(corpus: str) -> list[str]:
    """The recipes of a corpus."""
    return sorted(path.stem for path in Path("recipes", corpus).glob("*.yaml"))


def overrides(corpus: str, name: str, control: bool) -> list[str]:
    """What is trained otherwise than the recipe says: nothing, or what makes it a control."""
    if not control:
        return []
    trainer = recipe_tree(corpus, name)["trainer"]
    epochs = max(2, trainer["epochs"] // SHORTER)
    average = f"trainer.average_count={min(epochs, trainer['average_count'])}"
    found = [f"data.train={corpus}/{SHUFFLED}", f"trainer.epochs={epochs}", average, *CONTROL]
    if before := starts_from(corpus, name):
        found.append(f"init.from={before}-control")  # its weights have heard no true transcript either
    return found


def refuse_stale(corpus: str, wanted: Sequence[Wanted]) -> None:
    """Raise UserError that names every run which is not what its recipe makes now."""
    problems = []
    for name, control in wanted:
        run = Run(folder(corpus, name, control=control))
        if run.exists():
            composed = compose(str(recipe_file(corpus, name)), overrides(corpus, name, control))
            cfg = with_former_defaults(composed, run.written_settings()).parse(RunConfig)
            try:
                run.refuse_changed_config(cfg)
            except UserError as error:
                problems.append(str(error).rpartition("\n")[0])
    if problems:
        problems.append("move these runs away, or bring the recipes back, so that the table tells of what it names")
        raise UserError("\n".join(problems))


def train_all(corpus: str, wanted: Sequence[Wanted], together: int) -> None:
    """Train and decode what is wanted; before it what it starts from, in waves."""
    for wave in waves(corpus, wanted):
        in_parallel([lambda w=one: make(corpus, *w) for one in wave], together)


def waves(corpus: str, wanted: Sequence[Wanted]) -> list[list[Wanted]]:
    """What can be trained at once, one list after the other; runs that others of them start from come first."""
    found: dict[int, dict[Wanted, None]] = {}
    for name, control in wanted:
        chain = ancestry(corpus, name)
        for depth, one in enumerate(reversed(chain)):
            found.setdefault(depth, {})[one, control] = None
    return [list(found[depth]) for depth in sorted(found)]


def ancestry(corpus: str, name: str) -> list[str]:
    """A recipe, the one whose run it starts from, the one before that, and so on."""
    chain = [name]
    while before := starts_from(corpus, chain[-1]):
        needed = Path(before).name
        if before != str(folder(corpus, needed, control=False)) or needed not in known_recipes(corpus):
            raise UserError(f"recipes/{corpus}/{chain[-1]}.yaml: init.from: {before} is no run of recipes/{corpus}")
        if needed in chain:
            raise UserError(f"recipes/{corpus}/{name}.yaml: init.from leads in a circle: {', '.join(chain)}, {needed}")
        chain.append(needed)
    return chain


def make(corpus: str, name: str, control: bool) -> Iterator[list[str]]:
    """The commands, one after the other, that are still to be run."""
    run, place = folder(corpus, name, control=control), data_folder(corpus, name)
    if control:
        write_shuffled(place / "train.jsonl")
    more = overrides(corpus, name, control)  # a training that has ended only takes what decides no weight
    yield ["train", str(recipe_file(corpus, name)), *more, "trainer.threads=1", "--folder", str(run)]
    yield ["decode", str(run), "--sets", "valid,test", "--decoders", "all"]
    for words in lexica(corpus, name).values():
        yield ["decode", str(run), "--sets", "valid,test", "--decoders", "lexicon", f"decode.lexicon={words}"]


def in_parallel(jobs: Sequence[Any], together: int) -> None:
    """Run the commands of each job in order, some jobs at a time. Raises UserError where one fails, after the rest."""
    waiting, running, failed = [job() for job in jobs], dict[Any, Any](), list[str]()
    while waiting or running:
        while waiting and len(running) < together:
            steps = waiting.pop(0)
            advance(steps, running)
        for process in [one for one in running if one.poll() is not None]:
            steps = running.pop(process)
            if process.returncode:
                failed.append(f"{' '.join(process.args[1:])}: status {process.returncode}, see the .log beside the run")
            else:
                advance(steps, running)
        time.sleep(1)
    if failed:
        raise UserError("; ".join(failed))


def advance(steps: Iterator[list[str]], running: dict[Any, Any]) -> None:
    """Start the next command of a job, if it has one; what it says goes to a file beside the runs."""
    command = next(steps, None)
    if command is None:
        return
    named = command[-1] if command[0] == "train" else command[1]
    print(f"hybrid-asr {' '.join(command)}", file=sys.stderr, flush=True)
    log = Path(f"{named}.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as output:
        tool = Path(sys.executable).with_name("hybrid-asr")
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        running[subprocess.Popen([str(tool), *command], stdout=output, stderr=output, env=environment)] = steps


def add_speed(rows: Sequence[Row]) -> None:
    """Measure the models of these rows in turns."""
    models = [Bundle.load(Run(folder(row["corpus"], row["recipe"], control=False)).model_file) for row in rows]
    for row, speed in zip(rows, training_speed.measure(models), strict=True):
        row["speed"] = speed


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"compare_models: {error}")
