"""The command line: exit statuses, one clear message for a mistake, nothing half-written, cached decodings."""

import json
import re
import shutil

import pytest
import torch

from hybrid_asr.arguments import build_parser, commands_of
from hybrid_asr.cli import main
from hybrid_asr.common.errors import UserError
from tests.tones import process, train, words


def snapshot(folder) -> dict[str, int]:
    """All files of a folder with their times."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the trained run."""
    return shutil.copytree(trained, tmp_path / "run")


def refused(capsys, *command: str) -> str:
    """The message of a command that must end with status 2."""
    capsys.readouterr()
    assert main([str(word) for word in command]) == 2
    told = capsys.readouterr()
    assert not told.out
    assert "Traceback" not in told.err
    assert told.err.startswith(("hybrid-asr ", "train: ", "note: ")), told.err
    return told.err


TRAIN_MISTAKES = [
    (["optim.lrr=1.0"], "optim.lrr: unknown key; did you mean 'lr'?"),
    (["optin.lr=1.0"], "optin: unknown key; did you mean 'optim'?"),
    (["presets.optim=nom"], "presets.optim: unknown preset 'nom'; did you mean 'noam'?"),
    (["presets.optimm=noam"], "presets.optimm: unknown section; did you mean 'optim'?"),
    (["loss.ctc_weight=1.5"], "loss.ctc_weight: Input should be less than or equal to 1"),
    (["trainer.epochs=many"], "trainer.epochs: "),
    (["faster"], "'faster' is no override; write key=value"),
    (["trainer.epochs", "3"], "'trainer.epochs' is no override; write key=value, such as trainer.epochs=3"),
    (["trainer.epochs", "=", "3"], "'trainer.epochs' is no override; write key=value"),
    (
        ["layers=4"],
        "layers: unknown key; did you mean 'model.encoder.layers' or 'model.decoder.layers'? (command line)",
    ),
    (["batch_size=4"], "batch_size: unknown key; here that is data.batch_seconds: seconds of audio, not utterances"),
    (["presets.encoder=conformer_s"], "presets.encoder: unknown section; did you mean 'presets.model'?"),
    (["presets.model=conformer"], "did you mean 'conformer_m', 'conformer_s' or 'conformer_s_espnet'?"),
    (["text.rules=basic"], "did you mean 'basic@"),
    (["data={train: null}", "data.batch_seconds=null"], "data.train: "),
    (["data.train=trian.jsonl"], "trian.jsonl: there is no such manifest; write it with 'hybrid-asr prepare'"),
    (["data.batch_seconds=0.3"], "data.batch_seconds is 0.3"),
    (["data.max_seconds=0.01"], "train.jsonl: data.min_seconds and data.max_seconds leave out all utterances"),
    (["augment.speeds=[2.0]", "data.check.infeasible_share=0.0", "text.rules=klingon@1"], "text.rules"),
    (["tokenizer.kind=bpe"], "choose it by presets.tokenizer=PRESET"),
    (["presets.tokenizer=bpe500"], "a BPE vocabulary of 500 is not possible"),
    (["data.valid=train.jsonl"], "48 ids are both in train and in valid"),
]


@pytest.mark.parametrize(("settings", "message"), TRAIN_MISTAKES, ids=[" ".join(one) for one, _ in TRAIN_MISTAKES])
def test_mistakes_of_training_are_named_and_leave_nothing(tones, tmp_path, capsys, settings, message):
    run = tmp_path / "run"
    assert message in refused(capsys, *words(tones, run, *settings))
    assert not run.exists()


