"""The phoneme tokenizer writes first pronunciations, names the words it lacks, and travels with its lexicon."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hybrid_asr.text.labels import TokenizerError
from hybrid_asr.text.lexicon import Lexicon, LexiconError, parse_lexicon
from hybrid_asr.text.normalize import TextConfig
from hybrid_asr.text.phonemes import PhonemeTokenizer, PhonemeTokenizerConfig
from hybrid_asr.text.tokenizer import Tokenizer, restore_tokenizer, train_tokenizer

LEXICON = parse_lexicon("A EY\nA AH\nBAY B EY\nABBEY AE B IY\n", "it")
PHONES = st.lists(st.sampled_from(["a", "b", "c'", "ŋ"]), min_size=1, max_size=3).map(tuple)
WORDS = st.text(alphabet="abcé'", min_size=1, max_size=4)


def test_a_text_is_the_first_pronunciations_of_its_words() -> None:
    tokenizer = PhonemeTokenizer(LEXICON)
    assert isinstance(tokenizer, Tokenizer) and tokenizer.writes == "phonemes"
    assert tokenizer.phonemes == ("AE", "AH", "B", "EY", "IY") and tokenizer.vocab_size == 8
    labels = tokenizer.encode("A  BAY")
    assert tokenizer.decode(labels) == "EY B EY"
    assert tokenizer.pieces(labels) == [" EY", " B", " EY"]
    assert tokenizer.pieces([tokenizer.blank, tokenizer.eos]) == ["", ""]


def test_words_that_the_lexicon_lacks_are_named_and_are_one_unknown_each() -> None:
    tokenizer = PhonemeTokenizer(LEXICON)
    assert tokenizer.missing("A BEE BAY SEA") == {"BEE", "SEA"}
    assert tokenizer.encode("BEE BAY")[0] == tokenizer.unk and len(tokenizer.encode("BEE BAY")) == 3
    assert tokenizer.decode(tokenizer.encode("BEE BAY")) == "\ufffd B EY"


@given(st.dictionaries(WORDS, st.lists(PHONES, min_size=1, max_size=3, unique=True).map(tuple), min_size=1, max_size=5))
def test_a_stored_tokenizer_is_the_same(tmp_path_factory, entries) -> None:
    tokenizer = PhonemeTokenizer(Lexicon(entries))
    path = tmp_path_factory.getbasetemp() / "state.pt"
    torch.save(tokenizer.state(), path)
    again = restore_tokenizer(torch.load(path, weights_only=True))
    assert again.state() == tokenizer.state() and again.vocab_size == tokenizer.vocab_size
    text = " ".join(entries)
    assert again.encode(text) == tokenizer.encode(text) and not again.missing(text)
    assert tokenizer.decode(tokenizer.encode(text)).split() == [one for word in entries for one in entries[word][0]]


def test_it_is_read_below_the_root_and_spelled_as_the_texts(tmp_path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "lexicon.txt").write_text("yes Y EH S\nno N OW\n")
    cfg = PhonemeTokenizerConfig(lexicon="corpus/lexicon.txt")
    tokenizer = train_tokenizer(cfg, ["YES NO"], text=TextConfig(rules="upper@1"), root=tmp_path)
    assert not tokenizer.missing("YES NO")
    with pytest.raises(TokenizerError, match=r"has none of the 2 words .*such as 'no', but others, such as 'YES'"):
        train_tokenizer(cfg, ["yes no"], text=TextConfig(rules="upper@1"), root=tmp_path)
    with pytest.raises(TokenizerError, match="training text is empty"):
        train_tokenizer(cfg, [" "], root=tmp_path)
    with pytest.raises(LexiconError, match=r"tokenizer.lexicon=none.txt: no such file here, nor below data.root \("):
        train_tokenizer(PhonemeTokenizerConfig(lexicon="none.txt"), ["yes"], root=tmp_path)


def test_a_damaged_state_is_refused() -> None:
    with pytest.raises(LexiconError, match=r"tokenizer.lexicon:1: 'GO' has no pronunciation"):
        restore_tokenizer({"kind": "phoneme", "lexicon": "GO"})
