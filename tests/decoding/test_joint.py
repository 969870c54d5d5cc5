"""The joint search: equal to ESPnet's, to exhaustive search, to a plain reference without stopping, for any batch."""

import itertools

import pytest
import torch
from torch import Tensor

from hybrid_asr.decoding.best_indices import best_indices
from hybrid_asr.decoding.espnet_parity import EspnetSearch
from hybrid_asr.decoding.hypothesis import DecodeError, Hypothesis
from hybrid_asr.decoding.joint import JointSearch, Part, SearchConfig
from hybrid_asr.decoding.scorer import AttentionScorer, CtcPrefixScorer
from hybrid_asr.models.encoded import Encoded
from tests.decoding.toys import (
    RecurrentDecoder,
    Reference,
    espnet_decoder,
    labelings,
    log,
    oracle,
    pick,
    random_log_probs,
)
from tests.device_work import device_branches


def parts(log_probs: Tensor, decoder: torch.nn.Module, weight: float, *, eos: int) -> list[Part]:
    """The scorers of a search at a CTC weight; what weighs nothing is left out."""
    both = [
        Part("ctc", CtcPrefixScorer(lambda _: log_probs, blank=0, eos=eos), weight),
        Part("attention", AttentionScorer(decoder), 1 - weight),
    ]
    return [part for part in both if part.weight > 0]


def toy_batch(lengths: list[int], vocab_size: int, *, seed: int, sharp: float = 2.0) -> tuple[Encoded, Tensor]:
    """Random states and posteriors of a batch."""
    states = random_log_probs(len(lengths), max(lengths), 4, seed=seed)
    return Encoded(states, torch.tensor(lengths)), random_log_probs(
        len(lengths), max(lengths), vocab_size, seed=seed + 1, sharp=sharp
    )


def alone(encoded: Encoded, log_probs: Tensor, row: int) -> tuple[Encoded, Tensor]:
    """One utterance without its padding and neighbors."""
    frames = encoded.frames[row : row + 1]
    return Encoded(encoded.states[row : row + 1, :frames], frames), log_probs[row : row + 1, :frames]


def assert_same(ours: list[Hypothesis], theirs: list, *, atol: float = 1e-9) -> None:
    """Equal labels in equal order; scores and parts equal."""
    assert [hyp.labels for hyp in ours] == [hyp.labels for hyp in theirs]
    assert [hyp.ended for hyp in ours] == [hyp.ended for hyp in theirs]
    for our, their in zip(ours, theirs, strict=True):
        assert our.score == pytest.approx(their.score, abs=atol)
        assert our.parts == pytest.approx(their.parts, abs=atol)


def greater_of(hyps: list, *, normalise: str) -> list:
    """Ranked as the search ranks: by score, or by score per label and end; ties by labels."""
    return sorted(hyps, key=lambda h: (-h.score / (len(h.labels) + 1 if normalise == "length" else 1), h.labels))


CASES = ["default", "fullvocab", "beam1", "ctc05_bonus", "ctc07_beam2", "ctc07_beam2_fullvocab", "ctc_only"]
CASES += ["attention_only", "normalize_length", "maxlen8", "maxlen12_minlen6"]


@pytest.mark.parametrize("case", CASES)
def test_espnet_nbest_in_parity_mode(case: str):
    """ESPnet's own n-best: equal texts in equal order, scores and parts to 1e-3, for all three utterances at once."""
    tensors, meta = oracle("espnet_beam_search")
    facts, eos = meta["cases"][case], meta["sos_eos"]
    decoder = espnet_decoder(pick(tensors, "w_dec/"), sos=eos)
    cfg = SearchConfig(
        beam=facts["beam"],
        ctc_weight=facts["weights"]["ctc"],
        length_bonus=facts["weights"]["length_bonus"],
        normalise="length" if facts["normalize_length"] else "none",
        candidates=facts["pre_beam"] or meta["decoder_config"]["vocab_size"],
        nbest=8,
        parity="espnet",
    )
    scorers = parts(tensors["in/ctc_logp"], decoder, cfg.ctc_weight, eos=eos)
    search = EspnetSearch(scorers, cfg, blank=0, sos=eos, eos=eos)
    steps = abs(int(facts["run"]["maxlenratio"]))
    lengths = torch.full_like(tensors["in/lens"], steps) if steps else tensors["in/lens"]
    with torch.no_grad():
        found = search(Encoded(tensors["in/enc"], tensors["in/lens"]), lengths)
    for ours, theirs in zip(found, facts["utts"], strict=True):
        possible = [hyp for hyp in theirs["nbest"] if hyp["score"] > -1e8]
        labels = [tuple(label for label in hyp["yseq"] if label != eos) for hyp in possible]
        assert [hyp.labels for hyp in ours] == labels
        for our, their in zip(ours, possible, strict=True):
            assert our.score == pytest.approx(their["score"], abs=1e-3)
            for name, value in our.parts.items():
                assert value == pytest.approx(their["scores"][{"ctc": "ctc", "attention": "decoder"}[name]], abs=1e-3)


