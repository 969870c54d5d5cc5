"""Rules of number 2: one word, one spelling, in every script; and tags."""

import unicodedata
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hybrid_asr.config.schema import ConfigError, parse
from hybrid_asr.text.lookalikes import skeleton
from hybrid_asr.text.normalize import Rules, TextConfig, normalize
from hybrid_asr.text.tags import Tags, find_tags, spell_tag

examples = partial(settings, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TRICKY = st.text(
    alphabet="aiIİıLl·•ŉΣσς'’`´\u0307\u0301\u0345\u200c\u200dﬁاـيक्א״\"\ufe76ｶﾞ [](<>){}%+!²½①㎡₂٣ß"
    "\u034f\u3164ẞ\u20e3ǅᾳΐև\u00ad"
)


@examples(max_examples=500)
@given(
    text=st.one_of(st.text(), TRICKY),
    rules=st.sampled_from(["basic@2", "english@2", "upper@2"]),
    language=st.sampled_from([None, "tr"]),
    tags=st.sampled_from(["drop", "keep"]),
)
def test_a_spelled_text_is_its_own_spelling(text: str, rules: Rules, language: str | None, tags: Tags) -> None:
    spelled = normalize(text, rules, language=language, tags=tags)
    assert normalize(spelled, rules, language=language, tags=tags) == spelled
    assert normalize(unicodedata.normalize("NFD", text), rules, language=language, tags=tags) == spelled
    assert unicodedata.is_normalized("NFC", spelled)
    assert spelled == " ".join(spelled.split())
    assert skeleton(spelled) == skeleton(skeleton(spelled))


@examples(max_examples=200)
@given(text=st.one_of(st.text(), TRICKY))
def test_without_tags_only_words_remain(text: str) -> None:
    spelled = normalize(text, "basic@2")
    assert all(character in " '·\u200c\u200d" or unicodedata.category(character)[0] in "LMN" for character in spelled)
    assert "i\u0307" not in spelled


@pytest.mark.parametrize(
    ("one", "other", "spelled"),
    [
        ("don’t O´Neil", "don't o`neil", "don't o'neil"),
        ("oʻzbek", "O‘zbek", "o'zbek"),
        ("пʼять", "п'ять", "п'ять"),
        ("‘quoted’ rock ’n’ roll", "quoted rock n roll", "quoted rock n roll"),
        ("zero\u200bwidth so\u00adft \ufeffbom\u2060", "zerowidth soft bom", "zerowidth soft bom"),
        ("안\u3164녕", "안녕", "안녕"),
        ("co\u200dop", "coop", "coop"),
        ("می\u200c\u200cخواهم", "می\u200cخواهم", "می\u200cخواهم"),
        ("مـــرحبا", "ﻣﺮﺣﺒﺎ", "مرحبا"),
        ("ＦＵＬＬ　ｗｉｄｔｈ", "full width", "full width"),
        ("ﬁne", "fine", "fine"),
        ("ｶﾞｷﾞ", "ガギ", "ガギ"),
        ("١٢ १२ １２", "12 12 12", "12 12 12"),
        ("1½ m²", "1 ½ m ²", "1 ½ m ²"),
        ("CO₂ 1º", "co2 1o", "co2 1o"),
        ("5㎞ ㎡ 25℃ ①", "5 km m² 25°C (1)", "5 km m ² 25 c 1"),
        ("Ⅳ", "IV", "iv"),
        ("İZMİR", "i\u0307zmi\u0307r", "izmir"),
        ("ΣΟΦΟΣ ΟΔΟΣ.", "σοφος οδοσ", "σοφος οδος"),
        ("GROẞ", "groß", "groß"),
        ('צה"ל', "צה״ל", "צהל"),
        ("col•lega", "COL·LEGA", "col·lega"),
        ("well‑known", "well-known", "well known"),
        ("a·b", "a b", "a b"),
        ("ทำ ㅋㅋ և ĳ", "ทำ ㅋㅋ և ij", "ทำ ㅋㅋ և ij"),
    ],
)
def test_one_word_has_one_spelling(one: str, other: str, spelled: str) -> None:
    assert (normalize(one, "basic@2"), normalize(other, "basic@2")) == (spelled, spelled)


@pytest.mark.parametrize("language", ["tr", "tr-TR", "az_Latn", "tur", "crh"])
def test_where_i_is_the_capital_of_a_dotless_i(language: str) -> None:
    spell = partial(normalize, rules="basic@2", language=language)
    assert spell("ILIK SU IŞIK İZMİR'DE") == spell("ılık su ışık izmir'de") == "ılık su ışık izmir'de"
    assert normalize("ılık izmir", "upper@2", language=language) == "ILIK İZMİR"
    assert normalize("ILIK", "basic@2") == normalize("ILIK", "basic@2", language="de") == "ilik"


def test_the_language_of_an_utterance_wins() -> None:
    turkish = TextConfig(language="tr")
    assert (turkish.name(), TextConfig(tags="keep").name(), TextConfig().name()) == (
        "basic@2 tr",
        "basic@2 keep",
        "basic@2",
    )
    assert (turkish.spell("ILIK"), turkish.spell("ILIK", "en"), TextConfig().spell("ILIK", "az")) == (
        "ılık",
        "ilik",
        "ılık",
    )


TAGGED = "[noise] <UNK> (laughter) {breath} [[door slam]] ++um++ %hesitation !SIL (coughs) w[ould]- yes"


def test_tags_are_dropped_or_kept_as_one_word_each() -> None:
    assert normalize(TAGGED, "basic@2") == "w yes"
    kept = "[noise] [unk] [laughter] [breath] [door_slam] [um] [hesitation] [sil] [coughs] w [ould] yes"
    assert normalize(TAGGED, "basic@2", tags="keep") == kept
    assert normalize("[Noise] Yes", "upper@2", tags="keep") == "[noise] YES"
    assert normalize("AT&T [Noise] café", "english@2", tags="keep") == "at and t [noise] cafe"
    assert normalize("［ｎｏｉｓｅ］", "basic@2", tags="keep") == spell_tag("<NOISE>") == "[noise]"


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("(he said) so", "he said so"),
        ("((guess)) this", "guess this"),
        ("a < b and c > d", "a b and c d"),
        ("(single) (human) (clearly)", "single human clearly"),
        ("5% [0:15]", "5 0 15"),
    ],
)
def test_words_in_brackets_that_may_be_spoken_stay(text: str, spelled: str) -> None:
    assert find_tags(text) == []
    assert normalize(text, "basic@2") == spelled


def test_rules_that_know_no_tags_cannot_keep_them() -> None:
    with pytest.raises(
        ConfigError, match=r"text.tags=keep: the rules 'basic@1' know no tags; choose text.rules from basic@2"
    ):
        parse(TextConfig, {"rules": "basic@1", "tags": "keep"}, where="text")
    with pytest.raises(ConfigError, match=r"text.language=tr: the rules 'english@1' know no language"):
        parse(TextConfig, {"rules": "english@1", "language": "tr"}, where="text")
    with pytest.raises(ConfigError, match=r"text.language"):
        parse(TextConfig, {"language": "a language"}, where="text")
