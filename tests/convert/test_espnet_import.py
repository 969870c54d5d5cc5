"""An ESPnet model becomes a run that says the same; what is not supported, damaged or foreign is refused by name."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from hybrid_asr.cli import main
from hybrid_asr.commands.convert import export_espnet, import_espnet
from hybrid_asr.convert.section import ConvertError
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.run.folder import Run
from tests.convert.small import CONFORMER, TEXTS, TRANSFORMER, bundle, change, outputs, write

MODELS = {
    "conformer": {},
    "linear": {"encoder": CONFORMER | {"input": "linear", "activation": "tanh"}},
    "transformer": {"encoder": TRANSFORMER},
    "every-frame": {"encoder": TRANSFORMER | {"input": "linear"}},
    "ctc alone": {"ctc_weight": 1.0},
    "attention alone": {"ctc_weight": 0.0},
    "bpe": {"units": "bpe"},
    "utterance": {"cmvn": "utterance", "cmvn_scale": "mean"},
    "as they are": {"cmvn": "none", "window": 200, "edges": "none", "mel_scale": "htk", "low_hz": 60.0},
}


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    """The folder of a small model as ESPnet writes it; tests that change it take a copy."""
    return write(tmp_path_factory.mktemp("espnet") / "model")


@pytest.fixture
def copied(model, tmp_path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "model"))


def imported(folder: Path, to: Path | None = None, **options: Any) -> Run:
    return import_espnet(folder / "config.yaml", folder / "model.pth", to or folder / "run", **options)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_comes_back_bit_by_bit_and_says_the_same(tmp_path, name):
    first = bundle(**MODELS[name])
    second = imported(write(tmp_path / "model", first)).bundle()[0]
    mine, its = first.weights(), second.weights()
    assert mine.keys() == its.keys()
    assert all(torch.equal(mine[key], its[key]) for key in mine)
    second.model.eval()
    for one, other in zip(outputs(first), outputs(second), strict=True):
        assert torch.equal(one, other)
    for text in TEXTS:
        assert second.tokenizer.encode(text) == first.tokenizer.encode(text)
        assert second.tokenizer.decode(first.tokenizer.encode(text)) == text
    export_espnet(tmp_path / "model" / "run", tmp_path / "again")
    theirs, again = (torch.load(tmp_path / name / "model.pth") for name in ("model", "again"))
    assert theirs.keys() == again.keys()
    assert all(torch.equal(theirs[key], again[key]) for key in theirs)


def test_the_run_can_be_shown_decoded_and_transcribed_with(tmp_path, model, tones, capsys):
    run = str(tmp_path / "run")
    settings = [f"data.root={tones}", "decode.beam=2", "text.rules=basic@1"]
    assert (
        main(["import", "espnet", *map(str, (model / "config.yaml", model / "model.pth")), "--to", run, *settings]) == 0
    )
    assert main(["show", "run", run]) == 0
    assert f"imported from espnet: {model / 'model.pth'}" in capsys.readouterr().out
    assert main(["show", "model", run]) == 0
    assert "heads: ctc, decoder" in capsys.readouterr().out
    assert main(["transcribe", run, str(tones / "test" / "00.wav"), "--format", "json"]) == 0
    assert "duration_s" in capsys.readouterr().out
    assert main(["decode", run, "--decoders", "ctc_greedy,joint"]) == 0
    assert (tmp_path / "run" / "decode" / "test" / "joint" / "report.json").is_file()


UNSUPPORTED = {
    "encoder is 'branchformer'": {"encoder": "branchformer"},
    "encoder_conf.rel_pos_type is 'legacy'": {"encoder_conf__rel_pos_type": "legacy"},
    "encoder_conf.rel_pos_type is not given": {"encoder_conf__rel_pos_type": ...},
    "encoder_conf.pos_enc_layer_type is 'abs_pos'": {"encoder_conf__pos_enc_layer_type": "abs_pos"},
    "encoder_conf.selfattention_layer_type is 'selfattn'": {"encoder_conf__selfattention_layer_type": "selfattn"},
    "encoder_conf.macaron_style is false": {"encoder_conf__macaron_style": False},
    "encoder_conf.use_cnn_module is false": {"encoder_conf__use_cnn_module": False},
    "encoder_conf.zero_triu is true": {"encoder_conf__zero_triu": True},
    "encoder_conf.input_layer is 'conv2d6'": {"encoder_conf__input_layer": "conv2d6"},
    "encoder_conf.normalize_before is false": {"encoder_conf__normalize_before": False},
    "encoder_conf.concat_after is true": {"encoder_conf__concat_after": True},
    "encoder_conf.positionwise_layer_type is 'conv1d'": {"encoder_conf__positionwise_layer_type": "conv1d"},
    "encoder_conf.qk_norm is true": {"encoder_conf__qk_norm": True},
    "encoder_conf.activation_type is 'gelu'": {"encoder_conf__activation_type": "gelu"},
    "encoder_conf.interctc_layer_idx is [1]": {"encoder_conf__interctc_layer_idx": [1]},
    "encoder_conf.ctc_trim is true": {"encoder_conf__ctc_trim": True},
    "encoder_conf.num_blocks is -1": {"encoder_conf__num_blocks": -1},
    "encoder_conf.output_size is 'wide'": {"encoder_conf__output_size": "wide"},
    "encoder_conf.invented is 1": {"encoder_conf__invented": 1},
    "encoder_conf: expected keys and values": {"encoder_conf": 7},
    "decoder is 'rnn'": {"decoder": "rnn"},
    "decoder_conf.normalize_before is false": {"decoder_conf__normalize_before": False},
    "decoder_conf.input_layer is 'linear'": {"decoder_conf__input_layer": "linear"},
    "decoder_conf.use_output_layer is false": {"decoder_conf__use_output_layer": False},
    "decoder_conf.concat_after is true": {"decoder_conf__concat_after": True},
    "frontend is 's3prl'": {"frontend": "s3prl"},
    "frontend is null": {"frontend": None},
    "frontend_conf.fs is 'fast'": {"frontend_conf__fs": "fast"},
    "frontend_conf.window is 'kaiser'": {"frontend_conf__window": "kaiser"},
    "frontend_conf.normalized is true": {"frontend_conf__normalized": True},
    "frontend_conf.onesided is false": {"frontend_conf__onesided": False},
    "frontend_conf.apply_stft is false": {"frontend_conf__apply_stft": False},
    "frontend_conf.frontend_conf.use_wpe is true": {"frontend_conf__frontend_conf": {"use_wpe": True}},
    "normalize is 'other'": {"normalize": "other"},
    "normalize_conf.norm_means is false": {"normalize_conf__norm_means": False},
    "model is 'maskctc'": {"model": "maskctc"},
    "model_conf.ctc_weight is 1.5": {"model_conf__ctc_weight": 1.5},
    "model_conf.sym_sos is '<s>'": {"model_conf__sym_sos": "<s>"},
    "model_conf.sym_blank is '<b>'": {"model_conf__sym_blank": "<b>"},
    "model_conf.autocast_frontend is true": {"model_conf__autocast_frontend": True},
    "model_conf.lang_token_id is 4": {"model_conf__lang_token_id": 4},
    "preencoder is 'linear'": {"preencoder": "linear"},
    "postencoder is 'length_adaptor'": {"postencoder": "length_adaptor"},
    "input_size is 80": {"input_size": 80},
    "use_adapter is true": {"use_adapter": True},
    "speech_volume_normalize is 0.8": {"speech_volume_normalize": 0.8},
    "token_type is 'phn'": {"token_type": "phn"},
    "token_type is null": {"token_type": None},
    "token_list is 'tokens.txt'": {"token_list": "tokens.txt"},
    "token_list: expected '<blank>' as the first": {"token_list": ["a", "<blank>", "<unk>", "<sos/eos>"]},
    "token_list: the list of tokens holds a more than once": {
        "token_list": ["<blank>", "<unk>", "a", "a", "<sos/eos>"]
    },
    "invented is 1: an unknown setting": {"invented": 1},
}


@pytest.mark.parametrize("message", UNSUPPORTED)
def test_what_is_not_supported_is_refused_by_its_key_and_value(copied, message):
    change(copied, **UNSUPPORTED[message])
    with pytest.raises(ConvertError) as caught:
        imported(copied)
    assert message in str(caught.value)
    assert str(copied / "config.yaml") in str(caught.value)
    assert not (copied / "run").exists()


def test_all_that_is_wrong_is_told_at_once(copied):
    change(copied, frontend="s3prl", encoder_conf__qk_norm=True, decoder_conf__concat_after=True)
    with pytest.raises(ConvertError) as caught:
        imported(copied)
    for key in ("frontend is", "encoder_conf.qk_norm is", "decoder_conf.concat_after is"):
        assert key in str(caught.value)


def test_what_acts_in_training_only_is_no_obstacle(copied):
    settings = {"specaug": "specaug", "optim": "adam", "max_epoch": 70, "use_amp": True, "specaug_conf": {"x": 1}}
    change(
        copied, **settings, ctc_conf={"ctc_type": "builtin", "reduce": True}, best_model_criterion=[["valid", "acc"]]
    )
    change(copied, model_conf__lsm_weight=0.1, encoder_conf__stochastic_depth_rate=0.1, new_and_off=False)
    assert imported(copied).exists()


def test_rates_may_be_written_in_words(copied):
    change(copied, frontend_conf__fs="8k")
    assert imported(copied).bundle()[0].frontend.rate == 8000


class Runs:
    """Pickled, it is code: to load it would make the folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def rewritten(folder: Path, edit: Any) -> None:
    torch.save(edit(torch.load(folder / "model.pth")), folder / "model.pth")


