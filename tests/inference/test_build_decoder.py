"""Decoders as users choose them: presets, what a model can serve, the bound on length, and real modules end to end."""

import math
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import yaml

from hybrid_asr.config.schema import ConfigError, parse
from hybrid_asr.decoding.ctc_greedy import CtcGreedyConfig, best_path
from hybrid_asr.decoding.ctc_prefix_beam import CtcPrefixBeamConfig
from hybrid_asr.decoding.decoder import Decoder, SearchDecoder
from hybrid_asr.decoding.hypothesis import DecodeError
from hybrid_asr.decoding.joint import SearchConfig
from hybrid_asr.decoding.lexicon_search import LexiconConfig, LexiconSearch
from hybrid_asr.decoding.rescoring import RescoringConfig
from hybrid_asr.decoding.trie import build_trie
from hybrid_asr.inference.build_decoder import DecodeConfig, build_decoder, refuse_unsupported
from hybrid_asr.models.ctc import CtcHead
from hybrid_asr.models.encoded import Encoded
from hybrid_asr.models.transformer_decoder import TransformerDecoder, TransformerDecoderConfig

VOCAB_SIZE, SOS, WIDTH = 10, 9, 8
IDS = {"blank": 0, "sos": SOS, "eos": SOS, "labels_per_frame": 0.5}
PRESETS = sorted((Path(__file__).parents[2] / "conf" / "decode").glob("*.yaml"))


class Heads(NamedTuple):
    """A model without its encoder."""

    ctc: CtcHead | None
    decoder: TransformerDecoder | None


@pytest.fixture
def heads() -> Heads:
    torch.manual_seed(4)
    cfg = TransformerDecoderConfig(dim=8, layers=1, heads=2, feed_forward=16)
    ctc, decoder = CtcHead(WIDTH, VOCAB_SIZE), TransformerDecoder(cfg, WIDTH, VOCAB_SIZE, SOS)
    ctc.project.weight.data *= 4
    return Heads(ctc.eval(), decoder.eval())


def encoded(*frames: int, seed: int = 0) -> Encoded:
    states = torch.randn(len(frames), max(frames), WIDTH, generator=torch.Generator().manual_seed(seed))
    return Encoded(states, torch.tensor(frames))


