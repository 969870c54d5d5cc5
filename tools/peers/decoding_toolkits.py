# pyright: reportMissingImports=false
"""Searches of ESPnet, SpeechBrain and ours over the same encoder outputs; needs the environment of `make peers`."""

import math
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from hybrid_asr.common.memory import keep_freed_memory
from hybrid_asr.convert.espnet_config import EPS as NORM_EPS
from hybrid_asr.convert.espnet_weights import ours_from_theirs, weight_map
from hybrid_asr.decoding.decoder import SearchDecoder
from hybrid_asr.decoding.joint import SearchConfig
from hybrid_asr.models.conformer import ConformerConfig
from hybrid_asr.models.ctc import CtcHead
from hybrid_asr.models.encoded import Encoded
from hybrid_asr.models.hybrid import ModelConfig
from hybrid_asr.models.transformer_decoder import TransformerDecoder, TransformerDecoderConfig
from tools.benchmarks.decoding_work import Case, NbestTexts
from tools.peers.toolkits import Espnet, Sizes, SpeechBrain

NEVER = -1e4  # the bias of eos: no hypothesis ends before its last label


class Searcher(Protocol):
    """What a toolkit must do to be measured."""

    batched: bool  # whether it decodes several utterances at once

    def prepare(self, case: Case, utterances: Sequence[int]) -> Callable[[], list[NbestTexts]]:
        """All that is not measured, encoding included; the call decodes those utterances."""
        ...


class Noise:
    """Features of utterances: 100 frames a second of noise, each utterance its own, the same for every toolkit."""

    def __init__(self, device: str):
        self.device = torch.device(device)

    def __call__(self, seconds: float, utterance: int) -> tuple[Tensor, Tensor]:
        """One utterance's features and their number."""
        generator = torch.Generator().manual_seed(1000 + utterance)
        frames = round(100 * seconds)
        values = torch.randn(1, frames, Sizes().features, generator=generator)
        return values.to(self.device), torch.tensor([frames], device=self.device)


class EspnetModel:
    """ESPnet's model with the seed's weights, and its encoder's outputs."""

    def __init__(self, sizes: Sizes, device: str):
        torch.manual_seed(0)
        self.sizes = sizes
        self.model = Espnet(sizes).model.eval().to(device)
        self.noise = Noise(device)
        self.states: dict[tuple[float, int], Tensor] = {}
        with torch.no_grad():
            self.model.decoder.output_layer.bias[self.model.eos] = NEVER

    @torch.no_grad()
    def encoded(self, seconds: float, utterance: int) -> Tensor:
        """(T', D) of one utterance, encoded by itself."""
        key = seconds, utterance
        if key not in self.states:
            self.states[key] = self.model.encode(*self.noise(*key))[0][0]
        return self.states[key]


class Models:
    """Models by their number of units; only the last one is kept."""

    def __init__(self, sizes: Sizes, device: str):
        self.sizes, self.device = sizes, device
        self.kept: dict[int, EspnetModel] = {}

    def __call__(self, units: int) -> EspnetModel:
        if units not in self.kept:
            self.kept = {units: EspnetModel(self.sizes._replace(units=units), self.device)}
        return self.kept[units]


class EspnetSearcher:
    """ESPnet's BatchBeamSearch with what its Speech2Text passes; it decodes one utterance at a time."""

    batched = False

    def __init__(self, sizes: Sizes, device: str):
        self.models = Models(sizes, device)

    def prepare(self, case: Case, utterances: Sequence[int]) -> Callable[[], list[NbestTexts]]:
        model = self.models(case.units)
        states = [model.encoded(case.seconds, utterance) for utterance in utterances]
        search = self._search(model.model, case)

        @torch.no_grad()
        def work() -> list[NbestTexts]:
            found = [search(x=one, maxlenratio=-case.labels, minlenratio=0.0) for one in states]
            return [[(each.yseq[1:-1].tolist(), float(each.score)) for each in nbest] for nbest in found]

        return work

    @staticmethod
    def _search(model, case: Case):
        from espnet.nets.batch_beam_search import BatchBeamSearch
        from espnet.nets.scorers.ctc import CTCPrefixScorer
        from espnet.nets.scorers.length_bonus import LengthBonus

        scorers = {
            "decoder": model.decoder,
            "length_bonus": LengthBonus(case.units),
            "ctc": CTCPrefixScorer(ctc=model.ctc, eos=model.eos),
        }
        search = BatchBeamSearch(
            scorers=scorers,
            weights={"decoder": 1 - case.weight, "ctc": case.weight, "length_bonus": 0.0},
            beam_size=case.beam,
            vocab_size=case.units,
            sos=model.sos,
            eos=model.eos,
            token_list=None,
            pre_beam_score_key=None if case.mode == "joint_full" else "full",
        )
        return search.eval().to(next(model.parameters()).device)


