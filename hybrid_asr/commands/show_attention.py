"""`hybrid-asr show attention`: a model's attention weights, drawn over the time of an utterance or an audio file."""

import difflib
import shlex
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch

from hybrid_asr.attention.capture import AttentionKind, Weights, attention_kinds, bands_of, self_attention_modules
from hybrid_asr.attention.diagnosis import ctc_middles
from hybrid_asr.attention.measures import distances
from hybrid_asr.attention.utterance_view import UtteranceView, refuse_short, view_attention, view_utterance
from hybrid_asr.audio import io
from hybrid_asr.audio.folders import AUDIO_SUFFIXES
from hybrid_asr.common.errors import UserError
from hybrid_asr.common.files import A_FOLDER, CHECK_PATH, expand_home, read_problem, why_missing
from hybrid_asr.data.manifest import Manifest, ManifestError
from hybrid_asr.inference.align import spelled_labels
from hybrid_asr.inference.encode import encode_batch
from hybrid_asr.inference.task import decode_best
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.pages.attention_heat_map import FORMATS, TITLES, HeadIndex, draw, head_weights
from hybrid_asr.recognizer import Recognizer, load
from hybrid_asr.run.config import set_paths
from hybrid_asr.run.folder import Run

LONGEST_S = 40.0  # in a picture of longer audio labels could not be told apart
MOST_LABELS = 600
MOST_KEYS = 5_000  # of one utterance: the weights of more take gigabytes
MOST_WEIGHTS = 30_000_000  # of a head in all layers together; beyond that the chosen layer alone is drawn
MOST_COMPARED = 100_000  # ids that are compared with a misspelled one
Source = Literal["decoder", "reference"]


class AttentionError(UserError):
    """Attention that cannot be shown; the message says what can."""


class NamedAudio(NamedTuple):
    """Audio with its name: samples at the front end's rate, and the reference text, where it is known."""

    name: str
    samples: np.ndarray
    reference: str | None


class DrawnPicture(NamedTuple):
    """The picture's path, and notes for the user."""

    path: Path
    notes: list[str]


class ForcedText(NamedTuple):
    """The text on which the decoder is teacher-forced: its labels, and where it comes from."""

    labels: list[int]
    text: str
    source: str


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
    channel: int | None = None,
    checkpoint: str = "average",
) -> DrawnPicture:
    """Draw the attention of a run (or a model.pt) in an utterance of its sets or an audio file.

    Without `text` it is the text that the run's decoder finds, or the reference. Layers and heads count from 1; where
    they are not given one is chosen, for cross-attention the nearest to the CTC alignment. Of an audio file's channels
    `channel` is read, from 1, or the mean of all. Raises UserError.
    """
    if to is not None and to.suffix.lower() not in FORMATS:
        raise AttentionError(f"--to {to}: a picture ends in {' or '.join(FORMATS)}; name the file so")
    recognizer = load(model, checkpoint=checkpoint)
    bundle = recognizer.bundle
    kind = choose_kind(bundle, of)
    audio = find_audio(model, item, bundle, channel)
    refuse_large(bundle, audio, kind)
    forced = choose_text(recognizer, audio, text, source)
    view = view_utterance(bundle, audio.samples, forced.labels)
    weights = view_attention(bundle, view, kind, _layers(bundle, view, kind, layer))
    index, why = choose_head(view, weights, layer, head)
    path = to or Path(f"attention-{Path(audio.name).stem}-{kind}.png")
    title = f"{'/'.join(model.resolve().parts[-2:])} · {TITLES[kind]} · {index}{why}"
    missing = draw(view, weights, index, path, title=title, text=_description(bundle, audio, forced, view))
    lacking = f"no font of this machine has {', '.join(sorted(missing)[:9])}: give --to a .svg, or install one (Noto)"
    return DrawnPicture(path, [f"{path}: {lacking}"] if missing else [])


