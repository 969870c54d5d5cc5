"""The gate before training finds what it promises, and lets a good corpus through."""

import numpy as np
import pytest

from hybrid_asr.data.check import CheckConfig, check_training
from hybrid_asr.data.label_counts import CheckError, ctc_needs, label_counts, least_seconds
from hybrid_asr.data.oddities import Oddity
from hybrid_asr.text.characters import CharTokenizerConfig
from hybrid_asr.text.lexicon import parse_lexicon
from hybrid_asr.text.normalize import TextConfig
from hybrid_asr.text.phonemes import PhonemeTokenizer
from hybrid_asr.text.tokenizer import train_tokenizer

RATE = 16000
LETTERS = train_tokenizer(CharTokenizerConfig(), ["abcdefghijklmnopqrstuvwxyz '"])


def frames(samples: int) -> int:
    """Windows of 25 ms every 10 ms."""
    return max(0, (samples - 400) // 160 + 1)


def output_length(count: int) -> int:
    """Four times fewer."""
    return max(0, ((count - 1) // 2 - 1) // 2)


LEAST = least_seconds(200, frames=frames, output_length=output_length, rate=RATE)


def check(train, others=None, *, least=LEAST, shortest=0.0, speeds=(0.9, 1.0, 1.1), left_out=0, **policy):
    others = others or {}
    counts = {
        name: label_counts(manifest, LETTERS, TextConfig(rules="basic@1"))
        for name, manifest in {"train": train, **others}.items()
    }
    policy = CheckConfig(**policy)
    given = {"least": least, "shortest": shortest, "speeds": speeds, "left_out": left_out}
    return check_training(train, others, counts, **given, policy=policy)


def test_a_good_corpus_passes_and_is_described(make_manifest) -> None:
    train = make_manifest([1.0, 1.5], speakers=["x", "y"])
    report = check(train, {"valid": make_manifest([1.2], name="valid", speakers=["z"])})
    assert report.warnings == () and len(report.sets) == 2
    assert report.sets[0] == "train: 2 utterances, 0.00 h, 1.0 to 1.5 s, 2 speakers, 2.5 labels each"
    assert report.text() == "\n".join(report.sets)
    assert [found.speed for found in report.infeasible] == [0.9, 1.0, 1.1]
    assert check(train, left_out=7).sets[0].endswith(", 7 left out by data.min_seconds and data.max_seconds")


def test_ctc_needs_a_frame_for_each_label_and_a_blank_between_equals() -> None:
    assert [ctc_needs(labels) for labels in ([], [5], [5, 6], [5, 5], [5, 5, 5, 6, 6])] == [0, 1, 2, 3, 8]


def test_the_least_audio_is_the_least() -> None:
    for need in (1, 2, 17, 200):
        samples = round(LEAST[need] * RATE + 0.5)
        assert output_length(frames(samples)) == need and output_length(frames(samples - 1)) == need - 1


def test_the_gate_agrees_with_counting_frames_at_every_speed(make_manifest) -> None:
    """Around the border, sample by sample, and with the rounding of a change of speed."""
    border = LEAST[ctc_needs(LETTERS.encode("hello there"))]
    durations = (np.arange(-80, 80, 7) + round(border * RATE)) / RATE
    train = make_manifest(
        np.concatenate([durations, durations * 1.1]).tolist(), texts=["hello there"] * (2 * len(durations))
    )
    report = check(train, infeasible="warn")
    assert {found.speed: len(found.indices) for found in report.infeasible}[1.1] > 0
    for speed, indices in report.infeasible:
        samples = [round(round(duration * RATE) / speed) for duration in train.durations]
        expected = [
            i
            for i, count in enumerate(samples)
            if output_length(frames(count)) < ctc_needs(LETTERS.encode("hello there"))
        ]
        assert indices.tolist() == expected


def test_utterances_shorter_than_their_labels_need_are_refused_by_name(make_manifest) -> None:
    train = make_manifest([1.0, 0.3, 1.0], texts=["yes", "far too much text for this", "no"])
    with pytest.raises(CheckError) as caught:
        check(train)
    message = str(caught.value)
    assert message.startswith("1 of 3 training utterances (33.3%) are too short for CTC at speed 1: ")
    assert f"{train.path}:2: utterance 'train-1' lasts 0.30 s, its 26 labels need 1.12 s; correct or remove" in message
    assert "data.check.infeasible=warn" in message
    report = check(train, infeasible="warn")
    assert "train-1" in report.text() and "they have no CTC loss and are counted" in report.text()
    assert check(train, least=None).warnings == (), "a model without CTC aligns nothing"


def test_a_small_share_of_infeasible_utterances_and_those_at_high_speed_only_warn(make_manifest) -> None:
    border = float(LEAST[3]) + 0.01
    train = make_manifest([border, 1.0], texts=["yes", "no"])
    report = check(train, speeds=(1.0, 1.3))
    assert len(report.warnings) == 1 and "1 of 2" in report.warnings[0] and "at speed 1.3" in report.warnings[0]
    assert check(train, speeds=(1.0,)).warnings == ()
    train = make_manifest([0.05, 1.0], texts=["yes", "no"])
    assert "at speed 1:" in check(train, speeds=(1.0,), infeasible_share=0.5).warnings[0]


def test_an_utterance_too_short_for_a_patch_or_a_pyramid_is_named_with_what_the_encoder_needs(make_manifest) -> None:
    train, valid = make_manifest([1.0, 0.3, 0.52]), make_manifest([0.4], name="valid")
    for least in (LEAST, None):  # without CTC, too
        with pytest.raises(CheckError) as caught:
            check(train, {"valid": valid}, least=least, shortest=0.5)
        message = str(caught.value)
        assert f"{train.path}:2: utterance 'train-1' lasts 0.30 s; {train.path}:3: utterance 'train-2'" in message
        assert "2 of 3 utterances of train are too short for this encoder at speed 1.1, of which one" in message
        assert "frame takes 0.50 s" in message and "leave them out with data.min_seconds=0.55, or choose" in message
        assert message.count("train-1") == 1, "what gives no frame is not said to be too short for CTC as well"
        report = check(train, {"valid": valid}, least=least, shortest=0.5, infeasible="warn")
        [_, of_valid] = [warning for warning in report.warnings if "too short for this encoder" in warning]
        assert "1 of 1 utterances of valid are too short for this encoder, of which one frame takes" in of_valid
        assert f"{valid.path}:1: utterance 'valid-0' lasts 0.40 s; nothing can be recognized in them" in of_valid
    assert check(train, shortest=0.2).warnings == ()


def test_characters_that_the_tokenizer_lacks_are_refused_in_training_and_reported_elsewhere(make_manifest) -> None:
    good, bad = make_manifest([1.0], texts=["fine"]), make_manifest([1.0, 2.0], name="bad", texts=["ok", "straße ñ"])
    with pytest.raises(CheckError) as caught:
        check(bad)
    assert "the tokenizer lacks 'ß' (U+00DF), 'ñ' (U+00F1), in 1 transcripts of train: " in str(caught.value)
    assert f"{bad.path}:2: utterance 'bad-1'" in str(caught.value) and "train a tokenizer" in str(caught.value)
    assert "can never be recognized" in check(good, {"test": bad}).text()
    assert "ß" in check(bad, characters="warn").text()


def test_transcripts_of_which_the_rules_leave_nothing_are_counted_and_named(make_manifest) -> None:
    train = make_manifest([1.0] * 8, texts=["yes", *(["?!"] * 7)])
    with pytest.raises(CheckError, match=r"7 of 8 transcripts: the rules 'basic@1' leave nothing of them: ") as caught:
        check(train)
    told = str(caught.value)
    assert [f"jsonl:{line}: utterance 'train-{line - 1}': '?!'" in told for line in range(1, 9)] == [
        *([False] + 5 * [True] + 2 * [False])
    ]
    assert "'?!'; ...; leave them out with data.empty=leave_out, choose other rules with text.rules" in told


def test_a_set_that_is_only_scored_may_have_transcripts_without_a_word(make_manifest) -> None:
    train, valid = make_manifest([1.0]), make_manifest([1.0, 1.0], name="valid", texts=["?!", "yes"])
    spelling = TextConfig(rules="basic@1")
    counts = {
        "train": label_counts(train, LETTERS, spelling),
        "valid": label_counts(valid, LETTERS, spelling, empty="allow"),
    }
    report = check_training(train, {"valid": valid}, counts, least=LEAST, policy=CheckConfig())
    assert report.warnings == ()
    assert report.notes == (
        f"1 of 2 transcripts of valid hold no word by text.rules: {valid.path}:1: utterance 'valid-0'; whatever is "
        "recognized there counts as inserted",
    )
    assert report.text().endswith(f"note: {report.notes[0]}")


def test_oddities_of_transcripts_are_told_and_refused(make_manifest) -> None:
    train = make_manifest([1.0])
    counts = {"train": label_counts(train, LETTERS, TextConfig())}
    odd = [Oddity("doubtful"), Oddity("known", doubtful=False)]
    report = check_training(train, {}, counts, least=LEAST, oddities=odd, policy=CheckConfig())
    assert (report.warnings, report.notes) == (("doubtful",), ("known",))
    with pytest.raises(CheckError, match="tags"):
        check_training(train, {}, counts, least=LEAST, oddities=[Oddity("tags", refused=True)], policy=CheckConfig())


def test_an_id_in_two_sets_is_refused(make_manifest) -> None:
    train, test = make_manifest([1.0, 1.0]), make_manifest([1.0, 1.0], name="test")
    with pytest.raises(CheckError, match="2 ids are both in train and in test: 'train-0', 'train-1'; an utt"):
        check(train, {"test": train})
    with pytest.raises(CheckError, match="both in valid and in test: 'test-1'"):
        check(train, {"valid": test, "test": test.select(np.array([1]))})


def test_a_test_speaker_in_training_is_named(make_manifest) -> None:
    train = make_manifest([1.0, 1.0], speakers=["anna", "bob"])
    test = make_manifest([1.0, 1.0], name="test", speakers=["bob", "carl"])
    report = check(train, {"test": test})
    assert report.warnings == (
        "1 speakers are both in train and in test: bob; the error rate of test will be too good; "
        "give every speaker to one set",
    )
    with pytest.raises(CheckError, match=r"train and in test: bob; .*data.check.speakers=warn"):
        check(train, {"test": test}, speakers="refuse")


def test_an_empty_set_is_refused(make_manifest) -> None:
    train = make_manifest([1.0])
    with pytest.raises(CheckError, match=r"no utterances in: valid; .*data.min_seconds"):
        check(train, {"valid": train.select(np.array([], dtype=np.int64))})


def test_all_that_is_refused_is_said_at_once(make_manifest) -> None:
    train = make_manifest([0.1], texts=["far too ß long"])
    with pytest.raises(CheckError) as caught:
        check(train, {"test": train})
    assert len(str(caught.value).splitlines()) == 3


def test_words_that_a_lexicon_lacks_are_named_and_counted(make_manifest) -> None:
    tokenizer = PhonemeTokenizer(parse_lexicon("yes Y EH S\nno N OW\n", "it"))
    train = make_manifest([1.0, 1.0, 1.0], texts=["yes", "no nine", "go yes nine"])
    counts = label_counts(train, tokenizer, TextConfig(rules="basic@1"))
    assert counts.labels.tolist() == [3, 3, 5] and counts.unwritable.tolist() == [1, 2]
    message = (
        r"the tokenizer lacks 2 words: 'go', 'nine', in 2 transcripts of train: .*; .*add the words to the lexicon"
    )
    with pytest.raises(CheckError, match=message):
        check_training(train, {}, {"train": counts}, least=LEAST, policy=CheckConfig())
    allowed = check_training(train, {}, {"train": counts}, least=LEAST, policy=CheckConfig(characters="warn"))
    assert "'nine'" in allowed.warnings[0]
