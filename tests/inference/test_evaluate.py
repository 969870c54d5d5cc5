"""One pass for all decoders: each gives what it gives alone, whatever the batches; what fails is named, not lost."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

import hybrid_asr.inference.batching
from hybrid_asr.common.errors import UserError
from hybrid_asr.config.locate import presets
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.decoding.decoder import Decoder
from hybrid_asr.decoding.hypothesis import DecodeError, Nbest
from hybrid_asr.inference.batching import (
    Batching,
    Durations,
    MemoryBatching,
    SharedBatching,
    expected_cost,
    refuse_wide_beams,
)
from hybrid_asr.inference.build_decoder import DecodeConfig, build_sweep_tasks, build_task, decoder_for
from hybrid_asr.inference.evaluate import evaluate_set
from hybrid_asr.inference.outcomes import Evaluation
from hybrid_asr.inference.presets import load_decoder
from hybrid_asr.inference.task import DecodingTask
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.models.encoded import Encoded
from hybrid_asr.run.folder import Run

CPU = torch.device("cpu")
PRESETS = presets("decode")
TOGETHER = (range(8),)


@pytest.fixture
def bundle(trained) -> Bundle:
    return Run(trained).bundle()[0].eval()


@pytest.fixture
def manifest(tones) -> Manifest:
    return Manifest.read(tones / "test.jsonl")


def settings_of(bundle: Bundle, name: str) -> DecodeConfig:
    """A preset; the lexicon's words are those of the training transcripts."""
    return load_decoder(name, bundle.config, ["decode.lexicon=train"] if name == "lexicon" else [])


def all_tasks(bundle: Bundle) -> dict[str, DecodingTask]:
    return {name: build_task(bundle, settings_of(bundle, name), search_errors="ignore") for name in PRESETS}


def decoded(
    bundle: Bundle,
    manifest: Manifest,
    tasks: Mapping[str, DecodingTask],
    batches: Sequence[Sequence[int]] = TOGETHER,
) -> dict[str, Evaluation]:
    return evaluate_set(bundle, manifest, tasks, batching=GivenBatches(batches), device=CPU)


@dataclasses.dataclass(frozen=True)
class GivenBatches(Batching):
    """Batches that the test has chosen."""

    given: Sequence[Sequence[int]]

    def batches(self, durations: Durations) -> Iterator[list[int]]:
        yield from map(list, self.given)


class Strict:
    """A decoder that takes at most `rows` utterances at once, and none of `frames` frames."""

    def __init__(self, inner: Decoder, rows: int, frames: int = -1):
        self.inner, self.rows, self.frames = inner, rows, frames
        self.sizes: list[int] = []

    def decode(self, encoded: Encoded, *log_probs: torch.Tensor | None) -> list[Nbest]:
        self.sizes.append(len(encoded.frames))
        if self.frames in encoded.frames.tolist():
            raise DecodeError("this one is bad")
        if len(encoded.frames) > self.rows:
            torch.empty(1 << 60)  # what no machine has
        return self.inner.decode(encoded, *log_probs)


def test_every_utterance_is_encoded_once_for_all_decoders(bundle, manifest):
    rows = []
    bundle.model.encoder.register_forward_hook(lambda _, inputs, out: rows.append(len(out.frames)))
    together = decoded(bundle, manifest, all_tasks(bundle), [[0, 1, 2], [3, 4, 5, 6, 7]])
    assert sum(rows) == len(manifest)
    for name in PRESETS:
        task = DecodingTask(decoder_for(bundle, settings_of(bundle, name)))
        alone = evaluate_set(bundle, manifest, {"": task}, batching=SharedBatching(4.0), device=CPU)[""]
        assert [item.text for item in together[name].items] == [item.text for item in alone.items]
        assert [item.index for item in together[name].items] == list(range(len(manifest)))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_no_batch_changes_a_result_of_any_decoder(bundle, manifest, dtype, tolerance):
    """From audio to n-best: one by one, in odd batches, all together; the design's tolerances."""
    frontend = bundle.frontend.forward
    bundle.frontend.forward = lambda audio, lengths: frontend(audio.to(dtype), lengths)
    bundle.frontend.to(dtype)
    bundle.model.to(dtype)
    several = {name: build_task(bundle, wished(bundle, name), search_errors="ignore") for name in PRESETS}
    ways = [[[place] for place in range(8)], [[7, 0, 3], [1], [6, 2, 5, 4]], [list(range(8))]]
    alone, few, many = (decoded(bundle, manifest, several, way) for way in ways)
    for name in PRESETS:
        for one, other, third in zip(alone[name].items, few[name].items, many[name].items, strict=True):
            assert one.text == other.text == third.text
            assert [other.score, third.score] == pytest.approx([one.score] * 2, abs=tolerance)
            scores = [[text.score for text in item.nbest] for item in (one, other, third)]
            assert scores[1] == pytest.approx(scores[0], abs=tolerance)
            assert scores[2] == pytest.approx(scores[0], abs=tolerance)


