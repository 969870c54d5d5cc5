"""A tag that is kept is one unit of every tokenizer, and comes back as it was spelled."""

import pytest

from hybrid_asr.text.bpe import BpeTokenizerConfig
from hybrid_asr.text.characters import CharTokenizerConfig
from hybrid_asr.text.labels import describe_missing, text_units
from hybrid_asr.text.normalize import TextConfig
from hybrid_asr.text.token_list import TokenListTokenizer
from hybrid_asr.text.tokenizer import Tokenizer, restore_tokenizer, train_tokenizer

KEEP = TextConfig(tags="keep")
TEXTS = [KEEP.spell(text) for text in ["so <NOISE> it is", "(laughter) yes it is", "[noise] no", "is it so"]]
LISTED = ["<blank>", "<unk>", "<space>", *"abehilnosty", "[noise]", "[laughter]", "<sos/eos>"]


@pytest.fixture(params=["char", "bpe", "token_list"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    if request.param == "token_list":
        return TokenListTokenizer(LISTED, joins="characters", blank=0, unk=1, sos=len(LISTED) - 1)
    cfg = CharTokenizerConfig() if request.param == "char" else BpeTokenizerConfig(size=22)
    return train_tokenizer(cfg, TEXTS, text=KEEP)


def test_a_tag_is_one_label_and_comes_back(tokenizer: Tokenizer) -> None:
    assert tokenizer.tags == {"[noise]", "[laughter]"}
    for text in TEXTS:
        assert tokenizer.missing(text) == set()
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode("[noise]")) == 1
    assert tokenizer.pieces(tokenizer.encode("[laughter]"))[0].strip() == "[laughter]"
    again = restore_tokenizer(tokenizer.state())
    assert (again.tags, again.encode(TEXTS[0])) == (tokenizer.tags, tokenizer.encode(TEXTS[0]))


def test_a_tag_that_training_had_not_is_missing_as_a_whole(tokenizer: Tokenizer) -> None:
    assert tokenizer.missing("so [cough] it is") == {"[cough]"}
    assert text_units("o [cough]", "text", tokenizer.tags) == {"o", " ", "[cough]"}
    assert describe_missing(["[cough]"], "text") == "the tag [cough]"
    if not isinstance(tokenizer, TokenListTokenizer):
        assert tokenizer.encode("so [cough]").count(tokenizer.unk) == 1


def test_brackets_of_ordinary_text_are_characters() -> None:
    plain = train_tokenizer(CharTokenizerConfig(), ["so [noise] it is"])
    assert plain.tags == frozenset() and len(plain.encode("[noise]")) == 7
    pieces = train_tokenizer(BpeTokenizerConfig(size=14), ["so [noise] it is", "[it] is"])
    assert pieces.tags == frozenset() and pieces.missing("[so]") == set()
