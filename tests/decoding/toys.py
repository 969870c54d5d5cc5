"""Tiny models and slow, plain references for the tests of decoding: Python loops that share nothing with the code."""

import itertools
import json
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hybrid_asr.models.decoder import StepOutput
from hybrid_asr.models.encoded import Encoded
from hybrid_asr.models.transformer_decoder import TransformerDecoder, TransformerDecoderConfig

ORACLES = Path(__file__).parents[3] / "shared" / "oracles"


def oracle(name: str) -> tuple[dict[str, Tensor], dict]:
    """The tensors and the description of one oracle file; skips where there is none."""
    path = ORACLES / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"needs the oracle fixture shared/oracles/{name}.npz beside the checkout")
    with np.load(path) as file:
        tensors = {key: torch.tensor(file[key]) for key in file.files if key != "meta"}
        return tensors, json.loads(str(file["meta"]))


def random_log_probs(*shape: int, seed: int, sharp: float = 1.0) -> Tensor:
    """Random log posteriors in float64, the last axis normalized."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(*shape, generator=generator, dtype=torch.float64) * sharp).log_softmax(-1)


def collapse(path: tuple[int, ...], blank: int = 0) -> tuple[int, ...]:
    """The labeling that a path of frame labels stands for."""
    return tuple(label for label, _ in itertools.groupby(path) if label != blank)


def labelings(log_probs: Tensor, blank: int = 0) -> dict[tuple[int, ...], float]:
    """The probability of every labeling of one utterance (T, V), by summing over all of its paths."""
    frames = log_probs.exp().tolist()
    found: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(len(frames[0])), repeat=len(frames)):
        labels = collapse(path, blank)
        found[labels] = found.get(labels, 0.0) + math.prod(
            frame[label] for frame, label in zip(frames, path, strict=True)
        )
    return found


def log(probability: float) -> float:
    return math.log(probability) if probability > 0 else -math.inf


class RecurrentState(NamedTuple):
    hidden: Tensor  # (N, D)
    context: Tensor  # (B, D)
    owner: Tensor  # (N,), the utterance of each hypothesis


class RecurrentDecoder(nn.Module):
    """A tiny recurrent decoder whose next label depends on all labels before and on the utterance."""

    def __init__(
        self, width: int, vocab_size: int, *, seed: int, sharp: float = 1.0, dtype: torch.dtype = torch.float64
    ):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        shapes = ((width, width), (vocab_size, width), (width, vocab_size))
        drawn = [torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]
        self.turn, self.embed, self.out = drawn[0], drawn[1], drawn[2] * sharp
        self.bias = torch.zeros(vocab_size, dtype=dtype)

    def forward(self, encoded: Encoded, labels: Tensor) -> Tensor:
        """The labels begin with sos here."""
        state, outputs = self.start(encoded, 1), []
        for last in labels.T:
            log_probs, state, _ = self.step(state, last)
            outputs.append(log_probs)
        return torch.stack(outputs, 1)

    def start(self, encoded: Encoded, beams: int) -> RecurrentState:
        real = [states[:n].mean(0) for states, n in zip(encoded.states, encoded.frames.tolist(), strict=True)]
        context = torch.stack(real).to(self.out.dtype)
        owner = torch.arange(len(real)).repeat_interleave(beams)
        return RecurrentState(torch.zeros_like(context)[owner], context, owner)

    def step(self, state: RecurrentState, last: Tensor, *, weights: str = "none") -> StepOutput:
        hidden = torch.tanh(state.hidden @ self.turn + self.embed[last] + state.context[state.owner])
        return StepOutput((hidden @ self.out + self.bias).log_softmax(-1), state._replace(hidden=hidden), None)

    def reorder(self, state: RecurrentState, parents: Tensor) -> RecurrentState:
        return RecurrentState(state.hidden[parents], state.context, state.owner[parents])

    def keep(self, state: RecurrentState, utterances: Tensor) -> RecurrentState:
        places = {old: new for new, old in enumerate(utterances.tolist())}
        rows = [row for row, owner in enumerate(state.owner.tolist()) if owner in places]
        owner = torch.tensor([places[owner] for owner in state.owner[rows].tolist()], dtype=torch.int64)
        return RecurrentState(state.hidden[rows], state.context[utterances], owner)


def espnet_decoder(weights: dict[str, Tensor], *, sos: int) -> TransformerDecoder:
    """Our Transformer decoder with the weights of one of ESPnet's (two layers, width 16, four heads)."""
    vocab_size, width = weights["embed.0.weight"].shape
    cfg = TransformerDecoderConfig(dim=width, layers=2, heads=4, feed_forward=32, dropout=0.0)
    decoder = TransformerDecoder(cfg, width, vocab_size, sos).eval()
    names = {"embedding": "embed.0", "norm": "after_norm", "output": "output_layer"}
    for layer in range(2):
        ours, theirs = f"layers.{layer}", f"decoders.{layer}"
        names |= {f"{ours}.norms.{place}": f"{theirs}.norm{place + 1}" for place in range(3)}
        names |= {f"{ours}.feed_forward.{end}": f"{theirs}.feed_forward.{w}" for end, w in FEED_FORWARD.items()}
        for part, source in (("self_attention", "self_attn"), ("cross_attention", "src_attn")):
            names |= {f"{ours}.{part}.output": f"{theirs}.{source}.linear_out"}
        names |= {f"{ours}.cross_attention.query": f"{theirs}.src_attn.linear_q"}
    state = {}
    for kind in ("weight", "bias"):
        state |= {
            f"{ours}.{kind}": weights[f"{theirs}.{kind}"] for ours, theirs in names.items() if theirs != "embed.0"
        }
        for layer in range(2):
            of = {part: weights[f"decoders.{layer}.{part}.{kind}"] for part in ATTENTION_PARTS}
            state[f"layers.{layer}.self_attention.project.{kind}"] = torch.cat(
                [of[f"self_attn.linear_{x}"] for x in "qkv"]
            )
            state[f"layers.{layer}.cross_attention.key_value.{kind}"] = torch.cat(
                [of[f"src_attn.linear_{x}"] for x in "kv"]
            )
    decoder.load_state_dict(state | {"embedding.weight": weights["embed.0.weight"]})
    for module in decoder.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-12
    return decoder


