"""The pictures of attention on a run's page: spread over the epochs, the last one among them, within the budget."""

import base64
import csv
import io

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from hybrid_asr.common.errors import UserError
from hybrid_asr.pages.epoch_pictures import BUDGET, SHOWN, find_epochs
from hybrid_asr.pages.run_page import refresh
from hybrid_asr.run.folder import Run
from hybrid_asr.training.attention_pictures import picture_file
from tests.pages.reading import read

NASTY = "Epoch 7: <script>alert(1)</script>\"><b onload='x'>&amp;"


def png(*, side: int = 4, title: str = "Epoch 7: layer 1, head 2 leads") -> bytes:
    """A picture of noise, which cannot be compressed."""
    pixels = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
    about, file = PngImagePlugin.PngInfo(), io.BytesIO()
    about.add_itxt("Title", title)
    Image.fromarray(pixels).save(file, format="png", pnginfo=about)
    return file.getvalue()


def fill(folder, numbers, content):
    folder.mkdir(exist_ok=True)
    for number in numbers:
        picture_file(folder, number).write_bytes(content)


@pytest.mark.parametrize("there", [1, 2, 6, 7, 40])
def test_they_are_spread_evenly_and_the_last_one_is_there(tmp_path, there):
    content = png()
    fill(tmp_path, range(1, there + 1), content)
    found = find_epochs(tmp_path)
    numbers = [one.number for one in found.shown]
    assert len(numbers) == min(SHOWN, there) and found.total == there
    assert numbers[0] == 1 and numbers[-1] == there
    assert np.ptp(np.diff(numbers)) <= 1 if there > 1 else True
    for one in found.shown:
        assert base64.b64decode(one.uri.removeprefix("data:image/png;base64,")) == content
        assert one.size == (4, 4)


def test_large_ones_are_fewer_and_too_large_a_one_is_named(tmp_path):
    fill(tmp_path, range(1, 31), png(side=240))
    found = find_epochs(tmp_path)
    assert 1 < len(found.shown) < SHOWN and found.shown[-1].number == 30
    assert BUDGET / 2 < sum(len(one.uri) for one in found.shown) < 1.01 * BUDGET
    fill(tmp_path, [31], png(side=400))
    with pytest.raises(UserError, match=r"epoch_0031.png: 48\d,\d{3} bytes are too many"):
        find_epochs(tmp_path)


def test_what_is_no_picture_is_left_out(tmp_path):
    fill(tmp_path, [2], png())
    fill(tmp_path, [1], b"\x89PNG\r\n\x1a\nand no more")
    fill(tmp_path, [3], b"")
    fill(tmp_path, [4], png(side=40)[:-1500])
    (tmp_path / "notes.png").write_bytes(png())
    picture_file(tmp_path, 5).mkdir()
    picture_file(tmp_path, 6).symlink_to(tmp_path / "gone.png")
    assert [one.number for one in find_epochs(tmp_path).shown] == [2]
    assert find_epochs(tmp_path / "nowhere").total == 0


def test_a_quick_page_shows_them_beside_the_numbers_of_metrics_csv(copy):
    fill(copy / "attention", range(1, 10), png(title=NASTY))
    refresh(Run(copy), depth="quick")
    page = read(copy)
    images = [attrs for tag, attrs in page.tags if tag == "img"]
    assert len(images) == SHOWN
    assert [attrs["alt"].split()[7] for attrs in images] == ["1,", "3,", "4,", "6,", "7,", "9,"]
    assert all(attrs["src"].startswith("data:image/png;base64,") for attrs in images)
    text = page.sections["curves"]
    assert "6 of 9 pictures" in text and NASTY.removeprefix("Epoch 7: ") in text
    assert not [attrs for _, attrs in page.tags if "onload" in attrs]
    with (copy / "metrics.csv").open(newline="") as file:
        last = [row for row in csv.DictReader(file) if row["attention.entropy"]][-1]
    for name in ("monotonicity ↑", "diagonality ↑", "coverage ↑", "overlap ↓", "entropy ↓"):
        assert f"{name} last {float(last['attention.' + name.split()[0]]):.4g}" in text
    assert f"distance ↓ last {float(last['attention.ctc_distance_s']):.4g}" in text


def test_a_run_without_pictures_has_no_strip(copy):
    refresh(Run(copy), depth="quick")
    assert "pictures in attention/" not in read(copy).sections["curves"]
