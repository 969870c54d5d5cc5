"""Laws of batches: the right samples and labels, whoever reads them and from how many processes."""

import os
import signal
import time
from collections import Counter

import numpy as np
import pytest
import soundfile
import torch

from hybrid_asr.audio import io
from hybrid_asr.audio.augment import AugmentConfig
from hybrid_asr.data.config import DataConfig
from hybrid_asr.data.dataset import Batch, SpeechDataset
from hybrid_asr.data.label_counts import ctc_needs, label_counts, least_seconds
from hybrid_asr.data.loader import build_loader
from hybrid_asr.data.manifest import Manifest, ManifestError
from hybrid_asr.data.plan import Part, PlannedUtterance
from hybrid_asr.data.sampler import Planner, PlanSampler
from hybrid_asr.text.characters import CharTokenizerConfig
from hybrid_asr.text.normalize import TextConfig, normalize
from hybrid_asr.text.tokenizer import train_tokenizer

RATE = 16000


def dataset_of(manifest: Manifest, *, separator: str = " ") -> SpeechDataset:
    texts = [normalize(utterance.text, "basic@1") for utterance in manifest]
    tokenizer = train_tokenizer(CharTokenizerConfig(), texts)
    return SpeechDataset(
        manifest, tokenizer=tokenizer, text=TextConfig(rules="basic@1"), rate=RATE, separator=separator
    )


def planner_of(dataset: SpeechDataset, *, batch_seconds: float = 4.0) -> Planner:
    counts = label_counts(dataset.manifest, dataset.tokenizer, dataset.text)
    augment = AugmentConfig(speeds=(0.9, 1.0, 1.1), join_share=0.6, join_max_s=2.0)
    data = DataConfig(train="a", valid="b", batch_seconds=batch_seconds)
    return Planner(dataset.corpus(counts), data=data, augment=augment, seed=1)


def row(*indices: int, speed: float = 1.0, weight: float = 1.0) -> PlannedUtterance:
    return PlannedUtterance(indices, speed, weight)


def test_a_batch_holds_the_samples_and_labels_of_its_rows(make_manifest) -> None:
    manifest = make_manifest([0.5, 0.3, 0.4], texts=["Yes", "no, no", "go"])
    dataset = dataset_of(manifest)
    batch = dataset[Part((row(1), row(0, 2, speed=1.1), row(2, weight=0.0)), 77)]
    assert batch.ids == ("train-1", "train-0+train-2", "train-2")
    waves = [io.read(manifest.audio_path(index)) for index in range(3)]
    joined = np.concatenate([io.change_speed(waves[index], 1.1, RATE) for index in (0, 2)])
    for line, wave in zip(batch.audio, (waves[1], joined, waves[2]), strict=True):
        assert np.array_equal(line[: len(wave)].numpy(), wave) and not line[len(wave) :].any()
    assert batch.samples.tolist() == [4800, len(joined), 6400]
    assert len(joined) == round(8000 / 1.1) + round(6400 / 1.1)
    texts = [
        dataset.tokenizer.decode(line[:length].tolist())
        for line, length in zip(batch.labels, batch.label_lengths, strict=False)
    ]
    assert texts == ["no no", "yes go", "go"] and batch.labels.dtype == torch.int64
    assert batch.labels[2, 2:].tolist() == [0] * (batch.labels.shape[1] - 2)
    assert batch.weights.tolist() == [1.0, 1.0, 0.0] and batch.divisor == 77.0
    assert batch.seconds == pytest.approx((4800 + len(joined)) / RATE), "without the filler"


def test_a_part_without_a_global_batch_has_its_own_divisor(make_manifest) -> None:
    dataset = dataset_of(make_manifest([0.5, 0.3, 0.4], texts=["yes", "no", "go"]))
    assert dataset[Part((row(0), row(1), row(2, weight=0.0)), None)].divisor == 3 + 1 + 2 + 1
    assert dataset[Part((row(2, weight=0.0),), None)].divisor == 1.0


