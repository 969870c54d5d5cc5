"""Decoding a whole set: audio in, hypotheses out.  Validation and `hybrid-asr decode` are this same function."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch

from hybrid_asr.config.compose import digest
from hybrid_asr.config.schema import field_types, parse, plain
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.data.sampler import evaluation_batches
from hybrid_asr.decoding.build import LONGEST_S, DecodeConfig, Decoder, build_decoder, serves, takes_any_length
from hybrid_asr.decoding.hypothesis import WIDEST, Hypothesis, Nbest
from hybrid_asr.decoding.joint import SearchConfig
from hybrid_asr.decoding.lexicon import LexiconConfig
from hybrid_asr.decoding.rescoring import RescoringConfig, rerank
from hybrid_asr.encoding import Heard
from hybrid_asr.errors import UserError
from hybrid_asr.memory import free_bytes
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.one_pass import NOTHING, Evaluation, Failed, Job, decode_nbest, evaluate_all
from hybrid_asr.room import Cost
from hybrid_asr.vocabulary import lexicon_search

T = TypeVar("T")


def pick_device(name: str = "auto") -> torch.device:
    """`auto` is a GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else torch.device(name)


def decoder_for(bundle: Bundle, cfg: DecodeConfig) -> Decoder:
    """Build a decoder for a bundle. Raises DecodeError if the model lacks what it needs."""
    tokenizer = bundle.tokenizer
    serves(cfg, bundle.model, tokenizer.writes)
    return build_decoder(
        cfg,
        bundle.model,
        blank=tokenizer.blank,
        sos=tokenizer.sos,
        eos=tokenizer.eos,
        labels_per_frame=bundle.labels_per_frame,
        search=lexicon_search(bundle, cfg) if isinstance(cfg, LexiconConfig) else None,
    )


def job_for(bundle: Bundle, cfg: DecodeConfig, *, search_errors: bool) -> Job:
    """A decoder as a job of a pass; with `search_errors` beside the same search with twice the beam, if it has one."""
    wide = wider(cfg) if search_errors else None
    length = isinstance(cfg, SearchConfig) and cfg.normalise == "length"
    return Job(
        decoder_for(bundle, cfg),
        None if wide is None else decoder_for(bundle, wide),
        rank=(lambda one: one.score / (len(one.labels) + 1)) if length else (lambda one: one.score),
        longest_s=math.inf if takes_any_length(cfg) else LONGEST_S,
    )


def jobs_of_values(bundle: Bundle, settings: Mapping[T, DecodeConfig]) -> dict[T, Job]:
    """A job for each value of a setting. Rescoring decodes once and only ranks anew, whatever its weight is."""
    first = next(iter(settings.values()), None)
    if not isinstance(first, RescoringConfig) or len({_unweighted(one) for one in settings.values()}) > 1:
        return {value: job_for(bundle, one, search_errors=False) for value, one in settings.items()}
    one_for_all = job_for(bundle, dataclasses.replace(first, nbest=first.beam), search_errors=False)

    def ranked(weight: float) -> Callable[[Nbest], Nbest]:
        return lambda nbest: rerank(nbest, ctc_weight=weight)[: first.nbest]

    return {
        value: dataclasses.replace(one_for_all, finish=ranked(plain(one)["ctc_weight"]))
        for value, one in settings.items()
    }


def _unweighted(cfg: DecodeConfig) -> str:
    """All settings but the weight."""
    return digest(plain(cfg) | {"ctc_weight": None})


def wider(cfg: DecodeConfig) -> DecodeConfig | None:
    """The same search with twice the beam and its best text alone; None where there is no beam, or none so wide."""
    known, tree = field_types(type(cfg)), plain(cfg)
    if "beam" not in known or 2 * tree["beam"] > WIDEST:
        return None
    return parse(DecodeConfig, tree | {"beam": 2 * tree["beam"]} | ({"nbest": 1} if "nbest" in known else {}), where="")


def expected_cost(bundle: Bundle, settings: Sequence[DecodeConfig]) -> Cost:
    """A guess at the bytes that a batch takes in the most demanding of some decoders; what batches take corrects it.

    Of each second the encoder's widest layers, the posteriors as logarithms and as float64, and of each hypothesis of
    the beam (twice as many where search errors are looked for) a dozen float64 a frame; of each utterance some tables
    of hypotheses times labels.
    """
    frames = 1 / bundle.frame_s
    units, width = bundle.tokenizer.size, bundle.model.encoder.width
    beam = 2 * max(plain(one).get("beam", 1) for one in settings)
    return Cost(frames * (64 * 4 * width + 24 * units + 96 * beam), 64.0 * beam * units)


def refuse_wide_beams(bundle: Bundle, settings: Mapping[str, DecodeConfig], device: torch.device) -> None:
    """Raise UserError where a beam is so wide that one utterance alone has no room in memory.

    A beam wider than the vocabulary is none: its slots stay empty until there are as many hypotheses.
    """
    free = free_bytes(device)
    for name, one in settings.items():
        needed = expected_cost(bundle, [one]).per_row
        if needed > free:
            beam, units = plain(one)["beam"], bundle.tokenizer.size
            raise UserError(
                f"{name}: decode.beam={beam} takes about {needed / 1e9:.1f} GB for one utterance with {units} units, "
                f"{free / 1e9:.1f} GB are free; take a beam of at most {max(1, int(beam * free / needed))}"
            )


def gather(mine: Evaluation) -> Evaluation:
    """Put the shares of all processes together, on each of them; alone, nothing changes."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return mine
    shares: list[Evaluation | None] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(shares, mine)
    items = sorted(item for share in shares if share is not None for item in share.items)
    return mine._replace(items=items, decode_s=max(share.decode_s for share in shares if share is not None))


def decode_heard(decoder: Decoder, heard: Heard, count: int) -> list[Hypothesis]:
    """The best hypothesis of each of `count` waveforms; one too short to be heard has an empty one, marked as cut."""
    best = [NOTHING] * count
    for place, nbest in zip(heard.places, decode_nbest(decoder, heard), strict=True):
        best[place] = nbest[0]
    return best


def evaluate(
    bundle: Bundle,
    decoder: Decoder,
    manifest: Manifest,
    *,
    device: torch.device,
    batch_seconds: float,
    rank: int = 0,
    ranks: int = 1,
) -> Evaluation:
    """Decode a set, or this rank's share of it, by one decoder. Raises UserError that names the first bad utterance."""
    parts = evaluation_batches(manifest, batch_seconds, rank, ranks)
    batches = [[row.indices[0] for row in part.utterances] for part in parts if part.utterances[0].weight > 0]

    def bad(failed: Failed) -> None:
        raise UserError(f"{manifest.path}: utterance '{failed.id}': {failed.reason}")

    return evaluate_all(bundle, {"": Job(decoder)}, manifest, device=device, batches=batches, bad=bad)[""]
