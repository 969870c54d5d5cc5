"""What a run's page shows of utterances and needs model and audio for: pictures, marks of doubtful words, sound."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from hybrid_asr.common.errors import UserError
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.pages import attention_viewer, decodings, low_confidence
from hybrid_asr.pages.audio_clips import Clip, Sounds
from hybrid_asr.pages.kit import Note, attempt
from hybrid_asr.run.config import RunConfig, set_paths
from hybrid_asr.run.folder import Run
from hybrid_asr.scoring.scores import UtteranceScore


class Shown(NamedTuple):
    """What the page shows of the decodings: one of them, its utterances, and the ids of those with the most errors."""

    table: Sequence[decodings.Decoding | decodings.Damaged]
    chosen: decodings.Decoding
    rows: Sequence[UtteranceScore]
    listed: Sequence[str]


class Pictures(NamedTuple):
    """What the page's script draws, utterance by utterance, and what must be said of it."""

    utterances: list[dict[str, Any]]
    notes: list[str]


def of_audio(run: Run, cfg: RunConfig, shown: Shown) -> dict[str, Any]:
    """Pictures, marks and sound by their names in the template; a part that cannot be made is a note."""
    sounds = attempt(lambda: _sounds(cfg, shown.chosen.set_name))
    if isinstance(sounds, Note):
        return {"pictures": sounds, "sounds": sounds, "doubtful": sounds}
    model = attempt(run.bundle)
    if isinstance(model, Note):
        pictures, error_signs, drawn = model, model, []
    else:
        model[0].eval()
        pictures = attempt(lambda: _pictures(model, shown, sounds))
        drawn = [] if isinstance(pictures, Note) else [one["id"] for one in pictures.utterances]
        error_signs = attempt(lambda: _doubtful(cfg, model, shown, sounds.manifest, [*drawn, *shown.listed]))
        if not isinstance(pictures, Note):
            _mark(pictures, {} if isinstance(error_signs, Note) else error_signs.marks)
    clips = {key: _clip(sounds, key) for key in dict.fromkeys([*drawn, *shown.listed])}
    return {"pictures": pictures, "sounds": clips, "doubtful": error_signs}


def _sounds(cfg: RunConfig, set_name: str) -> Sounds:
    return Sounds(Manifest.read(set_paths(cfg, [set_name])[set_name], audio="unchecked"))


def _clip(sounds: Sounds, key: str) -> Clip:
    found = attempt(lambda: sounds.clip(key))
    return Clip("", found.text) if isinstance(found, Note) else found


def _doubtful(
    cfg: RunConfig, model: tuple[Bundle, str], shown: Shown, manifest: Manifest, keys: Sequence[str]
) -> low_confidence.LowConfidence:
    """The marks of some of the set's utterances and of those that the page shows."""
    bundle, weights = model
    low_confidence.refuse_one_head(bundle)
    threshold = low_confidence.find_threshold(cfg, bundle, weights, shown.chosen, shown.table)
    return low_confidence.find_low_confidence(bundle, threshold, manifest, shown.rows, shown.chosen.metric, shown=keys)


def _mark(pictures: Pictures, marks: low_confidence.Marks) -> None:
    """Cut the texts of the pictures into what is doubtful and what is not."""
    for one in pictures.utterances:
        one["written"] = low_confidence.segments(one["text"], marks.get(one["id"], []))


def _pictures(model: tuple[Bundle, str], shown: Shown, sounds: Sounds) -> Pictures:
    """The chosen utterances as the model hears them now."""
    bundle, weights = model
    chosen, rows = shown.chosen, shown.rows
    notes = []
    if weights != chosen.weights:
        notes.append(
            "The model has changed since this decoding: pictures and marks show what it makes of the old texts."
        )
    by_id = {row.id: row for row in rows}
    seconds = {key: sounds.seconds(key) for key in by_id if sounds.has(key)}
    found, left = [], attention_viewer.BUDGET
    keys = attention_viewer.choose_utterances(rows, seconds, chosen.metric)
    for place, key in enumerate(keys):
        row, counts = by_id[key], by_id[key].counts(chosen.metric)
        share = left // (len(keys) - place)  # what one leaves, the others may take
        try:
            drawn = attention_viewer.picture(
                bundle, sounds.read(key, bundle.frontend.rate), row.hypothesis, budget=share
            )
        except UserError as error:
            notes.append(str(error))
            continue
        title = {"id": key, "reference": row.reference, "text": row.hypothesis, "errors": counts.errors}
        found.append(title | drawn)
        left -= sum(len(layer["values"]) for kind in drawn["attentions"] for layer in kind["layers"])
    if not found:
        raise UserError(
            notes[-1] if notes else f"no utterance of at most {attention_viewer.LONGEST_S:g} s has a text to draw"
        )
    return Pictures(found, notes)