def test_parity_looks_at_every_step_on_a_gpu_too():
    """Its rule of stopping changes the result, so that no step may follow."""
    [only] = [Part("attention", AttentionScorer(RecurrentDecoder(4, 5, seed=0)), 1.0)]
    search = EspnetSearch([only], SearchConfig(ctc_weight=0.0), blank=0, sos=4, eos=4)
    assert [search._stop_check_every(torch.device(kind)) for kind in ("cpu", "cuda")] == [1, 1]


@pytest.mark.parametrize("case", ["fullvocab", "ctc07_beam2_fullvocab", "ctc_only", "attention_only"])
def test_espnet_best_text_and_score(case: str):
    """ESPnet runs at most `frames` steps and does not score the end that it forces at the last one; where an end
    was its own choice, the scores are the same as ours, which are complete."""
    tensors, meta = oracle("espnet_beam_search")
    facts, eos = meta["cases"][case], meta["sos_eos"]
    decoder = espnet_decoder(pick(tensors, "w_dec/"), sos=eos)
    cfg = SearchConfig(beam=facts["beam"], ctc_weight=facts["weights"]["ctc"])
    search = JointSearch(
        parts(tensors["in/ctc_logp"], decoder, cfg.ctc_weight, eos=eos), cfg, blank=0, sos=eos, eos=eos
    )
    with torch.no_grad():
        found = search(Encoded(tensors["in/enc"], tensors["in/lens"]), tensors["in/lens"])
    for ours, theirs in zip(found, facts["utts"], strict=True):
        best = theirs["nbest"][0]
        assert list(ours[0].labels) == best["yseq"][1:-1]
        assert ours[0].score == pytest.approx(best["score"], abs=1e-3)
        names = {"ctc": "ctc", "attention": "decoder"}
        assert all(
            value == pytest.approx(best["scores"][names[name]], abs=1e-3) for name, value in ours[0].parts.items()
        )


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("seed", [0, 10])
def test_a_full_beam_is_exhaustive_search(weight: float, seed: int):
    vocab_size, bound, eos = 4, 3, 3
    encoded, log_probs = toy_batch([3], vocab_size, seed=seed)
    decoder = RecurrentDecoder(4, vocab_size, seed=seed)
    exact = labelings(log_probs[0])
    every = [g for length in range(bound + 1) for g in itertools.product((1, 2), repeat=length)]
    scores = {}
    for labels in every:
        rows = decoder(encoded, torch.tensor([[eos, *labels]]))[0]
        attention = sum(float(row[label]) for row, label in zip(rows, (*labels, eos), strict=True))
        gains = {"ctc": log(exact.get(labels, 0.0)), "attention": attention}
        scores[labels] = sum(w * gains[name] for name, w in (("ctc", weight), ("attention", 1 - weight)) if w)
    cfg = SearchConfig(beam=50, ctc_weight=weight, nbest=5)
    search = JointSearch(parts(log_probs, decoder, weight, eos=eos), cfg, blank=0, sos=eos, eos=eos)
    best = sorted(scores, key=lambda labels: -scores[labels])[:5]
    [found] = search(encoded, torch.tensor([bound]))
    assert [hyp.labels for hyp in found] == best
    assert [hyp.score for hyp in found] == pytest.approx([scores[labels] for labels in best], abs=1e-9)


@pytest.mark.parametrize("normalise", ["none", "length"])
@pytest.mark.parametrize("bonus", [0.0, 0.4, -0.3, 3.0])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_batched_search_equals_a_plain_one_that_never_stops_early(weight: float, bonus: float, normalise: str):
    vocab_size, sos, eos, bounds = 5, 3, 4, [4, 2, 5, 1]
    encoded, log_probs = toy_batch([4, 3, 5, 1], vocab_size, seed=20)
    decoder = RecurrentDecoder(4, vocab_size, seed=5, sharp=0.7)
    for beam, nbest in ((1, 1), (2, 1), (3, 2), (7, 4)):
        cfg = SearchConfig(beam=beam, ctc_weight=weight, length_bonus=bonus, normalise=normalise, nbest=nbest)
        search = JointSearch(parts(log_probs, decoder, weight, eos=eos), cfg, blank=0, sos=sos, eos=eos)
        found = search(encoded, torch.tensor(bounds))
        for row, bound in enumerate(bounds):
            one, posterior = alone(encoded, log_probs, row)
            reference = Reference(one, posterior[0], decoder, blank=0, sos=sos, eos=eos)
            weights = {part.name: part.weight for part in search.parts}
            plain = reference.search(weights, beam=beam, bound=bound, bonus=bonus)
            assert_same(found[row], greater_of(plain, normalise=normalise)[:nbest])