def choose_kind(bundle: Bundle, of: AttentionKind | None) -> AttentionKind:
    """The kind that is asked for, cross-attention if none is. Raises AttentionError that lists the others."""
    kinds = attention_kinds(bundle.model)
    if of is None:
        of = "decoder"
    if of in kinds:
        return of
    others = ", ".join(f"--of {kind} ({TITLES[kind].lower()})" for kind in kinds)
    lacks = {
        "decoder": "this model has no attention decoder (loss.ctc_weight: 1)",
        "labels": "this model has no decoder with self-attention over the labels",
        "encoder": "this model's encoder has no self-attention",
    }
    none = "nor has it any other attention; train one with loss.ctc_weight below 1, or with a Transformer encoder"
    raise AttentionError(f"{lacks[of]}; {f'it has {others}' if kinds else none}")


def find_audio(model: Path, item: str, bundle: Bundle, channel: int | None = None) -> NamedAudio:
    """An audio file, or an utterance of one of the run's sets. Raises UserError that names near ids, or the remedy."""
    rate = bundle.frontend.rate
    if not item.strip():
        raise AttentionError("an empty name: give an utterance of the run's sets or an audio file")
    file = expand_home(item)
    if not read_problem(file):
        _refuse_long(item, io.info(file).duration_s, item)
        return NamedAudio(item, io.read(file, rate=rate, channel=channel), None)
    if not model.is_dir():
        raise AttentionError(
            f"{item}: no such file, and {model} knows no sets; give an audio file, or the run's folder; "
            f"{why_missing(file)}"
        )
    if channel is not None:
        raise AttentionError(f"{item}: --channel goes with an audio file; an utterance's is in its manifest")
    known: list[str] = []
    problems: list[str] = []
    for path in set_paths(Run(model).read_config(), ["test", "valid", "train"]).values():
        try:
            manifest = Manifest.read(path, audio="unchecked")
        except ManifestError as error:
            problems.append(str(error))
            continue
        for index, utterance in enumerate(manifest):
            if utterance.id == item:
                path = None if utterance.member else str(manifest.audio_path(index))
                _refuse_long(item, utterance.duration_s, path, utterance.start_s)
                spelled = bundle.text.spell(utterance.text, utterance.language)
                return NamedAudio(item, manifest.read_audio(index, rate), spelled)
            known.append(utterance.id)
    raise AttentionError("\n".join([f"{item}: {_not_found(item, known)}", *problems]))


def _not_found(item: str, known: list[str]) -> str:
    """The error for a name that is neither a file nor an utterance."""
    if read_problem(expand_home(item)) == A_FOLDER:
        return "a folder; name one audio file in it"
    near = difflib.get_close_matches(item, known[:MOST_COMPARED], n=3, cutoff=0.6)
    hint = f"did you mean {', '.join(near)}?" if near else f"ids look like {known[0]}" if known else "its sets are gone"
    kind = "no such file" if Path(item).suffix.lower() in AUDIO_SUFFIXES else "no file"
    reason = why_missing(item)
    hint = hint if near or reason == CHECK_PATH else reason
    return f"{kind}, and no utterance of the run's sets; {hint}"


def _refuse_long(name: str, seconds: float, path: str | None, start_s: float = 0.0) -> None:
    if seconds > LONGEST_S:
        cut = f": ffmpeg -ss {start_s:g} -t {LONGEST_S / 2:g} -i {shlex.quote(path)} piece.wav" if path else ""
        raise AttentionError(
            f"{name}: {seconds:.1f} s are too long for a picture of attention, at most {LONGEST_S:g} s can be drawn; "
            f"cut a piece out first{cut}"
        )


def refuse_large(bundle: Bundle, audio: NamedAudio, of: AttentionKind) -> None:
    """Raise UserError for audio of no encoder frame, or of too many for self-attention."""
    refuse_short(bundle, audio.samples, audio.name)
    keys = bundle.model.output_length(bundle.frontend.frames(len(audio.samples))) * bands_of(bundle.model)
    if of == "encoder" and keys > MOST_KEYS:
        seconds = len(audio.samples) / bundle.frontend.rate
        raise AttentionError(
            f"{audio.name}: self-attention over {keys:,} encoder positions is more than a picture shows; "
            f"cut it to {seconds * MOST_KEYS / keys:.1f} s or less"
        )


