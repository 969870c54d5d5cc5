"""What a recipe's run took and reached: rows of a table, of recipes/<corpus>/results.json and of a page."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.files import write_text
from hybrid_asr.config.compose import compose
from hybrid_asr.config.schema import plain
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.inference.build_decoder import DecodeConfig
from hybrid_asr.inference.presets import ALL, choose_decoders, decoders_for_model
from hybrid_asr.models.bundle import read_torch
from hybrid_asr.pages.decodings import Damaged, Decoding, find_decodings, read_utterances
from hybrid_asr.pages.errors_by_length import rates_by_length
from hybrid_asr.pages.model_comparison import Compared, Corpus
from hybrid_asr.run.config import RunConfig
from hybrid_asr.run.folder import Run
from hybrid_asr.scoring.intervals import Interval, Rate
from tools.results.training_speed import LENGTHS_S

BUDGET = 30.0  # minutes of one core that a model may take: fifteen of two
Row = dict[str, Any]


def folder(corpus: str, name: str, *, control: bool) -> Path:
    """The run of a recipe, or of its control."""
    return Path("runs", corpus, f"{name}-control" if control else name)


def recipe_file(corpus: str, name: str) -> Path:
    """Where a recipe stands."""
    return Path("recipes", corpus, f"{name}.yaml")


def recipe_tree(corpus: str, name: str) -> dict[str, Any]:
    """A recipe with everything that it leaves to presets."""
    return compose(str(recipe_file(corpus, name))).tree


def starts_from(corpus: str, name: str) -> str:
    """The run whose weights a recipe begins with; empty: none."""
    return recipe_tree(corpus, name).get("init", {}).get("from", "")


def data_folder(corpus: str, name: str) -> Path:
    """Where the sets of a recipe are."""
    return Path(recipe_tree(corpus, name)["data"].get("root", "data"), corpus)


def lexica(corpus: str, name: str) -> dict[str, str]:
    """What CTC is decoded with besides its presets: the decoding's name in the table, and `decode.lexicon`."""
    tree, found = recipe_tree(corpus, name), {"lexicon": f"{corpus}/lexicon.txt", "lexicon (train)": "train"}
    if not tree["loss"]["ctc_weight"] or not (data_folder(corpus, name) / "lexicon.txt").is_file():
        return {}
    if tree["tokenizer"]["kind"] == "phoneme":
        del found["lexicon"]  # its own, which the preset takes
    return found


def describe(corpus: str, name: str, *, control: bool, complain: Callable[[str], None]) -> Row | None:
    """What a run took and what it reached; None where it is not there, or, told to `complain`, where it is damaged.

    `core_minutes` are those of processor time, the run that it starts from included: what no file of it tells is taken
    from the clock, as `timed` says. Only decodings of these weights, with what the recipe says now, are taken.
    """
    run = Run(folder(corpus, name, control=control))
    if not run.model_file.is_file():
        return None
    try:
        return _described(run, corpus, name, control, complain)
    except UserError as error:
        complain(f"{run.folder}: left out: {error}")
        return None


def _described(run: Run, corpus: str, name: str, control: bool, complain: Callable[[str], None]) -> Row:
    state = read_torch(run.checkpoint_folder / "last.ckpt")
    cfg = run.read_config()
    paths = [Path(cfg.data.root) / entry.manifest for entry in cfg.data.train_manifests]
    hours = float(Manifest.read_all(paths, audio="unchecked").durations.sum()) / 3600
    spent, timed = _minutes(state)
    if cfg.init.from_:
        before, timed_before = _minutes(read_torch(Run(Path(cfg.init.from_)).checkpoint_folder / "last.ckpt"))
        spent, timed = spent + before, timed if timed == timed_before else "clock"
    return {
        "corpus": corpus,
        "recipe": name,
        "control": control,
        "parameters": sum(value.numel() for key, value in state["state_dict"].items() if key.startswith("model.")),
        "epochs": len(state["history"]),
        "minutes": round(state["elapsed_s"] / 60, 1),
        "core_minutes": round(spent, 1),
        "timed": timed,
        "audio_per_s": round(hours * 3600 * len(state["history"]) / state["elapsed_s"], 1),
        **rates(run, corpus, name, complain),
    }


def _minutes(state: dict[str, Any]) -> tuple[float, str]:
    """What a training took of one core, and by which watch; runs of one thread, so that the clock says no less."""
    if state.get("processor_s"):
        return state["processor_s"] / 60, "processor"
    return state["elapsed_s"] / 60, "clock"


