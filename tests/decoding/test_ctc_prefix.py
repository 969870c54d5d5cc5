"""CTC prefix probabilities: equal to sums over all alignments, to ESPnet's, and to each other."""

import torch

from hybrid_asr.decoding import ctc_prefix
from tests.decoding.toys import labelings, log, oracle, random_log_probs


def walk(log_probs: torch.Tensor, labels: list[int], frames: int | None = None) -> ctc_prefix.PrefixState:
    """The state of one utterance (T, V) after `labels`."""
    lengths = torch.tensor([len(log_probs) if frames is None else frames])
    state = ctc_prefix.start(log_probs[None], lengths, 1, blank=0)
    for label in labels:
        state = ctc_prefix.advance(state, torch.tensor([0]), torch.tensor([label]))
    return state


def extensions(state: ctc_prefix.PrefixState) -> torch.Tensor:
    """log ψ(g·c)."""
    return ctc_prefix.increments(state) + state.prefix[:, None]


def ending(state: ctc_prefix.PrefixState) -> torch.Tensor:
    """log P(g)."""
    return ctc_prefix.ending(state) + state.prefix


def assert_close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """To 1e-9; what is impossible is -inf here and about -1e10 in the oracles."""
    torch.testing.assert_close(ours, theirs.masked_fill(theirs < -9e9, -torch.inf), rtol=0, atol=1e-9)


def test_every_extension_and_end_equals_the_sum_over_all_alignments():
    for seed, (time, vocab) in enumerate([(1, 3), (2, 3), (4, 3), (5, 4)]):
        log_probs = random_log_probs(time, vocab, seed=seed)
        exact = labelings(log_probs)
        for prefix in [(), (1,), (2,), (1, 1), (1, 2), (2, 1, 2), (1, 1, 1), (2, 2, 1)]:
            state = walk(log_probs, list(prefix))
            begins = [
                log(sum(p for g, p in exact.items() if g[: len(prefix) + 1] == (*prefix, c))) for c in range(vocab)
            ]
            begins[0] = -torch.inf  # blank extends nothing
            assert_close(extensions(state)[0], torch.tensor(begins, dtype=torch.float64))
            assert_close(ending(state), torch.tensor([log(exact.get(prefix, 0.0))], dtype=torch.float64))
            total = log(sum(p for g, p in exact.items() if g[: len(prefix)] == prefix))
            assert_close(state.prefix, torch.tensor([total], dtype=torch.float64))


def test_espnet_scores_and_forward_variables():
    tensors, meta = oracle("espnet_ctc_prefix")
    for row, prefix in enumerate(tensors["in/prefixes"].tolist()):
        labels = [label for label in prefix if label >= 0]
        state = walk(tensors["in/logp"], labels)
        scores = extensions(state)[0]
        scores[meta["eos"]] = ending(state)[0]
        assert_close(scores, tensors["out64/log_psi"][row])
        assert_close((scores - state.prefix)[1:], tensors["out64/local"][row][1:])
        label, blank = tensors["out64/r"][row].T
        assert_close(state.in_blank[0, 1:], blank)
        assert_close(state.total[0, 1:], torch.logaddexp(label, blank))


def test_exact_enumeration_of_the_oracle():
    tensors, _ = oracle("espnet_ctc_prefix")
    for row, prefix in enumerate(tensors["exact/prefixes"].tolist()):
        state = walk(tensors["exact/logp"], [label for label in prefix if label >= 0])
        scores = extensions(state)[0]
        scores[0] = ending(state)[0]
        assert_close(scores, tensors["exact/log_prob"][row])


