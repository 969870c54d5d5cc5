"""The utterances that the quick checks name in sentences, one by one: for the file of rejects."""

from collections.abc import Mapping

import numpy as np

from hybrid_asr.data.check import CheckConfig, CheckReport
from hybrid_asr.data.findings import Findings
from hybrid_asr.data.label_counts import LabelCounts
from hybrid_asr.text.labels import describe_missing


def reject_transcripts(
    findings: Findings,
    counts: Mapping[str, LabelCounts],
    report: CheckReport,
    least: np.ndarray | None,
    shortest: float,
    policy: CheckConfig,
) -> None:
    """Training utterances that are too short for CTC or the encoder, not writable, or also of another set.

    `least` and `shortest` are those of `check_training`.
    """
    train, of = findings.sets["train"], counts["train"]
    if least is not None:
        indices = next(found.indices for found in report.infeasible if found.speed == 1.0)
        for index in indices.tolist():
            needed = f"its {of.labels[index]} labels need {least[of.needs[index]]:.2f} s"
            lasts = f"{train.durations[index]:.2f} s"
            findings.reject("train", index, "ctc", f"too short for CTC: it lasts {lasts}, {needed}")
    for index in np.flatnonzero(train.durations < shortest).tolist():
        findings.reject("train", index, "frame", f"shorter than a frame of the encoder, {shortest:.2f} s")
    for index in np.flatnonzero(of.labels == 0).tolist():
        findings.reject("train", index, "empty", "text.rules leave nothing of its transcript")
    for index in of.unwritable.tolist():
        shown = describe_missing(of.lacking, of.writes)
        findings.reject("train", index, "characters", f"the tokenizer lacks some of its text: {shown}")
    for name, other in findings.sets.items():
        if name == "train":
            continue
        _, indices, _ = np.intersect1d(train.keys, other.keys, assume_unique=True, return_indices=True)
        for index in np.sort(indices).tolist():
            findings.reject("train", index, "id", f"its id is also in {name}")
        shared = of.speakers & counts[name].speakers
        if shared and policy.speakers == "refuse":
            for index, utterance in enumerate(train):
                if utterance.speaker in shared:
                    findings.reject("train", index, "speaker", f"its speaker {utterance.speaker} is also in {name}")
