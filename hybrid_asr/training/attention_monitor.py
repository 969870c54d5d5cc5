"""Looks at the attention of a few validation utterances whenever the set is decoded, and tells if none follows."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hybrid_asr.attention.alarms import PER_HEAD, AttentionAlarm, Heads, listening
from hybrid_asr.attention.diagnosis import LONGEST_S, Diagnosis, choose_utterances, diagnose, spread_by_length
from hybrid_asr.common.files import write_text
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.models.decoder import DecoderConfig
from hybrid_asr.training.attention_pictures import AttentionPictures
from hybrid_asr.training.config import TrainerConfig
from hybrid_asr.training.messages import rank_zero_print

COSTS = ("nats", "nats_shuffled")  # a number each
BEGINNING = 0.2  # share of the training in which attention need not follow yet


class AttentionMonitor:
    """Keeps `attention.jsonl`, a line an epoch and utterance with all layers and heads, and pictures; gives the alarm.

    A decoder with `fixed` attention looks at one frame by design: it is measured, and neither judged nor drawn, since
    all its pictures would be one.
    """

    def __init__(
        self,
        cfg: TrainerConfig,
        decoder: DecoderConfig,
        file: Path,
        manifest: Manifest,
        *,
        pictures: AttentionPictures,
        alarms: Callable[[str], None],
    ):
        self.file, self.manifest, self.pictures, self.alarms = file, manifest, pictures, alarms
        self.monitored = decoder.learns_attention
        self.utterances = choose_utterances(manifest, cfg.attention_utterances)
        if cfg.attention_utterances and not self.utterances:
            rank_zero_print(
                f"no validation utterance is at most {LONGEST_S:g} s long: attention is neither measured nor drawn"
            )
        self.drawn_utterances = (
            spread_by_length(manifest, self.utterances, cfg.attention_pictures) if self.monitored else []
        )
        self.alarm = AttentionAlarm(cfg.attention_patience)
        self.from_epoch = math.ceil(BEGINNING * cfg.epochs)

    def continue_from(self, epoch: int) -> None:
        """Forget what an earlier process wrote of epochs behind `epoch`; what it was alarmed by is alarming still."""
        self.pictures.continue_from(epoch)
        kept = [row for row in read_rows(self.file) if row["epoch"] <= epoch]
        if self.file.exists():
            write_text(self.file, "".join(f"{json.dumps(row)}\n" for row in kept), folder="expect")
        kept = [row for row in kept if row.keys() >= {*PER_HEAD, *COSTS}]  # an earlier version measured less
        for number in sorted({row["epoch"] for row in kept}):
            alarm = self._alarm_of(number, _heads([row for row in kept if row["epoch"] == number]))
            if alarm is not None:
                self.alarms(alarm)

    def measure(self, bundle: Bundle, device: torch.device, epoch: int) -> dict[str, float]:
        """Measure, write, draw, tell; returns what goes to metrics.csv, nothing of a model without a decoder."""
        diagnosis = diagnose(bundle, self.manifest, self.utterances, device, keep=self.drawn_utterances)
        if diagnosis is None:
            return {}
        self._write(diagnosis, epoch)
        self.pictures.add(diagnosis, epoch)
        alarm = self._alarm_of(epoch, diagnosis.heads())
        if alarm is not None:
            rank_zero_print(f"warning: {alarm}")
            self.alarms(alarm)
        return diagnosis.row()

    def _alarm_of(self, epoch: int, heads: Heads) -> str | None:
        return self.alarm.add(epoch, heads) if self.monitored and epoch > self.from_epoch else None

    def _write(self, diagnosis: Diagnosis, epoch: int) -> None:
        lines = [json.dumps({"epoch": epoch} | line) for line in diagnosis.lines()]
        try:
            with self.file.open("a", encoding="utf-8") as file:
                file.write("".join(f"{line}\n" for line in lines))
        except OSError as error:
            error.filename = str(self.file)  # the system names it only if it cannot be opened
            raise


def read_rows(file: Path) -> list[dict[str, Any]]:
    """The lines of an `attention.jsonl`; a last one that a crash has torn is left out.

    So is what is damaged, and told: no by-product of hours of training may cost the rest.
    """
    rows, damaged = [], 0
    text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
    for line in text.split("\n")[:-1]:
        row = _parsed(line)
        if row is None:
            damaged += 1
        else:
            rows.append(row)
    if damaged:
        rank_zero_print(f"warning: {file}: {damaged} damaged lines are left out; the training goes on")
    return rows


def _parsed(line: str) -> dict[str, Any] | None:
    """A line, None where it does not say of which epoch it is or holds what is no table of numbers."""
    try:
        row = json.loads(line)
        tables = [np.array(row[name], dtype=np.float64) for name in PER_HEAD if name in row]
        scalars = [np.array(row[name], dtype=np.float64).ndim == 0 for name in COSTS if name in row]
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
    complete = (
        isinstance(row, dict) and isinstance(row.get("epoch"), int) and len({table.shape for table in tables}) <= 1
    )
    return row if complete and all(scalars) and all(table.ndim == 2 for table in tables) else None


def _heads(rows: list[dict[str, Any]]) -> Heads:
    """The means of an epoch, as they were when it was written."""
    layers, heads = np.shape(rows[0][PER_HEAD[0]])
    alike = [row for row in rows if np.shape(row[PER_HEAD[0]]) == (layers, heads)]

    def mean(name: str) -> np.ndarray:
        values = np.array([row[name] for row in alike], dtype=np.float64)  # None becomes NaN
        known = (~np.isnan(values)).sum(0)
        return np.where(known, np.nansum(values, 0) / np.maximum(known, 1), np.nan)

    costs = (float(np.array([row[name] for row in alike], dtype=np.float64).mean()) for name in COSTS)
    return Heads(**{name: mean(name) for name in PER_HEAD}, listening=listening(*costs))
