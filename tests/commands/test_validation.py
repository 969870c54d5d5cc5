"""Validation during training and `hybrid-asr decode` are one function; batches and processes do not change a result."""

import csv
import json
import shutil

import numpy as np
import pytest
import soundfile
import torch

from hybrid_asr.cli import main
from hybrid_asr.common.errors import UserError
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.inference.batching import SharedBatching
from hybrid_asr.inference.build_decoder import decoder_for
from hybrid_asr.inference.encode import encode_batch
from hybrid_asr.inference.evaluate import evaluate_set
from hybrid_asr.inference.outcomes import Evaluation, gather
from hybrid_asr.inference.presets import load_decoder
from hybrid_asr.inference.task import DecodingTask, decode_best


def decoder(bundle, name, *settings):
    return decoder_for(bundle, load_decoder(name, bundle.config, settings))


def validated(bundle, name, manifest, seconds, **share) -> Evaluation:
    """As in validation: one decoder, batches of a fixed size, the first failure is an error."""
    tasks, batching = {name: DecodingTask(decoder(bundle, name))}, SharedBatching(seconds, **share)
    return evaluate_set(bundle, manifest, tasks, batching=batching, device=torch.device("cpu"), failures="raise")[name]


def test_the_validation_of_an_epoch_is_the_decoding_of_its_checkpoint(trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    with (run / "metrics.csv").open(newline="") as file:
        measured = {int(row["epoch"]): row for row in csv.DictReader(file) if row["valid.ctc_greedy.wer"]}
    assert len(measured) == 12
    best = min(measured, key=lambda epoch: (float(measured[epoch]["valid.ctc_greedy.wer"]), epoch))
    names = {str(run / f"checkpoints/epoch-{epoch:03}.ckpt"): epoch for epoch in (7, 11)} | {"best": best, "last": 12}
    assert len({measured[epoch]["valid.ctc_greedy.cer"] for epoch in names.values()}) == 3, "else this says little"
    for name, epoch in names.items():
        shutil.rmtree(run / "decode", ignore_errors=True)
        assert main(["decode", str(run), "--sets", "valid", "--decoders", "ctc_greedy", "--checkpoint", name]) == 0
        [report] = [json.loads(path.read_text()) for path in run.glob("decode/valid/*/report.json")]
        for rate in ("wer", "cer", "ser"):
            assert report[rate] == float(measured[epoch][f"valid.ctc_greedy.{rate}"]), (name, rate)


@pytest.mark.parametrize("name", ["ctc_greedy", "ctc_prefix_beam", "rescoring", "attention", "joint"])
def test_batches_do_not_change_a_result(bundle, tones, name):
    manifest = Manifest.read(tones / "test.jsonl")
    found = [validated(bundle, name, manifest, seconds).items for seconds in (0.1, 3.0, 120.0)]
    for one, few, many in zip(*found, strict=True):
        assert one.id == few.id == many.id
        assert one.text == few.text == many.text
        assert [few.score, many.score] == pytest.approx([one.score] * 2, abs=1e-4)
    assert [item.index for item in found[0]] == list(range(len(manifest)))
    assert any(item.text for item in found[0]) or name == "attention"


def test_every_rank_takes_its_share(bundle, tones):
    manifest = Manifest.read(tones / "test.jsonl")
    whole = validated(bundle, "ctc_greedy", manifest, 2.0)
    shares = [validated(bundle, "ctc_greedy", manifest, 2.0, rank=rank, ranks=3) for rank in range(3)]
    assert sorted(item for share in shares for item in share.items) == whole.items
    assert gather(whole) == whole, "alone, there is nothing to put together"


def test_audio_too_short_to_be_heard_is_empty_and_counted_as_cut(bundle):
    encoded_batch = np.random.default_rng(1).normal(0, 0.1, 8000).astype(np.float32)
    device = torch.device("cpu")
    for name in ("ctc_greedy", "joint"):
        search = decoder(bundle, name)
        tiny, normal = decode_best(search, encode_batch(bundle, [encoded_batch[:100], encoded_batch], device), 2)
        assert (tiny.labels, tiny.ended) == ((), "cut")
        [alone] = decode_best(search, encode_batch(bundle, [encoded_batch], device), 1)
        assert normal.labels == alone.labels
        assert decode_best(search, encode_batch(bundle, [encoded_batch[:100]], device), 1) == [tiny]


def test_an_utterance_that_cannot_be_read_is_named(bundle, tones, tmp_path):
    entry = json.loads((tones / "test.jsonl").read_text().splitlines()[0])
    soundfile.write(tmp_path / "bad.wav", np.full(16000, np.nan, np.float32), 8000, subtype="FLOAT")
    (tmp_path / "bad.jsonl").write_text(json.dumps(entry | {"id": "broken-1", "audio": "bad.wav"}) + "\n")
    with pytest.raises(UserError, match=r"bad\.jsonl.*'broken-1'.*bad\.wav"):
        validated(bundle, "ctc_greedy", Manifest.read(tmp_path / "bad.jsonl"), 10.0)
