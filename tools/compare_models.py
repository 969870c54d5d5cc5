"""One table of all models of a corpus: trained, decoded by all that they serve, beside controls; and their speed.

    python tools/compare_models.py an4 spoken                 # trains what is not trained yet, then prints the table
    python tools/compare_models.py an4 --recipes las additive --no-controls
    python tools/compare_models.py an4 --report               # trains nothing: the table of the runs that are there

Each recipe is trained by `hybrid-asr train` in runs/<corpus>/<recipe>, one thread each, `--together` of them side by
side. Its control, runs/<corpus>/<recipe>-control, is the same training on transcripts shuffled between utterances: what
it reaches is what a model reaches that cannot listen; a quarter of the epochs is enough for it to learn the sentences
alone. Rates of decoders are those of the test set with what the recipe says; what a recipe says was chosen on the
validation set. An interrupted comparison goes on where it stopped.

Where the corpus has a lexicon, CTC is decoded with it, too (`lexicon`), and with the words of the training transcripts
alone (`lexicon of training words`).

Speed is measured here and now, in turns: seconds of audio for a second of a training step (forward and backward, 40 s
of noise a batch) in utterances of 2, 5, 10 and 20 s. `--json` keeps all numbers, `--page` writes them as a page to look
at, with error rates over the length of utterances where the corpus has a set `lengths`, and `--results` writes them
into recipes/<corpus>/results.json.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from hybrid_asr.config.compose import compose
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.errors import UserError
from hybrid_asr.files import write_text
from hybrid_asr.models.bundle import Bundle, read_torch
from hybrid_asr.pages.by_length import rates_by_length
from hybrid_asr.pages.comparison import Compared, Corpus, comparison_page
from hybrid_asr.pages.decodings import Decoding, Rate, find_decodings, read_utterances
from hybrid_asr.run import Run

LENGTHS_S = (2, 5, 10, 20)
BATCH_S = 40
ROUNDS = 5
SHUFFLED = "train-shuffled.jsonl"
SHORTER = 4  # a control has so many times fewer epochs
CONTROL = ("data.check.infeasible=warn",)  # a long text on short audio is no mistake here


def main() -> int:
    """Train, decode, measure, print."""
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
    for corpus in options.corpora:
        known = sorted(path.stem for path in Path("recipes", corpus).glob("*.yaml"))
        for name in options.recipes or known[:1] or ["*"]:
            if name not in known:
                parser.error(f"recipes/{corpus}/{name}.yaml: no such recipe; there are {', '.join(known) or 'none'}")
    rows: list[dict[str, Any]] = []
    for corpus in options.corpora:
        names = options.recipes or sorted(path.stem for path in Path("recipes", corpus).glob("*.yaml"))
        wanted = [(name, False) for name in names] + [(name, True) for name in names if not options.no_controls]
        if not options.report:
            for later in (False, True):  # what starts from another run waits for it
                wave = [(name, control) for name, control in wanted if bool(starts_from(corpus, name)) == later]
                in_parallel([lambda w=w, c=corpus: make(c, *w) for w in wave], options.together)
        rows += [row for name, control in wanted if (row := describe(corpus, name, control=control)) is not None]
    if not options.no_speed:
        measure_speed([row for row in rows if not row["control"]])
    print(text(rows))
    if options.json:
        write_text(options.json, json.dumps(rows, indent=1) + "\n")
    if options.page:
        found = [corpus for name in options.corpora if (corpus := for_page(name, rows)) is not None]
        write_text(
            options.page, comparison_page(found, command=f"python tools/compare_models.py {' '.join(sys.argv[1:])}")
        )
    for corpus in options.corpora if options.results else ():
        keep(Path("recipes", corpus, "results.json"), [row for row in rows if row["corpus"] == corpus])
    return 0


def folder(corpus: str, name: str, *, control: bool) -> Path:
    """The run of a recipe, or of its control."""
    return Path("runs", corpus, f"{name}-control" if control else name)


def starts_from(corpus: str, name: str) -> str:
    """The run whose weights a recipe begins with; empty: none."""
    return compose(f"recipes/{corpus}/{name}.yaml").tree.get("init", {}).get("from", "")


def make(corpus: str, name: str, control: bool) -> Iterator[list[str]]:
    """The commands, one after the other, that are still to be run."""
    run, recipe = folder(corpus, name, control=control), Path("recipes", corpus, f"{name}.yaml")
    more: list[str] = []
    if control:
        shuffle(Path(compose(str(recipe)).tree["data"].get("root", "data"), corpus))
        trainer = compose(str(recipe)).tree["trainer"]
        epochs = max(2, trainer["epochs"] // SHORTER)
        average = f"trainer.average_count={min(epochs, trainer['average_count'])}"
        more = [f"data.train={corpus}/{SHUFFLED}", f"trainer.epochs={epochs}", average, *CONTROL]
        if before := starts_from(corpus, name):
            more.append(f"init.from={before}-control")  # its weights have heard no true transcript either
    if not Run(run).model_file.is_file():
        yield ["train", str(recipe), *more, "trainer.threads=1", "--run", str(run)]
    yield ["decode", str(run), "--sets", "valid,test", "--decoders", "all"]
    if compose(str(recipe)).tree["loss"]["ctc_weight"] and lexicon(corpus).is_file():
        for words in (str(lexicon(corpus).relative_to(lexicon(corpus).parents[1])), "train"):
            yield ["decode", str(run), "--sets", "valid,test", "--decoders", "lexicon", f"decode.lexicon={words}"]


def lexicon(corpus: str) -> Path:
    """Where a corpus has its lexicon."""
    return Path("data", corpus, "lexicon.txt")


def shuffle(place: Path) -> None:
    """Write the training manifest with its transcripts shuffled, so that no utterance keeps its own if it can."""
    lines = [json.loads(line) for line in (place / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    texts = [line["text"] for line in lines]
    random.Random(1).shuffle(texts)
    target = place / SHUFFLED
    content = "".join(
        json.dumps(line | {"text": text}, ensure_ascii=False) + "\n" for line, text in zip(lines, texts, strict=True)
    )
    if not target.exists() or target.read_text(encoding="utf-8") != content:
        target.write_text(content, encoding="utf-8")


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


def describe(corpus: str, name: str, *, control: bool) -> dict[str, Any] | None:
    """What a run took and what it reached; None where it is not there."""
    run = Run(folder(corpus, name, control=control))
    if not run.model_file.is_file():
        return None
    state = read_torch(run.checkpoint_folder / "last.ckpt")
    cfg = run.read_config()
    hours = float(Manifest.read(Path(cfg.data.root) / cfg.data.train, audio="unchecked").durations.sum()) / 3600
    return {
        "corpus": corpus,
        "recipe": name,
        "control": control,
        "parameters": sum(value.numel() for key, value in state["state_dict"].items() if key.startswith("model.")),
        "epochs": len(state["history"]),
        "minutes": round(state["elapsed_s"] / 60, 1),
        "processor_minutes": round(state["processor_s"] / 60, 1) if state.get("processor_s") else None,
        "audio_per_s": round(hours * 3600 * len(state["history"]) / state["elapsed_s"], 1),
        **{f"{name}_wer": rates(run, name) for name in ("valid", "test", "lengths")},
    }


def rates(run: Run, set_name: str) -> dict[str, Any]:
    """The rate of each decoder, with its interval."""
    cfg = run.read_config()
    found = [one for one in find_decodings(run, cfg) if isinstance(one, Decoding) and one.set_name == set_name]
    return {name: [one.wer.value, *(one.wer.ci95 or (None, None))] for one in found if (name := title(one))}


def title(one: Decoding) -> str:
    """What a decoding is called in the table; empty: it is another one of the same decoder, with other settings."""
    if not one.decoder.startswith("lexicon"):
        return "" if "-" in one.decoder else one.decoder
    settings = json.loads((one.folder / "report.json").read_text(encoding="utf-8"))["decoder"]
    if settings["arpa"]:
        return ""
    return "lexicon of training words" if settings["lexicon"] == "train" else "lexicon"


def for_page(corpus: str, rows: Sequence[dict[str, Any]]) -> Corpus | None:
    """The models of a corpus as the page takes them; None where there are none."""
    own = [row for row in rows if row["corpus"] == corpus]
    controls = {row["recipe"]: row["test_wer"] for row in own if row["control"]}
    models = [
        Compared(
            row["recipe"],
            Path("recipes", corpus, f"{row['recipe']}.yaml").read_text(encoding="utf-8").split("\n")[0].strip("# "),
            row["parameters"],
            row["minutes"],
            row["epochs"],
            {
                name: Rate(rate[0], None if rate[1] is None else (rate[1], rate[2]))
                for name, rate in row["test_wer"].items()
            },
            min((rate[0] for rate in controls.get(row["recipe"], {}).values()), default=None),
            row.get("speed", {}),
        )
        for row in own
        if not row["control"]
    ]
    if not models:
        return None
    test = Manifest.read(Path("data", corpus, "test.jsonl"), audio="unchecked")
    words = sum(len(one.text.split()) for one in test)
    return Corpus(corpus, len(test), words, models, over_lengths(corpus, [one.recipe for one in models]))


def over_lengths(corpus: str, recipes: Sequence[str]) -> Any:
    """The chart of the models that decode by attention alone, as far as they have the set `lengths`."""
    found = {}
    for recipe in recipes:
        run = Run(folder(corpus, recipe, control=False))
        for one in find_decodings(run, run.read_config()):
            if isinstance(one, Decoding) and (one.set_name, one.decoder) == ("lengths", "attention"):
                found[recipe] = read_utterances(one)
    return rates_by_length(found, "wer") if found else None


def keep(place: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Put the rows into a corpus's results, in the place of those of the same models; the rest of the file stays."""
    content = json.loads(place.read_text(encoding="utf-8")) if place.is_file() else {}
    known = {(row["recipe"], row["control"]): row for row in content.get("models", [])}
    known |= {(row["recipe"], row["control"]): row for row in rows}
    content["models"] = [known[key] for key in sorted(known)]
    write_text(place, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def measure_speed(rows: Sequence[dict[str, Any]]) -> None:
    """Add to each row the seconds of audio that a training step takes a second, by the utterances' length."""
    torch.set_num_threads(1)
    models = [Bundle.load(Run(folder(row["corpus"], row["recipe"], control=False)).model_file) for row in rows]
    for row in rows:
        row["speed"] = {}
    for seconds in LENGTHS_S:
        took: list[list[float]] = [[] for _ in rows]
        for turn in range(ROUNDS + 1):
            for times, bundle in zip(took, models, strict=True):
                spent = step_seconds(bundle, seconds)
                if turn:  # the first one warms up
                    times.append(spent)
        for row, times in zip(rows, took, strict=True):
            row["speed"][seconds] = round(BATCH_S / statistics.median(times), 1)


def step_seconds(bundle: Bundle, seconds: float) -> float:
    """Seconds of forward and backward on a batch of noise, with a text of 12 labels a second."""
    rows, rate = round(BATCH_S / seconds), bundle.frontend.rate
    audio = 0.1 * torch.randn(rows, round(seconds * rate))
    labels = torch.randint(2, bundle.tokenizer.size - 1, (rows, round(4 * seconds)))
    bundle.model.train()
    began = time.perf_counter()
    with torch.no_grad():
        features = bundle.frontend(audio, torch.full((rows,), audio.shape[1]))
    outputs = bundle.model(features, labels)
    parts = [part.logsumexp(-1).mean() for part in (outputs.ctc_log_probs, outputs.logits) if part is not None]
    torch.stack(parts).sum().backward()
    spent = time.perf_counter() - began
    bundle.model.zero_grad(set_to_none=True)
    return spent


def text(rows: Sequence[dict[str, Any]]) -> str:
    """The table for people: a line a model, its control's best rate behind it."""
    names = list(dict.fromkeys(name for row in rows for name in row["test_wer"]))
    head = ["corpus", "recipe", "M par.", "min", *names, "control", *(f"x at {s} s" for s in LENGTHS_S)]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    controls = {(row["corpus"], row["recipe"]): row for row in rows if row["control"]}
    for row in rows:
        if row["control"]:
            continue
        beside = controls.get((row["corpus"], row["recipe"]))
        worst = "" if beside is None else _percent(min((rate[0] for rate in beside["test_wer"].values()), default=None))
        cells = [row["corpus"], row["recipe"], f"{row['parameters'] / 1e6:.2f}", f"{row['minutes']:.1f}"]
        cells += [_percent(row["test_wer"].get(name, [None])[0]) for name in names] + [worst]
        cells += [f"{row['speed'][s]:.0f}" if "speed" in row else "" for s in LENGTHS_S]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _percent(rate: float | None) -> str:
    return "" if rate is None else f"{100 * rate:.2f}"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"compare_models: {error}")
