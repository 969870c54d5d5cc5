"""The parts that every page is made of."""

import base64
import hashlib
import re
import zlib

import numpy as np
import pytest

from hybrid_asr.common.errors import UserError
from hybrid_asr.pages.kit import Note, attempt, duration, number, pack, percent, quantize_range, quantize_root, render


def test_what_fails_stands_in_the_place_of_its_part():
    def mistaken() -> str:
        raise UserError("train.jsonl: there is none; write it")

    def broken() -> str:
        return {}["key"]

    assert attempt(lambda: "a part") == "a part"
    assert attempt(mistaken) == Note("train.jsonl: there is none; write it")
    found = attempt(broken)
    assert isinstance(found, Note)
    assert "KeyError" in found.text and "test_kit.py" in found.text
    with pytest.raises(KeyboardInterrupt):
        attempt(lambda: (_ for _ in ()).throw(KeyboardInterrupt()))


def test_bytes_come_back_and_fractions_within_four_thousandths():
    values = np.linspace(0, 1, 1001).reshape(7, 11, 13)
    bytes_ = quantize_root(values)
    unpacked = np.frombuffer(zlib.decompress(base64.b64decode(pack(bytes_))), np.uint8).reshape(bytes_.shape)
    assert (unpacked == bytes_).all()
    assert np.abs((unpacked / 255) ** 2 - values).max() < 0.004
    assert (np.diff(quantize_range(np.arange(200.0)).astype(int)) >= 0).all()
    assert set(quantize_range(np.zeros(5)).tolist()) == {0}


def test_only_the_pages_own_script_may_run_and_nothing_may_be_loaded():
    page = render("skeleton.html", scripts=("attention_viewer.js",))
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    script = re.search(r"<script>(.*?)</script>", page, re.S)
    assert policy and script
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy[1]
    assert policy[1].startswith("default-src 'none'")
    assert "://" not in page


def test_numbers_for_people():
    assert percent(0.058214) == "5.82"
    assert [duration(seconds) for seconds in (3.58, 60.0, 2220.0, 18120.0)] == [
        "3.58 s",
        "1 min",
        "37 min",
        "5 h 02 min",
    ]
    assert number(13090) == "13\u202f090"
