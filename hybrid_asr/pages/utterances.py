"""The parts of a run's page that need model and audio: attention of utterances, low-confidence marks, audio clips."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from hybrid_asr.common.errors import UserError
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.pages import attention_viewer, low_confidence
from hybrid_asr.pages.audio_clips import AudioClips, Clip
from hybrid_asr.pages.decodings import Damaged, Decoding
from hybrid_asr.pages.kit import Note, attempt
from hybrid_asr.run.config import RunConfig, set_paths
from hybrid_asr.run.folder import Run
from hybrid_asr.scoring.scores import UtteranceScore


class Shown(NamedTuple):
    """What the page shows of the decodings: one of them, its utterances, and the ids of those with the most errors."""

    table: Sequence[Decoding | Damaged]
    chosen: Decoding
    rows: Sequence[UtteranceScore]
    listed: Sequence[str]


class Pictures(NamedTuple):
    """What the page's script draws, utterance by utterance as in the page's JSON, and notes for the reader."""

    utterances: list[dict[str, Any]]
    notes: list[str]


@dataclass(frozen=True)
class AudioParts:
    """The parts that need model and audio; one that could not be made is a note. `clips` are by utterance."""

    pictures: Pictures | Note
    clips: dict[str, Clip] | Note
    low_confidence: low_confidence.LowConfidence | Note

    @staticmethod
    def without(why: Note) -> "AudioParts":
        """The same note in the place of pictures and marks, and no audio."""
        return AudioParts(pictures=why, clips={}, low_confidence=why)


def audio_parts(run: Run, cfg: RunConfig, shown: Shown) -> AudioParts:
    """Encode the shown utterances by the model that decoded them, mark words of low confidence, and embed the audio."""
    audio = attempt(lambda: _open_set(cfg, shown.chosen))
    if isinstance(audio, Note):
        return AudioParts(audio, audio, audio)
    model = attempt(lambda: _model_of(run, shown.chosen))
    if isinstance(model, Note):
        pictures, marked, drawn = model, model, []
    else:
        model[0].eval()
        pictures = attempt(lambda: _pictures(model, shown, audio))
        drawn = [] if isinstance(pictures, Note) else [utterance["id"] for utterance in pictures.utterances]
        marked = attempt(lambda: _low_confidence(cfg, model, shown, audio.manifest, [*drawn, *shown.listed]))
        if not isinstance(pictures, Note):
            _mark(pictures, {} if isinstance(marked, Note) else marked.marks)
    return AudioParts(pictures, {key: _clip(audio, key) for key in dict.fromkeys([*drawn, *shown.listed])}, marked)


def _open_set(cfg: RunConfig, chosen: Decoding) -> AudioClips:
    path = set_paths(cfg, [chosen.set_name])[chosen.set_name] if chosen.other_set is None else chosen.other_set
    return AudioClips(Manifest.read(path, audio="unchecked"))


def _model_of(run: Run, chosen: Decoding) -> tuple[Bundle, str]:
    """The model of a decoding's checkpoint, with the digest of its weights, which are others if it has changed since.

    Where the report names no checkpoint it is that of the run which has these weights.
    """
    if chosen.checkpoint is not None:
        return run.bundle(chosen.checkpoint)
    model = run.bundle()
    for name in ("best", "last"):
        other = model if model[1] == chosen.weights else attempt(lambda name=name: run.bundle(name))
        if not isinstance(other, Note) and other[1] == chosen.weights:
            return other
    return model


def _clip(audio: AudioClips, key: str) -> Clip:
    clip = attempt(lambda: audio.clip(key))
    return Clip("", clip.text) if isinstance(clip, Note) else clip


def _low_confidence(
    cfg: RunConfig, model: tuple[Bundle, str], shown: Shown, manifest: Manifest, keys: Sequence[str]
) -> low_confidence.LowConfidence:
    """The marks of some of the set's utterances and of those that the page shows."""
    bundle, weights = model
    low_confidence.refuse_unmarkable(bundle)
    threshold = low_confidence.find_threshold(cfg, bundle, weights, shown.chosen, shown.table)
    return low_confidence.find_low_confidence(bundle, threshold, manifest, shown.rows, shown.chosen.metric, shown=keys)


def _mark(pictures: Pictures, marks: low_confidence.Marks) -> None:
    """Cut the texts of the pictures into what is marked and what is not."""
    for utterance in pictures.utterances:
        utterance["segments"] = low_confidence.segments(utterance["text"], marks.get(utterance["id"], []))


def _pictures(model: tuple[Bundle, str], shown: Shown, audio: AudioClips) -> Pictures:
    """The chosen utterances as the model encodes them now."""
    bundle, weights = model
    chosen, rows = shown.chosen, shown.rows
    notes = []
    if weights != chosen.weights:
        notes.append(
            "The model has changed since this decoding: pictures and marks are those of the old texts by the new model."
        )
    by_id = {row.id: row for row in rows}
    seconds = {key: audio.seconds(key) for key in by_id if audio.has(key)}
    utterances, budget = [], attention_viewer.BUDGET
    keys = attention_viewer.choose_utterances(rows, seconds, chosen.metric)
    for index, key in enumerate(keys):
        row, counts = by_id[key], by_id[key].counts(chosen.metric)
        share = budget // (len(keys) - index)  # what one utterance leaves, the others may take
        try:
            samples = audio.read(key, bundle.frontend.rate)
            drawn = attention_viewer.picture(bundle, samples, row.hypothesis, budget=share)
        except UserError as error:
            notes.append(str(error))
            continue
        title = {"id": key, "reference": row.reference, "text": row.hypothesis, "errors": counts.errors}
        utterances.append(title | drawn)
        budget -= sum(len(layer["values"]) for kind in drawn["attentions"] for layer in kind["layers"])
    if not utterances:
        longest = f"no utterance of at most {attention_viewer.LONGEST_S:g} s has a text to draw"
        raise UserError(notes[-1] if notes else longest)
    return Pictures(utterances, notes)
