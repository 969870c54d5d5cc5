"""`report.html`: one run to look at, from whatever its folder holds."""

import datetime
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from hybrid_asr import __version__
from hybrid_asr.common.environment import environment
from hybrid_asr.common.files import write_text
from hybrid_asr.config.files import to_yaml
from hybrid_asr.config.schema import plain
from hybrid_asr.pages import decodings
from hybrid_asr.pages import learning_curves as curves
from hybrid_asr.pages import run_status as standing
from hybrid_asr.pages.charts import Drawing
from hybrid_asr.pages.epoch_pictures import find_epochs
from hybrid_asr.pages.errors_by_length import LEAST, rates_by_length
from hybrid_asr.pages.kit import Note, attempt, render
from hybrid_asr.pages.sweep_charts import find_sweeps
from hybrid_asr.pages.utterances import Shown, of_audio
from hybrid_asr.run.config import RunConfig
from hybrid_asr.run.folder import Run
from hybrid_asr.training.status import tell

LINES = 4  # of a chart


def refresh(run: Run, *, depth: Literal["quick", "full"] = "full") -> Path | None:
    """Write the run's page anew; returns where it lies, None where there is no folder or it could not be written.

    "quick" leaves out what needs the model or the audio, for a training that goes on. Never raises: what fails inside a
    part stands there, what fails as a whole is one line for the user, since no page may stop a training.
    """
    if not run.folder.is_dir():
        return None
    try:
        write_text(run.page_file, run_page(run, depth=depth))
        return run.page_file
    except Exception as error:
        tell(f"{run.page_file}: the page could not be written ({type(error).__name__}: {error}); the run is not harmed")
        return None


def run_page(run: Run, *, depth: Literal["quick", "full"] = "full") -> str:
    """The page as text. A part that cannot be made is a note."""
    cfg = attempt(run.read_config)
    rows = attempt(lambda: standing.read_rows(run))
    known = [] if isinstance(rows, Note) else rows
    values: dict[str, Any] = {
        "name": "/".join(run.folder.resolve().parts[-2:]),
        "standing": standing.read_run_status(run, known),
        "rows": rows,
        "cfg": cfg,
        "made": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M"),
        "version": __version__,
        "maker": environment(),
        "best": None,
        "curves": attempt(lambda: curves.curves(known)),
        "epochs": attempt(lambda: find_epochs(run.attention_folder)),
        "last_epoch": int(standing.number(known[-1].get("epoch"))) if known and known[-1].get("epoch") else None,
    }
    values |= _of_config(run, cfg, known) if isinstance(cfg, RunConfig) else _without_config(cfg)
    values |= _of_decodings(run, cfg, depth) if isinstance(cfg, RunConfig) else _without_decodings(cfg)
    clips = {} if isinstance(values["sounds"], Note) else values["sounds"]
    return render(
        "run.html",
        scripts=("attention_viewer.js",),
        uris={key: clip.uri for key, clip in clips.items() if clip.uri},
        most_confusions=decodings.CONFUSIONS,
        most_speakers=decodings.SPEAKERS,
        least=LEAST,
        **values,
    )


def _of_config(run: Run, cfg: RunConfig, rows: standing.Rows) -> dict[str, Any]:
    return {
        "best": attempt(lambda: standing.best_epoch(rows, cfg)),
        "augmentation": attempt(lambda: curves.augmentation(cfg, rows)),
        "config_text": attempt(lambda: to_yaml(plain(cfg))),
        "command": f"hybrid-asr decode {shlex.quote(str(run.folder))} --sets valid,test --decoders all",
    }


def _without_config(why: Note) -> dict[str, Any]:
    return {"augmentation": why, "config_text": why}


def _of_decodings(run: Run, cfg: RunConfig, depth: Literal["quick", "full"]) -> dict[str, Any]:
    """The table, and of one decoding the utterances; with what needs model and audio unless the page is a quick one."""
    table = attempt(lambda: decodings.find_decodings(run, cfg))
    sweeps = attempt(lambda: find_sweeps(run))
    chosen = table if isinstance(table, Note) else decodings.choose(table, cfg)
    scored = decodings.utterances_of(chosen)
    values: dict[str, Any] = {"table": table, "chosen": chosen, "worst": scored, "sweeps": sweeps}
    values |= {"sounds": {}, "pictures": scored, "doubtful": scored, "lengths": None}
    if isinstance(table, Note) or isinstance(chosen, Note) or isinstance(scored, Note):
        return values
    values["worst"] = attempt(lambda: decodings.worst(scored, chosen.metric))
    values["lengths"] = attempt(lambda: _by_length(table, chosen))
    if depth == "quick":
        why = Note("Pictures, sound and doubtful words come when the training has ended, and by hybrid-asr decode.")
        return values | {"pictures": why, "sounds": why, "doubtful": why}
    listed = [] if isinstance(values["worst"], Note) else [one.id for one in values["worst"]]
    return values | of_audio(run, cfg, Shown(table, chosen, scored, listed))


def _without_decodings(why: Note) -> dict[str, Any]:
    parts = ("table", "chosen", "worst", "pictures", "doubtful")
    return dict.fromkeys(parts, why) | {"sounds": {}, "sweeps": [], "lengths": None}


def _by_length(table: Sequence[decodings.Decoding | decodings.Damaged], chosen: decodings.Decoding) -> Drawing | None:
    """The decoders of the chosen set, as many as a chart can tell apart, with the chosen one."""
    here = [one for one in table if isinstance(one, decodings.Decoding) and one.set_name == chosen.set_name]
    here.sort(key=lambda one: one.decoder != chosen.decoder)
    return rates_by_length({one.decoder: decodings.read_utterances(one) for one in here[:LINES]}, chosen.metric)
