"""A decoding's report writes and reads itself, and what is damaged or of a former version is told."""

import json
import tarfile

import pytest

from hybrid_asr.common.errors import UserError
from hybrid_asr.config.compose import digest
from hybrid_asr.inference.report import DecodingReport, ReportError


@pytest.fixture(scope="module")
def folder(checkout, tmp_path_factory):
    """A decoding of version 0.1.0; nobody writes to it."""
    place = tmp_path_factory.mktemp("former")
    with tarfile.open(checkout / "tests/fixtures/run_of_0_1.tar.xz") as archive:
        archive.extractall(place, filter="data")
    return place / "finished/decode/test/joint"


def test_what_is_read_is_written_byte_for_byte(folder):
    text = (folder / "report.json").read_text(encoding="utf-8")
    report = DecodingReport.read(folder)
    assert json.dumps(report.to_json(), indent=1, ensure_ascii=False) + "\n" == text
    assert DecodingReport.from_json(json.loads(text)) == report
    assert report.scores.wer.value == json.loads(text)["wer"] and report.scores.utterances == 8
    statistics = report.statistics
    assert statistics.search_s is not None and statistics.encode_s is not None
    assert statistics.search_s + statistics.encode_s == pytest.approx(statistics.decode_s)
    assert statistics.rtf == statistics.decode_s / statistics.audio_s
    assert json.loads(text)["digest"] == digest({k: v for k, v in json.loads(text).items() if k != "digest"})


def test_a_report_of_before_a_number_was_measured_lacks_it(folder):
    content = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    newer = ("encode_s", "peak_bytes", "looping", "search_errors", "failed", "nbest", "oracle_wer", "oracle_cer")
    report = DecodingReport.from_json({key: value for key, value in content.items() if key not in newer})
    statistics = report.statistics
    assert (statistics.search_s, statistics.search_rtf, statistics.encode_rtf, statistics.looping) == (None,) * 4
    assert (statistics.failed, statistics.nbest, statistics.oracle("wer"), statistics.oracle("cer")) == (
        (),
        1,
        None,
        None,
    )
    assert report.to_json()["search_rtf"] is None


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "no report.json, this decoding has not ended"),
        (b"", "report.json is damaged (line 1: Expecting value); remove joint/ and decode again"),
        (b"\xff", "report.json is damaged (byte 0 is not UTF-8); remove joint/ and decode again"),
        (b"[]", "report.json is damaged (a value in it is of another type); remove joint/ and decode again"),
        (b"{}", "report.json is damaged (the key 'metric' is missing); remove joint/ and decode again"),
    ],
)
def test_a_damaged_report_is_told_with_its_folder(tmp_path, content, why):
    place = tmp_path / "joint"
    place.mkdir()
    if content is not None:
        (place / "report.json").write_bytes(content)
    with pytest.raises(UserError) as caught:
        DecodingReport.read(place)
    assert isinstance(caught.value, ReportError)
    assert (caught.value.why, str(caught.value)) == (why, f"{place}: {why}")


@pytest.mark.parametrize(
    "damage",
    [{"decoder": "joint"}, {"decoder": []}, {"signatures": None}, {"audio_s": 0}, {"failed": [1]}, {"cut": "many"}],
    ids=str,
)
def test_a_value_of_another_type_is_told(folder, tmp_path, damage):
    content = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    (tmp_path / "report.json").write_text(json.dumps(content | damage))
    with pytest.raises(ReportError, match="a value in it is of another type"):
        DecodingReport.read(tmp_path)