def test_a_test_set_that_is_trained_on_is_refused_and_one_that_is_not_there_is_told(tones, tmp_path, capsys):
    copy = shutil.copy(tones / "train.jsonl", tmp_path / "held_out.jsonl")
    settings = [f"data.test=[{copy},{tmp_path / 'later.jsonl'}]", "trainer.epochs=1"]
    told = refused(capsys, *words(tones, tmp_path / "run", *settings))
    assert "48 ids are both in train and in held_out: 'train-" in told
    assert f"note: later is not compared with the training set: {tmp_path / 'later.jsonl'}: there is no such" in told


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["patch_frames=90"], "utterances of train are too short for this encoder, of which one frame takes 0.9"),
        (["patch_frames=12", "stride_frames=12"], "model.encoder.stride_frames: 12 frames of 10 ms put 120 ms between"),
        (["patch_bins=40"], "model.encoder.patch_bins: 40 bins, and the features have 20; give 20 at most"),
    ],
)
def test_patches_that_are_too_large_are_refused_before_training(tones, tmp_path, capsys, settings, message):
    run = tmp_path / "run"
    settings = ["patch_bins=10", "stride_bins=10", *settings]
    chosen = ["presets.model=patch_transformer_s", "loss.ctc_weight=0.0", *(f"model.encoder.{one}" for one in settings)]
    assert main(words(tones, run, *chosen)) == 2
    assert message in capsys.readouterr().err
    assert not run.exists()


def test_a_pyramid_that_is_too_large_is_refused_before_training(tones, tmp_path, capsys):
    """Its last frame is filled up with zeros, so that even the shortest audio gives one: one state for all of it."""
    run = tmp_path / "run"
    chosen = ["presets.model=las", "loss.ctc_weight=0.0", "presets.decode=attention", "model.encoder.joins=[1,50]"]
    assert main(words(tones, run, *chosen)) == 2
    told = capsys.readouterr().err
    assert "utterances of train are too short for this encoder, of which one frame takes 2.00 s" in told
    assert "train.jsonl:1: utterance '" in told and "joins of a pyramid" in told
    assert not run.exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused_at_once(tones, tmp_path, capsys):
    assert "no GPU is visible here; use presets.trainer=cpu" in refused(
        capsys, *words(tones, tmp_path / "run", "trainer.accelerator=gpu")
    )
    assert not (tmp_path / "run").exists()


def test_unknown_names_bring_the_nearest(tmp_path, capsys):
    assert "did you mean 'an4'?" in refused(capsys, "prepare", "an5", "--to", tmp_path / "to")
    assert "did you mean 'an4/conformer_s'?" in refused(capsys, "train", "recipes/an4/conformr_s.yaml")
    assert "gone.csv" in refused(capsys, "prepare", f"table:{tmp_path / 'gone.csv'}", "--to", tmp_path / "to")
    assert "did you mean 'table'?" in refused(capsys, "prepare", "tabel:x.csv")
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["transcibe", "x"], "no such command: 'transcibe'; did you mean 'transcribe'?"),
        (["evaluate", "x"], "no such command: 'evaluate'; did you mean 'decode'?"),
        (["train", "x.yaml", "--lr", "1e-3"], "unrecognized arguments: --lr; settings are written key=value, without"),
        (["score", "x", "y", "--agianst", "z"], "unrecognized arguments: --agianst z; did you mean --against?"),
        (["decode", "x", "--decodres", "all"], "unrecognized arguments: --decodres; did you mean --decoders?"),
        (["transcribe", "x", "y", "--output", "z"], "--output z; what is printed goes into a file with > FILE"),
        (["train"], "the following arguments are required: RECIPE.yaml\n"),
        ([], "Start with: hybrid-asr prepare spoken"),
        (["decode", "x", "--beam-size=4"], "without dashes; here that is decode.beam"),
    ],
)
def test_what_is_no_command_or_option_is_told_as_ours(command, message, capsys):
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_a_required_key_comes_with_an_example(tones, tmp_path, capsys):
    recipe = tmp_path / "r.yaml"
    recipe.write_text((tones / "tiny.yaml").read_text().replace("train: train.jsonl, ", ""))
    assert "data.train: required, but not given; for example data.train=mine/train.jsonl" in refused(
        capsys, "train", recipe
    )
    recipe.write_text("data: {train: a.jsonl}\n")
    said = refused(capsys, "train", recipe)
    assert "model: required, but not given; for example presets.model=conformer_s" in said