def without(folder: Path, name: str) -> None:
    rewritten(folder, lambda weights: {key: value for key, value in weights.items() if key != name})


def filled(folder: Path, name: str, value: float) -> None:
    rewritten(folder, lambda weights: weights | {name: torch.full_like(weights[name], value)})


def truncate(folder: Path) -> None:
    path = folder / "model.pth"
    path.write_bytes(path.read_bytes()[:-2000])


def flip(folder: Path) -> None:
    content = bytearray((folder / "model.pth").read_bytes())
    at = content.index(torch.load(folder / "model.pth")["ctc.ctc_lo.weight"].numpy().tobytes())
    content[at] ^= 1
    (folder / "model.pth").write_bytes(content)


DAMAGED: dict[str, Any] = {
    "damaged, or not a checkpoint": truncate,
    "does not match its checksum": flip,
    "refers to posix.mkdir, which is code": lambda f: torch.save({"x": Runs(f / "made")}, f / "model.pth"),
    "no such file": lambda f: (f / "model.pth").unlink(),
    "it is empty": lambda f: (f / "model.pth").write_bytes(b""),
    "take model.pth beside it": lambda f: rewritten(f, lambda w: {"model": w, "optimizers": []}),
    "the weight 'ctc.ctc_lo.bias' is missing": lambda f: without(f, "ctc.ctc_lo.bias"),
    "the weight 'ctc.more' is not part of": lambda f: rewritten(f, lambda w: w | {"ctc.more": torch.zeros(2)}),
    "the file belongs to another config.yaml": lambda f: change(f, encoder_conf__linear_units=32),
    "holds numbers that are NaN": lambda f: filled(f, "ctc.ctc_lo.bias", torch.nan),
    "'normalize.mean', a number for every bin, is missing": lambda f: without(f, "normalize.mean"),
    "'normalize.std' holds numbers that are no deviations": lambda f: filled(f, "normalize.std", -1.0),
    "'frontend.logmel.melmat' holds other filters": lambda f: change(f, frontend_conf__fmin=200),
    "'frontend.logmel.melmat' is missing": lambda f: change(f, frontend_conf__n_fft=512),
    "should be a dense tensor of real numbers": lambda f: rewritten(f, lambda w: w | {"ctc.ctc_lo.bias": [1.0]}),
    "(24, 16), by the configuration (900000000, 16)": lambda f: change(f, encoder_conf__linear_units=9 * 10**8),
}


