"""Texts that stop early are told: beside what CTC hears, or the slowest speech of training."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from hybrid_asr.audio import io
from hybrid_asr.cli import main
from hybrid_asr.decoding.hypothesis import Hypothesis
from hybrid_asr.inference.encode import encode_batch
from hybrid_asr.inference.short import expected_labels, is_short
from hybrid_asr.models.bundle import Bundle, BundleError
from tests.tones import sound

TEXT = "bad cafe fed a cab dad"


def said(labels: int, ended="eos") -> Hypothesis:
    return Hypothesis((1,) * labels, -1.0, {}, ended)


@pytest.mark.parametrize(
    ("labels", "ended", "expected", "short"),
    [
        (5, "eos", 24.0, True),
        (14, "eos", 24.0, True),
        (15, "eos", 24.0, False),
        (24, "eos", 24.0, False),
        (0, "eos", 24.0, False),  # counted as empty
        (5, "cut", 24.0, False),  # counted as cut
        (5, "eos", 9.0, False),  # of so few labels one word more or less decides
        (5, "eos", None, None),
    ],
)
def test_a_text_is_short_beside_what_is_expected(labels, ended, expected, short):
    assert is_short(said(labels, ended), expected) is short


def test_ctc_says_how_many_labels_to_expect(bundle):
    samples = [sound(TEXT, np.random.default_rng(3)), np.zeros(10, np.float32), sound("bad", np.random.default_rng(4))]
    batch = encode_batch(bundle, samples, torch.device("cpu"))
    expected = expected_labels(bundle, batch, [len(one) / 8000 for one in samples])
    assert expected == {0: pytest.approx(len(TEXT), abs=2), 2: pytest.approx(3, abs=1)}


def test_without_ctc_the_slowest_speech_of_training_does(bundle, tones):
    entries = [json.loads(line) for line in (tones / "train.jsonl").read_text().splitlines()]
    rate = np.percentile([len(entry["text"]) / entry["duration_s"] for entry in entries], 1)
    assert bundle.labels_per_second == pytest.approx(rate)
    batch = encode_batch(bundle, [io.read(tones / entries[0]["audio"], rate=8000)], torch.device("cpu"))
    alone = batch._replace(log_probs=None)
    assert expected_labels(bundle, alone, [3.0]) == {0: pytest.approx(3 * rate)}
    former = dataclasses.replace(bundle, labels_per_second=None)
    assert expected_labels(former, alone, [3.0]) == {}, "models of former versions do not state it"


def test_a_model_of_a_former_version_is_read_and_a_damaged_rate_is_named(bundle, tmp_path):
    content = bundle.describe() | {"weights": bundle.weights()}
    torch.save({key: value for key, value in content.items() if key != "labels_per_second"}, tmp_path / "former.pt")
    assert Bundle.load(tmp_path / "former.pt").labels_per_second is None
    torch.save(content | {"labels_per_second": -1.0}, tmp_path / "damaged.pt")
    with pytest.raises(BundleError, match=r"'labels_per_second': expected a positive number, got -1\.0"):
        Bundle.load(tmp_path / "damaged.pt")


def test_a_search_that_stops_early_is_told_with_its_ids(trained, tmp_path, capsys):
    """A bonus below 0 ends every text as soon as the decoder allows it, as label smoothing does."""
    run = shutil.copytree(trained, tmp_path / "run")
    capsys.readouterr()
    assert main(["decode", str(run), "--decoders", "attention", "decode.length_bonus=-1.5", "decode.beam=4"]) == 0
    [folder] = run.glob("decode/test/*")
    rows = [json.loads(line) for line in (folder / "hypotheses.jsonl").read_text().splitlines()]
    short = [row["id"] for row in rows if row.get("short")]
    assert short, "else this test shows nothing"
    assert json.loads((folder / "report.json").read_text())["short"] == short
    for row in rows:
        if row["id"] in short:
            assert row["ended"] == "eos" and 0 < len(row["text"]) < 0.7 * len(row["reference"])
    text = (folder / "report.txt").read_text()
    assert text.startswith(f"{len(short)} texts have less than 60% of the labels") and f"\n  {short[0]}\n" in text
    shown = capsys.readouterr().out.splitlines()
    assert "short" in shown[0] and "short: texts with less than 60%" in shown[-1]


def test_good_decodings_have_none(trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    assert main(["decode", str(run), "--sets", "valid", "--decoders", "ctc_greedy"]) == 0
    assert json.loads((run / "decode/valid/ctc_greedy/report.json").read_text())["short"] == []
