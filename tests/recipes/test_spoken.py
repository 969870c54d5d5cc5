"""The recipe spoken: what is held out, and that the same bytes come out every time."""

import hashlib
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hybrid_asr.common.errors import UserError

SMALL = {"train": 24, "valid": 4, "test": 12}


@pytest.fixture(scope="module")
def spoken(recipe):
    return recipe("spoken")


@pytest.fixture(scope="module")
def plan(spoken):
    """The whole corpus, unspoken."""
    return spoken.plan(seed=spoken.SEED, sizes=spoken.SIZES)


@pytest.fixture(scope="module")
def espeak(spoken):
    pytest.importorskip("espeakng_loader", reason="needs eSpeak NG: pip install 'hybrid-asr[demo]'")
    return spoken.Espeak()


@pytest.fixture(scope="module")
def corpus(spoken, espeak, tmp_path_factory):
    """A small corpus on disk: its folder and its utterances."""
    folder = tmp_path_factory.mktemp("spoken")
    (folder / "audio").mkdir()
    (folder / "audio" / "train-9999.wav").write_bytes(b"of an older, larger corpus")
    return folder, spoken.generate(folder, seed=1, sizes=SMALL)


def words(utterances) -> list[str]:
    return [word for utterance in utterances for word in utterance.text.split()]


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# What is said


def test_sizes(plan):
    sizes = {name: len(utterances) for name, utterances in plan.items()}
    assert sizes == {"train": 3000, "valid": 200, "test": 600, "lengths": 300}
    assert len(words(plan["test"])) >= 2500
    assert len(set(words(plan["train"]))) >= 150
    lengths = {len(utterance.text.split()) for utterance in plan["train"]}
    assert min(lengths) == 1 and 25 <= max(lengths) <= 30


def test_lengths_has_ten_utterances_of_each_number_of_words_that_test_might_have_had(plan, spoken):
    assert Counter(len(words([utterance])) for utterance in plan["lengths"]) == dict.fromkeys(range(1, 31), 10)
    assert {spoken.home(utterance.words) for utterance in plan["lengths"]} == {"test"}
    assert {utterance.voice for utterance in plan["lengths"]} == {utterance.voice for utterance in plan["test"]}
    assert any(utterance.gap for utterance in plan["lengths"]), "names are spelled with pauses, as in test"


def test_no_voice_is_in_two_sets(plan):
    sets = {name: utterances for name, utterances in plan.items() if name != "lengths"}
    variants = {name: {utterance.voice.split("+")[1] for utterance in utterances} for name, utterances in sets.items()}
    assert len(variants["train"] | variants["valid"] | variants["test"]) == sum(map(len, variants.values())) == 13
    assert len({utterance.voice for utterance in plan["test"]}) == 21
    assert len({utterance.voice for utterances in plan.values() for utterance in utterances}) == 91


def test_no_sentence_is_in_two_sets(plan):
    texts = {name: {utterance.text for utterance in utterances} for name, utterances in plan.items()}
    assert not texts["train"] & texts["valid"]
    assert not texts["train"] & texts["test"]
    assert not texts["valid"] & texts["test"]
    assert len(texts["test"]) == 600 and len(texts["valid"]) == 200, "each once"


def test_a_fifth_of_the_test_names_is_spelled_nowhere_else(spoken, plan):
    assert len(spoken.NAMES) == len(set(spoken.NAMES)) == 100 and len(spoken.TEST_NAMES) == 20
    spelled = {
        name: {other for other in spoken.NAMES for text in texts if f" {' '.join(other)} " in text}
        for name, texts in {name: [f" {u.text} " for u in utterances] for name, utterances in plan.items()}.items()
    }
    assert spelled["test"] == set(spoken.NAMES)
    assert not spelled["train"] & set(spoken.TEST_NAMES) and not spelled["valid"] & set(spoken.TEST_NAMES)
    assert not set(words(plan["train"] + plan["valid"])) & set(spoken.TEST_NAMES), "nor said as a word"


def test_training_has_every_word_of_the_test_and_hello(plan):
    said = words(plan["train"])
    rare = {word for word in set(words(plan["test"] + plan["valid"])) if said.count(word) < 10}
    assert not rare
    assert sum(utterance.text == "hello" for utterance in plan["train"]) >= 10


def test_the_text_is_words_alone(plan):
    letters = set("".join(words(plan["train"] + plan["valid"] + plan["test"])))
    assert letters == set("abcdefghijklmnopqrstuvwxyz")


def test_the_plan_depends_on_the_seed_alone(spoken, plan):
    assert spoken.plan(seed=spoken.SEED, sizes=spoken.SIZES) == plan
    assert spoken.plan(seed=2, sizes=SMALL)["test"] != plan["test"][: SMALL["test"]]


# How it is said


