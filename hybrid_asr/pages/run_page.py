"""`report.html`: the page of a run, from whatever its folder holds."""

import datetime
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hybrid_asr import __version__
from hybrid_asr.common.environment import environment
from hybrid_asr.common.files import write_text
from hybrid_asr.config.files import to_yaml
from hybrid_asr.config.schema import plain
from hybrid_asr.pages import decodings, learning_curves
from hybrid_asr.pages.charts import Drawing
from hybrid_asr.pages.decodings import Damaged, Decoding
from hybrid_asr.pages.epoch_pictures import find_epochs
from hybrid_asr.pages.errors_by_length import LEAST, rates_by_length
from hybrid_asr.pages.kit import Note, attempt, render
from hybrid_asr.pages.learning_curves import Augmentation
from hybrid_asr.pages.run_status import Best, Rows, best_epoch, number, read_rows, read_run_status
from hybrid_asr.pages.sweep_charts import DrawnSweep, find_sweeps
from hybrid_asr.pages.utterances import AudioParts, Shown, audio_parts
from hybrid_asr.run.config import RunConfig
from hybrid_asr.run.folder import Run
from hybrid_asr.training.messages import print_stderr

LINES = 4  # of a chart


def refresh(run: Run, *, depth: Literal["quick", "full"] = "full") -> Path | None:
    """Write the run's page anew; returns its path, None where there is no folder or it could not be written.

    "quick" leaves out what needs the model or the audio, for a training that is running. Never raises: an error in a
    part is a note in its place, one of the whole page a line for the user, since no page may stop a training.
    """
    if not run.folder.is_dir():
        return None
    try:
        write_text(run.page_file, run_page(run, depth=depth))
        return run.page_file
    except Exception as error:
        print_stderr(
            f"{run.page_file}: the page could not be written ({type(error).__name__}: {error}); the run is not harmed"
        )
        return None


@dataclass(frozen=True)
class _ConfigParts:
    """The parts of the page that the configuration decides, by their names in the template."""

    best: Best | Note | None
    augmentation: Sequence[Augmentation] | Note
    config_text: str | Note
    command: str


@dataclass(frozen=True)
class _DecodingParts:
    """The parts of the page that the run's decodings fill, by their names in the template."""

    table: Sequence[Decoding | Damaged] | Note
    lowest: Sequence[Decoding]
    chosen: Decoding | Note
    worst: Sequence[decodings.Wrong] | Note
    sweeps: Sequence[DrawnSweep | Note] | Note
    lengths: Drawing | Note | None
    audio: AudioParts


def run_page(run: Run, *, depth: Literal["quick", "full"] = "full") -> str:
    """The page as text. A part that cannot be made is a note."""
    cfg = attempt(run.read_config)
    rows = attempt(lambda: read_rows(run))
    known = [] if isinstance(rows, Note) else rows
    decoded = _without_decodings(cfg) if isinstance(cfg, Note) else _decoding_parts(run, cfg, depth)
    clips = {} if isinstance(decoded.audio.clips, Note) else decoded.audio.clips
    return render(
        "run_page.html",
        scripts=("attention_viewer.js",),
        name="/".join(run.folder.resolve().parts[-2:]),
        status=read_run_status(run, known),
        rows=rows,
        cfg=cfg,
        made=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M"),
        version=__version__,
        maker=environment(),
        curves=attempt(lambda: learning_curves.curves(known)),
        epochs=attempt(lambda: find_epochs(run.attention_folder)),
        last_epoch=int(number(known[-1].get("epoch"))) if known and known[-1].get("epoch") else None,
        uris={key: clip.uri for key, clip in clips.items() if clip.uri},
        most_confusions=decodings.CONFUSIONS,
        most_speakers=decodings.SPEAKERS,
        least=LEAST,
        **vars(_without_config(cfg) if isinstance(cfg, Note) else _config_parts(run, cfg, known)),
        **vars(decoded),
        **vars(decoded.audio),
    )


def _config_parts(run: Run, cfg: RunConfig, rows: Rows) -> _ConfigParts:
    return _ConfigParts(
        best=attempt(lambda: best_epoch(rows, cfg)),
        augmentation=attempt(lambda: learning_curves.augmentation(cfg, rows)),
        config_text=attempt(lambda: to_yaml(plain(cfg))),
        command=f"hybrid-asr decode {shlex.quote(str(run.folder))} --sets valid,test --decoders all",
    )


def _without_config(why: Note) -> _ConfigParts:
    return _ConfigParts(best=None, augmentation=why, config_text=why, command="")


def _decoding_parts(run: Run, cfg: RunConfig, depth: Literal["quick", "full"]) -> _DecodingParts:
    """The table, and of one decoding the utterances; with what needs model and audio unless the page is a quick one."""
    table = attempt(lambda: decodings.find_decodings(run, cfg))
    sweeps = attempt(lambda: find_sweeps(run))
    lowest = [] if isinstance(table, Note) else decodings.lowest(table)
    chosen = table if isinstance(table, Note) else decodings.choose(table, cfg)
    scored = decodings.utterances_of(chosen)
    if isinstance(table, Note) or isinstance(chosen, Note) or isinstance(scored, Note):
        why = next(part for part in (table, chosen, scored) if isinstance(part, Note))
        return _DecodingParts(table, lowest, chosen, why, sweeps, None, AudioParts.without(why))
    worst = attempt(lambda: decodings.worst(scored, chosen.metric))
    lengths = attempt(lambda: _by_length(table, chosen))
    if depth == "quick":
        why = Note(
            "Attention, audio and low-confidence marks come when the training has ended, and by hybrid-asr decode."
        )
        return _DecodingParts(table, lowest, chosen, worst, sweeps, lengths, AudioParts(why, why, why))
    listed = [] if isinstance(worst, Note) else [utterance.id for utterance in worst]
    shown = Shown(table, chosen, scored, listed)
    return _DecodingParts(table, lowest, chosen, worst, sweeps, lengths, audio_parts(run, cfg, shown))


def _without_decodings(why: Note) -> _DecodingParts:
    return _DecodingParts(why, [], why, why, [], None, AudioParts.without(why))


def _by_length(table: Sequence[Decoding | Damaged], chosen: Decoding) -> Drawing | None:
    """The decoders of the chosen set and weights, as many as a chart can tell apart, the chosen one among them."""
    rows = [row for row in table if isinstance(row, Decoding) and row.comparable(chosen)]
    rows.sort(key=lambda row: row.decoder != chosen.decoder)
    return rates_by_length({row.decoder: decodings.read_utterances(row) for row in rows[:LINES]}, chosen.metric)