@pytest.mark.parametrize("message", DAMAGED)
def test_damaged_and_foreign_weights_are_refused_with_the_reason(copied, message):
    DAMAGED[message](copied)
    with pytest.raises(ConvertError) as caught:
        imported(copied)
    assert message in str(caught.value)
    assert str(copied / "model.pth") in str(caught.value)
    assert not (copied / "run").exists() and not (copied / "made").exists()


CONFIGS = {
    "it has no key 'encoder'": b"a: 1\n",
    "is not UTF-8": b"encoder: \xff\n",
    "the tag '!!python/object/apply:os.mkdir'": b"encoder: !!python/object/apply:os.mkdir [x]\n",
    ":2: expected": b"encoder: [\n",
    "levels of keys or lists": b"encoder: " + b"[" * 100 + b"]" * 100,
    "expected keys and values at the top": b"- encoder\n",
}


@pytest.mark.parametrize("message", CONFIGS)
def test_damaged_and_foreign_configurations_are_refused_with_the_reason(copied, message):
    (copied / "config.yaml").write_bytes(CONFIGS[message])
    with pytest.raises(ConvertError) as caught:
        imported(copied)
    assert message in str(caught.value)
    assert str(copied / "config.yaml") in str(caught.value)


def test_a_run_that_is_there_is_not_written_over(copied, capsys):
    imported(copied)
    before = (copied / "run" / "model.pt").read_bytes()
    arguments = ["import", "espnet", str(copied / "config.yaml"), str(copied / "model.pth"), "--to"]
    assert main([*arguments, str(copied / "run")]) == 2
    assert "holds a run already" in capsys.readouterr().err
    (copied / "other").mkdir()
    (copied / "other" / "file").touch()
    assert main([*arguments, str(copied / "other")]) == 2
    assert "not empty and not a run" in capsys.readouterr().err
    assert (copied / "run" / "model.pt").read_bytes() == before