def test_two_runs_give_the_same_bytes(spoken, corpus, tmp_path):
    folder, _ = corpus
    time.sleep(1)  # left alone, eSpeak seeds its breath with the second
    everything = [utterance for utterances in spoken.plan(seed=1, sizes=SMALL).values() for utterance in utterances]
    (tmp_path / "audio").mkdir()
    for shard in reversed(range(spoken.SHARDS)):  # one child after the other, not side by side
        spoken._run_child(everything[shard :: spoken.SHARDS], tmp_path, 1)
    assert len(digests(folder)) == sum(SMALL.values())
    assert digests(tmp_path) == digests(folder)


def test_the_utterances_describe_the_files(corpus):
    folder, sets = corpus
    for utterance in [utterance for utterances in sets.values() for utterance in utterances]:
        file = soundfile.info(folder / utterance.audio)
        assert (file.samplerate, file.channels, file.subtype) == (16000, 1, "PCM_16")
        assert file.frames / 16000 == utterance.duration_s
        assert utterance.speaker is not None and "+" in utterance.speaker
    assert [len(utterances) for utterances in sets.values()] == list(SMALL.values())


def test_the_recordings_sound_natural(corpus):
    folder, sets = corpus
    for utterance in [utterance for utterances in sets.values() for utterance in utterances]:
        samples, _ = soundfile.read(folder / utterance.audio)
        assert np.abs(samples).max() < 0.9, "no clipping"
        frames = samples[: len(samples) // 160 * 160].reshape(-1, 160)
        levels = 10 * np.log10((frames**2).mean(axis=1))
        loud = np.flatnonzero(levels > levels.max() - 25)
        assert -35 < 10 * np.log10((samples**2).mean()) < -12, "dB of full scale"
        assert levels.max() - np.percentile(levels, 2) > 20, "speech stands out of the noise"
        assert np.isfinite(levels).all(), "some noise everywhere"
        before, after = loud[0] / 100, (len(levels) - 1 - loud[-1]) / 100
        assert 0.05 <= before <= 0.5 and 0.05 <= after <= 0.6, "seconds of silence"
        assert 0.2 < utterance.duration_s / len(utterance.text.split()) < 1.5, "seconds a word"


def test_a_recording_keeps_pitch_and_duration(spoken):
    tone = (20000 * np.sin(2 * np.pi * 1000 * np.arange(22050) / 22050)).astype(np.int16)
    samples = spoken.record(tone, 22050, np.random.default_rng(1))
    loudest = np.abs(np.fft.rfft(samples)).argmax() / len(samples) * 16000
    assert loudest == pytest.approx(1000, abs=1), "Hz"
    assert 1 + 2 * 0.1 <= len(samples) / 16000 <= 1 + 2 * 0.25


def test_every_voice_exists_and_differs(spoken, espeak):
    said = {}
    for voice in [
        f"{accent}+{name}" for accent in spoken.ACCENTS for names in spoken.VARIANTS.values() for name in names
    ]:
        said[voice] = espeak.say(spoken.Spoken("x-0", "hello", voice, 150, 50, 0)).tobytes()
    assert len(said) == len(set(said.values())) == 91
    with pytest.raises(UserError, match=r"no voice 'en-gb\+f1'"):
        espeak.say(spoken.Spoken("x-0", "hello", "en-gb+f1", 150, 50, 0))


def test_the_letter_a_is_no_article(spoken, espeak):
    letter, article = (
        len(espeak.say(spoken.Spoken("x-0", words, "en+m1", 150, 50, 0))) for words in ("B A B", "B a B")
    )
    assert letter > article + 1000


def test_the_settings_are_heard(spoken, espeak):
    def seconds(words_a_minute: int, gap: int) -> float:
        said = espeak.say(spoken.Spoken("x-0", "one two three four five six", "en+m1", words_a_minute, 50, gap))
        return len(said) / espeak.rate

    assert seconds(125, 0) > 1.2 * seconds(175, 0)
    assert seconds(150, 6) > 0.2 + seconds(150, 0)


# What goes wrong


def test_a_source_is_refused(spoken, tmp_path):
    with pytest.raises(UserError, match="leave --source out"):
        spoken.prepare(tmp_path, tmp_path / "to")


def test_without_espeak_the_remedy_is_named(spoken, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)  # as if it were not installed
    with pytest.raises(UserError, match=r"pip install 'hybrid-asr\[demo\]'"):
        spoken.prepare(None, tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_a_failing_child_leaves_what_was_there(spoken, espeak, tmp_path, monkeypatch):
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "old.wav").write_bytes(b"old")
    monkeypatch.setattr(spoken, "ACCENTS", ("atlantis",))
    with pytest.raises(UserError, match=r"no voice 'atlantis\+"):
        spoken.generate(tmp_path, seed=1, sizes=SMALL)
    assert list(digests(tmp_path)) == ["audio/old.wav"]
