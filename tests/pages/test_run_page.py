"""The page of a run: what stands in the run's files stands on it, whatever state they are in."""

import csv
import json
import shutil
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from hybrid_asr import __version__
from hybrid_asr.audio import io
from hybrid_asr.commands.decode import decode_run
from hybrid_asr.common.lock import FolderLock
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.pages.audio_clips import AudioClips
from hybrid_asr.pages.run_page import refresh
from hybrid_asr.run.folder import Run
from tests.pages.reading import Reader, read
from tests.tones import train


def again(folder: Path, depth: Literal["quick", "full"] = "quick") -> Reader:
    assert refresh(Run(folder), depth=depth) == folder / "report.html"
    return read(folder)


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_every_rate_of_every_decoding_stands_in_the_table(decoded):
    cells = read(decoded).cells
    for set_name in ("test", "valid"):
        for decoder in ("ctc_greedy", "attention", "joint"):
            found = json.loads((decoded / "decode" / set_name / decoder / "report.json").read_text())
            [row] = [
                row
                for row in cells
                if row[0].removesuffix(" lowest WER") == f"{decoder} average"
                and row[1].startswith(f"{100 * found['wer']:.2f}")
                and row[5] == f"{found['substitutions']} / {found['deletions']} / {found['insertions']}"
            ][:1]  # fmt: skip
            for column, name in ((1, "wer"), (3, "cer"), (4, "ser")):
                low, high = found[f"{name}_ci95_speakers"] or found[f"{name}_ci95"]
                assert row[column] == f"{100 * found[name]:.2f} {100 * low:.1f}–{100 * high:.1f}"
            assert row[6:9] == [str(found["cut"]), str(found["empty"]), str(len(found["short"]))]
            assert float(row[9]) == pytest.approx(found["rtf"], abs=0.0006)


