"""One utterance with a text as numbers: spectrogram, encoder states, CTC posteriors and the CTC alignment of the text.

Axes: T feature frames, F bins, T' encoder frames, L labels, V units.

A frame lasts from its first sample to that of the next one: encoder frame t begins at t × stride × shift, as in the
word times of `hybrid-asr transcribe`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hybrid_asr.attention.capture import AttentionKind, Weights, compute_weights
from hybrid_asr.audio.features import Features
from hybrid_asr.common.errors import UserError
from hybrid_asr.decoding.ctc_align import Alignment, ctc_align
from hybrid_asr.inference.encode import first_frame_s
from hybrid_asr.inference.padding import pad_audio
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.models.encoded import Encoded

END = "⟨end⟩"
START = "⟨start⟩"


class Spikes(NamedTuple):
    """CTC posteriors over time: of each different label of the text, of blank, and of the best other label."""

    names: list[str]
    values: Float[np.ndarray, "names frames"]


class UtteranceView(NamedTuple):
    """One utterance with a text; `spikes` is None without a CTC head, `alignment` also where CTC has no path."""

    seconds: float
    feature_s: float  # from one feature frame to the next
    frame_s: float  # from one encoder frame to the next
    raw: Float[np.ndarray, "time bins"]  # features before their normalization
    features: Features
    encoded: Encoded
    labels: Int[Tensor, " labels"]
    pieces: list[str]
    spikes: Spikes | None
    alignment: Alignment | None

    @property
    def frames(self) -> int:
        """Encoder frames."""
        return int(self.encoded.frames[0])


def refuse_short(bundle: Bundle, samples: np.ndarray, name: str = "the audio") -> None:
    """Raise UserError for audio that gives no encoder frame."""
    if bundle.model.output_length(bundle.frontend.frames(len(samples))) == 0:
        raise UserError(
            f"{name}: {len(samples) / bundle.frontend.rate:.3f} s are too short for one frame of the encoder, which "
            f"takes {first_frame_s(bundle):.3f} s; give a longer recording"
        )


@torch.inference_mode()
def view_utterance(bundle: Bundle, samples: np.ndarray, labels: Sequence[int]) -> UtteranceView:
    """Encode one utterance and align a text with it. Raises UserError for audio that gives no encoder frame."""
    refuse_short(bundle, samples)
    frontend, model, tokenizer = bundle.frontend, bundle.model, bundle.tokenizer
    device = next(model.parameters()).device
    audio, lengths = (part.to(device) for part in pad_audio([samples]))
    features = frontend(audio, lengths)
    encoded = model.encode(features)
    text = torch.tensor(labels, dtype=torch.long)
    pieces = tokenizer.pieces(labels)
    spikes = alignment = None
    if model.ctc is not None:
        log_probs = model.ctc(encoded).cpu()
        spikes = ctc_spikes(log_probs[0], text, pieces, blank=tokenizer.blank)
        count = torch.tensor([len(text)])
        [alignment] = ctc_align(log_probs, encoded.frames.cpu(), text[None], count, blank=tokenizer.blank)
    return UtteranceView(
        seconds=len(samples) / frontend.rate,
        feature_s=frontend.seconds_per_frame,
        frame_s=bundle.frame_s,
        raw=frontend.raw(audio, lengths).values[0].cpu().numpy(),
        features=features,
        encoded=encoded,
        labels=text,
        pieces=pieces,
        spikes=spikes,
        alignment=alignment,
    )


def view_attention(
    bundle: Bundle, view: UtteranceView, of: AttentionKind, layers: Sequence[int] | None = None
) -> Weights:
    """The weights of one kind of attention in this utterance, all layers or some; a batch of one, on the host."""
    labels = view.labels[None].to(view.encoded.states.device)
    weights = compute_weights(
        bundle.model, view.features, view.encoded, labels, sos=bundle.tokenizer.sos, of=of, layers=layers
    )
    return weights._replace(layers={number: values.float().cpu() for number, values in weights.layers.items()})


def ctc_spikes(
    log_probs: Float[Tensor, "frames units"], labels: Tensor, pieces: Sequence[str], *, blank: int
) -> Spikes:
    """The posteriors that matter for a text; the best other label is what CTC finds more probable where it is high."""
    own = list(dict.fromkeys(zip(labels.tolist(), pieces, strict=True)))
    probs = log_probs.exp()
    others = torch.ones(probs.shape[1], dtype=torch.bool)
    others[[blank, *(label for label, _ in own)]] = False
    other = probs[:, others].amax(1) if others.any() else torch.zeros(len(probs))
    values = torch.stack([*(probs[:, label] for label, _ in own), probs[:, blank], other])
    return Spikes([*(piece for _, piece in own), "blank", "other"], values.numpy())
