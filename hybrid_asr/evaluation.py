"""Decoding a whole set: audio in, hypotheses out.  Validation and `hybrid-asr decode` are this same function."""

import math
from collections.abc import Mapping, Sequence

import torch

from hybrid_asr.config.schema import field_types, parse, plain
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.data.sampler import evaluation_batches
from hybrid_asr.decoding.build import DecodeConfig, Decoder, build_decoder
from hybrid_asr.decoding.ctc_greedy import CtcGreedyConfig
from hybrid_asr.decoding.hypothesis import Hypothesis
from hybrid_asr.decoding.joint import SearchConfig
from hybrid_asr.encoding import Heard
from hybrid_asr.errors import UserError
from hybrid_asr.memory import free_bytes
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.one_pass import NOTHING, Evaluation, Failed, Job, decode_nbest, evaluate_all
from hybrid_asr.room import Cost

LONGEST_S = 120.0  # seconds of audio up to which a search is exact and fits into memory


def pick_device(name: str = "auto") -> torch.device:
    """`auto` is a GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else torch.device(name)


def decoder_for(bundle: Bundle, cfg: DecodeConfig) -> Decoder:
    """Build a decoder for a bundle. Raises DecodeError if the model lacks what it needs."""
    tokenizer = bundle.tokenizer
    return build_decoder(
        cfg,
        bundle.model,
        blank=tokenizer.blank,
        sos=tokenizer.sos,
        eos=tokenizer.eos,
        labels_per_frame=bundle.labels_per_frame,
    )


def job_for(bundle: Bundle, cfg: DecodeConfig, *, search_errors: bool) -> Job:
    """A decoder as a job of a pass; with `search_errors` beside the same search with twice the beam, if it has one."""
    wide = wider(cfg) if search_errors else None
    length = isinstance(cfg, SearchConfig) and cfg.normalise == "length"
    return Job(
        decoder_for(bundle, cfg),
        None if wide is None else decoder_for(bundle, wide),
        rank=(lambda one: one.score / (len(one.labels) + 1)) if length else (lambda one: one.score),
        longest_s=math.inf if isinstance(cfg, CtcGreedyConfig) else LONGEST_S,
    )


def wider(cfg: DecodeConfig) -> DecodeConfig | None:
    """The same search with twice the beam and its best text alone; None of a decoder that has no beam."""
    known = field_types(type(cfg))
    if "beam" not in known:
        return None
    tree = plain(cfg)
    return parse(DecodeConfig, tree | {"beam": 2 * tree["beam"]} | ({"nbest": 1} if "nbest" in known else {}), where="")


def expected_cost(bundle: Bundle, settings: Sequence[DecodeConfig]) -> Cost:
    """A guess at the bytes that a batch takes in the most demanding of some decoders; what batches take corrects it.

    Of each second the encoder's widest layers, the posteriors as logarithms and as float64, and of each hypothesis of
    the beam (twice as many where search errors are looked for) a dozen float64 a frame; of each utterance some tables
    of hypotheses times labels.
    """
    frames = 1 / (bundle.frontend.seconds_per_frame * bundle.model.encoder.stride)
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