def test_recipes_and_runs_that_are_taken_for_each_other_are_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("spoken/conformer_s", "mine/las"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.yaml").write_text("seed: 1\n")
    for command in ("decode", "transcribe"):
        audio = ["x.wav"] * (command == "transcribe")
        assert "did you mean 'runs/mine/las'?" in refused(capsys, command, "runs/las", *audio)
        assert "did you mean 'runs/spoken/conformer_s'?" in refused(capsys, command, "runs/spoken/conformr_s", *audio)
        said = refused(capsys, command, "spoken/conformer_s", *audio)
        assert "'runs/spoken/conformer_s'?" in said
    said = refused(capsys, "decode", "an4/transformer")
    assert "that is a recipe; train it first: hybrid-asr train an4/transformer" in said
    said = refused(capsys, "decode", "recipes/spoken/conformer_s.yaml")
    assert "that is a recipe; its run is 'runs/spoken/conformer_s'" in said
    assert "train first: hybrid-asr train RECIPE --folder zzz; runs/ has mine/las, spoken/conformer_s" in (
        refused(capsys, "decode", "zzz")
    )
    assert "runs/mine/las: is a run, and a recipe is trained" in refused(capsys, "train", "runs/mine/las")
    assert "did you mean 'an4/conformer_s' or 'spoken/conformer_s'?" in refused(capsys, "train", "conformer_s")


DECODE_MISTAKES = [
    (["--sets", "tset"], "--sets tset: the run has no such set; it has test, train, valid; did you mean 'test'?"),
    (["--sets", "dev"], "--sets dev: the run has no such set; it has test, train, valid; did you mean 'valid'?"),
    (["--decoders", "greedy"], "--decoders greedy: there is no such decoder; did you mean 'ctc_greedy'?"),
    (["beam=4"], "beam: unknown key; did you mean 'decode.beam'?"),
    (["decode.beam", "40"], "'decode.beam' is no override; write key=value, such as decode.beam=40"),
    (["--decoders", "ctc_greedy,jiont"], "--decoders jiont: there is no such decoder; did you mean 'joint'?"),
    (["decode.bem=4"], "decode.bem: unknown key of kind 'search'; did you mean 'beam'?"),
    (["decode.beam=0"], "decode.beam: Input should be greater than"),
    (["--decoders", "ctc_greedy", "decode.beam=4"], "decode.beam: unknown key of kind 'ctc_greedy'"),
    (["optim.lr=3.0"], "optim.lr: decides the weights of the run"),
    (["data.tets=[valid.jsonl]"], "data.tets: unknown key; did you mean 'test'?"),
    (["decod.beam=4"], "decod: unknown key; did you mean 'decode'?"),
    (["--checkpoint", "frist"], "frist: no such file"),
    (["data.test=[gone.jsonl]"], "gone.jsonl: there is no such manifest"),
]


@pytest.mark.parametrize(("words", "message"), DECODE_MISTAKES, ids=[" ".join(one) for one, _ in DECODE_MISTAKES])
def test_mistakes_of_decoding_are_named_and_leave_nothing(trained, capsys, words, message):
    before = snapshot(trained)
    assert message in refused(capsys, "decode", trained, *words)
    assert snapshot(trained) == before


def test_sound_files_that_are_none_are_named(trained, tones, tmp_path, capsys):
    good = str(tones / "test/00.wav")
    (tmp_path / "text.wav").write_text("This is no sound at all, whatever its name says. " * 20)
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "cut.wav").write_bytes((tones / "test/00.wav").read_bytes()[:30])
    for name in ("text.wav", "empty.wav", "cut.wav", "missing.wav"):
        assert name in refused(capsys, "transcribe", trained, tmp_path / name)
    assert "no such file or folder" in refused(capsys, "transcribe", trained, tones / "nowhere")
    assert "no such run or model" in refused(capsys, "transcribe", tmp_path / "no-run", good)
    assert "is no model, but audio by its name; the run comes first" in refused(capsys, "transcribe", good, trained)
    assert "is no model, but a recipe" in refused(capsys, "show", "model", tones / "tiny.yaml")