def test_presets_are_complete_and_parse():
    names = ["attention", "ctc_beam", "ctc_greedy", "ctc_prefix_beam", "joint", "lexicon", "rescoring"]
    assert [path.stem for path in PRESETS] == names
    cfgs = {path.stem: parse(DecodeConfig, yaml.safe_load(path.read_text()), where="decode") for path in PRESETS}
    assert cfgs["ctc_greedy"] == CtcGreedyConfig()
    assert cfgs["ctc_prefix_beam"] == CtcPrefixBeamConfig()
    assert cfgs["rescoring"] == RescoringConfig()
    assert cfgs["lexicon"] == LexiconConfig()
    weights = {name: cfg.ctc_weight for name, cfg in cfgs.items() if isinstance(cfg, SearchConfig)}
    assert weights == {"attention": 0.0, "ctc_beam": 1.0, "joint": 0.3}


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"kind": "search", "beam": 0}, "decode.beam"),
        ({"kind": "search", "ctc_weight": 1.5}, "decode.ctc_weight"),
        ({"kind": "search", "nbest": 0}, "decode.nbest"),
        ({"kind": "search", "nbest": 1_000_000_000}, "decode.nbest"),  # would take all of the machine's memory
        ({"kind": "ctc_prefix_beam", "beam": 1_000_000}, "decode.beam"),
        ({"kind": "ctc_prefix_beam", "nbest": 1_000_000}, "decode.nbest"),
        ({"kind": "rescoring", "beam": 1_000_000}, "decode.beam"),
        ({"kind": "search", "baem": 3}, "did you mean 'beam'"),
        ({"kind": "serch"}, "did you mean 'search'"),
    ],
)
def test_bad_keys_are_named(tree: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        parse(DecodeConfig, tree, where="decode")


def test_a_model_without_a_head_is_refused_with_the_remedy(heads: Heads):
    no_decoder, no_ctc = heads._replace(decoder=None), heads._replace(ctc=None)
    for weight in (0.0, 0.3):
        with pytest.raises(
            DecodeError, match=r"no attention decoder \(loss.ctc_weight: 1\).*choose the decoder 'ctc_greedy'"
        ):
            refuse_unsupported(SearchConfig(ctc_weight=weight), no_decoder)
    with pytest.raises(DecodeError, match=r"no attention decoder"):
        refuse_unsupported(RescoringConfig(), no_decoder)
    searches = (SearchConfig(ctc_weight=0.3), SearchConfig(ctc_weight=1.0))
    for cfg in (CtcGreedyConfig(), CtcPrefixBeamConfig(), RescoringConfig(), *searches):
        with pytest.raises(DecodeError, match=r"no CTC head \(loss.ctc_weight: 0\).*choose the decoder 'attention'"):
            refuse_unsupported(cfg, no_ctc)
    with pytest.raises(DecodeError, match="no CTC head"):
        refuse_unsupported(LexiconConfig(lexicon="words.txt"), no_ctc)
    with pytest.raises(DecodeError, match=r"needs to know the words: decode.lexicon=FILE.*or decode.lexicon=train"):
        refuse_unsupported(LexiconConfig(), no_decoder)
    refuse_unsupported(LexiconConfig(), no_decoder, "phonemes")
    refuse_unsupported(SearchConfig(ctc_weight=1.0), no_decoder)
    refuse_unsupported(SearchConfig(ctc_weight=0.0), no_ctc)
    refuse_unsupported(SearchConfig(ctc_weight=0.3), heads)


def build_preset(path: Path, heads: Heads) -> Decoder:
    """The decoder of a preset; the lexicon's words are of one label or of two."""
    cfg, search = parse(DecodeConfig, yaml.safe_load(path.read_text())), None
    if isinstance(cfg, LexiconConfig):
        trie = build_trie({"a": [(2,)], "ab": [(2, 3)], "c": [(4,)]}, blank=0, border=None)
        search = LexiconSearch(trie, cfg, blank=0)
    return build_decoder(cfg, heads, **IDS, search=search)


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_preset_decodes_and_neighbors_change_nothing(path: Path, heads: Heads):
    decoder = build_preset(path, heads)
    assert isinstance(decoder, Decoder)
    batch = encoded(30, 1, 12, 30)
    together = decoder.decode(batch)
    for row, frames in enumerate(batch.frames.tolist()):
        one = Encoded(batch.states[row : row + 1, :frames], batch.frames[row : row + 1])
        [[alone]], [found] = decoder.decode(one), together[row]
        assert alone.labels == found.labels
        assert alone.score == pytest.approx(found.score, abs=1e-4)
        assert not {0, SOS} & set(found.labels)


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_posteriors_that_are_there_already_are_taken(path: Path, heads: Heads):
    decoder, batch = build_preset(path, heads), encoded(20, 9)
    assert decoder.decode(batch, heads.ctc(batch).detach()) == decoder.decode(batch)


def test_only_greedy_decoding_takes_any_length():
    cfgs = (CtcGreedyConfig(), CtcPrefixBeamConfig(), RescoringConfig(), SearchConfig())
    assert [cfg.longest_s for cfg in cfgs] == [math.inf, 120.0, 120.0, 120.0]


def test_one_head_is_enough(heads: Heads):
    batch = encoded(20, 9)
    for cfg, lonely in (
        (CtcGreedyConfig(), heads._replace(decoder=None)),
        (CtcPrefixBeamConfig(), heads._replace(decoder=None)),
        (SearchConfig(ctc_weight=1.0), heads._replace(decoder=None)),
    ):
        assert build_decoder(cfg, lonely, **IDS).decode(batch) == build_decoder(cfg, heads, **IDS).decode(batch)
    [[first], _] = build_decoder(SearchConfig(ctc_weight=0.0), heads._replace(ctc=None), **IDS).decode(batch)
    assert first.parts == {"attention": pytest.approx(first.score)}


def test_the_bound_on_length(heads: Heads):
    batch = encoded(300, 12, 1)
    joint = build_decoder(SearchConfig(), heads, **IDS)
    assert isinstance(joint, SearchDecoder)
    heads.ctc.project.bias.data[0] += 6.0  # blank in most frames
    log_probs = heads.ctc(batch)
    greedy = best_path(log_probs, batch.frames, blank=0, excluded=(SOS,)).lengths().tolist()
    assert 20 < greedy[0] < 190
    assert joint.bound(batch, log_probs).tolist() == [min(300, int(1.5 * greedy[0] + 10)), 12, 1]
    alone = build_decoder(SearchConfig(ctc_weight=0.0), heads._replace(ctc=None), **IDS)
    assert alone.bound(batch, None).tolist() == [180, 8, 1]  # 300, 12, 1 × 1.2 × 0.5, rounded up


def test_a_decoder_that_never_ends_is_cut_at_the_bound(heads: Heads):
    heads.decoder.output.bias.data[SOS] = -1000.0
    batch = encoded(25, 4)
    for cfg, lonely in (
        (SearchConfig(beam=3, ctc_weight=0.0), heads),
        (SearchConfig(beam=3, ctc_weight=0.0), heads._replace(ctc=None)),
    ):
        decoder = build_decoder(cfg, lonely, **IDS)
        assert isinstance(decoder, SearchDecoder)
        bounds = decoder.bound(batch, lonely.ctc(batch) if lonely.ctc else None).tolist()
        assert [(len(found.labels), found.ended) for [found] in decoder.decode(batch)] == [(n, "cut") for n in bounds]


def test_utterances_without_frames_and_nan_are_named(heads: Heads):
    searches = (SearchConfig(), SearchConfig(ctc_weight=0.0), SearchConfig(ctc_weight=1.0))
    for cfg in (CtcGreedyConfig(), CtcPrefixBeamConfig(), RescoringConfig(), *searches):
        decoder, batch = build_decoder(cfg, heads, **IDS), encoded(5, 6, 7)
        with pytest.raises(DecodeError, match=r"utterances \[1\] of the batch: too short"):
            decoder.decode(Encoded(batch.states, torch.tensor([5, 0, 7])))
        batch.states[2, 3] = torch.nan
        with pytest.raises(DecodeError, match=r"utterances \[2\] of the batch: NaN"):
            decoder.decode(batch)


def test_the_widest_beam_has_no_wider_one_to_compare_with():
    assert SearchConfig(beam=5000, nbest=4).wider() == SearchConfig(beam=10_000)
    assert SearchConfig(beam=5001).wider() is None and CtcGreedyConfig().wider() is None
