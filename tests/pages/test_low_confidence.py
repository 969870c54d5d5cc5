"""Words marked for low confidence are those that were never said, by a threshold chosen on another set."""

import json
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_asr.common.errors import UserError
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.pages.decodings import find_decodings
from hybrid_asr.pages.low_confidence import (
    USUAL,
    Threshold,
    find_low_confidence,
    find_threshold,
    refuse_unmarkable,
    segments,
)
from hybrid_asr.pages.run_page import refresh
from hybrid_asr.run.folder import Run
from hybrid_asr.scoring.align import Step
from hybrid_asr.scoring.scores import Scored, score_utterances
from tests.pages.reading import read

OTHER = str.maketrans("abcdef", "defabc")


def plant(run: Path, name: str, manifest: Manifest, *, every: int) -> dict[str, set[int]]:
    """Write as the decoding `name` what was said, but in each `every`-th word other letters; tells which."""
    lines, planted, count = [], {}, 0
    for one in manifest:
        words = one.text.split()
        planted[one.id] = {place for place in range(len(words)) if (count + place) % every == 0}
        count += len(words)
        text = " ".join(word.translate(OTHER) if place in planted[one.id] else word for place, word in enumerate(words))
        lines.append({"id": one.id, "reference": one.text, "text": text, "speaker": one.speaker})
    path = run / "decode" / name / "joint/hypotheses.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return planted


def clear(run: Path) -> set[str]:
    """The utterances of the test set that CTC hears letter by letter as they are said."""
    lines = (run / "decode/test/ctc_greedy/hypotheses.jsonl").read_text().splitlines()
    return {row["id"] for row in map(json.loads, lines) if row["text"] == row["reference"]}


@pytest.fixture
def planted(copy, tones) -> tuple[Path, dict[str, set[int]]]:
    """A run whose texts hold words that nobody said, with its page."""
    found = plant(copy, "test", Manifest.read(tones / "test.jsonl"), every=3)
    refresh(Run(copy))
    return copy, found


def test_words_that_nobody_said_are_marked_in_every_place_and_counted(planted):
    run, places = planted
    text = (run / "report.html").read_text()
    page = read(run)
    encoded_batch, marked = clear(run), 0
    assert len(encoded_batch) >= 4
    for one in page.json["pictures"]:
        found = re.findall(r"\S+", "".join(f"<{part}>" if mark else part for part, mark in one["segments"]))
        assert "".join(part for part, _ in one["segments"]) == one["text"]
        where = {place for place, word in enumerate(found) if word.startswith("<")}
        assert where >= places[one["id"]] and (where == places[one["id"]] or one["id"] not in encoded_batch)
    for item in re.findall(r"<li>.*?</li>", text[text.index('<ol class="worst">') :], re.DOTALL):
        name = re.search(r"<strong>(.*?)</strong>", item)
        columns = re.findall(r'<span class="column (?:equal|substitute)">.*', item)
        where = {place for place, column in enumerate(columns) if 'class="low-confidence"' in column}
        assert where >= places[name[1]] and (where == places[name[1]] or name[1] not in encoded_batch)
        assert all("(low CTC confidence: " in columns[place] for place in where), "also for those who do not see it"
        marked += len(where)
    counts = re.search(
        r"Of (\d+) words checked in 8 utterances (\d+) are marked, (\d+) of them wrong, of (\d+) wrong",
        re.sub(r"\s+", " ", page.sections["errors"]),
    )
    said, swapped = sum(len(one.split()) for one in references(run)), sum(map(len, places.values()))
    assert [int(one) for one in counts.groups()] == [said, marked, swapped, swapped]
    rows = [row for row in page.cells if row[2:3] and (row[2].startswith("wrong, reference ") or row[2] == "right")]
    assert len(rows) == min(20, marked) and sum(row[2].startswith("wrong") for row in rows) == swapped
    assert "the usual one; on valid/joint only" in page.sections["errors"]


def references(run: Path) -> list[str]:
    lines = (run / "decode/test/joint/hypotheses.jsonl").read_text().splitlines()
    return [json.loads(line)["reference"] for line in lines]


