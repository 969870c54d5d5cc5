"""Starting from another run: what fits is taken, rows of units by their text, frozen parts stay as they are."""

import pytest
import torch

from hybrid_asr.config.schema import parse
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.text.characters import CharTokenizer
from hybrid_asr.text.token_list import TokenListTokenizer
from hybrid_asr.training.initial_weights import InitConfig, freeze, take_weights
from tests.tones import train


def init(**keys) -> InitConfig:
    return parse(InitConfig, {"from": "other", **keys})


@pytest.fixture
def other(trained) -> Bundle:
    return Bundle.load(trained / "model.pt")


def fresh(other, characters) -> Bundle:
    """A new model of the same shape with other units."""
    torch.manual_seed(3)
    return Bundle.build(other.config, CharTokenizer(characters), labels_per_frame=1.0)


def row(bundle, name, character) -> torch.Tensor:
    return bundle.model.state_dict()[name][bundle.tokenizer.unk + 1 + bundle.tokenizer.characters.index(character)]


ROWS = ("ctc.project.weight", "ctc.project.bias", "decoder.embedding.weight", "decoder.output.bias")


def test_an_equal_vocabulary_takes_everything(other):
    mine = fresh(other, other.tokenizer.characters)
    loaded = take_weights(mine, other, init())
    assert all(torch.equal(value, other.weights()[name]) for name, value in mine.weights().items())
    assert not loaded.fresh
    assert not loaded.by_unit
    assert "trained from the start: nothing" in loaded.text()


@pytest.mark.parametrize(
    "characters", [" abxyz", "abc", " abcdefghij", "fedcba "], ids=["other", "less", "more", "moved"]
)
def test_another_vocabulary_takes_the_rows_of_common_units(other, characters):
    """Also where it has as many units, or none that the other lacks."""
    mine = fresh(other, characters)
    before = fresh(other, characters)
    loaded = take_weights(mine, other, init())
    assert set(ROWS) < set(loaded.by_unit)
    assert not loaded.fresh
    for name in ROWS:
        for character in characters:
            source = other if character in other.tokenizer.characters else before
            assert torch.equal(row(mine, name, character), row(source, name, character)), (name, character)
        for special in ("blank", "unk", "eos"):
            taken = mine.model.state_dict()[name][getattr(mine.tokenizer, special)]
            assert torch.equal(taken, other.model.state_dict()[name][getattr(other.tokenizer, special)])
    assert "for the units that both vocabularies have: ctc.project (2)" in loaded.text()


def test_an_imported_list_of_tokens_gives_and_takes_all_rows_wherever_its_special_ones_stand(other):
    tokens = ["<blank>", *reversed(other.tokenizer.characters), "<unk>", "<sos/eos>"]
    tokens[tokens.index(" ")] = "<space>"
    foreign = TokenListTokenizer(tokens, joins="characters", blank=0, unk=len(tokens) - 2, sos=len(tokens) - 1)
    theirs = Bundle.build(other.config, foreign, labels_per_frame=1.0)
    take_weights(theirs, other, init())
    back = fresh(other, other.tokenizer.characters)
    take_weights(back, theirs, init())
    assert all(torch.equal(value, other.weights()[name]) for name, value in back.weights().items())
    same = Bundle.build(other.config, foreign, labels_per_frame=1.0)
    assert not take_weights(same, theirs, init()).fresh
    assert all(torch.equal(value, theirs.weights()[name]) for name, value in same.weights().items())


def test_parts_limit_what_is_taken(other):
    mine, before = fresh(other, other.tokenizer.characters), fresh(other, other.tokenizer.characters)
    loaded = take_weights(mine, other, init(parts=["encoder"]))
    for name, value in mine.model.state_dict().items():
        source = other if name.startswith("encoder.") else before
        assert torch.equal(value, source.model.state_dict()[name]), name
    assert all(name.startswith("encoder.") for name in loaded.taken)
    assert {name.split(".")[0] for name in loaded.fresh} == {"ctc", "decoder"}


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda other: take_weights(other, other, init(parts=["encodr"])), "init.parts: .* no part 'encodr'"),
        (lambda other: freeze(other.model, ("ctc", "encode")), "init.freeze: .* no part 'encode'; .*encoder"),
        (lambda other: freeze(other.model, ("ctc", "encoder", "decoder")), "init.freeze: nothing is left to train"),
    ],
)
def test_wrong_parts_are_refused_by_name(other, act, message):
    with pytest.raises(ValueError, match=message):
        act(other)
    assert all(weight.requires_grad for weight in other.model.parameters())


def test_a_part_is_a_whole_name(other):
    count = freeze(other.model, ("encoder.layers.0", "ctc"))
    frozen = {name for name, weight in other.model.named_parameters() if not weight.requires_grad}
    assert frozen == {
        name for name, _ in other.model.named_parameters() if name.startswith(("encoder.layers.0.", "ctc."))
    }
    assert count == sum(weight.numel() for weight in other.model.parameters() if not weight.requires_grad)


def test_a_training_starts_from_another_and_leaves_frozen_parts_alone(trained, tones, tmp_path, capsys):
    run = tmp_path / "run"
    assert train(tones, run, "trainer.epochs=1", f"init.from={trained}", "init.freeze=[encoder]") == 0
    told = capsys.readouterr().err
    assert f"starting from {trained}\ntaken: encoder." in told
    assert "frozen: " in told
    mine, its = Bundle.load(run / "model.pt").weights(), Bundle.load(trained / "model.pt").weights()
    moved = {name.split(".")[1] for name in mine if not torch.equal(mine[name], its[name])}
    assert moved == {"ctc", "decoder"}


def test_what_does_not_exist_is_refused_before_anything_is_written(tones, tmp_path, capsys):
    run = tmp_path / "run"
    assert train(tones, run, f"init.from={tmp_path / 'nowhere'}") == 2
    told = capsys.readouterr().err
    assert "nowhere: no such file" in told
    assert "train that run first" in told
    assert train(tones, run, "init.freeze=[encodr]") == 2
    assert not run.exists()