def test_settings_that_the_model_decides_are_refused(copied):
    with pytest.raises(ConvertError, match=r"'features\.bins=40': the model decides this"):
        imported(copied, overrides=["features.bins=40"])


def test_a_sentencepiece_model_that_lies_elsewhere_can_be_given(tmp_path):
    folder = write(tmp_path / "model", bundle(units="bpe"))
    moved = (folder / "bpe.model").rename(tmp_path / "moved.model")
    with pytest.raises(ConvertError, match=r"bpemodel is .*no such file can be read here; give it with --bpemodel"):
        imported(folder)
    assert imported(folder, bpemodel=moved).bundle()[0].tokenizer.encode(TEXTS[0])
    change(folder, bpemodel="bpe.model")  # beside the configuration
    moved.rename(folder / "bpe.model")
    assert imported(folder, tmp_path / "run").exists()


def test_a_copied_folder_needs_no_statistics_file(model, tmp_path):
    """ESPnet's own recognizer reads it first; the weights hold the same numbers."""
    shutil.copy(model / "model.pth", tmp_path)
    tree = yaml.safe_load((model / "config.yaml").read_text())
    tree["normalize_conf"]["stats_file"] = "elsewhere/feats_stats.npz"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree))
    run = imported(tmp_path)
    mean = Bundle.load(run.model_file).weights()["frontend.cmvn.mean"]
    assert torch.equal(mean, Bundle.load(model.with_name("model.pt")).weights()["frontend.cmvn.mean"])
