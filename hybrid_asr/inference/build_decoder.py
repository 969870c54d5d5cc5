"""The one place that knows every kind of decoder: their union, how each is built, and what is asked of their kind.

A new decoder is a file in `decoding/` with its settings, and a line of the union and a case of `build_decoder` here.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal, Protocol, TypeVar, assert_never, runtime_checkable

from pydantic import Field

from hybrid_asr.config.compose import digest
from hybrid_asr.config.schema import parse, plain
from hybrid_asr.decoding.ctc_greedy import CtcGreedyConfig
from hybrid_asr.decoding.ctc_prefix_beam import CtcPrefixBeamConfig
from hybrid_asr.decoding.decoder import (
    Decoder,
    GreedyDecoder,
    LexiconDecoder,
    Model,
    PrefixBeamDecoder,
    RescoringDecoder,
    SearchDecoder,
)
from hybrid_asr.decoding.hypothesis import DecodeError, Nbest
from hybrid_asr.decoding.joint import SearchConfig
from hybrid_asr.decoding.lexicon_search import LexiconConfig, LexiconSearch
from hybrid_asr.decoding.rescoring import RescoringConfig, rerank
from hybrid_asr.inference.task import DecodingTask
from hybrid_asr.inference.vocabulary import files_of, lexicon_search
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.text.labels import Writes

T = TypeVar("T")


DecodeConfig = Annotated[
    SearchConfig | CtcGreedyConfig | CtcPrefixBeamConfig | RescoringConfig | LexiconConfig, Field(discriminator="kind")
]
"""The settings of a decoder, by `kind`."""


@runtime_checkable
class Heads(Protocol):
    """Which heads a model has; None is one that it lacks."""

    @property
    def ctc(self) -> object | None: ...

    @property
    def decoder(self) -> object | None: ...


def refuse_unsupported(cfg: DecodeConfig, model: Heads, writes: Writes = "text", *, scored: bool = False) -> None:
    """Raise DecodeError, with the remedy, if the model lacks a head, or a lexicon, that this decoding needs.

    `writes` is what its tokenizer does: only one that writes phonemes brings a lexicon along; what such a model writes
    without one cannot be scored as words, which `scored` asks for.
    """
    if cfg.needs.ctc and model.ctc is None:
        raise DecodeError("this model has no CTC head (loss.ctc_weight: 0); choose the decoder 'attention'")
    if cfg.needs.attention and model.decoder is None:
        raise DecodeError("this model has no attention decoder (loss.ctc_weight: 1); choose the decoder 'ctc_greedy'")
    if cfg.needs.words == "model" and writes == "text":
        raise DecodeError(
            "the decoder 'lexicon' needs to know the words: decode.lexicon=FILE, a list of words or a lexicon, or "
            "decode.lexicon=train for those of the training transcripts"
        )
    if scored and writes == "phonemes" and cfg.needs.words == "none":
        raise DecodeError(
            f"this model's units are phonemes: '{cfg.kind}' writes phonemes, which cannot be scored as words; "
            "choose the decoder 'lexicon' ('transcribe --decoder ctc_greedy' shows phonemes)"
        )


def is_supported(cfg: DecodeConfig, bundle: Bundle) -> bool:
    """Whether the model has the heads for a decoder, and gives words by it."""
    try:
        refuse_unsupported(cfg, bundle.model, bundle.tokenizer.writes, scored=True)
    except DecodeError:
        return False
    return True


def supported_decoder(bundle: Bundle) -> DecodeConfig:
    """The recipe's decoder where the model supports it, else the same search with what the model has."""
    cfg = parse(DecodeConfig, bundle.config["decode"], where="decode")
    try:
        refuse_unsupported(cfg, bundle.model, bundle.tokenizer.writes)
        return cfg
    except DecodeError:
        if bundle.tokenizer.writes == "phonemes" and bundle.model.ctc is not None:
            return LexiconConfig()
        if bundle.model.decoder is None:
            return CtcGreedyConfig()
        beam = cfg.beam if isinstance(cfg, SearchConfig) else 10
        return SearchConfig(beam=beam, ctc_weight=0.0)