class Endless(JointSearch):
    """Goes on to the bound."""

    def _finished(self, beam, length):
        return beam.scores.amax(1) == -torch.inf


class Seldom(JointSearch):
    """Looks at how it stands as seldom as on a GPU."""

    def _stop_check_every(self, device):
        return super()._stop_check_every(torch.device("cuda"))


@pytest.mark.parametrize("normalise", ["none", "length"])
@pytest.mark.parametrize("bonus", [0.0, 0.5, 1.5, -0.2])
def test_stopping_equals_running_to_the_bound(bonus: float, normalise: str):
    vocab_size, eos, batch = 7, 6, 12
    encoded, log_probs = toy_batch([20] * batch, vocab_size, seed=40)
    bounds = torch.arange(batch) % 9 + 4
    decoder = RecurrentDecoder(4, vocab_size, seed=6, sharp=1.5)
    decoder.bias[eos] = 3.0
    for weight, nbest in ((0.0, 1), (0.3, 3)):
        cfg = SearchConfig(beam=4, ctc_weight=weight, length_bonus=bonus, normalise=normalise, nbest=nbest)
        found, *others = (
            kind(parts(log_probs, decoder, weight, eos=eos), cfg, blank=0, sos=eos, eos=eos)(encoded, bounds)
            for kind in (JointSearch, Endless, Seldom)
        )
        for other in others:
            for ours, theirs in zip(found, other, strict=True):
                assert_same(ours, theirs)


class Chain:
    """A scorer whose next unit depends on the last one alone: rows of probabilities of blank, 1, 2, eos (= sos)."""

    def __init__(self, *, begin: list[float], after_one: list[float], after_two: list[float]):
        self.table = torch.tensor([begin, after_one, after_two, begin], dtype=torch.float64).log()

    def start(self, encoded, beams):
        return 0

    def score(self, state, last):
        return self.table[last], state

    def advance(self, state, parents, labels):
        return state + 1

    def keep(self, state, utterances):
        return state


ONE = Encoded(torch.zeros(1, 1, 1), torch.tensor([1]))


@pytest.mark.parametrize(
    ("begin", "again", "bonus", "normalise", "best"),
    [
        ([0.0, 0.3, 0.0, 0.7], 0.9, 0.0, "none", 0),
        ([0.0, 0.3, 0.0, 0.7], 0.9, 0.4, "none", 40),  # each further label gains more than it costs
        ([0.0, 0.05, 0.0, 0.74], 0.97, 0.0, "length", 40),  # a dear first label, shared by many cheap ones
        ([0.0, 0.6, 0.0, 0.4], 0.01, -1.0, "length", 1),  # live ones rank higher now than they will at the bound
    ],
)
def test_a_late_winner_is_waited_for(begin: list[float], again: float, bonus: float, normalise: str, best: int):
    chain = Chain(begin=begin, after_one=[0.0, again, 0.0, 1 - again], after_two=[0.0] * 4)
    cfg = SearchConfig(beam=4, ctc_weight=0.0, length_bonus=bonus, normalise=normalise)
    for kind in (JointSearch, Endless):
        [[found]] = kind([Part("chain", chain, 1.0)], cfg, blank=0, sos=3, eos=3)(ONE, torch.tensor([40]))
        assert found.labels == (1,) * best


def test_a_sure_end_stops_the_search():
    steps = []

    class Counting(RecurrentDecoder):
        def step(self, state, last, *, weights="none"):
            steps.append(len(last))
            return super().step(state, last, weights=weights)

    encoded, _ = toy_batch([20, 20], 7, seed=40)
    decoder = Counting(4, 7, seed=6)
    decoder.bias[6] = 30.0
    cfg = SearchConfig(beam=4, ctc_weight=0.0)
    scorers = [Part("attention", AttentionScorer(decoder), 1.0)]
    JointSearch(scorers, cfg, blank=0, sos=6, eos=6)(encoded, torch.tensor([500, 500]))
    assert steps == [8]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
