"""Decoders: from an encoded batch to the n-best of every utterance, by each of the searches.  Axes: B utterances."""

import copy
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hybrid_asr.decoding.ctc_greedy import best_path, ctc_greedy
from hybrid_asr.decoding.ctc_prefix_beam import CtcPrefixBeamConfig, ctc_prefix_beam
from hybrid_asr.decoding.espnet_parity import EspnetSearch
from hybrid_asr.decoding.hypothesis import Nbest, UtteranceError
from hybrid_asr.decoding.joint import JointSearch, Part, SearchConfig
from hybrid_asr.decoding.lexicon_search import LexiconSearch
from hybrid_asr.decoding.rescoring import RescoringConfig, rescore
from hybrid_asr.decoding.scorer import AttentionDecoder, AttentionScorer, CtcPrefixScorer
from hybrid_asr.models.encoded import Encoded

LogProbs = Float[Tensor, "batch time vocab"]
CtcHead = Callable[[Encoded], Tensor]


@runtime_checkable
class Model(Protocol):
    """What decoding needs of a model, in evaluation mode: either head, or both."""

    @property
    def ctc(self) -> CtcHead | None:
        """The CTC head, from encoder states to log probabilities; None for a model without one."""
        ...

    @property
    def decoder(self) -> AttentionDecoder | None:
        """The attention decoder; None for a model without one."""
        ...


@runtime_checkable
class Decoder(Protocol):
    """Turns encoded utterances into their n-best; an utterance's result does not depend on its neighbors."""

    def decode(self, encoded: Encoded, log_probs: LogProbs | None = None) -> list[Nbest]:
        """The n-best of every utterance, never empty. Raises DecodeError on utterances without frames and on NaN.

        `log_probs` are those of the CTC head where the caller has them already.
        """
        ...


class GreedyDecoder:
    """CTC greedy decoding."""

    def __init__(self, head: CtcHead, *, blank: int, sos: int, eos: int) -> None:
        self.head = head
        self.blank, self.excluded = blank, (sos, eos)

    @torch.no_grad()
    def decode(self, encoded: Encoded, log_probs: LogProbs | None = None) -> list[Nbest]:
        """One hypothesis for each utterance; its score is the log probability of the best path."""
        _check_frames(encoded)
        log_probs = self.head(encoded) if log_probs is None else log_probs
        path = best_path(log_probs, encoded.frames, blank=self.blank, excluded=self.excluded)
        return [[hypothesis] for hypothesis in ctc_greedy(path)]


class PrefixBeamDecoder:
    """CTC prefix beam search."""

    def __init__(self, cfg: CtcPrefixBeamConfig, head: CtcHead, *, blank: int, sos: int, eos: int) -> None:
        self.cfg, self.head = cfg, head
        self.blank, self.excluded = blank, (sos, eos)

    @torch.no_grad()
    def decode(self, encoded: Encoded, log_probs: LogProbs | None = None) -> list[Nbest]:
        """Scores are the log probability of the alignments that the beam has seen."""
        _check_frames(encoded)
        log_probs = self.head(encoded) if log_probs is None else log_probs
        return ctc_prefix_beam(log_probs, encoded.frames, self.cfg, blank=self.blank, excluded=self.excluded)


class LexiconDecoder:
    """CTC beam search over the words of a lexicon."""

    def __init__(self, head: CtcHead, search: LexiconSearch) -> None:
        self.head, self.search = head, search

    @torch.no_grad()
    def decode(self, encoded: Encoded, log_probs: LogProbs | None = None) -> list[Nbest]:
        """Hypotheses with their words; the labels are those of the most probable pronunciations."""
        _check_frames(encoded)
        return self.search(self.head(encoded) if log_probs is None else log_probs, encoded.frames)


class RescoringDecoder:
    """CTC prefix beam search, ranked anew by the attention decoder."""

    def __init__(
        self, cfg: RescoringConfig, head: CtcHead, decoder: AttentionDecoder, *, blank: int, sos: int, eos: int
    ) -> None:
        self.cfg, self.decoder, self.eos = cfg, decoder, eos
        first = CtcPrefixBeamConfig(beam=cfg.beam, candidates=cfg.candidates, nbest=cfg.beam)
        self.first = PrefixBeamDecoder(first, head, blank=blank, sos=sos, eos=eos)

    @torch.no_grad()
    def decode(self, encoded: Encoded, log_probs: LogProbs | None = None) -> list[Nbest]:
        """Both parts of each hypothesis are kept, so that `rerank` can try other weights."""
        _check_frames(encoded)
        log_probs = self.first.head(encoded) if log_probs is None else log_probs
        nbests = self.first.decode(encoded, log_probs)
        weights = {"ctc_weight": self.cfg.ctc_weight, "blank": self.first.blank, "eos": self.eos}
        ranked = rescore(nbests, encoded, log_probs, self.decoder, **weights)
        return [nbest[: self.cfg.nbest] for nbest in ranked]


class SearchDecoder:
    """Beam search with the attention decoder, the CTC prefix score, or both."""

    def __init__(
        self, cfg: SearchConfig, model: Model, *, blank: int, sos: int, eos: int, labels_per_frame: float
    ) -> None:
        self.cfg = cfg
        self.head, self.decoder = model.ctc, model.decoder
        if cfg.dtype == "bfloat16" and isinstance(model.decoder, nn.Module):
            self.decoder = copy.deepcopy(model.decoder).bfloat16()
        self.blank, self.sos, self.eos = blank, sos, eos
        self.labels_per_frame = labels_per_frame

    @torch.no_grad()
    def decode(self, encoded: Encoded, log_probs: LogProbs | None = None) -> list[Nbest]:
        """Search within the bound on length; the CTC log probabilities are computed once."""
        _check_frames(encoded)
        if log_probs is None and self.head is not None:
            log_probs = self.head(encoded)
        kind = EspnetSearch if self.cfg.parity == "espnet" else JointSearch
        search = kind(self._parts(log_probs), self.cfg, blank=self.blank, sos=self.sos, eos=self.eos)
        if self.cfg.dtype == "bfloat16":
            encoded = encoded._replace(states=encoded.states.bfloat16())
        return search(encoded, self.bound(encoded, log_probs))

    def bound(self, encoded: Encoded, log_probs: Tensor | None) -> Int[Tensor, " batch"]:
        """The most labels that each utterance may get.

        min(T', 1.5 × CTC greedy length + 10); of a model without a CTC head T' × 1.2 × `labels_per_frame`, rounded up.
        ESPnet's bound is T'.
        """
        if self.cfg.parity == "espnet":
            return encoded.frames
        if log_probs is None:
            return (encoded.frames * (1.2 * self.labels_per_frame)).ceil().long()
        greedy = best_path(log_probs, encoded.frames, blank=self.blank, excluded=(self.sos, self.eos)).lengths()
        return torch.minimum(encoded.frames, (1.5 * greedy + 10).long())

    def _parts(self, log_probs: Tensor | None) -> list[Part]:
        """The scorers that have a weight."""
        weight = self.cfg.ctc_weight
        parts = []
        if weight > 0 and log_probs is not None:
            parts.append(Part("ctc", CtcPrefixScorer(lambda _: log_probs, blank=self.blank, eos=self.eos), weight))
        if weight < 1 and self.decoder is not None:
            parts.append(Part("attention", AttentionScorer(self.decoder), 1 - weight))
        return parts


def _check_frames(encoded: Encoded) -> None:
    """Nothing can be decoded from nothing."""
    bad = (encoded.frames < 1).nonzero()[:, 0].tolist()
    if bad:
        raise UtteranceError(bad, "too short to give an encoder frame; leave it out")
