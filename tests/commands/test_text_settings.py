"""What `text` and `data.empty` say, from training to a decoding's report."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hybrid_asr.cli import main
from hybrid_asr.run.folder import Run
from tests.tones import RATE, SIZES, train

TAGS = (" [noise]", " <NOISE>", " (noise)")
Line = dict[str, object]


def copied(tones: Path, folder: Path, change) -> Path:
    """The corpus of tones with each line of its manifests as `change(number, line)` makes it; audio stays there."""
    for name in SIZES:
        lines = [json.loads(line) for line in (tones / f"{name}.jsonl").read_text().splitlines()]
        changed = [change(number, line | {"audio": str(tones / line["audio"])}) for number, line in enumerate(lines)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in changed))
    (folder / "tiny.yaml").write_text((tones / "tiny.yaml").read_text())
    return folder


def hypotheses(run: Path) -> list[dict[str, str]]:
    lines = (run / "decode" / "test" / "ctc_greedy" / "hypotheses.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_a_kept_tag_is_one_unit_that_is_learned_recognized_and_scored_as_a_word(
    tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(3)

    def with_noise(number: int, line: Line) -> Line:
        if number % 2:
            return line
        samples, _ = soundfile.read(str(line["audio"]))
        burst = np.concatenate([samples, np.zeros(500), noise.normal(0, 0.2, 1200)])
        path = tmp_path / f"{line['id']}.wav"
        soundfile.write(path, burst, RATE)
        text = f"{line['text']}{TAGS[number // 2 % 3]}"
        return line | {"audio": path.name, "text": text, "duration_s": len(burst) / RATE}

    corpus, run = copied(tones, tmp_path, with_noise), tmp_path / "run"
    assert train(corpus, run, "text.tags=keep", "trainer.epochs=10", "loss.ctc_weight=1") == 0
    told = capsys.readouterr().err
    assert "24 of 48 transcripts of train have tags" in told and "each is a unit of its own" in told
    tokenizer = Run(run).bundle()[0].tokenizer
    assert tokenizer.tags == {"[noise]"} and len(tokenizer.encode("[noise]")) == 1
    assert main(["decode", str(run), "--decoders", "ctc_greedy"]) == 0
    assert "note: 4 of 8 transcripts of test have tags" in capsys.readouterr().err
    rows = hypotheses(run)
    assert [row["reference"].endswith(" [noise]") for row in rows] == [True, False] * 4
    assert sum(row["text"].endswith("[noise]") == row["reference"].endswith("[noise]") for row in rows) >= 7
    report = json.loads((run / "decode" / "test" / "ctc_greedy" / "report.json").read_text())
    assert report["reference_words"] == sum(len(row["reference"].split()) for row in rows)


def test_transcripts_without_a_word_are_left_out_of_training_and_stay_in_what_is_scored(
    tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = ("", "[noise]", "...")
    corpus = copied(
        tones, tmp_path, lambda number, line: line if number % 5 else line | {"text": nothing[number // 5 % 3]}
    )
    run = tmp_path / "run"
    assert train(corpus, run, "trainer.epochs=1") == 2
    assert "10 of 48 transcripts: the rules 'basic@2' leave nothing of them" in capsys.readouterr().err
    assert train(corpus, run, "trainer.epochs=1", "data.empty=leave_out") == 0
    told = capsys.readouterr().err
    assert "train: 38 utterances" in told
    assert "note: 10 of 48 training utterances without a word by text.rules left out" in told
    assert "note: 2 of 8 transcripts of valid hold no word by text.rules" in told
    assert main(["decode", str(run), "--decoders", "ctc_greedy"]) == 0
    assert [row["reference"] for row in hypotheses(run)].count("") == 2


@pytest.mark.parametrize("own", [True, False], ids=["of each utterance", "of the recipe"])
def test_turkish_capitals_are_read_as_such_from_training_to_the_report(tones: Path, tmp_path: Path, own: bool) -> None:
    def turkish(number: int, line: Line) -> Line:
        text = str(line["text"]).replace("a", "ı").replace("b", "i")
        capitals = text.replace("i", "İ").replace("ı", "I").upper()
        return line | {"text": capitals if number % 2 else text} | ({"language": "tr-TR"} if own else {})

    corpus, run = copied(tones, tmp_path, turkish), tmp_path / "run"
    assert train(corpus, run, "trainer.epochs=1", *([] if own else ["text.language=tr"])) == 0
    units = {Run(run).bundle()[0].tokenizer.pieces([label])[0] for label in range(2, 9)}
    assert units == set(" ıicdef")
    assert main(["decode", str(run), "--decoders", "ctc_greedy"]) == 0
    original = [json.loads(line)["text"] for line in (tones / "test.jsonl").read_text().splitlines()]
    assert [row["reference"] for row in hypotheses(run)] == [
        text.replace("a", "ı").replace("b", "i") for text in original
    ]