def choose_text(recognizer: Recognizer, audio: NamedAudio, text: str | None, source: Source) -> ForcedText:
    """The text on which the decoder is teacher-forced. Raises UserError for one that its tokenizer cannot spell."""
    bundle = recognizer.bundle
    if text is None and source == "decoder":
        [best] = decode_best(recognizer.decoder, encode_batch(bundle, [audio.samples], recognizer.device), 1)
        name = bundle.config["presets"].get("decode", "its own")
        labels = list(best.labels)
        return ForcedText(labels, bundle.tokenizer.decode(labels), f"text by the run's decoder ({name})")
    if text is None and audio.reference is None:
        raise AttentionError(f"{audio.name}: an audio file has no reference; give --text, or leave --reference out")
    given = audio.reference if text is None else bundle.text.spell(text)
    if not given:
        raise AttentionError(
            f"--text: empty, once it is spelled by '{bundle.text.rules}'; give a text, or leave it out for the one "
            "that the run's decoder finds"
        )
    labels = spelled_labels(bundle, audio.name, given)
    if len(labels) > MOST_LABELS:
        raise AttentionError(f"--text: {len(labels)} labels, at most {MOST_LABELS} can be drawn; is it the right text?")
    return ForcedText(labels, given, "the reference" if text is None else "text as it was given")


def _layers(bundle: Bundle, view: UtteranceView, of: AttentionKind, layer: int | None) -> list[int] | None:
    """The layers that are drawn: all, or where they are too many the chosen one, the last if none is."""
    if of == "decoder":
        return None
    count = len(self_attention_modules(bundle.model, of))
    size = view.frames * bands_of(bundle.model) if of == "encoder" else len(view.labels) + 1
    return None if count * size**2 <= MOST_WEIGHTS else [count - 1 if layer is None else layer - 1]


def choose_head(view: UtteranceView, weights: Weights, layer: int | None, head: int | None) -> tuple[HeadIndex, str]:
    """The head that is drawn large, and why, where it was not given. Raises AttentionError."""
    if layer is not None and not 1 <= layer <= weights.layer_count:
        raise AttentionError(f"--layer {layer}: there are layers 1 to {weights.layer_count}")
    matrices = head_weights(weights, frames=view.frames)
    heads = 1 + max(index.head for index in matrices)
    if head is not None and not 1 <= head <= heads:
        raise AttentionError(f"--head {head}: there are heads 1 to {heads}")
    chosen = {
        index: values
        for index, values in matrices.items()
        if layer in (None, index.layer + 1) and head in (None, index.head + 1)
    }
    if len(chosen) == 1:
        return next(iter(chosen)), ""
    if weights.of == "decoder" and view.alignment is not None and view.alignment.spans:
        return min(chosen, key=lambda index: from_alignment(view, chosen[index])), " (the nearest to the CTC alignment)"
    if weights.of == "decoder":
        return min(chosen, key=lambda index: _entropy(chosen[index])), " (the most focused)"
    return list(chosen)[-heads if head is None else -1], ""


def from_alignment(view: UtteranceView, weights: torch.Tensor) -> float:
    """The mean distance, in frames, of a weight from the middle of its label's CTC span."""
    middles = ctc_middles([view.alignment], view.labels[None])
    return float(distances(weights[None, None, None].double(), middles, ~middles.isnan()).mean())


def _entropy(weights: torch.Tensor) -> float:
    return float(torch.special.entr(weights).sum(1).mean())


def _description(bundle: Bundle, audio: NamedAudio, forced: ForcedText, view: UtteranceView) -> str:
    """The line below the title: the audio, the text and its source, and how it differs from the reference."""
    parts = [f"{audio.name}, {view.seconds:.2f} s", f"{forced.source}: {forced.text or '∅'}"]
    if audio.reference is not None and forced.source != "the reference":
        parts.append(f"reference: {'the same' if audio.reference == forced.text else audio.reference}")
    if bundle.model.ctc is not None and view.alignment is None:
        parts.append("CTC cannot write this text in so few frames: no alignment")
    return "; ".join(parts)