def decoder_for(bundle: Bundle, cfg: DecodeConfig, *, scored: bool = False) -> Decoder:
    """Build a decoder for a bundle, for output that is to be scored as words if `scored`.

    Raises DecodeError if the model lacks what the decoder needs.
    """
    tokenizer = bundle.tokenizer
    refuse_unsupported(cfg, bundle.model, tokenizer.writes, scored=scored)
    return build_decoder(
        cfg,
        bundle.model,
        blank=tokenizer.blank,
        sos=tokenizer.sos,
        eos=tokenizer.eos,
        labels_per_frame=bundle.labels_per_frame,
        search=lexicon_search(bundle, cfg) if isinstance(cfg, LexiconConfig) else None,
    )


def build_decoder(
    cfg: DecodeConfig,
    model: Model,
    *,
    blank: int,
    sos: int,
    eos: int,
    labels_per_frame: float,
    search: LexiconSearch | None = None,
) -> Decoder:
    """Build the decoder that `cfg` describes, for a model that `refuse_unsupported` has let through.

    `labels_per_frame` is the training set's largest number of labels per encoder frame: it bounds the search of a model
    without a CTC head. `search` knows the words of a lexicon decoding.
    """
    assert model.ctc is not None or not cfg.needs.ctc
    assert model.decoder is not None or not cfg.needs.attention
    ids = {"blank": blank, "sos": sos, "eos": eos}
    match cfg:
        case CtcGreedyConfig():
            assert model.ctc is not None
            return GreedyDecoder(model.ctc, **ids)
        case CtcPrefixBeamConfig():
            assert model.ctc is not None
            return PrefixBeamDecoder(cfg, model.ctc, **ids)
        case RescoringConfig():
            assert model.ctc is not None and model.decoder is not None
            return RescoringDecoder(cfg, model.ctc, model.decoder, **ids)
        case SearchConfig():
            return SearchDecoder(cfg, model, **ids, labels_per_frame=labels_per_frame)
        case LexiconConfig():
            assert model.ctc is not None and search is not None
            return LexiconDecoder(model.ctc, search)
        case _:
            assert_never(cfg)


def files_read(bundle: Bundle, cfg: DecodeConfig) -> list[Path]:
    """The files besides the model whose contents decide what is written."""
    return files_of(bundle, cfg) if isinstance(cfg, LexiconConfig) else []


def build_task(bundle: Bundle, cfg: DecodeConfig, *, search_errors: Literal["count", "ignore"]) -> DecodingTask:
    """A decoder as a task of a pass; to count search errors beside the same search with twice the beam, if any."""
    wider = cfg.wider() if search_errors == "count" else None
    return DecodingTask(
        decoder_for(bundle, cfg),
        None if wider is None else decoder_for(bundle, wider),
        rank=cfg.rank,
        longest_s=cfg.longest_s,
    )


def build_sweep_tasks(bundle: Bundle, settings: Mapping[T, DecodeConfig]) -> dict[T, DecodingTask]:
    """A task for each value of a setting. Rescoring decodes once and only ranks anew, whatever its weight is."""
    first = next(iter(settings.values()), None)
    if not isinstance(first, RescoringConfig) or len({_unweighted(cfg) for cfg in settings.values()}) > 1:
        return {value: build_task(bundle, cfg, search_errors="ignore") for value, cfg in settings.items()}
    shared = build_task(bundle, dataclasses.replace(first, nbest=first.beam), search_errors="ignore")

    def ranked(weight: float) -> Callable[[Nbest], Nbest]:
        return lambda nbest: rerank(nbest, ctc_weight=weight)[: first.nbest]

    return {
        value: dataclasses.replace(shared, finish=ranked(plain(cfg)["ctc_weight"])) for value, cfg in settings.items()
    }


def _unweighted(cfg: DecodeConfig) -> str:
    """All settings but the weight."""
    return digest(plain(cfg) | {"ctc_weight": None})