FEED_FORWARD = {"expand": "w_1", "contract": "w_2"}
ATTENTION_PARTS = [f"{part}.linear_{x}" for part in ("self_attn", "src_attn") for x in "qkv"]


def pick(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


class Found(NamedTuple):
    labels: tuple[int, ...]
    score: float
    parts: dict[str, float]
    ended: str


class Reference:
    """One utterance's search in plain Python: brute-force CTC, the decoder run anew for each hypothesis, no stop."""

    def __init__(self, encoded: Encoded, log_probs: Tensor, decoder: nn.Module, *, blank: int, sos: int, eos: int):
        self.encoded, self.decoder = encoded, decoder
        self.exact = labelings(log_probs, blank)
        self.blank, self.sos, self.eos, self.vocab_size = blank, sos, eos, log_probs.shape[-1]

    def ctc(self, prefix: tuple[int, ...]) -> float:
        return sum(p for labels, p in self.exact.items() if labels[: len(prefix)] == prefix)

    def increments(self, prefix: tuple[int, ...]) -> dict[str, list[float]]:
        """Of every unit, eos included, under both parts."""
        whole = self.ctc(prefix)
        ctc = [log(self.ctc((*prefix, unit)) / whole) if whole else -math.inf for unit in range(self.vocab_size)]
        ctc[self.eos] = log(self.exact.get(prefix, 0.0) / whole) if whole else -math.inf
        attention = self.decoder(self.encoded, torch.tensor([[self.sos, *prefix]]))[0, -1].tolist()
        return {"ctc": ctc, "attention": attention}

    def search(self, weights: dict[str, float], *, beam: int, bound: int, bonus: float = 0.0) -> list[Found]:
        """All hypotheses that ended in a beam search run to the bound."""
        live, ended = [Found((), 0.0, dict.fromkeys(weights, 0.0), "live")], []
        for length in range(bound + 1):
            grown = [new for hyp in live for new in self._grow(hyp, weights, bonus, cut=length == bound)]
            grown = sorted((hyp for hyp in grown if hyp.score > -math.inf), key=lambda hyp: -hyp.score)[:beam]
            ended += [hyp for hyp in grown if hyp.ended != "live"]
            live = [hyp for hyp in grown if hyp.ended == "live"]
        return ended

    def _grow(self, hyp: Found, weights: dict[str, float], bonus: float, *, cut: bool) -> list[Found]:
        gains, grown = self.increments(hyp.labels), []
        for unit in [self.eos] if cut else range(self.vocab_size):
            if unit == self.blank or (unit == self.sos and unit != self.eos):
                continue
            parts = {name: total + gains[name][unit] for name, total in hyp.parts.items()}
            score = hyp.score + sum(weight * gains[name][unit] for name, weight in weights.items())
            if unit == self.eos:
                grown.append(Found(hyp.labels, score, parts, "cut" if cut else "eos"))
            else:
                grown.append(Found((*hyp.labels, unit), score + bonus, parts, "live"))
        return grown
