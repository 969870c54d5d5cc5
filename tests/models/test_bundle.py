"""A model file gives back the same recognizer, or an error that names it; nothing in it is ever run."""

import contextlib
import functools
import io
import operator
import os
import pickle
import random
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hybrid_asr.audio.features import FrontEndUnavailable, GlobalStatistics
from hybrid_asr.config.schema import plain
from hybrid_asr.models.bundle import Bundle, BundleError, read_torch
from hybrid_asr.models.hybrid import ModelConfig, Outputs
from hybrid_asr.text.normalize import TextConfig
from hybrid_asr.text.phonemes import PhonemeTokenizerConfig
from hybrid_asr.text.token_list import TokenListConfig, TokenListTokenizer
from hybrid_asr.text.tokenizer import (
    BpeTokenizerConfig,
    CharTokenizerConfig,
    Tokenizer,
    TokenizerConfig,
    train_tokenizer,
)
from tests.models.tiny import DECODERS, ENCODERS, each_encoder, members

TEXTS = ["hello world", "good morning to all of you", "né à paris", "twenty two", "hello again and good night"]
TOKENIZERS = [
    BpeTokenizerConfig(size=30),
    CharTokenizerConfig(),
    TokenListConfig(),
    PhonemeTokenizerConfig(lexicon="lexicon.txt"),
]
LISTED = TokenListTokenizer(
    ["<blank>", "<unk>", "<space>", *"abcdefghijklmnopqrstuvwxyzéà'", "<eos>"],
    joins="characters",
    blank=0,
    unk=1,
    sos=32,
)
SECOND = 16000
pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol")


def config(encoder: Any = ENCODERS[0], *, ctc_weight: float = 0.3, **features: Any) -> dict[str, Any]:
    """A run's configuration, as far as a bundle reads it."""
    return {
        "features": {"kind": "fbank", "bins": 20, **features},
        "model": plain(ModelConfig(encoder=encoder, decoder=DECODERS[0])),
        "loss": {"ctc_weight": ctc_weight},
        "text": {"rules": "none@1"},
    }


def bundle_of(tree: dict[str, Any], tokenizer: Tokenizer | None = None) -> Bundle:
    """A bundle with random weights."""
    torch.manual_seed(0)
    return Bundle.build(tree, tokenizer or train_tokenizer(CharTokenizerConfig(), TEXTS), 0.75)