def rates(run: Run, corpus: str, name: str, complain: Callable[[str], None]) -> dict[str, Any]:
    """`<set>_wer`: the rate of each decoder that the recipe asks for, with its interval."""
    bundle, weights = run.bundle()
    config = plain(compose(str(recipe_file(corpus, name))).parse(RunConfig))
    asked: dict[str, tuple[str, DecodeConfig]] = {
        title: (title, settings) for title, settings in decoders_for_model(bundle, config, [ALL], []).items()
    }
    for title, words in lexica(corpus, name).items():
        asked[title] = "lexicon", choose_decoders(config, ["lexicon"], [f"decode.lexicon={words}"])["lexicon"]
    found: dict[str, Any] = {f"{set_name}_wer": {} for set_name in ("valid", "test", "lengths")}
    for one in find_decodings(run, run.read_config()):
        if isinstance(one, Damaged):
            complain(f"{run.folder}/decode/{one.set_name}/{one.decoder}: {one.why}; decode it again")
            continue
        fitting = [title for title, (kind, settings) in asked.items() if _fits(one, kind, settings, weights)]
        wer = one.report.scores.wer
        for title in fitting:
            found[f"{one.set_name}_wer"].setdefault(title, [wer.value, *(wer.ci95 or (None, None))])
        if one.decoder in asked and not fitting:
            complain(f"{one.folder}: not what the recipe asks for, or of other weights; decode the set again")
    return found


def _fits(one: Decoding, kind: str, settings: DecodeConfig, weights: str) -> bool:
    """Whether a decoding is by this decoder with these settings and weights; the n-best may be any."""
    same = one.report.decoder | {"nbest": 1} == plain(settings) | {"nbest": 1}
    return one.decoder.partition("-")[0] == kind and same and one.weights == weights


def lowest(row: Row | None) -> float | None:
    """The lowest test rate of a row by any decoder."""
    return None if row is None else min((rate[0] for rate in row["test_wer"].values()), default=None)


def table(rows: Sequence[Row]) -> str:
    """The table for people: a line a model, its control's lowest rate behind it."""
    names = list(dict.fromkeys(name for row in rows for name in row["test_wer"]))
    head = ["corpus", "recipe", "M par.", "core min", *names, "control", *(f"x at {s} s" for s in LENGTHS_S), "slower"]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    controls = {(row["corpus"], row["recipe"]): row for row in rows if row["control"]}
    for row in rows:
        if row["control"]:
            continue
        control = lowest(controls.get((row["corpus"], row["recipe"])))
        cells = [row["corpus"], row["recipe"], f"{row['parameters'] / 1e6:.2f}", time_spent(row)]
        cells += [_percent(row["test_wer"].get(name, [None])[0]) for name in names] + [_percent(control)]
        speed = row.get("speed", {})
        cells += [f"{speed[s]:.0f}" if s in speed else "" for s in LENGTHS_S]
        cells += [f"{speed[LENGTHS_S[0]] / speed[LENGTHS_S[-1]]:.2f}" if speed else ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def time_spent(row: Row) -> str:
    """Minutes of a core; `~`: by the clock of a shared machine; `>`: more than the budget."""
    return f"{'~' if row['timed'] == 'clock' else ''}{row['core_minutes']:.1f}{' >' if over_budget(row) else ''}"


def over_budget(row: Row) -> bool:
    """Whether a model took more than all may take."""
    return row["core_minutes"] > BUDGET


def _percent(rate: float | None) -> str:
    return "" if rate is None else f"{100 * rate:.2f}"


def for_page(corpus: str, rows: Sequence[Row]) -> Corpus | None:
    """The models of a corpus as the page takes them; None where there are none."""
    own = [row for row in rows if row["corpus"] == corpus]
    controls = {row["recipe"]: row for row in own if row["control"]}
    models = [
        Compared(
            recipe=row["recipe"],
            about=recipe_file(corpus, row["recipe"]).read_text(encoding="utf-8").split("\n")[0].strip("# "),
            parameters=row["parameters"],
            minutes=time_spent(row),
            epochs=row["epochs"],
            rates={
                name: Rate(rate[0], None if rate[1] is None else Interval(rate[1], rate[2]))
                for name, rate in row["test_wer"].items()
            },
            control=lowest(controls.get(row["recipe"])),
            speed=row.get("speed", {}),
        )
        for row in own
        if not row["control"]
    ]
    if not models:
        return None
    test = Manifest.read(data_folder(corpus, models[0].recipe) / "test.jsonl", audio="unchecked")
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


def keep(place: Path, rows: Sequence[Row]) -> None:
    """Put the rows into a corpus's results, in the place of those of the same models; the rest of the file stays.

    A speed that was not measured again stays, too.
    """
    content = json.loads(place.read_text(encoding="utf-8")) if place.is_file() else {}
    known = {(row["recipe"], row["control"]): row for row in content.get("models", [])}
    for row in rows:
        key = row["recipe"], row["control"]
        speed = {"speed": known[key]["speed"]} if "speed" in known.get(key, {}) and "speed" not in row else {}
        known[key] = row | speed
    content["models"] = [known[key] for key in sorted(known)]
    write_text(place, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def growth(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows of `--json` that say how a model's speed falls from the shortest to the longest utterances."""
    return [
        {
            "what": f"{row['corpus']}/{row['recipe']}: training, {LENGTHS_S[-1]} s against {LENGTHS_S[0]} s",
            "ours": row["speed"][LENGTHS_S[-1]],
            "other": row["speed"][LENGTHS_S[0]],
            "ratio": round(row["speed"][LENGTHS_S[-1]] / row["speed"][LENGTHS_S[0]], 3),
            "unit": "seconds of audio per second",
        }
        for row in rows
        if row.get("speed")
    ]
