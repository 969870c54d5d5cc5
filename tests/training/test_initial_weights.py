"""Starting from another run: what fits is taken, rows of units by their text, frozen parts stay as they are."""

import copy

import pytest
import torch

from hybrid_asr.config.schema import parse
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.text.characters import CharTokenizer
from hybrid_asr.text.common_units import common_units, why_few
from hybrid_asr.text.lexicon import parse_lexicon
from hybrid_asr.text.phonemes import PhonemeTokenizer
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


def test_units_of_another_case_are_counted_and_the_cause_is_named(trained, tones, tmp_path, capsys):
    run = tmp_path / "run"
    assert train(tones, run, "trainer.epochs=1", "text.rules=upper@1", f"init.from={trained}") == 0
    told = capsys.readouterr().err
    assert (
        "\n4 of 10 units are taken by their text, the 3 special ones counted; "
        "new are 'A', 'B', 'C', 'D', 'E' and 1 more; not used are 'a', 'b', 'c', 'd', 'e' and 1 more\n"
    ) in told
    assert (
        "warning: only 4 of 10 units are common; they differ in upper and lower case only: "
        "text.rules=basic@2 spells as that run does (here upper@1)"
    ) in told


def phonemes(*entries: str) -> PhonemeTokenizer:
    return PhonemeTokenizer(parse_lexicon("\n".join(entries), "it"))


@pytest.mark.parametrize(
    ("ours", "theirs", "rules", "cause"),
    [
        (
            CharTokenizer("АБВ"),
            CharTokenizer("abc"),
            "basic@1",
            "scripts differ, CYRILLIC here and LATIN there: init.parts",
        ),
        (
            CharTokenizer("ABC"),
            CharTokenizer("abc"),
            "basic@1",
            "upper and lower case only: spell the transcripts alike",
        ),
        (
            CharTokenizer("äöü"),
            CharTokenizer("abc"),
            "english@1",
            "by other rules: text.rules=english@1 spells as that",
        ),
        (CharTokenizer("xyz"), CharTokenizer("abc"), "basic@1", "the transcripts have other characters: init.parts"),
        (CharTokenizer("ab"), phonemes("a A B"), "basic@1", "the tokenizers differ, 'char' here and 'phoneme' there"),
    ],
)
def test_why_units_are_few(ours, theirs, rules, cause):
    units = common_units(ours, theirs)
    assert units.are_few
    assert cause in why_few(units, (ours, "basic@1"), (theirs, rules))


def test_a_vocabulary_of_which_most_is_common_gives_no_warning(other):
    loaded = take_weights(fresh(other, " abcdefgh"), other, init())
    assert loaded.units is not None and loaded.units.new == ["g", "h"] and not loaded.units.lost
    assert not loaded.warnings


def test_what_has_another_shape_or_no_place_is_counted_and_named(other):
    config = copy.deepcopy(other.config)
    config["model"]["encoder"] |= {"kernel": 3, "layers": 2}
    config["loss"]["ctc_weight"] = 1.0
    config["features"]["bins"] = 24
    told = take_weights(Bundle.build(config, other.tokenizer, labels_per_frame=1.0), other, init()).text()
    assert (
        "of another shape there: encoder." in told
        and "convolution.depthwise.weight 32 x 1 x 5, here 32 x 1 x 3" in told
    )
    assert "not used, since this model has none: decoder." in told
    assert "warning: the encoder was trained with other features: features.bins=20 there, 24 here" in told
    assert "encoder.layers (" in told.partition("trained from the start: ")[2], "the second layer"