def test_espnet_batch_with_a_short_row():
    tensors, meta = oracle("espnet_ctc_prefix")
    lengths, eos = tensors["batch/in_lens"], meta["eos"]
    state = ctc_prefix.start(tensors["batch/in_logp"], lengths, 2, blank=0)
    best = tensors["batch/step1_best"]
    parents = (best // meta["V"] + torch.tensor([[0], [2]])).flatten()
    after = ctc_prefix.advance(state, parents, (best % meta["V"]).flatten())
    for step, now in ((1, state), (2, after)):
        scores = extensions(now)
        scores[:, eos] = ending(now)
        scored = torch.cat([tensors[f"batch/step{step}_ids"], torch.full((4, 1), eos)], 1)
        local = (scores - now.prefix[:, None]).gather(1, scored)
        assert_close(local, tensors[f"batch/out64_step{step}_local"].gather(1, scored))
    for hyp in range(4):
        frames = lengths[hyp // 2]
        label, blank = tensors["batch/out64_step1_r"][:frames, :, hyp].T
        assert_close(after.in_blank[hyp, 1 : frames + 1], blank)
        assert_close(after.total[hyp, 1 : frames + 1], torch.logaddexp(label, blank))


def test_a_prefix_is_its_end_or_one_of_its_extensions_over_3000_frames():
    log_probs = random_log_probs(3000, 20, seed=7, sharp=4.0)
    log_probs[:, 0] += 6.0  # mostly blank, as trained models are
    log_probs = log_probs.log_softmax(-1)
    state = walk(log_probs, [])
    generator = torch.Generator().manual_seed(1)
    for length in range(200):
        begins = extensions(state)
        if length % 40 == 0:
            total = torch.cat([begins, ending(state)[:, None]], 1).logsumexp(1)
            torch.testing.assert_close(total, state.prefix, rtol=0, atol=1e-9)
        label = begins.topk(3).indices[:, torch.randint(3, (1,), generator=generator)][:, 0]
        state = ctc_prefix.advance(state, torch.tensor([0]), label)
        torch.testing.assert_close(begins.gather(1, label[:, None])[:, 0], state.prefix, rtol=0, atol=1e-9)


def test_zero_posteriors_never_give_nan():
    generator = torch.Generator().manual_seed(3)
    for _ in range(5):
        log_probs = torch.randn(5, 3, generator=generator, dtype=torch.float64)
        log_probs[torch.rand(5, 3, generator=generator) < 0.4] = -torch.inf
        log_probs[:, 0] = torch.where((log_probs == -torch.inf).all(1), 0.0, log_probs[:, 0])
        log_probs = log_probs.log_softmax(-1)
        exact = labelings(log_probs)
        for prefix in [(), (1,), (1, 1), (1, 2), (2, 2, 1), (1, 2, 1, 2, 1)]:
            state = walk(log_probs, list(prefix))
            assert not any(value.isnan().any() for value in (state.total, state.in_blank, state.prefix))
            scores = torch.cat([extensions(state)[0, 1:], ending(state)])
            assert not scores.isnan().any()
            begins = [log(sum(p for g, p in exact.items() if g[: len(prefix) + 1] == (*prefix, c))) for c in (1, 2)]
            brute = torch.tensor([*begins, log(exact.get(prefix, 0.0))], dtype=torch.float64)
            possible = brute > -torch.inf
            assert_close(scores[possible], brute[possible])
            assert (scores[~possible] == -torch.inf).all()


def test_padding_and_neighbors_change_nothing():
    long, short = random_log_probs(9, 5, seed=1), random_log_probs(4, 5, seed=2)
    padded = torch.full((9, 5), torch.nan, dtype=torch.float64)
    padded[:4] = short
    state = ctc_prefix.start(torch.stack([long, padded]), torch.tensor([9, 4]), 2, blank=0)
    alone = [walk(long, []), walk(short, [])]
    for labels in ([1, 1, 1, 3], [2, 1, 1, 3], [3, 3, 3, 3]):
        state = ctc_prefix.advance(state, torch.arange(4), torch.tensor(labels))
        alone = [
            ctc_prefix.advance(state, torch.tensor([0]), torch.tensor([label]))
            for state, label in zip(alone, labels[::2], strict=True)
        ]
        for row, single in zip((0, 2), alone, strict=True):
            assert_close(extensions(state)[row], extensions(single)[0])
            assert_close(ending(state)[row], ending(single)[0])
    kept = ctc_prefix.keep(state, torch.tensor([1]))
    assert_close(extensions(kept), extensions(state)[2:])


def test_padding_far_behind_the_end_changes_nothing():
    """In float32, whose product drops weights far below the largest: none may arise in the padding."""
    short = random_log_probs(20, 6, seed=5).float()
    alone = ctc_prefix.start(short[None], torch.tensor([20]), 1, blank=0)
    padded = ctc_prefix.start(torch.cat([short, torch.zeros(400, 6)])[None], torch.tensor([20]), 1, blank=0)
    for label in (1, 2, 2, 4):
        alone, padded = (ctc_prefix.advance(one, torch.tensor([0]), torch.tensor([label])) for one in (alone, padded))
        torch.testing.assert_close(ctc_prefix.increments(padded), ctc_prefix.increments(alone), rtol=0, atol=1e-5)
        torch.testing.assert_close(ctc_prefix.ending(padded), ctc_prefix.ending(alone), rtol=0, atol=1e-9)


def test_what_was_said_by_the_end_does_not_hide_what_came_before():
    """P(1), which padding repeats, is e^150 times what stands before the last frame: all that can still follow."""
    short = torch.tensor([[-0.1, -150.0, -2.0, -9.0]] * 3 + [[-200.0, -0.1, -2.0, -9.0]])
    found = []
    for log_probs in (short, torch.cat([short, torch.zeros(3, 4)])):
        state = walk(log_probs, [1], frames=4)
        found.append(ctc_prefix.increments(state))
    assert found[0][0, 2] > -200.0
    torch.testing.assert_close(found[1], found[0], rtol=1e-6, atol=0)


def test_float32_posteriors_lose_nothing_that_counts():
    """Of a trained model's kind, over 3,000 frames, deep into the labels."""
    log_probs = random_log_probs(3000, 30, seed=9, sharp=4.0)
    log_probs[:, 0] += 8.0
    log_probs = log_probs.log_softmax(-1)
    wide = ctc_prefix.start(log_probs[None], torch.tensor([3000]), 1, blank=0)
    narrow = ctc_prefix.start(log_probs[None].float(), torch.tensor([3000]), 1, blank=0)
    for _ in range(60):
        label = ctc_prefix.increments(wide).argmax(1)
        torch.testing.assert_close(
            ctc_prefix.increments(narrow).double(), ctc_prefix.increments(wide), rtol=0, atol=1e-4
        )
        wide, narrow = (ctc_prefix.advance(one, torch.tensor([0]), label) for one in (wide, narrow))
        torch.testing.assert_close(narrow.prefix, wide.prefix, rtol=0, atol=1e-3)


def test_float32_finds_what_is_all_but_impossible():
    """Labels of e^-130 at every frame, and such as come only where the hypothesis has all but died out."""
    log_probs = torch.full((40, 5), -130.0, dtype=torch.float64)
    log_probs[:, 0] = -0.1
    log_probs[30, 1] = -0.2
    log_probs[20, 2] = -90.0
    for prefix in ([], [1], [3], [2, 1]):
        wide, narrow = walk(log_probs, prefix), walk(log_probs.float(), prefix)
        expected = ctc_prefix.increments(wide)
        assert (expected[0, 1:] > -torch.inf).all()
        torch.testing.assert_close(ctc_prefix.increments(narrow).double(), expected, rtol=1e-5, atol=1e-4)