def test_neighbors_change_nothing(weight: float, dtype: torch.dtype):
    vocab_size, eos, lengths = 12, 11, [17, 5, 30, 1, 30]
    encoded, log_probs = toy_batch(lengths, vocab_size, seed=3)
    encoded, log_probs = Encoded(encoded.states.to(dtype), encoded.frames), log_probs.to(dtype)
    decoder = RecurrentDecoder(4, vocab_size, seed=1, sharp=0.5, dtype=dtype)
    cfg = SearchConfig(beam=6, ctc_weight=weight, nbest=4)

    def run(encoded: Encoded, log_probs: Tensor) -> list:
        search = JointSearch(parts(log_probs, decoder, weight, eos=eos), cfg, blank=0, sos=eos, eos=eos)
        return search(encoded, encoded.frames)

    together = run(encoded, log_probs)
    padding = torch.arange(30) >= encoded.frames[:, None]
    noisy = run(encoded, log_probs.masked_fill(padding[..., None], torch.nan))
    for row, found in enumerate(together):
        [single] = run(*alone(encoded, log_probs, row))
        assert_same(found, single, atol=1e-9 if dtype == torch.float64 else 1e-4)
        assert_same(found, noisy[row])


def test_the_bound_holds_and_what_it_forces_is_scored_and_marked():
    vocab_size, eos = 6, 5
    encoded, log_probs = toy_batch([12, 12, 12], vocab_size, seed=8)
    decoder = RecurrentDecoder(4, vocab_size, seed=2)
    decoder.bias[eos] = -50.0  # never ends by itself
    cfg = SearchConfig(beam=4, ctc_weight=0.3, nbest=4)
    bounds = torch.tensor([0, 3, 7])
    found = JointSearch(parts(log_probs, decoder, 0.3, eos=eos), cfg, blank=0, sos=eos, eos=eos)(encoded, bounds)
    for row, bound in enumerate(bounds.tolist()):
        assert {(len(hyp.labels), hyp.ended) for hyp in found[row]} == {(bound, "cut")}
        assert len(found[row]) == (4 if bound else 1)
        one, _ = alone(encoded, log_probs, row)
        for hyp in found[row]:
            rows = decoder(one, torch.tensor([[eos, *hyp.labels]]))[0]
            whole = sum(float(row[label]) for row, label in zip(rows, (*hyp.labels, eos), strict=True))
            assert hyp.parts["attention"] == pytest.approx(whole, abs=1e-9)
            assert hyp.score == pytest.approx(0.3 * hyp.parts["ctc"] + 0.7 * whole, abs=1e-9)


def test_one_frame_and_a_beam_beyond_the_vocabulary():
    encoded, log_probs = toy_batch([1], 4, seed=4)
    decoder = RecurrentDecoder(4, 4, seed=3)
    for weight in (0.0, 0.5, 1.0):
        cfg = SearchConfig(beam=40, ctc_weight=weight, nbest=40)
        search = JointSearch(parts(log_probs, decoder, weight, eos=3), cfg, blank=0, sos=3, eos=3)
        [found] = search(encoded, torch.tensor([1]))
        assert {hyp.labels for hyp in found} == {(), (1,), (2,)}


def test_equal_scores_fall_to_the_smaller_labels():
    vocab_size, eos = 6, 5
    encoded = Encoded(torch.zeros(1, 3, 4, dtype=torch.float64), torch.tensor([3]))
    decoder = RecurrentDecoder(4, vocab_size, seed=0, sharp=0.0)  # every unit is equally probable, always
    cfg = SearchConfig(beam=3, ctc_weight=0.0, nbest=3)
    scorers = [Part("attention", AttentionScorer(decoder), 1.0)]
    [found] = JointSearch(scorers, cfg, blank=0, sos=eos, eos=eos)(encoded, torch.tensor([3]))
    assert [hyp.labels for hyp in found] == [(1, 1, 1), (1, 1, 2), (1, 1, 3)]


class Tied(Chain):
    """(1, 1) and (2,) both have the probability 1/4; `first` is that of beginning with 1."""

    def __init__(self, first: float):
        super().__init__(begin=[0.0, first, 0.5, 0.0], after_one=[0.0, 1.0, 0.0, 0.0], after_two=[0.0, 0.0, 0.0, 0.5])
        self.after_second = torch.tensor([0.0, 0.0, 0.0, 0.25 / first], dtype=torch.float64).log()

    def score(self, state, last):
        second = (last == 1)[:, None] & (state == 2)
        return torch.where(second, self.after_second, self.table[last]), state


