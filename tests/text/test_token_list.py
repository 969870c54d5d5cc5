"""A foreign list of tokens: its ids, how it is joined, what it cannot write, and that it comes back."""

import pytest

from hybrid_asr.config.schema import parse
from hybrid_asr.text.labels import TokenizerError
from hybrid_asr.text.token_list import TokenListTokenizer
from hybrid_asr.text.tokenizer import (
    BpeTokenizerConfig,
    Tokenizer,
    TokenizerConfig,
    restore_tokenizer,
    train_tokenizer,
)

CHARACTERS = ["<blank>", "<unk>", "<space>", "A", "B", "<NOISE>", "É", "<sos/eos>"]
WORDS = ["<blank>", "HI", "YOU", "<unk>", "<sos/eos>"]
TEXTS = ["a cab", "bad cab", "decade", "faded facade"]


def characters() -> TokenListTokenizer:
    return TokenListTokenizer(CHARACTERS, joins="characters", blank=0, unk=1, sos=7)


def words() -> TokenListTokenizer:
    return TokenListTokenizer(WORDS, joins="words", blank=0, unk=3, sos=4)


def pieces() -> TokenListTokenizer:
    trained = train_tokenizer(BpeTokenizerConfig(size=14), TEXTS)
    tokens = ["<blank>", "<unk>", *reversed(trained.units()), "<sos/eos>"]  # in an order of their own
    return TokenListTokenizer(tokens, joins="pieces", blank=0, unk=1, sos=len(tokens) - 1, model=trained.model)


def test_characters_stand_side_by_side_and_long_tokens_come_first():
    tokenizer = characters()
    assert tokenizer.encode("A  B <NOISE>BQ") == [3, 2, 4, 2, 5, 4, 1]
    assert tokenizer.encode("E\u0301") == [6]
    assert tokenizer.decode([7, 0, 3, 2, 2, 4, 1, 7]) == "A B\ufffd"
    assert tokenizer.pieces([3, 2, 0, 7]) == ["A", " ", "", ""]
    assert tokenizer.missing("A bQ") == {"b", "Q"}


def test_words_have_spaces_between_them():
    tokenizer = words()
    assert tokenizer.encode("HI YOU HEY") == [1, 2, 3]
    assert tokenizer.decode([1, 2, 3]) == "HI YOU \ufffd"
    assert tokenizer.missing("HI HEY") == {"H", "E", "Y"}


def test_pieces_are_split_by_their_model_and_numbered_by_the_list():
    tokenizer = pieces()
    for text in TEXTS:
        labels = tokenizer.encode(text)
        assert tokenizer.unk not in labels and tokenizer.decode(labels) == text
        assert [tokenizer.tokens[label].replace("\u2581", " ") for label in labels] == tokenizer.pieces(labels)
    assert tokenizer.unk in tokenizer.encode("a zoo") and {"z", "o"} <= tokenizer.missing("a zoo")


@pytest.mark.parametrize("make", [characters, words, pieces])
def test_it_comes_back(make):
    first = make()
    second = restore_tokenizer(first.state())
    assert isinstance(second, TokenListTokenizer) and isinstance(second, Tokenizer)
    assert second.state().keys() == first.state().keys()
    assert (second.tokens, second.joins, second.model) == (first.tokens, first.joins, first.model)
    assert (second.blank, second.unk, second.sos, second.eos) == (first.blank, first.unk, first.sos, first.sos)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": ["<blank>", "<unk>", "A", "A", "<sos/eos>"], "sos": 4}, "holds A more than once"),
        ({"tokens": ["<blank>", "<unk>", 7, "<sos/eos>"], "sos": 3}, "token 2 of the list is 7"),
        ({"sos": 99}, "should be three of the 8 tokens"),
        ({"unk": 0}, "should be three of the 8 tokens"),
        ({"unk": "1"}, "no tokenizer of hybrid-asr"),
        ({"joins": "syllables"}, "no tokenizer of hybrid-asr"),
        ({"joins": "pieces"}, "need a sentencepiece model"),
        ({"model": b"bytes"}, "expected the bytes of a sentencepiece model"),
    ],
)
def test_a_damaged_list_is_refused(change, message):
    with pytest.raises(TokenizerError, match=message):
        restore_tokenizer(characters().state() | change)


def test_it_is_not_learned_from_texts():
    with pytest.raises(TokenizerError, match="is not learned from texts: choose"):
        train_tokenizer(parse(TokenizerConfig, {"kind": "token_list"}), TEXTS)
