"""Laws that hold for every tokenizer."""

import gzip
import io
import pickle
import random
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hybrid_asr.config.schema import ConfigError, parse
from hybrid_asr.text.bpe import BpeTokenizer, BpeTokenizerConfig
from hybrid_asr.text.characters import CharTokenizer, CharTokenizerConfig
from hybrid_asr.text.labels import UNKNOWN_TEXT, TokenizerError
from hybrid_asr.text.normalize import normalize
from hybrid_asr.text.tokenizer import Tokenizer, TokenizerConfig, restore_tokenizer, train_tokenizer

# Always the same examples, and a loaded machine is no failure.
examples = partial(settings, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
ENGLISH = ["the quick brown fox", "jumps over the lazy dog", "it's the quick fox's jump", "over and over again"]
MANDARIN = ["今天天气很好", "我们今天去北京", "天气预报说明天下雨"]
THAI = ["สวัสดีครับ ขอบคุณ", "ขอบคุณครับ"]
EMOJI = ["I ❤️ cafe\u0301 👩\u200d💻", "naïve ❤️ 👩\u200d💻 ﬁ ①"]
CORPORA = {"english": ENGLISH, "mandarin": MANDARIN, "thai": THAI, "emoji": EMOJI}
BPE_SIZES = {"english": 45, "mandarin": 27, "thai": 26, "emoji": 30}
KINDS = ("char", "bpe")


def config_of(kind: str, corpus: str) -> TokenizerConfig:
    return CharTokenizerConfig() if kind == "char" else BpeTokenizerConfig(size=BPE_SIZES[corpus])


def trained(kind: str, corpus: str) -> Tokenizer:
    return train_tokenizer(config_of(kind, corpus), CORPORA[corpus])


@pytest.fixture(params=[(kind, corpus) for kind in KINDS for corpus in CORPORA], ids="-".join)
def case(request: pytest.FixtureRequest) -> tuple[Tokenizer, list[str]]:
    kind, corpus = request.param
    return trained(kind, corpus), CORPORA[corpus]


def test_ids(case: tuple[Tokenizer, list[str]]) -> None:
    tokenizer, texts = case
    assert (tokenizer.blank, tokenizer.unk) == (0, 1)
    assert tokenizer.sos == tokenizer.eos == tokenizer.vocab_size - 1
    labels = {label for text in texts for label in tokenizer.encode(text)}
    assert labels <= set(range(2, tokenizer.vocab_size - 1))


def test_round_trip_of_training_text(case: tuple[Tokenizer, list[str]]) -> None:
    tokenizer, texts = case
    for text in texts:
        assert tokenizer.missing(text) == set()
        assert tokenizer.decode(tokenizer.encode(text)) == normalize(text, "none@1")
    assert tokenizer.encode("") == [] and tokenizer.decode([]) == ""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("corpus", CORPORA)
def test_round_trip_of_any_text_from_the_same_characters(kind: str, corpus: str) -> None:
    tokenizer = trained(kind, corpus)
    alphabet = sorted(set("".join(CORPORA[corpus])))

    @examples(max_examples=100)
    @given(text=st.text(alphabet=alphabet))
    def holds(text: str) -> None:
        expected = normalize(text, "none@1")
        if not tokenizer.missing(text):  # e + accent may compose to a letter that was never seen
            assert tokenizer.decode(tokenizer.encode(text)) == expected

    holds()


@pytest.mark.parametrize("kind", KINDS)
@examples(max_examples=200)
@given(text=st.text())
def test_unknown_characters_are_seen_and_said(kind: str, text: str) -> None:
    tokenizer = _ENGLISH[kind]
    labels = tokenizer.encode(text)
    missing = tokenizer.missing(text)
    assert (tokenizer.unk in labels) == bool(missing)
    decoded = tokenizer.decode(labels)
    assert (UNKNOWN_TEXT in decoded) == bool(missing)
    assert tokenizer.decode(tokenizer.encode(decoded)) == decoded
    kept = [character for character in normalize(text, "none@1") if character not in missing]
    assert "".join(kept).replace(" ", "") == decoded.replace(UNKNOWN_TEXT, "").replace(" ", "")


def test_pieces_are_the_text(case: tuple[Tokenizer, list[str]]) -> None:
    tokenizer, texts = case
    for text in texts:
        labels = tokenizer.encode(text)
        assert "".join(tokenizer.pieces(labels)).strip() == tokenizer.decode(labels)
    specials = [tokenizer.blank, tokenizer.eos]
    assert tokenizer.pieces(specials) == ["", ""]
    assert tokenizer.decode(specials) == ""


def test_restored_from_a_file_of_plain_containers(case: tuple[Tokenizer, list[str]]) -> None:
    tokenizer, texts = case
    file = io.BytesIO()
    torch.save(tokenizer.state(), file)
    file.seek(0)
    restored = restore_tokenizer(torch.load(file, weights_only=True))
    assert restored.vocab_size == tokenizer.vocab_size
    assert [restored.encode(text) for text in texts] == [tokenizer.encode(text) for text in texts]
    assert pickle.loads(pickle.dumps(tokenizer)).encode(texts[0]) == tokenizer.encode(texts[0])  # for loader workers


@pytest.mark.parametrize("corpus", CORPORA)
@pytest.mark.parametrize("kind", KINDS)
def test_training_is_a_function_of_the_set_of_texts(kind: str, corpus: str) -> None:
    texts = CORPORA[corpus] * 3
    shuffled = random.Random(1).sample(texts, len(texts))
    cfg = config_of(kind, corpus)
    first, second = train_tokenizer(cfg, texts), train_tokenizer(cfg, iter(shuffled))
    assert pickle.dumps(_plain(first)) == pickle.dumps(_plain(second))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("texts", [[], ["", "  \n"]])
def test_no_text_is_refused(kind: str, texts: list[str]) -> None:
    with pytest.raises(TokenizerError, match="training text is empty"):
        train_tokenizer(config_of(kind, "english"), texts)


def test_characters_are_code_points_in_order() -> None:
    tokenizer = train_tokenizer(CharTokenizerConfig(), ["b a", "กิ"])
    assert isinstance(tokenizer, CharTokenizer)
    assert tokenizer.characters == (" ", "a", "b", "ก", "ิ")
    assert tokenizer.encode("กิ a") == [5, 6, 2, 3]


def test_space_is_a_unit_only_where_the_text_has_it() -> None:
    for kind in KINDS:
        assert trained(kind, "mandarin").missing("今 天") == {" "}
        assert trained(kind, "english").missing("quick fox") == set()


def test_bpe_size_is_exact_and_its_limits_are_told() -> None:
    texts = ["yes", "no"]
    for size in range(8, 13):
        assert train_tokenizer(BpeTokenizerConfig(size=size), texts).vocab_size == size
    with pytest.raises(TokenizerError, match=r"vocabulary of 500 is not possible.*at most 12"):
        train_tokenizer(BpeTokenizerConfig(size=500), texts)
    with pytest.raises(TokenizerError, match=r"vocabulary of 7 is not possible.*at least 8"):
        train_tokenizer(BpeTokenizerConfig(size=7), texts)


@pytest.mark.parametrize("reserved", ["\u2581", "\u2585", "\0"])
def test_bpe_refuses_the_characters_that_sentencepiece_would_swallow(reserved: str) -> None:
    with pytest.raises(TokenizerError, match=f"some.*thing.*U\\+{ord(reserved):04X}"):
        train_tokenizer(BpeTokenizerConfig(size=20), ["other text", f"some{reserved}thing"])
    assert train_tokenizer(CharTokenizerConfig(), [f"some{reserved}thing"]).missing(reserved) == set()


def test_bpe_keeps_lines_of_any_length() -> None:
    tokenizer = train_tokenizer(BpeTokenizerConfig(size=10), ["ab " * 3000 + "z"])
    assert tokenizer.missing("z") == set()


@pytest.mark.parametrize("state", [{}, {"kind": "word", "words": []}, {"kind": "bpe", "model": "x"}, {"kind": "char"}])
def test_foreign_states_are_refused(state: dict) -> None:
    with pytest.raises(TokenizerError, match="no tokenizer of hybrid-asr"):
        restore_tokenizer(state)


@pytest.mark.parametrize("damage", [b"", b"garbage"])
def test_damaged_models_are_refused(damage: bytes) -> None:
    with pytest.raises(TokenizerError, match="damaged"):
        BpeTokenizer(damage)


def test_truncated_model_is_refused() -> None:
    model = trained("bpe", "english").state()["model"]
    with pytest.raises(TokenizerError, match="damaged"):
        restore_tokenizer({"kind": "bpe", "model": model[: len(model) // 2]})


def test_configuration_is_a_tagged_union() -> None:
    assert parse(TokenizerConfig, {"kind": "bpe", "size": 30}) == BpeTokenizerConfig(size=30)
    assert parse(TokenizerConfig, {"kind": "char"}) == CharTokenizerConfig()
    with pytest.raises(ConfigError, match=r"tokenizer.kind: unknown kind 'chars'; did you mean 'char'"):
        parse(TokenizerConfig, {"kind": "chars"}, where="tokenizer")
    with pytest.raises(ConfigError, match=r"tokenizer.size"):
        parse(TokenizerConfig, {"kind": "bpe", "size": 0}, where="tokenizer")


def test_real_transcripts_survive_both_tokenizers(shared: Path) -> None:
    path = shared / "data/lm/librispeech-train-clean-100.txt.gz"
    if not path.is_file():
        pytest.skip("needs shared/data/lm/librispeech-train-clean-100.txt.gz beside the checkout")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        texts = [line.strip() for _, line in zip(range(500), file, strict=False)]
    for cfg in (CharTokenizerConfig(), BpeTokenizerConfig(size=200)):
        tokenizer = train_tokenizer(cfg, texts)
        assert [tokenizer.decode(tokenizer.encode(text)) for text in texts] == texts
        assert tokenizer.vocab_size == (31 if isinstance(cfg, CharTokenizerConfig) else 200)


def _plain(tokenizer: Tokenizer) -> list:
    return [value.tolist() if isinstance(value, torch.Tensor) else value for value in tokenizer.state().values()]


_ENGLISH = {kind: trained(kind, "english") for kind in KINDS}
