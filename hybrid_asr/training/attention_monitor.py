"""Measures the attention of a few validation utterances whenever the set is decoded; warns if none follows."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from hybrid_asr.attention.alarms import PER_HEAD, AttentionAlarm, Heads, listening
from hybrid_asr.attention.attention_line import COSTS, AttentionLine
from hybrid_asr.attention.diagnosis import LONGEST_S, Diagnosis, choose_utterances, diagnose, spread_by_length
from hybrid_asr.common.files import write_text
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.models.decoder import DecoderConfig
from hybrid_asr.training.attention_pictures import AttentionPictures
from hybrid_asr.training.config import TrainerConfig
from hybrid_asr.training.messages import rank_zero_print

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
        epochs: int,
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
        self.from_epoch = math.ceil(BEGINNING * epochs)

    def continue_from(self, epoch: int) -> None:
        """Forget what an earlier process wrote of epochs behind `epoch`; what it was alarmed by is alarming still."""
        self.pictures.continue_from(epoch)
        kept = [(text, line) for text, line in read_lines(self.file) if line.epoch <= epoch]
        if self.file.exists():
            write_text(self.file, "".join(f"{text}\n" for text, _ in kept), folder="expect")
        lines = [line for _, line in kept if line.is_complete]
        for number in sorted({line.epoch for line in lines}):
            alarm = self._alarm_of(number, _heads([line for line in lines if line.epoch == number]))
            if alarm is not None:
                self.alarms(alarm)

    def measure(self, bundle: Bundle, device: torch.device, epoch: int) -> dict[str, float]:
        """Measure, write, draw, warn; returns what goes to metrics.csv, nothing of a model without a decoder."""
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
        lines = diagnosis.lines(epoch)
        try:
            with self.file.open("a", encoding="utf-8") as file:
                file.write("".join(line.to_line() for line in lines))
        except OSError as error:
            error.filename = str(self.file)  # the system names it only if it cannot be opened
            raise


def read_lines(file: Path) -> list[tuple[str, AttentionLine]]:
    """The lines of an `attention.jsonl`, as text and read; a last one that a crash has torn is left out.

    So is what is damaged, with a warning: no by-product of hours of training may cost the rest.
    """
    lines, damaged = [], 0
    content = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
    for text in content.split("\n")[:-1]:
        line = AttentionLine.from_line(text)
        if line is None:
            damaged += 1
        else:
            lines.append((text, line))
    if damaged:
        rank_zero_print(f"warning: {file}: {damaged} damaged lines are left out; the training goes on")
    return lines


def _heads(lines: list[AttentionLine]) -> Heads:
    """The means of an epoch, as they were when it was written."""
    alike = [line for line in lines if line.shape == lines[0].shape]

    def mean(name: str) -> np.ndarray:
        values = np.array([line.tables[name] for line in alike])
        known = (~np.isnan(values)).sum(0)
        return np.where(known, np.nansum(values, 0) / np.maximum(known, 1), np.nan)

    costs = (float(np.array([line.costs[name] for line in alike]).mean()) for name in COSTS)
    return Heads(**{name: mean(name) for name in PER_HEAD}, listening=listening(*costs))