def test_settings_may_stand_before_or_behind_options(run, capsys):
    for command in (["decode.beam=2", "--sets", "valid"], ["--sets", "valid", "decode.beam=2"]):
        assert main(["decode", str(run), *command]) == 0
    [place] = (run / "decode/valid").iterdir()
    assert json.loads((place / "report.json").read_text())["decoder"]["beam"] == 2
    with pytest.raises(SystemExit) as end:
        main(["decode", str(run), "--set", "valid", "--beam", "2"])
    assert end.value.code == 2
    assert "unrecognized arguments: --beam" in capsys.readouterr().err


def test_transcribe_takes_settings_of_the_decoder_among_its_paths(trained, tones, capsys):
    good = tones / "test/00.wav"
    texts = []
    for settings in ([], ["decode.beam=1"], ["presets.decode=ctc_greedy"]):
        assert main(["transcribe", str(trained), str(good), *settings, "--format", "json"]) == 0
        texts.append(json.loads(capsys.readouterr().out))
    assert texts[0]["score"] != texts[2]["score"]
    assert "decode.baem: unknown key" in refused(capsys, "transcribe", trained, good, "decode.baem=2")
    assert "these are settings; name audio files" in refused(capsys, "transcribe", trained, "decode.beam=2")


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(UserError, match="not a run"):
        main(["show", "run", str(tmp_path), "--debug"])


