"""`hybrid-asr show attention`: where a model looks, drawn over the time of an utterance or a sound file."""

import difflib
import shlex
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch

from hybrid_asr.attention.diagnosis import ctc_middles
from hybrid_asr.attention.measures import distances
from hybrid_asr.attention.utterance_view import UtteranceView, bands_of, refuse_short, view_attention, view_utterance
from hybrid_asr.attention.weights import AttentionKind, Weights, attention_kinds, self_attention_modules
from hybrid_asr.audio import io
from hybrid_asr.common.errors import UserError
from hybrid_asr.data.manifest import Manifest, ManifestError
from hybrid_asr.inference.align import spelled_labels
from hybrid_asr.inference.encode import encode_batch
from hybrid_asr.inference.evaluate import decode_best
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.pages.attention_heat_map import FORMATS, TITLES, HeadIndex, draw, head_weights
from hybrid_asr.recognizer import AUDIO_SUFFIXES, Recognizer, load
from hybrid_asr.run.config import set_paths
from hybrid_asr.run.folder import Run
from hybrid_asr.text.normalize import normalize

LONGEST_S = 40.0  # of longer audio no label could be told from the next
MOST_LABELS = 600
MOST_KEYS = 5_000  # of one utterance: the squares of more take gigabytes
MOST_WEIGHTS = 30_000_000  # of a head of all layers together; of more the chosen layer alone is drawn
MOST_COMPARED = 100_000  # ids among which near ones are looked for
Source = Literal["decoder", "reference"]


class AttentionError(UserError):
    """Attention that cannot be shown; the message says what can."""


class Spoken(NamedTuple):
    """What is listened to: its samples at the front end's rate, its name, and what was said, where that is known."""

    name: str
    samples: np.ndarray
    reference: str | None


class Picture(NamedTuple):
    """Where the picture lies, and what must be said of it."""

    path: Path
    notes: list[str]


class Written(NamedTuple):
    """The labels during which the decoder is watched, and who wrote them."""

    labels: list[int]
    text: str
    by: str


def show_attention(
    model: Path,
    item: str,
    *,
    of: AttentionKind | None = None,
    text: str | None = None,
    source: Source = "decoder",
    layer: int | None = None,
    head: int | None = None,
    to: Path | None = None,
    checkpoint: str = "average",
) -> Picture:
    """Draw the attention of a run (or a model.pt) in an utterance of its sets or a sound file.

    Without `text` it is what the run's decoder writes, or the utterance's reference. Layers and heads count from 1;
    where they are not given one is chosen, for cross-attention the nearest to the CTC alignment. Raises UserError.
    """
    if to is not None and to.suffix.lower() not in FORMATS:
        raise AttentionError(f"--to {to}: a picture ends in {' or '.join(FORMATS)}; name the file so")
    recognizer = load(model, checkpoint=checkpoint)
    bundle = recognizer.bundle
    kind = choose_kind(bundle, of)
    spoken = find_spoken(model, item, bundle)
    refuse_large(bundle, spoken, kind)
    written = write(recognizer, spoken, text, source)
    one = view_utterance(bundle, spoken.samples, written.labels)
    weights = view_attention(bundle, one, kind, _layers(bundle, one, kind, layer))
    place, why = choose_head(one, weights, layer, head)
    path = to or Path(f"attention-{Path(spoken.name).stem}-{kind}.png")
    title = f"{'/'.join(model.resolve().parts[-2:])} · {TITLES[kind]} · {place}{why}"
    strange = draw(one, weights, place, path, title=title, text=_told(bundle, spoken, written, one))
    lacking = f"no font of this machine has {', '.join(sorted(strange)[:9])}: give --to a .svg, or install one (Noto)"
    return Picture(path, [f"{path}: {lacking}"] if strange else [])