def wished(bundle: Bundle, name: str):
    return settings_of(bundle, name).with_texts(4)


def test_a_batch_that_does_not_fit_is_cut_and_the_texts_are_the_same(bundle, manifest):
    both = {name: task for name, task in all_tasks(bundle).items() if name in ("ctc_greedy", "joint")}
    whole = decoded(bundle, manifest, both)
    tight = {name: DecodingTask(Strict(task.decoder, 3)) for name, task in both.items()}
    cost = expected_cost(bundle, [load_decoder(name, bundle.config) for name in both])
    batching = MemoryBatching.for_device(CPU, cost)
    found = evaluate_set(bundle, manifest, tight, batching=batching, device=CPU)
    for name in both:
        assert [item.text for item in found[name].items] == [item.text for item in whole[name].items]
        assert not found[name].failed
        assert tight[name].decoder.sizes == [8, 4, 2, 2, 4, 2, 2]
        assert found[name].peak > 1 << 20, "the system tells it here"
    assert batching.most_s < 8 * manifest.durations.max(), "the next batch is smaller"


def test_the_peak_of_a_search_is_known_where_the_largest_batch_is_not_its_own(bundle, manifest):
    greedy, second = (decoder_for(bundle, load_decoder("ctc_greedy", bundle.config)) for _ in range(2))
    second_longest = float(np.sort(manifest.durations)[-2])
    batching = MemoryBatching.for_device(CPU, expected_cost(bundle, [load_decoder("ctc_greedy", bundle.config)]))
    both = {"any": DecodingTask(greedy), "short": DecodingTask(second, longest_s=second_longest)}
    batching.most_s = 0.1  # one by one
    found = evaluate_set(bundle, manifest, both, batching=batching, device=CPU)
    assert found["short"].peak is not None and found["any"].peak is not None


def test_an_encoder_that_runs_out_of_memory_takes_fewer_at_once(bundle, manifest):
    both = {name: task for name, task in all_tasks(bundle).items() if name in ("ctc_greedy", "joint")}
    whole = decoded(bundle, manifest, both)

    def tight(module, inputs):
        if len(inputs[0].frames) > 2:
            torch.empty(1 << 60)

    bundle.model.encoder.register_forward_pre_hook(tight)
    found = decoded(bundle, manifest, both)
    assert {name: [item.text for item in one.items] for name, one in found.items()} == {
        name: [item.text for item in one.items] for name, one in whole.items()
    }


def test_one_that_no_decoder_takes_is_named_and_the_others_go_on(bundle, manifest):
    frames = sorted(bundle.model.output_length(bundle.frontend.frames(int(one * 8000))) for one in manifest.durations)[
        -1
    ]
    both = {
        "good": DecodingTask(decoder_for(bundle, load_decoder("ctc_greedy", bundle.config))),
        "bad": DecodingTask(Strict(decoder_for(bundle, load_decoder("ctc_greedy", bundle.config)), 8, frames)),
        "none": DecodingTask(Strict(decoder_for(bundle, load_decoder("ctc_greedy", bundle.config)), 0)),
    }
    found = decoded(bundle, manifest, both)
    assert len(found["good"].items) == 8 and not found["good"].failed
    assert len(found["bad"].items) + len(found["bad"].failed) == 8
    assert found["bad"].failed and all(one.reason == "this one is bad" for one in found["bad"].failed)
    assert len(found["none"].failed) == 8 and all("memory ran out" in one.reason for one in found["none"].failed)


