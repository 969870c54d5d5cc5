"""`load(run).transcribe(paths)`: texts, times of words, files of any kind, one by one or together."""

import json
import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from hybrid_asr import load
from hybrid_asr.audio import io
from hybrid_asr.cli import main
from hybrid_asr.common.errors import UserError
from hybrid_asr.decoding.hypothesis import nan_error
from hybrid_asr.inference.encode import encode_batch
from hybrid_asr.inference.long_form import states_in_pieces
from tests.tones import LETTER_S, sound


@pytest.fixture(scope="module")
def entries(tones) -> list[dict]:
    """The lines of the validation manifest."""
    return [json.loads(line) for line in (tones / "valid.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def paths(tones, entries) -> list[str]:
    return [str(tones / entry["audio"]) for entry in entries]


@pytest.fixture(scope="module")
def greedy(trained):
    return load(trained, decoder="ctc_greedy")


def test_most_is_understood(greedy, paths, entries):
    found = [transcript.text for transcript in greedy.transcribe(paths)]
    right = sum(text == entry["text"] for text, entry in zip(found, entries, strict=True))
    assert right >= 6, found


@pytest.mark.parametrize("decoder", ["ctc_greedy", "joint"])
def test_files_together_are_files_one_by_one(trained, paths, decoder):
    recognizer = load(trained, decoder=decoder)
    together = recognizer.transcribe(paths)
    assert [transcript.path for transcript in together] == paths
    for path, one in zip(paths, together, strict=True):
        [alone] = recognizer.transcribe(path)
        assert alone.text == one.text
        assert alone.score == pytest.approx(one.score, abs=1e-4)
        assert [word.text for word in alone.words] == [word.text for word in one.words]
        assert [word.start_s for word in alone.words] == [word.start_s for word in one.words]


class Deaf:
    """A decoder whose scores are no numbers for the first utterance of all, however it is batched."""

    def __init__(self, decoder, state):
        self.decoder, self.state = decoder, state

    def decode(self, encoded, log_probs=None):
        bad = [row for row, states in enumerate(encoded.states) if torch.allclose(states[0], self.state, atol=1e-4)]
        if bad:
            raise nan_error(bad)
        return self.decoder.decode(encoded, log_probs)


def test_a_file_that_cannot_be_decoded_is_named_and_the_others_are_transcribed(greedy, paths, monkeypatch):
    wanted = [one.text for one in greedy.transcribe(paths)]
    first = encode_batch(greedy.bundle, [io.read(paths[0], rate=8000)], greedy.device).encoded.states[0, 0]
    monkeypatch.setattr(greedy, "decoder", Deaf(greedy.decoder, first))
    told = []
    found = list(greedy.stream(paths, bad=lambda path, error: told.append((str(path), str(error)))))
    assert [(one.path, one.text) for one in found] == list(zip(paths, wanted, strict=True))[1:]
    [(path, reason)] = told
    assert path == paths[0] and reason.startswith(f"{path}: NaN in the scores; ")
    with pytest.raises(UserError, match=r"NaN in the scores"):
        greedy.transcribe(paths)


def test_words_have_times_that_increase_within_the_file(greedy, paths):
    for transcript in greedy.transcribe(paths):
        assert [word.text for word in transcript.words] == transcript.text.split()
        times = [time for word in transcript.words for time in (word.start_s, word.end_s)]
        assert times == sorted(times)
        assert all(word.start_s < word.end_s for word in transcript.words)
        assert times[0] >= 0
        assert times[-1] <= transcript.duration_s
        assert all(0 < word.confidence <= 1 for word in transcript.words)


def test_words_stand_where_they_were_said(greedy, tmp_path):
    """CTC spikes somewhere within a letter, or a frame beside it."""
    text = "ab fed cab"
    soundfile.write(tmp_path / "said.wav", sound(text, np.random.default_rng(3)), 8000)
    [transcript] = greedy.transcribe(tmp_path / "said.wav")
    assert transcript.text == text
    for word in transcript.words:
        first = text.index(word.text) * LETTER_S
        assert first - 0.1 <= word.start_s <= first + LETTER_S + 0.1
        assert first - 0.1 <= word.end_s <= first + len(word.text) * LETTER_S + 0.1


def test_rate_channels_and_container_do_not_matter(greedy, tmp_path):
    samples = sound("bad cafe", np.random.default_rng(4))
    soundfile.write(tmp_path / "a.wav", samples, 8000)
    soundfile.write(tmp_path / "b.flac", np.stack([samples, samples], 1), 8000)
    soundfile.write(tmp_path / "c.ogg", np.repeat(samples, 2), 16000)
    assert {transcript.text for transcript in greedy.transcribe(tmp_path)} == {"bad cafe"}


def test_a_folder_stands_for_its_recordings(greedy, tones, tmp_path):
    for name in ("b.wav", "A.WAV", "deep/c.oga", "notes.txt", "._b.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(tones / "test/00.wav", tmp_path / name)
    told = []
    found = [*greedy.stream([tmp_path, tmp_path / "notes.txt"], tell=told.append)]
    names = [Path(one.path).relative_to(tmp_path).as_posix() for one in found]
    assert names == ["A.WAV", "b.wav", "deep/c.oga", "notes.txt"], "what is named is taken as it is"
    assert told == [f"passed over in {tmp_path}: 1 file that is no audio by its name (.txt 1)"]


def test_all_bad_paths_are_named_at_once(greedy, paths, tmp_path):
    (tmp_path / "text.wav").write_text("no sound")
    bad = [tmp_path / "gone.wav", tmp_path / "text.wav", *(tmp_path / f"{n}.wav" for n in range(4))]
    with pytest.raises(UserError) as caught:
        greedy.transcribe([paths[0], *bad])
    lines = str(caught.value).splitlines()
    assert re.search(r"gone\.wav: no such file or folder", lines[0]) and len(lines) == 6
    assert lines[-1] == "... and 1 more, 6 in all"


def test_bad_paths_are_named_and_the_others_transcribed(trained, paths, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.wav").write_text("no sound")
    wanted = [f"{one.path}\t{one.text}" for one in load(trained).transcribe(paths[:2])]
    capsys.readouterr()
    bad = [str(tmp_path / name) for name in ("gone.wav", "empty", "text.wav", "in/*.wav")]
    assert main(["transcribe", str(trained), paths[0], *bad, paths[1]]) == 2
    told = capsys.readouterr()
    assert told.out.splitlines() == wanted
    assert all(f"hybrid-asr transcribe: {path}: " in told.err for path in bad) and "Traceback" not in told.err
    assert main(["transcribe", str(trained), bad[0], paths[0]]) == 2
    assert capsys.readouterr().out.splitlines() == wanted[:1], "of two paths the name stands before the text"


def test_a_channel_is_chosen(trained, tmp_path, capsys):
    left, right = (sound(text, np.random.default_rng(6)) for text in ("bad cafe", "fed a cab"))
    right = np.resize(right, left.shape) if len(right) < len(left) else right[: len(left)]
    soundfile.write(tmp_path / "two.wav", np.stack([left, right], 1), 8000)
    soundfile.write(tmp_path / "opposite.wav", np.stack([left, -left], 1), 8000)
    recognizer = load(trained, decoder="ctc_greedy")
    [first], [second] = (recognizer.transcribe(tmp_path / "two.wav", channel=number) for number in (1, 2))
    assert first.text == "bad cafe" and second.text.startswith("fed a")
    with pytest.raises(UserError, match=r"two\.wav: has no channel 3, its channels are 1 to 2"):
        recognizer.transcribe(tmp_path / "two.wav", channel=3)
    command = ["transcribe", str(trained), str(tmp_path / "opposite.wav"), "--decoder", "ctc_greedy"]
    capsys.readouterr()
    assert main([*command, "--channel", "1"]) == 0
    assert capsys.readouterr() == ("bad cafe\n", "")
    words = ["align", str(trained), str(tmp_path / "two.wav"), "--text", "bad cafe", "--format", "ctm"]
    assert main([*words, "--channel", "2"]) == 0
    assert capsys.readouterr().out.startswith("two 2 0."), "CTM names the channel"


def test_silence_and_a_click_are_no_error(greedy, tmp_path):
    soundfile.write(tmp_path / "click.wav", np.full(80, 0.1, np.float32), 8000)
    soundfile.write(tmp_path / "silence.wav", np.zeros(8000, np.float32), 8000)
    click, silence = greedy.transcribe([tmp_path / "click.wav", tmp_path / "silence.wav"])
    assert (click.text, click.words) == ("", ())
    assert silence.duration_s == 1.0


def test_the_command_line_says_the_same(trained, paths, capsys):
    capsys.readouterr()
    expected = load(trained).transcribe(paths)
    assert main(["transcribe", str(trained), *paths]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{one.path}\t{one.text}" for one in expected]
    assert main(["transcribe", str(trained), paths[0]]) == 0
    assert capsys.readouterr().out == expected[0].text + "\n", "of one file the text alone"
    assert main(["transcribe", str(trained), *paths, "--format", "json"]) == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert shown == json.loads(json.dumps([one.to_json() for one in expected]))
    assert set(shown[0]) == {"path", "text", "score", "duration_s", "words"}
    assert set(shown[0]["words"][0]) == {"text", "start_s", "end_s", "confidence"}


@pytest.fixture
def long_file(tmp_path, monkeypatch):
    """A file that is too long for a search, where 2 s are the most."""
    for module in ("inference.encode", "decoding.settings"):
        monkeypatch.setattr(f"hybrid_asr.{module}.LONGEST_S", 2.0)
    small = partial(states_in_pieces, piece_s=1.0, context_s=0.5)
    monkeypatch.setattr("hybrid_asr.inference.encode.states_in_pieces", small)
    soundfile.write(tmp_path / "long.wav", sound(LONG, np.random.default_rng(5)), 8000)
    return tmp_path / "long.wav"


LONG = "bad cafe fed a be dad faced a cab ace bed fade"


def test_greedy_decoding_takes_any_length(trained, paths, long_file):
    recognizer = load(trained, decoder="ctc_greedy")
    [transcript] = recognizer.transcribe(long_file)
    assert transcript.text == LONG
    assert [word.text for word in transcript.words] == LONG.split()
    place = LONG.index("fade") * LETTER_S
    assert place - 0.1 <= transcript.words[-1].start_s <= place + LETTER_S + 0.1
    assert [one.text for one in recognizer.transcribe([paths[0], long_file])][1] == LONG


def test_a_search_refuses_what_is_too_long_for_it_and_the_others_go_on(trained, paths, long_file, capsys):
    remedy = r"long.wav: lasts 5\.5 s; a search takes at most 2 s: .* use the decoder ctc_greedy"
    with pytest.raises(UserError, match=remedy):
        load(trained).transcribe([paths[0], long_file])
    capsys.readouterr()
    assert main(["transcribe", str(trained), str(long_file), paths[0]]) == 2
    told = capsys.readouterr()
    assert re.search(remedy, told.err)
    assert told.out.startswith(f"{paths[0]}\t")


def test_a_model_stands_alone(trained, tones, paths, tmp_path):
    """model.pt is all that decoding needs; a checkpoint serves, too."""
    alone = tmp_path / "model.pt"
    shutil.copy(trained / "model.pt", alone)
    expected = load(trained).transcribe(paths[:2])
    assert load(alone).transcribe(paths[:2]) == expected
    best = load(trained, checkpoint="best").transcribe(paths[:2])
    assert load(trained / "checkpoints/best.ckpt").transcribe(paths[:2]) == best


def test_the_recipe_s_own_decoder_is_the_recipe_s_by_name_too(trained):
    """As for `decode`: naming it does not bring back what conf/decode/joint.yaml says."""
    own, named = load(trained).decoder, load(trained, decoder="joint").decoder
    assert own.cfg == named.cfg
    assert own.cfg.beam == 3
    assert load(trained, decoder="attention").decoder.cfg.beam == 10
    assert load(trained, overrides=["decode.beam=5"]).decoder.cfg.beam == 5
    assert load(trained, decoder="attention", overrides=["decode.beam=5"]).decoder.cfg.ctc_weight == 0.0


def test_what_is_no_model_is_named_with_the_remedy(trained, tones, tmp_path):
    (tmp_path / "begun").mkdir()
    shutil.copy(trained / "config.yaml", tmp_path / "begun")
    for path, message in {
        tmp_path
        / "nowhere": "nowhere: there is no such run or model; check the path; train first: hybrid-asr train RECIPE",
        "in/*.pt": "no file matches this pattern",
        tmp_path / "begun": "no checkpoint yet; train first",
        tones / "tiny.yaml": r"is no model, but a recipe .*; train it \(hybrid-asr train .*tiny.yaml --folder RUN\)",
        trained / "config.yaml": rf"a run's configuration; name the run: {trained}$",
        trained / "checkpoints": rf"a folder within a run; name the run itself: {trained}$",
        tones: "not a run, no config.yaml; train first",
    }.items():
        with pytest.raises(UserError, match=message):
            load(path)


def test_home_is_found_in_quoted_paths(trained, paths, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "run").symlink_to(trained)
    shutil.copy(paths[0], tmp_path / "x.wav")
    wanted = load(trained).transcribe(paths[0])[0].text
    assert load("~/run").transcribe("~/x.wav")[0].text == wanted
    capsys.readouterr()
    assert main(["transcribe", "~/run", "~/x.wav"]) == 0
    assert capsys.readouterr().out == f"{wanted}\n"
    assert main(["align", "~/run", "~/x.wav", "--text", wanted]) == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_here_is_a_mistake(trained):
    with pytest.raises(UserError, match="device 'cuda'"):
        load(trained, device="cuda")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"decoder": "ctc_gredy"}, "did you mean 'ctc_greedy'"),
        ({"overrides": ["decode.bem=5"]}, "decode.bem: unknown key.*did you mean 'beam'"),
        ({"checkpoint": "nowhere.ckpt"}, "nowhere.ckpt: no such file"),
    ],
)
def test_wrong_wishes_are_named(trained, keys, message):
    with pytest.raises(UserError, match=message):
        load(trained, **keys)