class SpeechBrainSearcher:
    """SpeechBrain's S2STransformerBeamSearcher; weights of its own, since its layers differ."""

    batched = True

    def __init__(self, sizes: Sizes, device: str):
        self.sizes, self.device = sizes, device
        self.noise = Noise(device)
        self.kept: dict[int, SpeechBrain] = {}

    def prepare(self, case: Case, utterances: Sequence[int]) -> Callable[[], list[NbestTexts]]:
        model = self._model(case.units)
        states = self._encoded(model, case.seconds, utterances)
        search = self._search(model, case, states.shape[1])
        whole = torch.ones(len(states), device=states.device)

        @torch.no_grad()
        def work() -> list[NbestTexts]:
            labels, _, scores, _ = search(states, whole)
            return [
                [(one[: case.labels].tolist(), float(score)) for one, score in zip(*row, strict=True)]
                for row in zip(labels, scores, strict=True)
            ]

        return work

    def _model(self, units: int) -> SpeechBrain:
        if units not in self.kept:
            torch.manual_seed(0)
            self.kept = {units: SpeechBrain(self.sizes._replace(units=units))}
            self.kept[units].all.eval().to(self.device)
        return self.kept[units]

    @torch.no_grad()
    def _encoded(self, model: SpeechBrain, seconds: float, utterances: Sequence[int]) -> Tensor:
        one = torch.ones(1, device=self.device)
        features = [self.noise(seconds, utterance)[0] for utterance in utterances]
        return torch.cat([model.net.encode(model.front(values), one) for values in features])

    @staticmethod
    def _search(model: SpeechBrain, case: Case, frames: int):
        from speechbrain.decoders import S2STransformerBeamSearcher
        from speechbrain.decoders.scorer import CTCScorer, ScorerBuilder

        scorer, weights = None, {"ctc": case.weight}
        ctc = [CTCScorer(ctc_fc=model.ctc, blank_index=0, eos_index=model.EOS)]
        if case.mode == "joint":
            scorer = ScorerBuilder(partial_scorers=ctc, scorer_beam_scale=1.5, weights=weights)
        elif case.mode == "joint_full":
            scorer = ScorerBuilder(full_scorers=ctc, weights=weights)
        share = (case.labels + 0.5) / frames  # so many steps for certain
        return S2STransformerBeamSearcher(
            modules=[model.net, model.output],
            bos_index=model.BOS,
            eos_index=model.EOS,
            min_decode_ratio=share,
            max_decode_ratio=share,
            beam_size=case.beam,
            using_eos_threshold=False,
            length_normalization=True,
            scorer=scorer,
            return_topk=True,
            topk=case.beam,
        )


class Heads(nn.Module):
    """Our CTC head and our decoder, with ESPnet's weights."""

    def __init__(self, model, sizes: Sizes):
        super().__init__()
        decoder = TransformerDecoderConfig(
            dim=sizes.dim,
            layers=sizes.decoder_layers,
            heads=sizes.heads,
            feed_forward=sizes.feed_forward,
            norm_eps=NORM_EPS,
        )
        encoder = ConformerConfig(dim=sizes.dim, layers=1, heads=sizes.heads, feed_forward=1, kernel=1, channels=1)
        self.ctc = CtcHead(sizes.dim, sizes.units)
        self.decoder = TransformerDecoder(decoder, sizes.dim, sizes.units, model.sos)
        entries = [
            one for one in weight_map(ModelConfig(encoder=encoder, decoder=decoder)) if one.ours in self.state_dict()
        ]
        self.load_state_dict(ours_from_theirs(entries, model.state_dict(), self.state_dict()))
        self.eval()


class ForcedDecoder(SearchDecoder):
    """Our search with a bound on length that is given instead of estimated."""

    labels = 0

    def bound(self, encoded: Encoded, log_probs: Tensor | None) -> Tensor:
        return torch.full_like(encoded.frames, self.labels)


class OurSearcher:
    """Our joint search over ESPnet's weights and encoder outputs."""

    batched = True

    def __init__(
        self,
        sizes: Sizes,
        device: str,
        *,
        dtype: Literal["float32", "bfloat16"] = "float32",
        kind: Callable[..., ForcedDecoder] = ForcedDecoder,
    ):
        self.dtype: Literal["float32", "bfloat16"] = dtype
        self.kind = kind
        keep_freed_memory()  # as `hybrid-asr decode` does
        self.models = Models(sizes, device)
        self.heads: dict[int, Heads] = {}

    def prepare(self, case: Case, utterances: Sequence[int]) -> Callable[[], list[NbestTexts]]:
        model = self.models(case.units)
        states = torch.stack([model.encoded(case.seconds, utterance) for utterance in utterances])
        frames = torch.full((len(states),), states.shape[1], device=states.device)
        decoder = self.decoder(case)

        def work() -> list[NbestTexts]:
            found = decoder.decode(Encoded(states, frames))
            return [[(list(one.labels), one.score) for one in nbest] for nbest in found]

        return work

    def decoder(self, case: Case) -> ForcedDecoder:
        """The search that a case wants, built as `build_decoder` does."""
        found = self.models(case.units)
        if case.units not in self.heads:
            self.heads = {case.units: Heads(found.model, found.sizes).to(self.models.device)}
        cfg = SearchConfig(
            beam=case.beam,
            ctc_weight=case.weight,
            nbest=case.beam,
            candidates=case.candidates,
            dtype=self.dtype,
            parity="espnet",
        )
        heads, model = self.heads[case.units], found.model
        decoder = self.kind(cfg, heads, blank=0, sos=model.sos, eos=model.eos, labels_per_frame=math.inf)
        decoder.labels = case.labels
        return decoder
