"""ESPnet's weights through the import's map compute ESPnet's numbers, where those are at hand; and the map is whole."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hybrid_asr.audio.features import Features
from hybrid_asr.config.schema import parse
from hybrid_asr.convert.espnet_weights import Entry, ours_from_theirs, theirs_from_ours, weight_map
from hybrid_asr.convert.section import ConvertError
from hybrid_asr.models.conformer import Conformer
from hybrid_asr.models.encoded import Encoded
from hybrid_asr.models.hybrid import ModelConfig, build_model
from hybrid_asr.models.transformer_decoder import TransformerDecoder
from tests.convert.small import CONFORMER, DECODER, TRANSFORMER

ENCODER = CONFORMER | {"feed_forward": 32}  # the sizes of the oracles


def model_config(encoder: dict[str, Any] = ENCODER) -> ModelConfig:
    return parse(ModelConfig, {"encoder": encoder, "decoder": DECODER | {"feed_forward": 32}})


@pytest.fixture
def oracle(shared: Path):
    """The numbers of an oracle by name."""

    def read(name: str) -> Any:
        path = shared / "oracles" / f"espnet_{name}.npz"
        if not path.is_file():
            pytest.skip(f"needs {path}, which is not part of the repository")
        return np.load(path)

    return read


def taken(stored: Any, part: str, cfg: ModelConfig, module: torch.nn.Module) -> None:
    """Give `module`, our `part` of a model, ESPnet's weights, and go to float64."""
    theirs = {f"{part}.{name[2:]}": torch.tensor(stored[name]) for name in stored.files if name.startswith("w/")}
    entries = [entry for entry in weight_map(cfg) if entry.ours.startswith(f"{part}.")]
    like = {f"{part}.{name}": value for name, value in module.state_dict().items()}
    assert {entry.ours for entry in entries} == like.keys()
    found = ours_from_theirs(entries, theirs, like)
    module.load_state_dict({name.removeprefix(f"{part}."): value for name, value in found.items()})
    module.double().eval()


def encoded(stored: Any, encoder: Conformer) -> Encoded:
    return encoder(Features(torch.tensor(stored["in/x"]).double(), torch.tensor(stored["in/lens"])))


def close(ours: torch.Tensor, theirs: np.ndarray, atol: float) -> None:
    torch.testing.assert_close(ours, torch.tensor(theirs), rtol=0, atol=atol)


def test_the_conformer_behind_convolutions_equals_espnets_utterance_by_utterance(oracle):
    stored, cfg = oracle("conformer_conv2d"), model_config()
    encoder = Conformer(cfg.encoder, 20)
    taken(stored, "encoder", cfg, encoder)
    found = encoded(stored, encoder)
    assert found.frames.tolist() == [11, 8]
    close(found.states[0], stored["out64/y"][0], 1e-7)  # its positions are float32
    close(found.states[1, :8], stored["out64/y_row1_alone"][0], 1e-7)


def test_the_conformer_behind_a_linear_layer_equals_espnets_utterance_by_utterance(oracle):
    stored, cfg = oracle("conformer_linear"), model_config(ENCODER | {"input": "linear"})
    encoder = Conformer(cfg.encoder, 20)
    taken(stored, "encoder", cfg, encoder)
    found = encoded(stored, encoder)
    assert found.frames.tolist() == [50, 37]
    assert encoder.stride == 1 and encoder.output_length(37) == 37
    close(found.states[0], stored["out64/y"][0], 1e-7)
    close(found.states[1, :37], stored["out64/y_row1_alone"][0, :37], 1e-7)


def test_the_decoder_equals_espnets(oracle):
    stored, cfg = oracle("transformer_decoder"), model_config()
    decoder = TransformerDecoder(cfg.decoder, 16, 20, 19)
    taken(stored, "decoder", cfg, decoder)
    memory = Encoded(torch.tensor(stored["in/memory"]).double(), torch.tensor(stored["in/memory_lens"]))
    labels = torch.tensor(stored["in/ys_in"])[:, 1:]
    logits = decoder(memory, labels)
    for row, length in enumerate(stored["in/ys_in_lens"].tolist()):
        close(logits[row, :length], stored["out64/logits"][row, :length], 1e-7)
    close(logits[0].log_softmax(-1), stored["out64/step_logp_row0"], 1e-7)


@pytest.mark.parametrize("encoder", [CONFORMER, CONFORMER | {"input": "linear"}, TRANSFORMER], ids=str)
def test_every_weight_stands_in_the_map_and_comes_back_bit_by_bit(encoder):
    cfg = parse(ModelConfig, {"encoder": encoder, "decoder": DECODER})
    model = build_model(cfg, features=20, vocab_size=9, sos=8, ctc_weight=0.3)
    own, entries = model.state_dict(), weight_map(cfg)
    assert sorted(entry.ours for entry in entries) == sorted(own)
    theirs = theirs_from_ours(entries, own)
    assert sorted(theirs) == sorted(name for entry in entries for name in entry.theirs)
    back = ours_from_theirs(entries, theirs, own)
    assert all(torch.equal(back[name], value) for name, value in own.items())


def test_a_missing_weight_and_one_of_another_size_are_named():
    entries = [Entry("both", ("first", "second"))]
    like = {"both": torch.zeros(4, 3)}
    with pytest.raises(ConvertError, match="the weight 'second' is missing"):
        ours_from_theirs(entries, {"first": torch.zeros(2, 3)}, like)
    with pytest.raises(ConvertError, match=r"the weight 'second' is \(3, 3\), by the configuration \(2, 3\)"):
        ours_from_theirs(entries, {"first": torch.zeros(2, 3), "second": torch.zeros(3, 3)}, like)
