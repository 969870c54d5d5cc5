"""Judged is what was written in an utterance's own audio, wrong or right as it is scored."""

import json
from pathlib import Path

import numpy as np
import pytest

from hybrid_asr.attention.confidence import ctc_confidence
from hybrid_asr.attention.labeled_words import choose_evenly, label_words
from hybrid_asr.audio import io
from hybrid_asr.common.errors import UserError
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.scoring.scores import Scored


def rows_of(manifest: Manifest) -> list[Scored]:
    return [Scored(one.id, one.text, one.text) for one in manifest]


def judged(bundle, manifest, rows, **options) -> dict:
    return {one.id: one for one in label_words(bundle, manifest, rows, ctc_confidence, **options)}


def write(path: Path, lines: list[dict]) -> Manifest:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Manifest.read(path, audio="unchecked")


def test_an_utterance_that_is_a_part_of_a_file_is_heard_there(bundle, tones, tmp_path):
    whole = Manifest.read(tones / "test.jsonl")
    samples = [io.read(whole.audio_path(place), rate=8000) for place in range(len(whole))]
    io.write(tmp_path / "all.wav", np.concatenate(samples), 8000)
    begin = np.cumsum([0, *map(len, samples)]) / 8000
    lines = [
        {"id": one.id, "audio": "all.wav", "start_s": start, "duration_s": one.duration_s, "text": one.text}
        for one, start in zip(whole, begin.tolist(), strict=False)
    ]
    cut = judged(bundle, write(tmp_path / "cut.jsonl", lines), rows_of(whole))
    for key, one in judged(bundle, whole, rows_of(whole)).items():
        mine, its = ([word.ctc for word in each.error_signs] for each in (one, cut[key]))
        assert its == pytest.approx(mine, abs=0.02), "16 bits of the file apart"


def test_what_was_written_is_wrong_or_right_and_what_was_left_out_is_neither(bundle, tones):
    manifest = Manifest.read(tones / "test.jsonl")
    names = [one.id for one in manifest][:3]
    rows = [Scored(names[0], "a b c", "a c"), Scored(names[1], "a b", "a d b"), Scored(names[2], "a b", "c b")]
    found = judged(bundle, manifest, rows)
    assert [found[name].wrong for name in names] == [[False, False], [False, True, False], [True, False]]
    assert [[word.text for word in found[name].error_signs] for name in names] == [
        ["a", "c"],
        ["a", "d", "b"],
        ["c", "b"],
    ]


def test_what_cannot_be_judged_does_not_hide_the_others(bundle, tones, tmp_path):
    lines = [json.loads(line) for line in (tones / "test.jsonl").read_text().splitlines()]
    for line in lines:
        line["audio"] = str(tones / line["audio"])
    io.write(tmp_path / "short.wav", np.zeros(200, np.float32), 8000)
    lines[0] |= {"audio": str(tmp_path / "short.wav"), "duration_s": 0.025}
    lines[1] |= {"audio": str(tmp_path / "gone.wav")}
    manifest = write(tmp_path / "m.jsonl", lines)
    rows = rows_of(manifest)
    rows[2], rows[3] = rows[2]._replace(hypothesis="abcdef" * 30), rows[3]._replace(hypothesis="")
    told = []
    found = judged(bundle, manifest, rows, bad=lambda place, error: told.append((place, str(error))))
    unknown = {lines[0]["id"], lines[2]["id"]}
    assert {key for key, one in found.items() if one.error_signs is None} == unknown
    assert found.keys() == {line["id"] for line in lines} - {lines[1]["id"], lines[3]["id"]}
    [(place, why)] = told
    assert place == 1 and "gone.wav" in why
    with pytest.raises(UserError, match=r"m\.jsonl.*gone\.wav"):
        judged(bundle, manifest, rows)
    with pytest.raises(UserError, match="has no utterance 'nobody'"):
        judged(bundle, manifest, [Scored("nobody", "a", "a")])


def test_a_choice_is_even_always_the_same_and_within_its_limits(tmp_path):
    lines = [
        {"id": f"u{n}", "audio": "x.wav", "start_s": 0.0, "duration_s": 50.0 if n % 10 == 3 else 4.0, "text": "a"}
        for n in range(200)
    ]
    manifest = write(tmp_path / "m.jsonl", lines)
    names = [line["id"] for line in lines]
    chosen = choose_evenly(manifest, names[::-1], most=30, longest_s=40.0, seconds=1000.0)
    places = [int(name[1:]) for name in chosen]
    assert len(chosen) == 30 and places[0] == 0 and places[-1] == 199 and all(place % 10 != 3 for place in places)
    assert max(np.diff(places)) <= 9 and chosen == choose_evenly(
        manifest, names, most=30, longest_s=40.0, seconds=1000.0
    )
    assert len(choose_evenly(manifest, names, most=30, longest_s=40.0, seconds=48.0)) == 12
    assert choose_evenly(manifest, ["gone", "u13"], most=30, longest_s=40.0, seconds=48.0) == []