def choose_kind(bundle: Bundle, of: AttentionKind | None) -> AttentionKind:
    """The kind of attention that is asked for, the decoder's if none is. Raises AttentionError that tells of others."""
    there = attention_kinds(bundle.model)
    if of is None:
        of = "decoder"
    if of in there:
        return of
    others = ", ".join(f"--of {one} ({TITLES[one].lower()})" for one in there)
    lacks = {
        "decoder": "this model has no attention decoder (loss.ctc_weight: 1)",
        "labels": "this model has no decoder with self-attention over the labels",
        "encoder": "this model's encoder has no self-attention",
    }
    none = "nor has it any other attention; train one with loss.ctc_weight below 1, or with a Transformer encoder"
    raise AttentionError(f"{lacks[of]}; {f'it has {others}' if there else none}")


def find_spoken(model: Path, item: str, bundle: Bundle) -> Spoken:
    """A sound file, or an utterance of one of the run's sets. Raises UserError that names near ids, or the remedy."""
    rate = bundle.frontend.rate
    if not item.strip():
        raise AttentionError("an empty name: give an utterance of the run's sets or a sound file")
    if Path(item).is_file():
        _refuse_long(item, io.info(item).duration_s, item)
        return Spoken(item, io.read(item, rate=rate), None)
    if not model.is_dir():
        raise AttentionError(f"{item}: no such file, and {model} knows no sets; give a sound file, or the run's folder")
    known: list[str] = []
    problems: list[str] = []
    for path in set_paths(Run(model).read_config(), ["test", "valid", "train"]).values():
        try:
            manifest = Manifest.read(path, audio="unchecked")
        except ManifestError as error:
            problems.append(str(error))
            continue
        for place, utterance in enumerate(manifest):
            if utterance.id == item:
                _refuse_long(item, utterance.duration_s, str(manifest.audio_path(place)), utterance.start_s)
                return Spoken(item, manifest.read_audio(place, rate), normalize(utterance.text, bundle.text.rules))
            known.append(utterance.id)
    raise AttentionError("\n".join([f"{item}: {_nowhere(item, known)}", *problems]))


def _nowhere(item: str, known: list[str]) -> str:
    """What to say of a name that is neither a file nor an utterance."""
    if Path(item).is_dir():
        return "a folder; name one sound file in it"
    near = difflib.get_close_matches(item, known[:MOST_COMPARED], n=3, cutoff=0.6)
    hint = f"did you mean {', '.join(near)}?" if near else f"ids look like {known[0]}" if known else "its sets are gone"
    kind = "no such file" if Path(item).suffix.lower() in AUDIO_SUFFIXES else "no file"
    return f"{kind}, and no utterance of the run's sets; {hint}"


def _refuse_long(name: str, seconds: float, path: str, start_s: float = 0.0) -> None:
    if seconds > LONGEST_S:
        raise AttentionError(
            f"{name}: {seconds:.1f} s are too long for a picture of attention, at most {LONGEST_S:g} s can be read; "
            f"cut a piece out first: ffmpeg -ss {start_s:g} -t {LONGEST_S / 2:g} -i {shlex.quote(path)} piece.wav"
        )


def refuse_large(bundle: Bundle, spoken: Spoken, of: AttentionKind) -> None:
    """Raise UserError for audio of no encoder frame, or of too many for attention of each to each."""
    refuse_short(bundle, spoken.samples, spoken.name)
    keys = bundle.model.output_length(bundle.frontend.frames(len(spoken.samples))) * bands_of(bundle)
    if of == "encoder" and keys > MOST_KEYS:
        seconds = len(spoken.samples) / bundle.frontend.rate
        raise AttentionError(
            f"{spoken.name}: attention of {keys:,} encoder positions to each other is more than a picture shows; "
            f"cut it to {seconds * MOST_KEYS / keys:.1f} s or less"
        )