def test_audio_that_a_search_does_not_take_is_refused_with_limit_and_remedy(bundle, manifest):
    greedy = decoder_for(bundle, load_decoder("ctc_greedy", bundle.config))
    shortest = float(manifest.durations.min())
    short = {"search": DecodingTask(greedy, longest_s=shortest), "any": DecodingTask(greedy)}
    found = decoded(bundle, manifest, short)
    assert len(found["any"].items) == 8
    refused = {index for index in range(8) if manifest.durations[index] > shortest}
    assert [failed.id for failed in found["search"].failed] == [manifest[index].id for index in sorted(refused)]
    assert {item.index for item in found["search"].items} == set(range(8)) - refused
    assert all(f"at most {shortest:g} s" in one.reason and "ctc_greedy" in one.reason for one in found["search"].failed)


def test_search_errors_are_what_twice_the_beam_does_better(bundle, manifest):
    """Beam 1 misses something here, and what it misses is what the wider search finds, utterance by utterance."""
    narrow = load_decoder("joint", bundle.config, ["decode.beam=1", "decode.ctc_weight=0.9"])
    wide = load_decoder("joint", bundle.config, ["decode.beam=2", "decode.ctc_weight=0.9"])
    narrow_task = build_task(bundle, narrow, search_errors="count")
    both = {"narrow": narrow_task, "wide": build_task(bundle, wide, search_errors="ignore")}
    found = decoded(bundle, manifest, both)
    pairs = zip(found["narrow"].items, found["wide"].items, strict=True)
    assert [item.missed for item in found["narrow"].items] == [two.score > one.score + 1e-4 for one, two in pairs]
    assert all(item.missed is None for item in found["wide"].items)


def test_nothing_is_decoded_in_training_mode(bundle, manifest):
    bundle.model.train()
    with pytest.raises(AssertionError, match="dropout"):
        decoded(bundle, manifest, all_tasks(bundle), [[0]])


def test_presets_are_those_of_the_folder():
    assert sorted(path.stem for path in (Path(__file__).parents[2] / "conf/decode").glob("*.yaml")) == PRESETS


def test_rescoring_with_many_weights_searches_once_and_is_each_of_them(bundle, manifest):
    """The n-best of CTC does not depend on the weight: only its order does."""
    weights = {"none": 0.0, "some": 0.4, "all": 1.0}
    values = {
        name: load_decoder("rescoring", bundle.config, [f"decode.ctc_weight={one}"]) for name, one in weights.items()
    }
    shared = build_sweep_tasks(bundle, values)
    assert len({id(task.decoder) for task in shared.values()}) == 1
    alone = {name: build_task(bundle, one, search_errors="ignore") for name, one in values.items()}
    ways = [decoded(bundle, manifest, each) for each in (shared, alone)]
    for name in weights:
        one, other = (way[name].items for way in ways)
        assert [item.text for item in one] == [item.text for item in other]
        assert [item.score for item in one] == pytest.approx([item.score for item in other], abs=1e-6)
    assert len({tuple(item.score for item in ways[0][name].items) for name in weights}) == 3
    wider = values | {"wider": load_decoder("rescoring", bundle.config, ["decode.beam=4"])}
    assert len({id(task.decoder) for task in build_sweep_tasks(bundle, wider).values()}) == 4, (
        "another beam, another n-best"
    )


def test_a_beam_that_one_utterance_has_no_memory_for_is_refused_with_what_would_fit(bundle, monkeypatch):
    monkeypatch.setattr(hybrid_asr.inference.batching, "free_bytes", lambda device: 1 << 20)
    wide, narrow = (load_decoder("joint", bundle.config, [f"decode.beam={beam}"]) for beam in (10_000, 10))
    refuse_wide_beams(bundle, {"joint": narrow}, CPU)
    with pytest.raises(UserError, match=r"joint: decode.beam=10000 takes about .* take a beam of at most \d+$") as told:
        refuse_wide_beams(bundle, {"joint": wide}, CPU)
    most = int(str(told.value).split()[-1])
    assert expected_cost(bundle, [dataclasses.replace(wide, beam=most)]).per_utterance <= 1 << 20
