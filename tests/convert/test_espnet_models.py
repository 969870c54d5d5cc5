"""Models that ESPnet itself made (tools/peers/espnet_fixtures.py) compute and recognize here what they did there."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from hybrid_asr.commands.convert import export_espnet, import_espnet
from hybrid_asr.decoding.joint import SearchConfig
from hybrid_asr.inference.build_decoder import decoder_for
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.models.encoded import Encoded

STORED: Any = np.load(Path(__file__).with_name("espnet_models.npz"))
AUDIO = torch.from_numpy(STORED["audio"].astype(np.float32) / 32768)
NAMES = ["conformer", "transformer"]
CLOSE = 1e-4  # float32 there and here


@pytest.fixture(scope="module", params=NAMES)
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def folder(name, tmp_path_factory) -> Path:
    """What ESPnet left behind, and the run that it becomes."""
    folder = tmp_path_factory.mktemp(name)
    weights = {
        key.split("/w/")[1]: torch.from_numpy(STORED[key]) for key in STORED.files if key.startswith(f"{name}/w/")
    }
    torch.save(weights, folder / "model.pth")
    (folder / "config.yaml").write_text(yaml.safe_dump(json.loads(str(STORED[f"{name}/config"]))))
    import_espnet(folder / "config.yaml", folder / "model.pth", folder / "run")
    return folder


@pytest.fixture(scope="module")
def bundle(folder) -> Bundle:
    return Bundle.load(folder / "run" / "model.pt").eval()


def encoded(bundle: Bundle, *sounds: torch.Tensor) -> Encoded:
    audio = torch.nn.utils.rnn.pad_sequence(list(sounds), batch_first=True)
    with torch.no_grad():
        return bundle.model.encode(bundle.frontend(audio, torch.tensor([len(sound) for sound in sounds])))


def close(ours: torch.Tensor, theirs: np.ndarray) -> None:
    torch.testing.assert_close(ours, torch.from_numpy(theirs), rtol=0, atol=CLOSE)


def test_encoder_ctc_and_decoder_compute_espnets_numbers_beside_other_utterances(bundle, name):
    found = encoded(bundle, AUDIO[:4000], AUDIO, AUDIO[:1500])
    assert int(found.frames[1]) == len(STORED[f"{name}/states"])
    close(found.states[1], STORED[f"{name}/states"])
    with torch.no_grad():
        close(bundle.model.ctc(found)[1], STORED[f"{name}/ctc"])
        labels = torch.from_numpy(STORED["labels"]).repeat(3, 1)
        logits = bundle.model.decoder(found, labels)[1]
    close(logits.log_softmax(-1), torch.from_numpy(STORED[f"{name}/logits"]).log_softmax(-1).numpy())


def test_the_search_with_parity_finds_espnets_n_best(bundle, name):
    decoder = decoder_for(bundle, SearchConfig(beam=4, ctc_weight=0.3, nbest=4, parity="espnet"))
    found = decoder.decode(encoded(bundle, AUDIO))[0]
    for mine, (labels, score) in zip(found, json.loads(str(STORED[f"{name}/nbest"])), strict=True):
        assert list(mine.labels) == labels
        assert mine.score == pytest.approx(score, abs=1e-3)


def test_exported_again_the_weights_are_espnets_own(folder, tmp_path):
    export_espnet(folder / "run", tmp_path / "out")
    before, after = torch.load(folder / "model.pth"), torch.load(tmp_path / "out" / "model.pth")
    assert before.keys() == after.keys()
    for key, value in before.items():
        if key.startswith(("frontend", "normalize")):
            torch.testing.assert_close(after[key].float(), value.float(), rtol=1e-6, atol=1e-7)
        else:
            assert torch.equal(after[key], value), key
