"""Files that call themselves models: measured before anything is built, and refused by key, weight or record."""

import zipfile

import pytest
import torch

from hybrid_asr.models.bundle import Bundle, BundleError
from hybrid_asr.text.characters import CharTokenizer
from hybrid_asr.text.labels import TokenizerError
from hybrid_asr.text.tokenizer import restore_tokenizer
from tests.models.test_bundle import bundle_of, config

HUGE = 10**12


def refused(path, content, message: str) -> None:
    torch.save(content, path)
    with pytest.raises(BundleError) as raised:
        Bundle.load(path)
    assert message in str(raised.value) and str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("key", "size"),
    [
        ("dim", 12 * 10**9),
        ("layers", HUGE),
        ("feed_forward", HUGE),
        pytest.param("layers", 999, marks=pytest.mark.slow),
    ],
)
def test_a_model_of_any_size_is_measured_before_it_is_built(key, size, tmp_path):
    bundle = bundle_of(config())
    content = bundle.describe() | {"weights": bundle.weights()}
    content["config"]["model"]["encoder"][key] = size
    refused(tmp_path / "m.pt", content, "model")


def test_weights_that_are_no_numbers_are_named(tmp_path):
    bundle = bundle_of(config())
    name = "model.ctc.project.bias"
    for value, message in {
        float("nan"): f"'{name}' holds numbers that are NaN or infinite",
        float("inf"): f"'{name}' holds numbers that are NaN or infinite",
    }.items():
        weights = {key: tensor.clone() for key, tensor in bundle.weights().items()}
        weights[name][0] = value
        refused(tmp_path / "m.pt", bundle.describe() | {"weights": weights}, message)
    for value in (bundle.weights()[name].to_sparse(), bundle.weights()[name].to(torch.complex64), "text", None):
        weights = bundle.weights() | {name: value}
        refused(tmp_path / "m.pt", bundle.describe() | {"weights": weights}, f"'{name}' should be a dense tensor")
    weights = bundle.weights() | {name: torch.ones(1).expand(HUGE)}
    refused(tmp_path / "m.pt", bundle.describe() | {"weights": weights}, "size mismatch for ctc.project.bias")


@pytest.mark.parametrize("bound", [None, 0, -1.0, float("nan"), float("inf"), True, "1"])
def test_a_bound_on_length_is_a_positive_number(bound, tmp_path):
    bundle = bundle_of(config())
    content = bundle.describe() | {"weights": bundle.weights(), "labels_per_frame": bound}
    refused(tmp_path / "m.pt", content, "'labels_per_frame': expected a positive number")


def test_an_archive_that_unpacks_to_more_than_it_is_stays_packed(tmp_path):
    path, bomb = tmp_path / "m.pt", tmp_path / "bomb.pt"
    bundle_of(config()).save(path)
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in archive.namelist():
            packed.writestr(name, archive.read(name))
    with pytest.raises(BundleError, match=r"its record \S+ is compressed, which torch never does"):
        Bundle.load(bomb)


@pytest.mark.parametrize(
    ("characters", "message"),
    [
        (["a", "bc"], "number 1 is 'bc', not a character"),
        (["a", 7], "number 1 is 7"),
        (["a", "a"], "2 characters, 1 different"),
        ([], "0 characters"),
    ],
)
def test_a_stored_character_is_one_character_once(characters, message):
    with pytest.raises(TokenizerError, match=f"tokenizer.characters: {message}"):
        restore_tokenizer({"kind": "char", "characters": characters})
    assert restore_tokenizer(CharTokenizer(["a", "b"]).state()).vocab_size == 5