def test_errors_speakers_and_curves_are_those_of_the_files(decoded):
    page = read(decoded)
    found = json.loads((decoded / "decode/test/joint/report.json").read_text())
    for one in found["per_speaker"]:
        counts = f"{one['substitutions']} / {one['deletions']} / {one['insertions']}"
        row = [one["speaker"], str(one["utterances"]), str(one["reference_words"]), counts, f"{100 * one['wer']:.2f}"]
        assert row in [cells[:5] for cells in page.cells]
    for one in found["confusions"][:15]:
        kind = "insertion" if not one["reference"] else "substitution" if one["hypothesis"] else "deletion"
        assert [one["reference"] or "∅", one["hypothesis"] or "∅", kind, str(one["count"])] in page.cells
    wrong = {row["id"] for row in found["per_utterance"] if row["substitutions"] + row["deletions"] + row["insertions"]}
    assert all(name in page.sections["errors"] for name in wrong)
    with (decoded / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    last = [row for row in rows if row["train.loss"]][-1]
    for name, called in (("loss", "joint loss"), ("ctc", "CTC"), ("attention", "attention")):
        assert f"{called} last {float(last[f'train.{name}']):.4g}" in page.sections["curves"]
    best = min(float(row["valid.ctc_greedy.wer"]) for row in rows if row["valid.ctc_greedy.wer"])
    assert f"{100 * best:.2f} %" in page.sections["header"]
    assert __version__ in page.sections["setup"] and "ctc_weight: 0.5" in page.sections["setup"]


def test_the_augmentation_is_told_as_configured_and_as_measured(tones, tmp_path):
    settings = ["trainer.epochs=1", "augment.speeds=[0.9,1.0,1.1]", "augment.spec.time_masks=2"]
    assert train(tones, tmp_path / "run", *settings, "augment.spec.from_epoch=0", "augment.join_share=0.5") == 0
    cells = {row[0]: row[1:] for row in read(tmp_path / "run").cells}
    assert cells["Speed"][0] == "0.9, 1, 1.1" and cells["Speed"][1].startswith("0.9: ")
    assert sum(int(part.split(": ")[1][:-1]) for part in cells["Speed"][1].split(", ")) == pytest.approx(100, abs=1)
    assert cells["Joined utterances"][1].endswith("of the utterances")
    with (tmp_path / "run/metrics.csv").open(newline="") as file:
        masked = [float(row["train.time_masked"]) for row in csv.DictReader(file) if row["train.time_masked"]]
    assert min(masked) >= 0 < max(masked)
    assert cells["Time masks (SpecAugment)"][1] == f"{np.mean(masked):.1%} of the frames"
    assert cells["Frequency masks (SpecAugment)"][0] == "off"


def test_what_is_shown_has_its_audio_once_and_the_page_needs_no_network(decoded):
    text = (decoded / "report.html").read_text()
    page = Reader(text)
    drawn = [one["id"] for one in page.json["pictures"]]
    players = [attrs["data-clip"] for tag, attrs in page.tags if tag == "audio" and "data-clip" in attrs]
    assert len(drawn) == 4 and players
    assert set(page.json["clips"]) == {*drawn, *players}
    assert text.count("data:audio/") == len(page.json["clips"])
    assert "://" not in text and "//cdn" not in text
    links = [attrs.get(name) or "" for _, attrs in page.tags for name in ("src", "href") if name in attrs]
    assert all(link.startswith(("#", "data:")) for link in links)


def test_texts_are_texts(copy):
    nasty = "</script><script>document.title='x'</script><img src=x onerror=alert(1)>&amp;\"'"
    path = copy / "decode/test/joint/hypotheses.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row | {"text": nasty, "speaker": nasty}) + "\n" for row in rows))
    found = json.loads((copy / "decode/test/joint/report.json").read_text())
    speakers = [one | {"speaker": nasty} for one in found["per_speaker"]]
    edit(copy / "decode/test/joint/report.json", per_speaker=speakers, confusions=[
        {"reference": nasty, "hypothesis": nasty, "count": 3}
    ])  # fmt: skip
    status = {"state": "failed", "step": 3, "total": 9, "message": nasty, "elapsed_s": 1.0, "updated": nasty}
    (copy / "status.json").write_text(json.dumps(status | {"environment": {nasty: nasty}}))
    page = again(copy, "full")
    assert [attrs for tag, attrs in page.tags if tag == "img" or "onerror" in attrs] == []
    assert len([tag for tag, attrs in page.tags if tag == "script" and "type" not in attrs]) == 1
    for section in ("header", "errors", "speakers", "setup"):
        assert nasty in page.sections[section]
    assert page.json["pictures"][0]["text"] == nasty


@pytest.mark.parametrize("state", ["running", "stopped", "failed", "finished", "killed"])
def test_the_head_tells_the_state_and_why(copy, state):
    status = {"state": state, "step": 30, "total": 120, "message": "no space left", "elapsed_s": 5400.0}
    told = {"updated": "2026-01-02T03:04:05Z", "environment": {"CPU": "abacus", "commit": "0123abcd"}}
    (copy / "status.json").write_text(json.dumps(status | told))
    page = again(copy)
    head = page.sections["header"]
    assert ("killed" if state == "running" else state) in head, "nobody holds the run"
    assert "30" in head and "of 120" in head and "no space left" in head and "1 h 30 min" in head
    assert "abacus" in page.sections["setup"] and "0123abcd" in page.sections["setup"]


def test_a_run_that_a_process_holds_is_running_and_tells_what_it_survived(copy):
    status = {"state": "running", "step": 30, "total": 120, "alarms": ["step 12: skipped"]}
    (copy / "status.json").write_text(json.dumps(status))
    lock = FolderLock(copy)
    lock.take()
    head = again(copy).sections["header"]
    lock.release()
    assert "running" in head and "step 12: skipped" in head and "killed" not in head


def test_a_run_that_has_barely_begun_has_a_useful_page(copy):
    for name in ("decode", "checkpoints"):
        shutil.rmtree(copy / name)
    for name in ("model.pt", "metrics.csv", "status.json"):
        (copy / name).unlink()
    page = again(copy)
    assert "not finished" in page.sections["header"]
    assert "metrics.csv holds no numbers yet" in page.sections["curves"]
    assert "Nothing has been decoded yet" in page.sections["decoders"]
    assert f"hybrid-asr decode {copy} --sets valid,test --decoders all" in page.sections["decoders"]
    assert all(
        "as soon as a set has been decoded" in page.sections[name] for name in ("attention", "errors", "speakers")
    )
    assert "ctc_weight: 0.5" in page.sections["setup"]


def test_an_empty_folder_has_a_page_and_a_missing_one_none(tmp_path):
    assert "not a run" in again(tmp_path).sections["setup"]
    assert refresh(Run(tmp_path / "nowhere")) is None
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("name", ["config.yaml", "metrics.csv", "status.json", "model.pt"])
@pytest.mark.parametrize("content", [b"\x00\xff{]", b'{"state": "running"}'])
def test_a_damaged_file_costs_its_part_alone(copy, name, content):
    (copy / name).write_bytes(content)
    page = again(copy, "full")
    if name != "config.yaml":
        assert "lowest WER" in page.sections["decoders"]
        assert "No such" not in page.sections["errors"]


@pytest.mark.parametrize("content", ["", "[]", '{"metric": "wer", "wer": null}'])
def test_a_damaged_report_is_named_and_the_others_stand(copy, content):
    (copy / "decode/test/joint/report.json").write_text(content)
    (copy / "decode/valid/joint/hypotheses.jsonl").write_text(content)
    (copy / "decode/valid/attention/report.json").unlink()
    page = again(copy, "full")
    assert "report.json is damaged" in page.sections["decoders"]
    assert "has not ended" in page.sections["decoders"]
    assert len([row for row in page.cells if row[0].startswith("ctc_greedy")]) == 2
    assert page.json["pictures"], "those of another decoder"


def test_without_its_audio_the_texts_are_there(copy, tones, tmp_path):
    config = (copy / "config.yaml").read_text()
    moved = shutil.copytree(tones, tmp_path / "tones")
    (copy / "config.yaml").write_text(config.replace(str(tones), str(moved)))
    shutil.rmtree(moved / "test")
    page = again(copy, "full")
    assert "clips" not in page.json and "pictures" not in page.json
    assert "test/0" in page.sections["attention"] and "test/0" in page.sections["errors"]
    assert "lowest WER" in page.sections["decoders"]
    (moved / "test.jsonl").unlink()
    assert "hybrid-asr prepare" in again(copy, "full").sections["errors"]


def test_other_weights_than_those_of_the_decoding_are_told(copy):
    assert "The model has changed" not in read(copy).sections["attention"]
    report = copy / "decode/test/joint/report.json"
    edit(report, signatures=json.loads(report.read_text())["signatures"] | {"weights": "0" * 64})
    assert "The model has changed" in again(copy, "full").sections["attention"]


def test_intervals_that_a_report_lacks_are_computed(copy):
    before = read(copy).cells
    for path in copy.glob("decode/*/*/report.json"):
        found = {name: value for name, value in json.loads(path.read_text()).items() if "ci95" not in name}
        path.write_text(json.dumps(found))
    assert again(copy, "full").cells == before


def test_characters_where_they_are_the_metric(copy):
    config = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(config.replace("metric: wer", "metric: cer"))
    decode_run(copy, sets=["test"], decoders=["attention"])
    shutil.rmtree(copy / "decode/test/joint")
    shutil.rmtree(copy / "decode/test/ctc_greedy")
    page = again(copy)
    assert "Most confused characters" in page.sections["errors"]
    assert "CER (ctc_greedy)" in page.sections["header"]


def test_a_quick_page_has_neither_pictures_nor_audio(copy):
    refresh(Run(copy), depth="quick")
    page = read(copy)
    assert not page.json
    assert all("when the training has ended" in page.sections[name] for name in ("attention", "errors"))
    assert "lowest WER" in page.sections["decoders"]


def test_a_page_that_cannot_be_written_stops_nothing(copy, capsys):
    (copy / "report.html").unlink()
    (copy / "report.html").mkdir()
    assert refresh(Run(copy)) is None
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "report.html" in told


def test_training_leaves_a_page_and_a_fresh_one_forgets_it(tones, tmp_path):
    run = tmp_path / "run"
    assert train(tones, run, "trainer.epochs=1") == 0
    assert "joint loss" in read(run).sections["curves"]
    Run(run).clear()
    assert not (run / "report.html").exists()


def test_the_audio_on_a_page_stays_within_its_budget(tmp_path):
    noise = 0.3 * np.random.default_rng(3).standard_normal(16000 * 4)
    io.write(tmp_path / "noise.wav", noise.astype(np.float32), 16000)
    entry = {"audio": "noise.wav", "duration_s": 4.0, "text": "x"}
    lines = [json.dumps({"id": f"u{n}"} | entry) for n in range(4)]
    (tmp_path / "m.jsonl").write_text("\n".join([*lines, json.dumps({"id": "long"} | entry | {"duration_s": 41.0})]))
    manifest = Manifest.read(tmp_path / "m.jsonl", audio="unchecked")
    one = len(AudioClips(manifest).clip("u0").uri)
    assert 4000 < one < 60_000, "4 s of mp3"
    audio = AudioClips(manifest, budget=3 * one)
    clips = [audio.clip(f"u{n}") for n in range(4)]
    assert [len(clip.uri) for clip in clips] == [one, one, one, 0]
    assert "too large" in clips[-1].why
    assert "not embedded" in audio.clip("long").why and "no such utterance" in audio.clip("gone").why


def test_the_page_is_there_while_the_training_runs_and_whole_when_it_ended(tones, tmp_path, monkeypatch):
    seen = []

    def spy(run: Run, **depth) -> None:
        refresh(run, **depth)
        head = read(run.folder).sections["header"]
        seen.append((depth, "running" in head, "finished" in head, "Best validation" in head))

    monkeypatch.setattr("hybrid_asr.commands.train.refresh", spy)
    monkeypatch.setattr("hybrid_asr.commands.training_fit.refresh", spy)
    assert train(tones, tmp_path / "run", "trainer.epochs=2") == 0
    assert seen[0] == ({"depth": "quick"}, True, False, True), "behind the first validation, whose row is there"
    assert seen[-1] == ({}, False, True, True)


def test_a_training_that_failed_has_a_page_that_says_why(tones, tmp_path, monkeypatch):
    def full(*_) -> None:
        raise OSError(28, "No space left on device", "last.ckpt")

    monkeypatch.setattr("hybrid_asr.training.checkpoint.Checkpoints.save_last", full)
    assert train(tones, tmp_path / "run", "trainer.epochs=2") == 2
    head = read(tmp_path / "run").sections["header"]
    assert "failed" in head and "No space left on device" in head
