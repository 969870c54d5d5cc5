"""What ESPnet cannot express is refused by name; what it can, is written in its own terms."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from hybrid_asr.cli import main
from hybrid_asr.commands.convert import export_espnet, import_espnet
from hybrid_asr.convert.espnet_config import read_espnet
from hybrid_asr.convert.section import ConvertError
from hybrid_asr.run.folder import Run
from tests.convert.small import CONFORMER, DECODER, TRANSFORMER, bundle, write
from tests.tones import train

ESPNET = [
    *(
        "presets.features=espnet_logmel",
        "features.rate=8000",
        "features.bins=20",
        "features.fft=256",
        "features.hop=80",
    ),
    *("presets.model=conformer_s_espnet", "model.encoder.dim=32", "model.encoder.channels=32", "model.decoder.dim=32"),
    *("model.encoder.layers=1", "model.encoder.heads=2", "model.encoder.feed_forward=64", "model.encoder.kernel=5"),
    *("model.decoder.layers=1", "model.decoder.heads=2", "model.decoder.feed_forward=64", "model.encoder.dropout=0.0"),
    *("model.decoder.dropout=0.0", "trainer.epochs=6", "trainer.average_count=1"),
]


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (CONFORMER | {"positions": "rotary"}, "model.encoder.positions is 'rotary': ESPnet knows only 'relative'"),
        (CONFORMER | {"norm": "layer"}, "model.encoder.norm is 'layer': ESPnet knows only 'batch'"),
        (CONFORMER | {"final_norm": "none"}, "model.encoder.final_norm is 'none': ESPnet knows only 'layer'"),
        (CONFORMER | {"norm_eps": 1e-5}, "model.encoder.norm_eps is 1e-05: ESPnet knows only 1e-12"),
        (TRANSFORMER | {"norm_eps": 1e-5}, "model.encoder.norm_eps is 1e-05: ESPnet knows only 1e-12"),
        (CONFORMER | {"channels": 8}, "model.encoder.channels is 8: ESPnet knows only 16"),
        (CONFORMER | {"dim": 24, "channels": 24}, "model.decoder.dim is 16: ESPnet knows only 24"),
    ],
)
def test_what_espnet_cannot_express_is_refused_by_name(tmp_path, encoder, message):
    with pytest.raises(ConvertError) as caught:
        write(tmp_path / "model", bundle(encoder))
    assert message in str(caught.value)
    assert "presets.model=conformer_s_espnet" in str(caught.value)
    assert not (tmp_path / "model").exists()


def test_an_encoder_that_espnet_lacks_is_refused_by_its_kind(tmp_path):
    sizes = {"dim": 16, "layers": 1, "heads": 2, "feed_forward": 32, "patch_frames": 8, "stride_frames": 4}
    made = bundle({"kind": "patch_transformer", **sizes, "patch_bins": 8, "stride_bins": 8})
    with pytest.raises(ConvertError, match=r"model\.encoder\.kind is patch_transformer: ESPnet has no such encoder"):
        write(tmp_path / "model", made)
    assert not (tmp_path / "model").exists()


def test_the_front_end_and_the_decoders_eps_are_refused_by_name_too(tmp_path, capsys):
    made = bundle(decoder=DECODER | {"norm_eps": 1e-5}, front_end={"kind": "fbank", "rate": 8000, "bins": 20})
    made.save(tmp_path / "model.pt")
    assert main(["export", "espnet", str(tmp_path / "model.pt"), "--to", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert "features.kind is 'fbank': ESPnet knows only 'espnet_logmel'" in told
    assert "model.decoder.norm_eps is 1e-05: ESPnet knows only 1e-12" in told
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_not_written_to(tmp_path):
    folder = write(tmp_path / "model")
    before = (folder / "model.pth").read_bytes()
    with pytest.raises(ConvertError, match="is there already; give another --to"):
        write(folder)
    assert (folder / "model.pth").read_bytes() == before


def test_the_configuration_says_what_the_model_is_and_names_files_that_are_there(tmp_path):
    folder = write(tmp_path / "model", bundle(units="bpe"))
    tree = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    assert tree["token_list"][:2] == ["<blank>", "<unk>"] and tree["token_list"][-1] == "<sos/eos>"
    assert Path(tree["bpemodel"]).is_absolute() and Path(tree["bpemodel"]).is_file()
    with np.load(tree["normalize_conf"]["stats_file"]) as stored:
        mean, variance = stored["sum"] / stored["count"], stored["sum_square"] / stored["count"]
    weights = torch.load(folder / "model.pth", weights_only=True)
    np.testing.assert_allclose(mean, weights["normalize.mean"].numpy(), rtol=1e-12)
    np.testing.assert_allclose(np.sqrt(variance - mean**2), weights["normalize.std"].numpy(), rtol=1e-9)
    found = read_espnet(tree)
    assert not found.problems and found.joins == "pieces"
    assert found.sections["model"]["encoder"]["heads"] == CONFORMER["heads"]


@pytest.mark.slow
def test_a_model_trained_here_goes_there_and_comes_back_with_equal_texts(tones, tmp_path, capsys):
    """That ESPnet's recognizer writes them as well is shown by tools/peers/check_espnet.py, since it needs ESPnet."""
    run = tmp_path / "run"
    assert train(tones, run, *ESPNET) == 0
    export_espnet(run, tmp_path / "out")
    settings = [f"data.root={tones}", "text.rules=basic@1", "decode.beam=3"]
    back = import_espnet(
        tmp_path / "out" / "config.yaml", tmp_path / "out" / "model.pth", tmp_path / "back", overrides=settings
    )
    mine, its = (Run(folder).bundle()[0].weights() for folder in (run, back.folder))
    assert all(torch.equal(mine[name], value) for name, value in its.items()) and mine.keys() == its.keys()
    sounds = sorted(map(str, (tones / "test").glob("*.wav")))
    capsys.readouterr()
    texts = []
    for folder in (run, back.folder):
        assert main(["transcribe", str(folder), *sounds, "--decoder", "joint"]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] and len(texts[0].splitlines()) == len(sounds)