def test_what_the_system_refuses_is_no_traceback(tones, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    told = refused(capsys, *words(tones, tmp_path / "file/run"))
    assert str(tmp_path / "file") in told


@pytest.mark.slow
def test_ctrl_c_twice_stops_at_once(tones, tmp_path):
    """The second one while the first one waits for the end of a step."""
    run = tmp_path / "run"
    twice = """
import os, signal, threading, time
def watch():
    while not os.path.exists({place!r}):
        time.sleep(0.001)
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.002)
threading.Thread(target=watch, daemon=True).start()
"""
    done = process(
        *words(tones, run, "trainer.epochs=400"), code=twice.format(place=str(run / "checkpoints/last.ckpt"))
    )
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert "interrupted" in done.stderr or "stopped after step" in done.stderr


def test_a_decoding_is_not_done_again_until_something_has_changed(run, tones, capsys):
    command = ["decode", str(run), "--sets", "valid,test", "--decoders", "ctc_greedy,joint"]
    assert main(command) == 0
    table = capsys.readouterr().out
    before = snapshot(run / "decode")
    assert {name.rpartition("/")[0] for name in before} == {
        f"{one}/{other}" for one in ("valid", "test") for other in ("ctc_greedy", "joint")
    }
    assert main(command) == 0
    assert capsys.readouterr().out == table
    assert snapshot(run / "decode") == before
    (run / "decode/test/joint/hypotheses.jsonl").unlink()
    assert main(command) == 0
    after = snapshot(run / "decode")
    assert {name for name in before if before[name] != after[name]} == {
        f"test/joint/{name}" for name in ("hypotheses.jsonl", "report.json", "report.txt")
    }
    shutil.copy(run / "checkpoints/epoch-008.ckpt", run / "model.pt")
    assert main(command) == 0
    assert not set(snapshot(run / "decode").items()) & set(before.items()), "another model: all is done again"


def test_another_setting_is_another_decoding(run):
    assert main(["decode", str(run)]) == 0
    assert main(["decode", str(run), "decode.beam=2"]) == 0
    assert main(["decode", str(run), "--checkpoint", "last"]) == 0
    names = sorted(path.name for path in (run / "decode/test").iterdir())
    assert names[0] == "joint"
    assert len(names) == 3
    assert all(re.fullmatch("joint-[0-9a-f]{8}", name) for name in names[1:])


def test_a_report_and_its_hypotheses_say_what_scripts_rely_on(run):
    assert main(["decode", str(run)]) == 0
    place = run / "decode/test/joint"
    report = json.loads((place / "report.json").read_text())
    named = "wer wer_ci95 cer ser substitutions deletions insertions reference_words utterances audio_s decode_s rtf"
    assert set(f"{named} cut empty signatures".split()) <= set(report)
    errors = report["substitutions"] + report["deletions"] + report["insertions"]
    assert report["wer"] == errors / report["reference_words"]
    assert report["rtf"] == report["decode_s"] / report["audio_s"]
    lines = [json.loads(line) for line in (place / "hypotheses.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [f"test-{number:02d}" for number in range(8)]
    assert {"id", "reference", "text", "score", "parts"} <= set(lines[0])
    for line in lines:
        expected = 0.3 * line["parts"]["ctc"] + 0.7 * line["parts"]["attention"]
        assert line["score"] == pytest.approx(expected, abs=1e-4)


def test_scoring_files_is_scoring_a_decoding(run, tones, capsys):
    assert main(["decode", str(run), "--decoders", "ctc_greedy,attention"]) == 0
    greedy, attention = (str(run / f"decode/test/{name}/hypotheses.jsonl") for name in ("ctc_greedy", "attention"))
    capsys.readouterr()
    assert main(["score", str(tones / "test.jsonl"), greedy, "--format", "json"]) == 0
    scored = json.loads(capsys.readouterr().out)
    report = json.loads((run / "decode/test/ctc_greedy/report.json").read_text())
    for name in ("wer", "wer_ci95", "cer", "ser", "substitutions", "deletions", "insertions", "reference_words"):
        assert scored[name] == report[name], name
    assert main(["score", str(tones / "test.jsonl"), attention, "--against", greedy, "--format", "json"]) == 0
    compared = json.loads(capsys.readouterr().out)
    assert {"difference", "ci95", "p_bootstrap"} <= set(compared)
    assert abs(compared["difference"]) == pytest.approx(
        abs(json.loads((run / "decode/test/attention/report.json").read_text())["wer"] - report["wer"])
    )
    assert main(["score", str(tones / "test.jsonl"), greedy]) == 0
    assert "WER" in capsys.readouterr().out
    assert "gone" in refused(capsys, "score", tones / "gone", greedy)


def test_score_reads_other_formats_and_tells_what_it_passes_over(tmp_path, capsys):
    manifest, reference, words = tmp_path / "nemo.json", tmp_path / "ref.stm", tmp_path / "hyp.ctm"
    manifest.write_text('{"audio_filepath": "a/r1.wav", "text": "Yes, I am", "pred_text": "yes i am"}\n')
    reference.write_text(";; by hand\nr1 A ann 0 2 <o> Yes, { I am / I'm }\n")
    words.write_text("r1 A 0.1 0.2 yes\nr1 A 0.5 0.2 i'm\n")
    assert main(["score", str(manifest), str(manifest)]) == 0
    told = capsys.readouterr()
    assert (
        "3 words: 2 substitutions" in told.out
        and "2 of 2 word errors are of case or punctuation (1 of case" in told.out
    )
    assert f"note: {manifest}: passed over: pred_text (1)" in told.err
    for hypotheses, options in ((words, ()), (manifest, ("--ids", "stem"))):
        assert main(["score", str(reference), str(hypotheses), "--rules", "basic@1", "--format", "json", *options]) == 0
        assert json.loads(capsys.readouterr().out)["wer"] == 0
    turkish = [tmp_path / "r", tmp_path / "h"]
    for path, word in zip(turkish, ("DIŞ", "dış"), strict=True):
        path.write_text(f"u1 {word}\nu2 a\n")
    for options, errors in (([], 1), (["--language", "tr"], 0)):
        assert main(["score", *map(str, turkish), "--rules", "basic@2", "--format", "json", *options]) == 0
        assert json.loads(capsys.readouterr().out)["substitutions"] == errors
    assert main(["score", str(reference), str(words), "--markup", "none", "--metric", "cer"]) == 0
    assert "{" in capsys.readouterr().out
    assert main(["score", str(reference), str(manifest)]) == 2
    assert "give --ids stem" in capsys.readouterr().err
    assert "basic@1" in refused(capsys, "score", reference, words, "--rules", "none")
    assert "hyp.ctm:1: is not JSON" in refused(capsys, "score", words, words, "--ref-format", "jsonl")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--language", "tr"], "--language tr: the rules 'none@1' know no language; give --rules basic@2"),
        (["--rules", "basic@1", "--language", "tr"], "the rules 'basic@1' know no language"),
        (["--rules", "basic@2", "--language", "Türkçe"], "--language Türkçe: is no tag of a language, such as tr"),
    ],
)
def test_a_language_that_would_not_be_used_is_refused(options, message, tmp_path, capsys):
    (tmp_path / "text").write_text("u1 ılık\n")
    assert message in refused(capsys, "score", tmp_path / "text", tmp_path / "text", *options)


def test_show_tells_of_everything(run, tones, capsys):
    assert main(["decode", str(run), "--decoders", "ctc_greedy"]) == 0
    capsys.readouterr()
    assert main(["show", "config", str(tones / "tiny.yaml"), "decode.beam=9"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"beam: 9 +# command line", shown)
    assert re.search(r"bins: 20 +# .*tiny\.yaml", shown)
    assert re.search(r"clip: 5\.0 +# default", shown)
    assert main(["show", "model", str(run)]) == 0
    shown = capsys.readouterr().out
    weights = torch.load(run / "model.pt", weights_only=True)["weights"]
    total = sum(value.numel() for name, value in weights.items() if name.startswith("model."))
    assert re.search(rf"all +{total:,}\n", shown)
    assert "heads: ctc, decoder" in shown
    assert main(["show", "manifest", str(tones / "test.jsonl")]) == 0
    assert "8 utterances" in capsys.readouterr().out
    assert main(["show", "run", str(run)]) == 0
    shown = capsys.readouterr().out
    assert "12 of 12 epochs done" in shown
    assert "decoded: decode/test/ctc_greedy" in shown
    assert "takes no settings" in refused(capsys, "show", "run", run, "decode.beam=2")
    assert "not a run" in refused(capsys, "show", "run", tones)
    assert "no such manifest" in refused(capsys, "show", "manifest", tones / "gone.jsonl")


def test_a_run_that_was_only_begun_is_shown_and_not_decoded(tones, run, capsys):
    shutil.rmtree(run / "checkpoints")
    (run / "model.pt").unlink()
    assert main(["show", "run", str(run)]) == 0
    assert "no step has been saved yet" in capsys.readouterr().out
    assert "no checkpoint yet; train first" in refused(capsys, "decode", run)


def test_preparing_writes_all_sets_or_none(tones, tmp_path, capsys):
    """A table as a user has it; what was prepared before stays whole when the next attempt fails."""
    lines = ["audio,text,set"]
    for name in ("train", "valid", "test"):
        for line in (tones / f"{name}.jsonl").read_text().splitlines():
            entry = json.loads(line)
            lines.append(f"{tones / entry['audio']},{entry['text']},{name}")
    table = tmp_path / "mine.csv"
    table.write_text("\n".join(lines) + "\n")
    assert main(["prepare", f"table:{table}", "--to", str(tmp_path / "to")]) == 0
    assert "48 utterances" in capsys.readouterr().out
    before = snapshot(tmp_path / "to")
    assert set(before) == {"train.jsonl", "valid.jsonl", "test.jsonl"}
    table.write_text("\n".join([*lines, f"{tones / 'gone.wav'},a b,test"]) + "\n")
    assert "gone.wav" in refused(capsys, "prepare", f"table:{table}", "--to", tmp_path / "to")
    assert snapshot(tmp_path / "to") == before
    settings = [f"data.root={tmp_path / 'to'}", "trainer.epochs=1", "--folder", str(tmp_path / "run")]
    assert main(["train", str(tones / "tiny.yaml"), *settings]) == 0, "what was prepared can be trained on"


def test_training_twice_is_the_same_training(tones, tmp_path):
    """Randomness is a function of its place: equal seeds, equal numbers; another seed, other ones."""
    for name in ("one", "two"):
        assert train(tones, tmp_path / name, "trainer.epochs=1", "seed=5") == 0
    assert (tmp_path / "one/metrics.csv").read_bytes() == (tmp_path / "two/metrics.csv").read_bytes()
    assert train(tones, tmp_path / "three", "trainer.epochs=1", "seed=6") == 0
    assert (tmp_path / "one/metrics.csv").read_bytes() != (tmp_path / "three/metrics.csv").read_bytes()


def test_hypotheses_that_were_changed_are_decoded_again(run, capsys):
    command = ["decode", str(run), "--decoders", "ctc_greedy"]
    place = run / "decode/test/ctc_greedy"
    assert main(command) == 0
    good, before = (place / "hypotheses.jsonl").read_bytes(), snapshot(place)
    assert main(command) == 0
    assert snapshot(place) == before
    (place / "hypotheses.jsonl").write_bytes(good.replace(b'"text": "', b'"text": "x', 1))
    capsys.readouterr()
    assert main(command) == 0
    assert f"{place}/hypotheses.jsonl: does not match its report, decoded again" in capsys.readouterr().err
    assert (place / "hypotheses.jsonl").read_bytes() == good
    (place / "report.txt").unlink()
    assert main(command) == 0
    assert (place / "report.txt").is_file()


def test_another_data_root_has_a_place_of_its_own(run, tones, tmp_path, capsys):
    """Decoding other data under the same name leaves the run's own results alone; moved data are no other data."""
    assert main(["decode", str(run), "--decoders", "ctc_greedy"]) == 0
    before = snapshot(run / "decode/test/ctc_greedy")
    other, moved = tmp_path / "other", tmp_path / "moved"
    for place in (other, moved):
        shutil.copytree(tones, place)
    lines = (other / "test.jsonl").read_text().splitlines(keepends=True)
    (other / "test.jsonl").write_text("".join(lines[:4]))
    assert main(["decode", str(run), "--decoders", "ctc_greedy", f"data.root={other}"]) == 0
    assert main(["decode", str(run), "--decoders", "ctc_greedy", f"data.root={moved}"]) == 0
    assert snapshot(run / "decode/test/ctc_greedy") == before
    [label] = [place.name for place in (run / "decode/test").iterdir() if place.name != "ctc_greedy"]
    assert label.startswith("ctc_greedy-")
    assert len((run / "decode/test" / label / "hypotheses.jsonl").read_text().splitlines()) == 4


def test_one_bad_file_does_not_keep_the_others_from_being_transcribed(trained, tones, tmp_path, capsys):
    for name in ("a", "c"):
        shutil.copy(tones / "test/00.wav", tmp_path / f"{name}.wav")
    (tmp_path / "b.wav").write_text("not audio")
    capsys.readouterr()
    assert main(["transcribe", str(trained), str(tmp_path), "--format", "json"]) == 2
    told = capsys.readouterr()
    assert [json.loads(line)["path"] for line in told.out.splitlines()] == [
        str(tmp_path / "a.wav"),
        str(tmp_path / "c.wav"),
    ]
    assert re.fullmatch(rf"hybrid-asr transcribe: {tmp_path}/b\.wav: is not audio.*\n", told.err), told.err


def test_no_option_of_train_is_one_that_torchrun_takes_for_its_own():
    """torchrun looks at every word of its command line, and takes a beginning for the whole; `--run` is old."""
    from torch.distributed.run import get_args_parser

    theirs = {option for action in get_args_parser()._actions for option in action.option_strings}
    ours = {
        option
        for action in commands_of(build_parser())["train"]._actions
        for option in action.option_strings
        if option.startswith("--") and option not in ("--help", "--run")
    }
    assert "--folder" in ours
    assert not {(mine, its) for mine in ours for its in theirs if its.startswith(mine)}
