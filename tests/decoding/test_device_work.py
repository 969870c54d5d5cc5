"""What a step of the search costs on a GPU, counted without one: launches, and reads by which the host waits."""

from collections import Counter

import pytest
import torch
from torch import nn

from hybrid_asr.decoding.hypothesis import Nbest
from hybrid_asr.decoding.joint import STOP_CHECK_EVERY, JointSearch, Part, SearchConfig
from hybrid_asr.decoding.scorer import AttentionScorer, CtcPrefixScorer
from hybrid_asr.models.decoder import build_decoder
from hybrid_asr.models.encoded import Encoded
from hybrid_asr.models.lstm_decoder import LstmDecoderConfig
from hybrid_asr.models.transformer_decoder import TransformerDecoderConfig
from hybrid_asr.nn.rnn_attention import LocationConfig
from tests.decoding.toys import random_log_probs
from tests.device_work import Work, device_branches

MOST_LAUNCHES = 190  # of a step of six layers; it was 268 (292 with padding)
BATCH, BEAM, FRAMES, VOCAB_SIZE, WIDTH = 8, 10, 40, 50, 16
STOP_CHECK = "tolist at decoding/joint.py:_unfinished"
TRANSFORMER = TransformerDecoderConfig(dim=16, layers=6, heads=2, feed_forward=32)
SMALL = TransformerDecoderConfig(dim=16, layers=1, heads=2, feed_forward=32)
LSTM = LstmDecoderConfig(dim=16, embedding=8, attention=LocationConfig(dim=8, kernel=5, channels=2), layers=2)


def decoder_of(cfg: TransformerDecoderConfig | LstmDecoderConfig) -> nn.Module:
    """A decoder that does not end by itself."""
    torch.manual_seed(0)
    decoder = build_decoder(cfg, memory_dim=WIDTH, vocab_size=VOCAB_SIZE, sos=VOCAB_SIZE - 1).eval()
    decoder.output.bias.data[-1] = -1e4
    return decoder


def search(decoder: nn.Module, labels: int, *, padded: bool, **settings) -> list[Nbest]:
    """A joint search of a batch, for exactly so many labels."""
    frames = FRAMES - torch.arange(BATCH) if padded else torch.full((BATCH,), FRAMES)
    encoded = Encoded(random_log_probs(BATCH, FRAMES, WIDTH, seed=1).float(), frames)
    log_probs = random_log_probs(BATCH, FRAMES, VOCAB_SIZE, seed=2, sharp=2.0).float()
    eos = VOCAB_SIZE - 1
    parts = [
        Part("ctc", CtcPrefixScorer(lambda _: log_probs, blank=0, eos=eos), 0.3),
        Part("attention", AttentionScorer(decoder), 0.7),
    ]
    found = JointSearch(parts, SearchConfig(beam=BEAM, nbest=BEAM, **settings), blank=0, sos=eos, eos=eos)
    with torch.no_grad():
        return found(encoded, torch.full((BATCH,), labels))


def work_of_steps(decoder: nn.Module, steps: int, **options) -> tuple[Counter[str], Counter[str]]:
    """Launches and reads of `steps` more steps, without what is done once for a batch; from the eighth on."""
    counts = []
    for labels in (8, 8 + steps):
        with device_branches(), Work() as work:
            search(decoder, labels, **options)
        counts.append(work)
    few, many = counts
    return many.kernels - few.kernels, many.reads - few.reads


@pytest.mark.parametrize("padded", [False, True])
def test_a_step_of_six_layers_has_few_launches_and_reads_nothing_but_the_stop_check(padded: bool):
    steps = 3 * STOP_CHECK_EVERY
    launches, reads = work_of_steps(decoder_of(TRANSFORMER), steps, padded=padded)
    assert launches.total() / steps <= MOST_LAUNCHES, launches.most_common()
    assert reads == {STOP_CHECK: 3}


@pytest.mark.parametrize(
    "settings", [{}, {"length_bonus": 0.4, "normalise": "length", "candidates": 15}], ids=["default", "all"]
)
@pytest.mark.parametrize("cfg", [SMALL, LSTM], ids=["transformer", "lstm"])
def test_no_setting_and_no_decoder_reads_more(cfg, settings):
    _, reads = work_of_steps(decoder_of(cfg), 2 * STOP_CHECK_EVERY, padded=True, **settings)
    assert reads == {STOP_CHECK: 2}


def test_a_batch_reads_three_times_before_its_first_step_and_one_column_at_a_time_at_its_end():
    with device_branches(), Work() as work:
        search(decoder_of(SMALL), 2, padded=True)
    before = {
        "tolist at decoding/joint.py:_run": 1,  # the bounds
        "tolist at decoding/ctc_prefix.py:start": 1,  # is there padding, is something impossible
        "bool at models/transformer_decoder.py:start": 1,  # is there padding
    }
    columns = {f"{name} at decoding/backtrace.py:_to_host": 7 for name in ("cpu", "numpy")}
    assert work.reads == before | columns | {STOP_CHECK: 1}


def test_the_branches_of_a_device_find_the_same():
    decoder = decoder_of(SMALL)
    decoder.output.bias.data[-1] = 0.0
    for labels, padded in ((0, True), (20, True)):
        host = search(decoder, labels, padded=padded)
        with device_branches():
            device = search(decoder, labels, padded=padded)
        for ours, theirs in zip(device, host, strict=True):
            assert [(hyp.labels, hyp.ended) for hyp in ours] == [(hyp.labels, hyp.ended) for hyp in theirs]
            assert [hyp.score for hyp in ours] == pytest.approx([hyp.score for hyp in theirs], abs=1e-5)


LOOKS = {
    "item": lambda values: values[0, 0].item(),
    "tolist": lambda values: values[0].tolist(),
    "cpu": lambda values: values.cpu(),
    "numpy": lambda values: values.numpy(),
    "bool": lambda values: bool((values > 0).any()),
    "float": lambda values: float(values[0, 0]),
    "int": lambda values: int(values.argmax()),
    "index": lambda values: values[values > -1.0],
    "index_put_": lambda values: values.index_put_((values < 0.0,), torch.tensor([1.0, 2.0])),
    "nonzero": lambda values: values.nonzero(),
    "equal": lambda values: torch.equal(values, values),
}


@pytest.mark.parametrize("name", LOOKS)
def test_every_kind_of_read_is_counted_with_its_place(name: str):
    with Work() as work:
        LOOKS[name](torch.tensor([[-0.5, -2.0]]))
    assert work.reads[f"{name} at test_device_work.py:<lambda>"] >= 1


def test_what_stays_on_the_device_is_no_read():
    with Work() as work:
        values = torch.arange(6.0).view(2, 3)
        values[values > 2] = 0.0
        values[:, torch.tensor([0, 2])].expand(2, -1).transpose(0, 1)
    assert not work.reads
    assert work.kernels == {"arange": 1, "gt": 1, "index_put_": 1, "index": 1}