def write(recognizer: Recognizer, spoken: Spoken, text: str | None, source: Source) -> Written:
    """The labels that the decoder is to write. Raises UserError for a text that it cannot."""
    bundle = recognizer.bundle
    if text is None and source == "decoder":
        [best] = decode_best(recognizer.decoder, encode_batch(bundle, [spoken.samples], recognizer.device), 1)
        name = bundle.config["presets"].get("decode", "its own")
        labels = list(best.labels)
        return Written(labels, bundle.tokenizer.decode(labels), f"text by the run's decoder ({name})")
    if text is None and spoken.reference is None:
        raise AttentionError(f"{spoken.name}: a sound file has no reference; give --text, or leave --reference out")
    given = spoken.reference if text is None else normalize(text, bundle.text.rules)
    if not given:
        raise AttentionError(
            f"--text: empty, once it is spelled by '{bundle.text.rules}'; say what is to be written, or leave it out "
            "for what the run's decoder writes"
        )
    labels = spelled_labels(bundle, spoken.name, given)
    if len(labels) > MOST_LABELS:
        raise AttentionError(f"--text: {len(labels)} labels, at most {MOST_LABELS} can be drawn; is it the right text?")
    return Written(labels, given, "the reference" if text is None else "text as it was given")


def _layers(bundle: Bundle, one: UtteranceView, of: AttentionKind, layer: int | None) -> list[int] | None:
    """The layers that are drawn: all, or where they are too much the chosen one, the last if none is."""
    if of == "decoder":
        return None
    there = len(self_attention_modules(bundle.model, of))
    size = one.frames * bands_of(bundle) if of == "encoder" else len(one.labels) + 1
    return None if there * size**2 <= MOST_WEIGHTS else [there - 1 if layer is None else layer - 1]


def choose_head(one: UtteranceView, weights: Weights, layer: int | None, head: int | None) -> tuple[HeadIndex, str]:
    """The head that is drawn large, and why it is, where it was not given. Raises AttentionError."""
    if layer is not None and not 1 <= layer <= weights.there:
        raise AttentionError(f"--layer {layer}: there are layers 1 to {weights.there}")
    found = head_weights(weights, frames=one.frames)
    heads = 1 + max(place.head for place in found)
    if head is not None and not 1 <= head <= heads:
        raise AttentionError(f"--head {head}: there are heads 1 to {heads}")
    chosen = {
        place: values
        for place, values in found.items()
        if layer in (None, place.layer + 1) and head in (None, place.head + 1)
    }
    if len(chosen) == 1:
        return next(iter(chosen)), ""
    if weights.of == "decoder" and one.alignment is not None and one.alignment.spans:
        return min(chosen, key=lambda place: from_alignment(one, chosen[place])), " (the nearest to the CTC alignment)"
    if weights.of == "decoder":
        return min(chosen, key=lambda place: _entropy(chosen[place])), " (the most focused)"
    return list(chosen)[-heads if head is None else -1], ""


def from_alignment(one: UtteranceView, weights: torch.Tensor) -> float:
    """The mean distance, in frames, of a weight from the middle of its label's CTC span."""
    middles = ctc_middles([one.alignment], one.labels[None])
    return float(distances(weights[None, None, None].double(), middles, ~middles.isnan()).mean())


def _entropy(weights: torch.Tensor) -> float:
    return float(torch.special.entr(weights).sum(1).mean())


def _told(bundle: Bundle, spoken: Spoken, written: Written, one: UtteranceView) -> str:
    """The line below the title: what is heard, who wrote the text, and how it differs from what was said."""
    parts = [f"{spoken.name}, {one.seconds:.2f} s", f"{written.by}: {written.text or '∅'}"]
    if spoken.reference is not None and written.by != "the reference":
        parts.append(f"reference: {'the same' if spoken.reference == written.text else spoken.reference}")
    if bundle.model.ctc is not None and one.alignment is None:
        parts.append("CTC cannot write this text in so few frames: no alignment")
    return "; ".join(parts)