@pytest.mark.parametrize("first", [0.5, 0.25])  # at 0.25 nothing but the exact tie keeps the search going
def test_a_tie_between_lengths_falls_to_the_smaller_labels_too(first: float):
    for nbest in (1, 2):
        cfg = SearchConfig(beam=4, ctc_weight=0.0, nbest=nbest)
        search = JointSearch([Part("tied", Tied(first), 1.0)], cfg, blank=0, sos=3, eos=3)
        [found] = search(ONE, torch.tensor([5]))
        assert [hyp.labels for hyp in found] == [(1, 1), (2,)][:nbest]


def test_best_indices_takes_the_first_of_equals():
    scores = torch.tensor([[1.0, 3.0, 2.0, 2.0, 2.0], [0.0, -torch.inf, -torch.inf, 0.0, -torch.inf]])
    places = best_indices(scores, 3)
    assert places[0].tolist() == [1, 2, 3]
    assert {0, 3} < set(places[1].tolist())


def test_posteriors_of_zero_leave_an_empty_cut_hypothesis_at_worst():
    log_probs = torch.full((2, 4, 4), -torch.inf, dtype=torch.float64)
    log_probs[0, :, 1] = 0.0  # nothing but label 1
    log_probs[1, :, 0] = 0.0  # nothing but blank
    encoded = Encoded(torch.zeros(2, 4, 4, dtype=torch.float64), torch.tensor([4, 4]))
    cfg = SearchConfig(beam=3, ctc_weight=1.0)
    scorers = [Part("ctc", CtcPrefixScorer(lambda _: log_probs, blank=0, eos=3), 1.0)]
    search = JointSearch(scorers, cfg, blank=0, sos=3, eos=3)
    first, second = search(encoded, torch.tensor([4, 4]))
    assert first == [Hypothesis((1,), 0.0, {"ctc": 0.0}, "eos")]
    assert second == [Hypothesis((), 0.0, {"ctc": 0.0}, "eos")]
    decoder = RecurrentDecoder(4, 4, seed=0)
    [nothing] = JointSearch([Part("never", Impossible(decoder), 1.0)], cfg, blank=0, sos=3, eos=3)(
        Encoded(encoded.states[:1], encoded.frames[:1]), torch.tensor([4])
    )
    assert nothing == [Hypothesis((), -torch.inf, {"never": -torch.inf}, "cut")]


class Impossible(AttentionScorer):
    """Gives every label probability 0."""

    def score(self, state, last):
        increments, state = super().score(state, last)
        return increments - torch.inf, state


def test_nan_names_the_utterance():
    encoded, log_probs = toy_batch([4, 4, 4], 5, seed=1)
    log_probs[1, 2, 3] = torch.nan
    cfg = SearchConfig(beam=2, ctc_weight=1.0)
    scorers = [Part("ctc", CtcPrefixScorer(lambda _: log_probs, blank=0, eos=4), 1.0)]
    with pytest.raises(DecodeError, match=r"utterances \[1\] of the batch"):
        JointSearch(scorers, cfg, blank=0, sos=4, eos=4)(encoded, encoded.frames)


@pytest.mark.parametrize("seldom", [False, True])
def test_nan_of_the_end_alone_is_found_too(seldom: bool):
    chain = Chain(begin=[0.0, 0.5, 0.5, 0.0], after_one=[0.0, 0.5, 0.5, 0.0], after_two=[0.0, 1.0, 0.0, torch.nan])
    kind = Seldom if seldom else JointSearch
    search = kind([Part("chain", chain, 1.0)], SearchConfig(beam=4, ctc_weight=0.0), blank=0, sos=3, eos=3)
    with pytest.raises(DecodeError, match=r"utterances \[0\] of the batch"):
        search(ONE, torch.tensor([12]))


@pytest.mark.parametrize("size", [7, 5000])  # sorted whole, and not
def test_a_device_takes_the_same_of_equals(size: int):
    scores = torch.randint(5, (20, size), generator=torch.Generator().manual_seed(0)).double()
    scores[3] = -torch.inf
    scores[4, 2:] = -torch.inf
    scores[5, 1] = torch.nan
    for count in (1, 4, 7):
        host = best_indices(scores, count)
        with device_branches():
            device = best_indices(scores, count)
        assert torch.equal(device[5:], host[5:])
        assert torch.equal(device[:3], host[:3])
        for row in (3, 4):  # which of the impossible ones makes no difference
            assert torch.equal(scores[row, device[row]], scores[row, host[row]])
            assert len(set(device[row].tolist())) == count