def test_segments_are_read_at_their_place(tmp_path, make_wav) -> None:
    path = make_wav("long.wav", 3.0)
    (tmp_path / "m.jsonl").write_text(
        '{"id": "s", "audio": "long.wav", "start_s": 1.25, "duration_s": 0.5, "text": "x"}\n'
    )
    batch = dataset_of(Manifest.read(tmp_path / "m.jsonl"))[Part((row(0),), None)]
    assert np.array_equal(batch.audio[0].numpy(), io.read(path)[20000:28000])


@pytest.mark.parametrize("separator", [" ", ""])
def test_the_plans_divisors_are_the_labels_that_batches_hold(make_manifest, separator) -> None:
    """Of joined texts, too, which have a separator's label more than their two."""
    dataset = dataset_of(make_manifest(np.linspace(0.3, 1.0, 20).round(2)), separator=separator)
    plan = planner_of(dataset).plan(1)
    assert plan.statistics.joined_share > 0.2
    for part in plan.share(0, 1, 1):
        batch = dataset[part]
        assert batch.divisor == int((batch.label_lengths + 1).sum())
        assert batch.seconds == pytest.approx(
            sum(plan.seconds(one) for one in part.utterances), abs=2 * len(batch.ids) / RATE
        )


@pytest.mark.parametrize("separator", [" ", ""])
def test_the_plan_counts_what_ctc_cannot_align(make_manifest, separator) -> None:
    def output_length(samples: int) -> int:
        return max(0, ((samples - 400) // 160 + 1) // 4)

    dataset = dataset_of(make_manifest(np.linspace(0.1, 0.6, 40).round(2)), separator=separator)
    counts = label_counts(dataset.manifest, dataset.tokenizer, dataset.text)
    least = least_seconds(2 * int(counts.needs.max()) + 2, frames=output_length, output_length=int, rate=RATE)
    data = DataConfig(train="a", valid="b", batch_seconds=4.0)
    augment = AugmentConfig(speeds=(0.9, 1.0, 1.1), join_share=0.6, join_separator=separator)
    plan = Planner(dataset.corpus(counts, least), data=data, augment=augment, seed=1).plan(1)
    batches = [dataset[part] for part in plan.share(0, 1, 1)]
    bad = sum(
        output_length(int(samples)) < ctc_needs(labels[:length].tolist())
        for batch in batches
        for samples, labels, length in zip(batch.samples, batch.labels, batch.label_lengths, strict=True)
    )
    assert plan.statistics.infeasible == bad > 0 and plan.statistics.joined_share > 0.2


def test_label_counts_count_labels_and_what_ctc_needs(make_manifest) -> None:
    dataset = dataset_of(make_manifest([0.3, 0.3, 0.3], texts=["hello", "nine  NINE", "a"], speakers=["x", None, "y"]))
    counts = label_counts(dataset.manifest, dataset.tokenizer, dataset.text)
    assert counts.labels.tolist() == [5, 9, 1] and counts.needs.tolist() == [6, 9, 1]
    assert counts.speakers == {"x", "y"} and not counts.lacking and len(counts.unwritable) == 0


def test_moving_a_batch_keeps_all_of_it(make_manifest) -> None:
    batch = dataset_of(make_manifest([0.3, 0.4]))[Part((row(0), row(1)), 9)]
    moved = batch.to("meta")
    assert moved.audio.device.type == moved.weights.device.type == moved.label_lengths.device.type == "meta"
    assert moved.audio.shape == batch.audio.shape and (moved.ids, moved.divisor, moved.seconds) == (batch.ids, 9.0, 0.7)


def equal(one: Batch, other: Batch) -> bool:
    tensors = ("audio", "samples", "labels", "label_lengths", "weights")
    return (one.ids, one.divisor, one.seconds) == (other.ids, other.divisor, other.seconds) and all(
        torch.equal(getattr(one, name), getattr(other, name)) for name in tensors
    )


def test_workers_give_the_same_batches_and_ignore_ctrl_c(make_manifest) -> None:
    dataset = dataset_of(make_manifest(np.linspace(0.2, 0.8, 24).round(2)))
    planner = planner_of(dataset)
    loaders = []
    torch.randn(300, 300) @ torch.randn(300, 300)  # torch's threads run before the workers start
    for workers in (0, 2):
        sampler = PlanSampler(planner, rank=0, ranks=1, accumulation=2, first=0, total=2 * planner.steps)
        loaders.append(build_loader(dataset, sampler, workers=workers, prefetch=2))
    state = torch.get_rng_state()
    for again in range(2):
        alone, many = (list(loader) for loader in loaders)
        assert len(alone) == len(many) == len(loaders[0])
        assert all(equal(one, other) for one, other in zip(alone, many, strict=True))
        if again == 0:
            workers_before = [worker.pid for worker in loaders[1]._iterator._workers]
            for pid in workers_before:
                os.kill(pid, signal.SIGINT)
            time.sleep(0.1)
    assert [worker.pid for worker in loaders[1]._iterator._workers] == workers_before, "workers stay for the next pass"
    assert torch.equal(torch.get_rng_state(), state), "loading draws nothing from torch's generator"


@pytest.mark.parametrize("workers", [0, 1])
def test_audio_that_fails_is_named_with_its_utterance_and_manifest_in_one_line(make_manifest, workers) -> None:
    manifest = make_manifest([0.3, 0.4, 0.5])
    manifest.audio_path(1).write_bytes(b"")
    dataset = dataset_of(manifest)
    loader = build_loader(dataset, [Part((row(0),), None), Part((row(1),), None)], workers=workers, prefetch=1)
    with pytest.raises(ManifestError) as caught:
        list(loader)
    assert str(caught.value).startswith(f"{manifest.path}:2: utterance 'train-1': ")
    assert "1.wav" in str(caught.value) and "Traceback" not in str(caught.value) and "\n" not in str(caught.value)


def test_not_a_number_in_audio_is_named(make_manifest) -> None:
    manifest = make_manifest([0.3, 0.4])
    soundfile.write(manifest.audio_path(0), np.full(4800, np.nan, np.float32), RATE, subtype="FLOAT")
    with pytest.raises(ManifestError, match=r"train\.jsonl:1: utterance 'train-0': .*nan"):
        _ = dataset_of(manifest)[Part((row(0),), None)]


def test_audio_that_became_shorter_is_named(make_manifest, make_wav) -> None:
    manifest = make_manifest([0.3, 0.4])
    make_wav("train/1.wav", 0.2)
    with pytest.raises(ManifestError, match=r"train\.jsonl:2: utterance 'train-1': .*lasts 0.20 s"):
        _ = dataset_of(manifest)[Part((row(1),), None)]


def test_every_utterance_is_in_an_epoch_of_batches_once(make_manifest) -> None:
    dataset = dataset_of(make_manifest(np.linspace(0.2, 0.8, 24).round(2)))
    planner = planner_of(dataset)
    sampler = PlanSampler(planner, rank=0, ranks=1, accumulation=1, first=0, total=planner.steps)
    loader = build_loader(dataset, sampler, workers=0, prefetch=1)
    names = Counter(name for batch in loader for ids in batch.ids for name in ids.split("+"))
    assert names == Counter(utterance.id for utterance in dataset.manifest)


def test_what_is_doubtful_about_audio_travels_with_its_batch(make_manifest) -> None:
    manifest = make_manifest([0.5, 0.3])
    samples = soundfile.read(manifest.audio_path(1), dtype="int16")[0]
    soundfile.write(manifest.audio_path(1), np.stack([samples, -samples], 1), RATE)
    batch = dataset_of(manifest)[Part((row(0), row(1, speed=1.1), row(1, 0)), 77)]
    (first, second) = batch.told
    assert first == second and first.startswith(f"{manifest.audio_path(1)}: its channels cancel each other")
    assert not batch.unread and batch.audio[1].any()