def outputs(bundle: Bundle) -> Outputs:
    """What the model says of two noises for two texts, in evaluation."""
    audio = torch.randn(2, SECOND, generator=torch.Generator().manual_seed(1)) * 0.1
    labels = torch.randint(1, bundle.tokenizer.vocab_size, (2, 5), generator=torch.Generator().manual_seed(2))
    bundle.eval()
    with torch.no_grad():
        features = bundle.frontend(audio, torch.tensor([SECOND, SECOND // 2]))
        return bundle.model(features, labels)


def test_in_evaluation_nothing_is_drawn():
    tree = config(dither=1.0)
    tree["model"]["encoder"] |= {"dropout": 0.5}
    bundle = bundle_of(tree)
    assert bundle.frontend.training and bundle.model.training and bundle.eval() is bundle
    first, second = outputs(bundle), outputs(bundle)
    assert torch.equal(first.ctc_log_probs, second.ctc_log_probs) and torch.equal(first.logits, second.logits)


def assert_same(first: Bundle, second: Bundle) -> None:
    for one, other in zip(outputs(first), outputs(second), strict=True):
        assert (one is None and other is None) or torch.equal(one, other)
    for part in ("text", "labels_per_frame", "config"):
        assert getattr(first, part) == getattr(second, part)
    for text in TEXTS:
        assert first.tokenizer.encode(text) == second.tokenizer.encode(text)
        assert second.tokenizer.writes == "phonemes" or second.tokenizer.decode(second.tokenizer.encode(text)) == text


@each_encoder
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_what_was_saved_comes_back(tmp_path, encoder, weight):
    bundle = bundle_of(config(encoder, ctc_weight=weight))
    bundle.save(tmp_path / "model.pt")
    assert list(tmp_path.iterdir()) == [tmp_path / "model.pt"]
    loaded = Bundle.load(tmp_path / "model.pt")
    assert_same(bundle, loaded)
    assert loaded.text == TextConfig(rules="none@1")


@pytest.mark.parametrize("cfg", TOKENIZERS, ids=lambda cfg: cfg.kind)
def test_every_tokenizer_travels_with_the_model(tmp_path, cfg):
    assert {type(cfg) for cfg in TOKENIZERS} == set(members(TokenizerConfig))
    (tmp_path / "lexicon.txt").write_text("hello  HH AH L OW\nworld  W ER L D\n")
    tokenizer = LISTED if isinstance(cfg, TokenListConfig) else train_tokenizer(cfg, TEXTS, root=tmp_path)
    bundle = bundle_of(config(), tokenizer)
    bundle.save(tmp_path / "run" / "model.pt")
    assert_same(bundle, Bundle.load(str(tmp_path / "run" / "model.pt")))


def test_global_statistics_travel_with_the_model(tmp_path):
    bundle, statistics = bundle_of(config(cmvn="global")), GlobalStatistics(20)
    audio = torch.randn(3, SECOND, generator=torch.Generator().manual_seed(4))
    statistics.add(bundle.frontend.raw(audio, torch.tensor([SECOND, 9000, 12000])))
    bundle.frontend.set_global(statistics)
    bundle.save(tmp_path / "model.pt")
    assert_same(bundle, Bundle.load(tmp_path / "model.pt"))


def test_the_file_holds_plain_containers_and_tensors_only(tmp_path):
    bundle_of(config()).save(tmp_path / "model.pt")
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    assert content["config"] == config()

    def check(value: Any) -> None:
        assert type(value) in (dict, list, str, int, float, bool, type(None), Tensor), type(value)
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            check(inner)

    check(content | {"weights": dict(content["weights"])})


def test_a_training_checkpoint_loads_too(tmp_path):
    bundle = bundle_of(config())
    content = {"bundle": bundle.describe(), "state_dict": bundle.weights() | {"other": torch.ones(1)}, "epoch": 3}
    torch.save(content, tmp_path / "last.ckpt")
    assert_same(bundle, Bundle.load(tmp_path / "last.ckpt"))


def test_loading_leaves_the_random_generator_alone(tmp_path):
    bundle_of(config()).save(tmp_path / "model.pt")
    torch.manual_seed(11)
    before = torch.get_rng_state()
    Bundle.load(tmp_path / "model.pt")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_save_that_fails_leaves_the_old_file(tmp_path):
    bundle = bundle_of(config())
    bundle.save(tmp_path / "model.pt")
    bundle.config["unpicklable"] = lambda: None
    with pytest.raises(Exception, match="pickle"):
        bundle.save(tmp_path / "model.pt")
    assert list(tmp_path.iterdir()) == [tmp_path / "model.pt"]
    assert Bundle.load(tmp_path / "model.pt").config == config()


class Attack:
    """A pickle that writes a file where it is read without care."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Callable, tuple]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("write", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_code_in_a_foreign_file_is_not_run(tmp_path, write):
    path, mark = tmp_path / "model.pt", tmp_path / "was-run"
    write({"format": "hybrid-asr model 1", "weights": Attack(mark)}, path)
    with pytest.raises(BundleError, match="damaged, or not a checkpoint") as raised:
        Bundle.load(path)
    assert str(path) in str(raised.value)
    assert not mark.exists()
    with contextlib.suppress(RuntimeError):
        torch.load(path, weights_only=False)  # the trap itself works
    assert mark.exists()


def test_a_front_end_that_cannot_be_had_is_no_damage(tmp_path, monkeypatch):
    bundle = bundle_of(config())
    content = bundle.describe() | {"weights": bundle.weights()}
    content["config"]["features"]["kind"] = "torchaudio"
    torch.save(content, tmp_path / "model.pt")
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    with pytest.raises(FrontEndUnavailable, match="torchaudio cannot be imported"):
        Bundle.load(tmp_path / "model.pt")


Content = dict[str, Any]
BIAS = "model.ctc.project.bias"


def without(*keys: str) -> Callable[[Content], Content]:
    """Take out what stands under `keys`."""

    def change(content: Content) -> Content:
        functools.reduce(operator.getitem, keys[:-1], content).pop(keys[-1])
        return content

    return change


def having(value: Any, *keys: str) -> Callable[[Content], Content]:
    """Put `value` under `keys`."""

    def change(content: Content) -> Content:
        functools.reduce(operator.getitem, keys[:-1], content)[keys[-1]] = value
        return content

    return change


FOREIGN: dict[str, tuple[Callable[[Content], Any], str]] = {
    "a plain state dict": (lambda content: content["weights"], "not a model of hybrid-asr"),
    "a checkpoint of others": (lambda content: {"state_dict": content["weights"]}, "not a model of hybrid-asr"),
    "a tensor": (lambda content: content["weights"][BIAS], "holds Tensor"),
    "a list": (lambda content: [content], "holds list"),
    "another version": (having("hybrid-asr model 2", "format"), "'hybrid-asr model 2', of another version"),
    "a bundle that is none": (lambda content: {"bundle": 3}, "not a model of hybrid-asr"),
    "no weights": (without("weights"), "Missing key"),
    "weights that are none": (having([1, 2], "weights"), "damaged, or of another version"),
    "a weight missing": (without("weights", BIAS), "ctc.project.bias"),
    "a weight too many": (having(torch.ones(3), "weights", "model.encoder.other"), "encoder.other"),
    "a weight of another shape": (having(torch.ones(2), "weights", BIAS), "size mismatch for ctc.project.bias"),
    "a weight that is none": (having("text", "weights", BIAS), "ctc.project.bias"),
    "no tokenizer": (without("tokenizer"), "tokenizer"),
    "an unknown tokenizer": (having({"kind": "runes"}, "tokenizer"), "'runes'"),
    "a tokenizer that is none": (having(7, "tokenizer"), "damaged, or of another version"),
    "a configuration without a model": (without("config", "model"), "model"),
    "an unknown key": (having(3, "config", "model", "encoder", "depth"), "model.encoder.depth"),
    "no configuration": (having(None, "config"), "damaged, or of another version"),
    "no bound on length": (without("labels_per_frame"), "labels_per_frame"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_foreign_and_incomplete_files_are_refused_by_name(tmp_path, case):
    path, (change, message) = tmp_path / "foreign.pt", FOREIGN[case]
    bundle = bundle_of(config())
    torch.save(change(bundle.describe() | {"weights": bundle.weights()}), path)
    with pytest.raises(BundleError) as raised:
        Bundle.load(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert message in str(raised.value)


def test_a_missing_file_is_named_with_the_remedy(tmp_path):
    for path in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(BundleError, match="no such file; train first") as raised:
            Bundle.load(path)
        assert str(path) in str(raised.value)


def assert_unreadable(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(BundleError) as raised:
        read_torch(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path, zipped):
    buffer = io.BytesIO()
    torch.save({"weights": torch.randn(40)}, buffer, _use_new_zipfile_serialization=zipped)
    whole = buffer.getvalue()
    for size in range(0, len(whole), 13):
        assert_unreadable(tmp_path / "cut.pt", whole[:size])


def test_a_truncated_model_is_refused(tmp_path):
    path = tmp_path / "model.pt"
    bundle_of(config()).save(path)
    assert_unreadable(path, path.read_bytes()[: path.stat().st_size // 2])


def test_text_and_noise_are_refused(tmp_path):
    """Some of them are pickles that fall over: torch then raises an IndexError, an AssertionError, a struct.error."""
    generator = random.Random(0)
    contents = [
        b"",
        b"hello world\n",
        "ключ\n".encode(),
        b"[1, 2]",
        b"{}",
        b"PK\x03\x04 not a zip",
        b"RIFF\0\0\0\0WAVE",
    ]
    contents += [bytes([first]) + b"ello world\nmore text\n" for first in range(256)]
    contents += [b"\x80\x02" + generator.randbytes(generator.randrange(1, 40)) for _ in range(200)]
    for content in contents:
        assert_unreadable(tmp_path / "noise.pt", content)


def test_one_flipped_bit_is_found_wherever_it_is(tmp_path):
    """torch itself reads such a file without a word, and the model is another one."""
    path, place = tmp_path / "model.pt", random.Random(5)
    bundle_of(config()).save(path)
    whole = path.read_bytes()
    for _ in range(40):
        at = place.randrange(len(whole))
        content = bytearray(whole)
        content[at] ^= 1 << place.randrange(8)
        path.write_bytes(content)
        try:
            assert_same(Bundle.load(path), bundle_of(config()))  # in what only fills the gaps between two records
        except BundleError as error:
            assert f"{path}: damaged, or not a checkpoint" in str(error)
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        records = [record for record in archive.infolist() if "/data/" in record.filename]
        largest = archive.read(max(records, key=lambda record: record.file_size))
    content = bytearray(whole)
    content[whole.index(largest) + len(largest) // 2] ^= 1  # in the middle of a weight
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"data/\d+ does not match its checksum"):
        Bundle.load(path)
