"""Which words a lexicon decoding may write, from where they come, and how the model spells them."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from hybrid_asr import load
from hybrid_asr.cli import main
from hybrid_asr.common.errors import UserError
from hybrid_asr.config.locate import presets
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.decoding.hypothesis import DecodeError
from hybrid_asr.decoding.lexicon_search import LexiconConfig
from hybrid_asr.inference.presets import decoders_for_model
from hybrid_asr.inference.vocabulary import border_label, files_of, lexicon_search
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.run.folder import Run
from hybrid_asr.text.bpe import BpeTokenizer
from hybrid_asr.text.characters import CharTokenizer
from hybrid_asr.text.lexicon import parse_lexicon
from hybrid_asr.text.phonemes import PhonemeTokenizer
from hybrid_asr.text.token_list import TokenListTokenizer
from tests.test_cli import refused

TEXTS = ["the cat sat on the mat", "a cat and a hat"]


@pytest.fixture
def bundle(trained) -> Bundle:
    return Run(trained).bundle()[0]


def test_the_label_between_words_is_learned_from_the_tokenizer() -> None:
    letters = CharTokenizer.train(TEXTS)
    assert letters.pieces([border_label(letters, ["cat", "a"])]) == [" "]
    assert border_label(CharTokenizer.train(["ab", "c"]), ["ab", "cc"]) is None, "it has no space"
    assert border_label(BpeTokenizer.train(TEXTS, size=25), ["cat", "the", "mat"]) is None, "pieces begin with a space"
    words = TokenListTokenizer(["<blank>", "<unk>", "cat", "a", "<sos>"], joins="words", blank=0, unk=1, sos=4)
    assert border_label(words, ["cat", "a"]) is None


def test_words_of_the_training_transcripts_and_of_no_others(bundle, tones) -> None:
    search = lexicon_search(bundle, LexiconConfig(lexicon="train"))
    said = {word for one in Manifest.read(tones / "train.jsonl") for word in one.text.split()}
    assert set(search.trie.words) == said
    arpa = str(tones / "valid.jsonl")  # any file
    assert files_of(bundle, LexiconConfig(lexicon="train", arpa=arpa)) == [tones / "train.jsonl", Path(arpa)]


def test_a_phoneme_model_takes_a_file_in_place_of_its_own_lexicon(bundle, tones, tmp_path, capsys) -> None:
    own = parse_lexicon("ab A B\nba B A\nab B\n", "it")
    phonemes = dataclasses.replace(bundle, tokenizer=PhonemeTokenizer(own))
    assert lexicon_search(phonemes, LexiconConfig()).trie.words == ("ab", "ba")
    (tmp_path / "other.txt").write_text("BAB B A B\nabc A B C\nab A\n")
    search = lexicon_search(phonemes, LexiconConfig(lexicon=str(tmp_path / "other.txt")))
    assert search.trie.words == ("bab", "ab")
    assert (
        "1 words are left out, they have the phonemes C, which are no units of the model: 'abc'"
        in capsys.readouterr().err
    )
    (tmp_path / "other.txt").write_text("x X\n")
    with pytest.raises(DecodeError, match=r"none of its 1 words can be written: they have the phonemes X"):
        lexicon_search(phonemes, LexiconConfig(lexicon=str(tmp_path / "other.txt")))


def test_a_phoneme_model_restricted_to_training_words(bundle, tones) -> None:
    said = {word for one in Manifest.read(tones / "train.jsonl") for word in one.text.split()}
    own = parse_lexicon("".join(f"{word} {' '.join(word)}\n" for word in {*said, "fedcba"}), "it")
    phonemes = dataclasses.replace(bundle, tokenizer=PhonemeTokenizer(own))
    assert set(lexicon_search(phonemes, LexiconConfig()).trie.words) == {*said, "fedcba"}
    assert set(lexicon_search(phonemes, LexiconConfig(lexicon="train")).trie.words) == said


def test_what_cannot_be_served_is_told_with_the_remedy(bundle, tmp_path) -> None:
    with pytest.raises(UserError, match=r"decode.lexicon=none.txt: no such file here, nor below data.root \("):
        lexicon_search(bundle, LexiconConfig(lexicon="none.txt"))
    bundle.config["data"] = bundle.config["data"] | {"root": str(tmp_path)}
    with pytest.raises(
        UserError, match=r"the training transcripts, .*train.jsonl, are not there; give a list of words"
    ):
        lexicon_search(bundle, LexiconConfig(lexicon="train"))
    (tmp_path / "words.txt").write_text("abc\nxyz\n")
    (tmp_path / "words.arpa").write_text("\\data\\\nngram 1=3\n\\1-grams:\n-1 <unk>\n-0.3 </s>\n-0.3 ABC\n\\end\\\n")
    with pytest.raises(
        DecodeError, match=r"has none of the 1 words, such as 'abc', but others such as 'ABC'; make it of"
    ):
        lexicon_search(bundle, LexiconConfig(lexicon="words.txt", arpa="words.arpa"))
    assert lexicon_search(bundle, LexiconConfig(lexicon="words.txt")).trie.words == ("abc",)
    with pytest.raises(UserError, match=r"decode.arpa=gone.arpa: no such file here, nor below"):
        lexicon_search(bundle, LexiconConfig(lexicon="words.txt", arpa="gone.arpa"))


def test_words_that_an_n_gram_forbids_are_counted_and_named(bundle, tmp_path, capsys) -> None:
    bundle.config["data"] = bundle.config["data"] | {"root": str(tmp_path)}
    (tmp_path / "words.txt").write_text("abc\nbad\ncab\n")
    arpa = "\\data\\\nngram 1=2\n\\1-grams:\n-0.3 </s>\n-0.3 abc\n\\end\\\n"
    (tmp_path / "words.arpa").write_text(arpa)
    assert lexicon_search(bundle, LexiconConfig(lexicon="words.txt", arpa="words.arpa")).trie.words == ("abc",)
    assert "has neither 2 of the 3 words nor <unk>, so that they are never written: 'bad', 'cab'" in (
        capsys.readouterr().err
    )
    (tmp_path / "words.arpa").write_text(arpa.replace("1=2", "1=3").replace("-0.3 </s>", "-0.3 </s>\n-2 <unk>"))
    assert len(lexicon_search(bundle, LexiconConfig(lexicon="words.txt", arpa="words.arpa")).trie.words) == 3
    assert not capsys.readouterr().err


def test_all_has_it_where_the_words_are_known(bundle, trained, capsys) -> None:
    others = [name for name in presets("decode") if name != "lexicon"]
    assert [*decoders_for_model(bundle, bundle.config, ["all"], [])] == others
    with_words = decoders_for_model(bundle, bundle.config, ["all"], ["decode.lexicon=train"])
    assert sorted(with_words) == sorted([*others, "lexicon"])
    assert "decode.lexicon=FILE" in refused(capsys, "decode", str(trained), "--decoders", "lexicon")


def test_a_changed_lexicon_is_decoded_again(trained, tones, tmp_path, capsys) -> None:
    run, words = shutil.copytree(trained, tmp_path / "run"), tmp_path / "words.txt"
    texts = [one.text for one in Manifest.read(tones / "test.jsonl")]
    words.write_text("\n".join(word for text in texts for word in text.split()))
    command = ["decode", str(run), "--decoders", "lexicon", f"decode.lexicon={words}"]
    assert main(command) == 0
    [place] = (run / "decode" / "test").iterdir()
    first = (place / "hypotheses.jsonl").read_text()
    words.write_text("aaa\n")
    assert main(command) == 0
    assert (place / "hypotheses.jsonl").read_text() != first


def test_words_have_their_times(trained, tones) -> None:
    path = tones / Manifest.read(tones / "valid.jsonl")[0].audio
    with_lexicon = load(trained, decoder="lexicon", overrides=["decode.lexicon=train"])
    [one] = with_lexicon.transcribe([path])
    assert " ".join(word.text for word in one.words) == one.text
    spans = [(word.start_s, word.end_s) for word in one.words]
    assert spans == sorted(spans) and all(begin < end for begin, end in spans)