def test_the_threshold_comes_from_the_validation_set_of_the_same_decoder_and_weights(copy, tones, bundle):
    config = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(re.sub(r"valid: \S*valid\.jsonl", "valid: train.jsonl", config))
    run = Run(copy)
    cfg, weights = run.read_config(), run.bundle()[1]
    manifest = Manifest.read(tones / "train.jsonl")
    report = copy / "decode/valid/joint/report.json"
    source = {"checkpoint": "average", "manifest": str(manifest.path), "manifest_sha256": manifest.digest}
    report.write_text(json.dumps(json.loads(report.read_text()) | {"source": source}))

    def threshold(chosen: str = "test/joint", weights: str = weights):
        table = find_decodings(run, cfg)
        [one] = [one for one in table if f"{one.set_name}/{one.decoder}" == chosen]
        return find_threshold(cfg, bundle, weights, one, table)

    swapped = sum(map(len, plant(copy, "valid", manifest, every=4).values()))
    plant(copy, "test", Manifest.read(tones / "test.jsonl"), every=1)
    found = threshold()
    assert f"the best F1 on valid/joint, where {swapped} of" in found.origin
    assert 0.02 < found.nats < 8.0, "between words that were said, and those that were not"
    plant(copy, "test", Manifest.read(tones / "test.jsonl"), every=2)
    assert threshold() == found, "the test set has no say"
    for other in (threshold("valid/joint"), threshold("test/attention"), threshold(weights="0" * 64)):
        assert other.nats == USUAL["wer"] and other.origin.startswith("the usual one; ")
    shutil.rmtree(copy / "decode/valid")
    assert "hybrid-asr decode RUN --sets valid" in threshold().origin


def test_numbers_are_of_an_even_choice_and_what_is_shown_is_marked_besides(bundle, tones, monkeypatch):
    manifest = Manifest.read(tones / "train.jsonl")
    rows = score_utterances([Scored(one.id, one.text, one.text.translate(OTHER)) for one in manifest])
    monkeypatch.setattr("hybrid_asr.pages.low_confidence.MOST", 5)
    usual = Threshold(USUAL["wer"], "for the test")
    found = find_low_confidence(bundle, usual, manifest, rows, "wer", shown=[manifest[3].id, "gone"])
    names = [one.id for one in manifest]
    assert found.utterances == 5 and found.marks.keys() >= {names[0], names[3], names[-1]} and len(found.marks) == 6
    assert found.area is None and found.words == found.wrong >= found.marked == found.caught, "nothing to tell apart"
    letters = find_low_confidence(bundle, usual, manifest, rows, "cer", shown=[])
    steps = [step for one in letters.marks.values() for step, _ in one if step.hypothesis]
    assert letters.words == len(steps) and all(len(step.hypothesis) == 1 for step in steps)


@pytest.mark.parametrize(("ctc_weight", "lacking"), [(0.0, "CTC head"), (1.0, "attention decoder")])
def test_a_model_with_one_head_has_no_marks_and_says_why(bundle, ctc_weight, lacking):
    config = bundle.config | {"loss": bundle.config["loss"] | {"ctc_weight": ctc_weight}}
    with pytest.raises(UserError, match=f"this model has no {lacking}"):
        refuse_unmarkable(Bundle.build(config, bundle.tokenizer, 1.0))
    refuse_unmarkable(bundle)


@given(st.lists(st.tuples(st.sampled_from(["a", "ab", "b", ""]), st.booleans()), max_size=8))
def test_a_text_in_segments_is_the_text_with_its_marks(words):
    text = " ".join(word for word, _ in words if word)
    marks = [(Step("equal" if word else "delete", "x", word), "why" if mark and word else None) for word, mark in words]
    found = segments(text, marks)
    assert "".join(part for part, _ in found) == text and all(part for part, _ in found)
    assert [part for part, mark in found if mark] == [word for word, mark in words if mark and word]


def test_a_text_that_is_spelled_otherwise_is_whole():
    assert segments("a b", [(Step("equal", "c", "c"), "why")]) == [("a b", None)]
