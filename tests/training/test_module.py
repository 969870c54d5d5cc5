"""The training step: seeds from their place, a bounded gradient, losses that are divided by the global batch."""

import pytest
import torch

from hybrid_asr.audio.augment import SpecAugment, SpecAugmentConfig
from hybrid_asr.data.dataset import Batch
from hybrid_asr.losses import LossConfig
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.training.module import SpeechModule, batch_loss, derive_seed, host_frames
from hybrid_asr.training.optim import OptimConfig
from tests.tones import rows, train


def batch_of(bundle, texts, seconds, weights=None) -> Batch:
    labels = [torch.tensor(bundle.tokenizer.encode(text)) for text in texts]
    lengths = torch.tensor([len(row) for row in labels])
    samples = torch.tensor([round(one * bundle.frontend.rate) for one in seconds])
    audio = torch.randn(len(texts), int(samples.max()), generator=torch.Generator().manual_seed(1)) * 0.1
    return Batch(
        ids=tuple(f"u{place}" for place in range(len(texts))),
        audio=audio * (torch.arange(audio.shape[1]) < samples[:, None]),
        samples=samples,
        labels=torch.nn.utils.rnn.pad_sequence(labels, batch_first=True),
        label_lengths=lengths,
        host_samples=tuple(samples.tolist()),
        host_label_lengths=tuple(lengths.tolist()),
        weights=torch.ones(len(texts)) if weights is None else torch.tensor(weights),
        divisor=float((lengths + 1).sum()),
        seconds=float(sum(seconds)),
    )


def test_seeds_differ_by_every_part_of_their_place():
    places = [(1, 2, 3, 4), (2, 2, 3, 4), (1, 3, 3, 4), (1, 2, 4, 4), (1, 2, 3, 5), (12, 3, 4, 0), (1, 23, 4, 0)]
    seeds = {derive_seed(*place) for place in places}
    assert len(seeds) == len(places)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed(1, 2, 3, 4) == derive_seed(1, 2, 3, 4)


def test_the_loss_is_the_interpolation_of_its_parts(trained):
    bundle = Bundle.load(trained / "model.pt")
    bundle.model.eval()
    batch = batch_of(bundle, ["ab", "cab de"], [0.5, 1.0])
    outputs = bundle.model(bundle.frontend(batch.audio, batch.samples), batch.labels)
    cfg = LossConfig(ctc_weight=0.3, smoothing=0.0)
    losses = batch_loss(outputs, batch, bundle.tokenizer, cfg, host_frames=host_frames(bundle, batch))
    torch.testing.assert_close(losses.total, 0.3 * losses.ctc + 0.7 * losses.attention)
    alone = batch_of(bundle, ["ab"], [0.5])
    outputs = bundle.model(bundle.frontend(batch.audio[:1, :4000], alone.samples), alone.labels)
    single = batch_loss(outputs, alone, bundle.tokenizer, cfg, host_frames=host_frames(bundle, alone))
    torch.testing.assert_close(single.total[0], losses.total[0], rtol=1e-5, atol=1e-5)


def test_the_norm_of_a_gradient_is_bounded_and_told(trained):
    bundle = Bundle.load(trained / "model.pt")
    optim = OptimConfig(schedule="constant", lr=1.0, warmup=0, clip=0.5)
    mask = SpecAugment(SpecAugmentConfig())
    module = SpeechModule(bundle, loss=LossConfig(ctc_weight=0.5), optim=optim, mask=mask, mask_from=0, seed=1)
    for weight in bundle.model.parameters():
        weight.grad = torch.ones_like(weight)
    size = sum(weight.numel() for weight in bundle.model.parameters())
    module.configure_gradient_clipping(module.configure_optimizers())
    norm = torch.sqrt(sum(weight.grad.square().sum() for weight in bundle.model.parameters()))
    assert norm.item() == pytest.approx(0.5, rel=1e-4)
    assert module.take_sums()[0]["gradient_norm"].item() == pytest.approx(size**0.5, rel=1e-4)
    assert module.take_sums() == ({}, [])


def test_losses_are_nats_per_label_of_the_global_batch(tones, tmp_path):
    """An untrained attention decoder knows nothing: about log(units) a label."""
    run = tmp_path / "run"
    assert train(tones, run, "trainer.epochs=1", "loss.ctc_weight=0.0", "loss.smoothing=0.0") == 0
    assert rows(run, "train.attention")[0] == pytest.approx(torch.tensor(10.0).log().item(), abs=0.7)
    assert rows(run, "train.loss") == rows(run, "train.attention")


def test_utterances_that_ctc_cannot_align_are_counted_and_named(tones, tmp_path, capsys):
    """At twice their speed, and with a frame each 80 ms, letters of 120 ms are too short."""
    run, parts = tmp_path / "run", tmp_path / "parts"
    wide = ("features.shift_ms=20.0", "features.window_ms=30.0", "augment.speeds=[2.0]", "data.batch_seconds=1.4")
    assert train(tones, run, "trainer.epochs=1", *wide) == 0
    told = capsys.readouterr().err
    assert sum(rows(run, "train.infeasible")) > 40
    assert "too short for CTC at their speed, trained without CTC: train-" in told
    assert f"too short for CTC {sum(rows(run, 'train.infeasible')):.0f}" in told, "the plan knew it"
    assert train(tones, parts, "trainer.epochs=1", *wide, "data.device_seconds=0.7") == 0
    assert rows(parts, "train.infeasible") == rows(run, "train.infeasible"), "fillers are not counted"
