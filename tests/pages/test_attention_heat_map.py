"""The picture of attention: every weight at its time, every label named, nothing outside its edges."""

import base64
import io
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread

from hybrid_asr.attention.capture import Weights
from hybrid_asr.attention.utterance_view import END, START, UtteranceView, view_attention, view_utterance
from hybrid_asr.audio.io import read
from hybrid_asr.pages.attention_heat_map import HeadIndex, draw, figure, head_weights

TEXT = "bad cafe"


class Image(NamedTuple):
    """An image in an SVG file: its pixels' darkness, where it begins, and the width of a pixel."""

    darkness: np.ndarray
    left: float
    step: float


class Svg:
    """Texts with their places and the images of attention, in the order in which they were drawn."""

    def __init__(self, path: Path):
        tree = ET.parse(path).getroot()
        texts = [one for one in tree.iter() if one.tag.endswith("}text")]
        self.texts = ["".join(one.itertext()) for one in texts]
        self.places = [float(one.get("x") or (one[0].get("x") if len(one) else 0) or 0) for one in texts]
        self.images = []
        for one in tree.iter():
            matrix = re.match(r"matrix\((.*)\)", one.get("transform", ""))
            if one.tag.endswith("}image") and matrix:
                data = next(value for key, value in one.attrib.items() if key.endswith("href")).split(",")[1]
                pixels = imread(io.BytesIO(base64.b64decode(data)))
                step, *_, left, _ = map(float, matrix[1].split())
                self.images.append(Image(3 - pixels[..., :3].sum(-1), left, step))
        if "Log-mel spectrogram" in self.texts:
            self.spectrogram = self.images.pop(0)

    def where(self, text: str, *, nth: int = 0) -> float:
        return [place for one, place in zip(self.texts, self.places, strict=True) if one == text][nth]


@pytest.fixture(scope="module")
def one(bundle, tones) -> UtteranceView:
    return view_utterance(bundle, read(tones / "test/00.wav", rate=8000), bundle.tokenizer.encode(TEXT))


@pytest.mark.parametrize("of", ["decoder", "encoder", "labels"])
def test_every_head_is_drawn_and_the_chosen_one_large_with_its_labels(bundle, one, tmp_path, of):
    weights = view_attention(bundle, one, of)
    heads, chosen = head_weights(weights, frames=one.frames), HeadIndex(0, 1)
    draw(one, weights, chosen, tmp_path / "x.svg", title="A title with $5 and $6", text="what <is> said")
    svg = Svg(tmp_path / "x.svg")
    assert "A title with $5 and $6" in svg.texts and "what <is> said" in svg.texts
    assert [text for text in svg.texts if text in map(str, heads)] == [str(place) for place in heads]
    for image, values in zip(svg.images, [heads[chosen], *heads.values()], strict=True):
        assert image.darkness.shape == tuple(values.shape)
        order = values.numpy().ravel().argsort()
        assert (np.diff(image.darkness.ravel()[order]) >= -0.02).all(), "the larger the weight, the darker"
    shown = {"decoder": [*TEXT, END], "encoder": [*TEXT], "labels": [START, *TEXT, END]}[of]
    for text in shown:
        assert text.replace(" ", "␣") in svg.texts
    assert (of == "labels") == ("time (s)" not in svg.texts)


@pytest.mark.parametrize("of", ["decoder", "encoder"])
def test_all_parts_share_one_axis_in_seconds(bundle, one, tmp_path, of):
    draw(one, view_attention(bundle, one, of), HeadIndex(0, 0), tmp_path / "x.svg", title="", text="")
    svg = Svg(tmp_path / "x.svg")
    image = svg.images[0]
    second = image.step / one.frame_s  # how far a second is
    assert svg.spectrogram.step == pytest.approx(one.feature_s * second)
    assert svg.spectrogram.left == pytest.approx(image.left)
    assert one.frame_s == pytest.approx(0.04) and one.frames * one.frame_s == pytest.approx(one.seconds, abs=0.1)
    ticks = [(text, place) for text, place in zip(svg.texts, svg.places, strict=True) if re.fullmatch(r"0\.\d", text)]
    assert min(abs(place - image.left - float(text) * second) for text, place in ticks) < 0.5
    first, last = one.alignment.spans[0], one.alignment.spans[-1]
    for span, text, nth in ((first, "b", 0), (last, "e", 0)):
        middle = (span.start + span.end) / 2 * one.frame_s
        assert svg.where(text, nth=nth) == pytest.approx(image.left + middle * second, abs=1)


@pytest.mark.parametrize("of", ["decoder", "encoder", "labels"])
def test_no_text_is_cut_off(bundle, one, of):
    drawn = figure(one, view_attention(bundle, one, of), HeadIndex(0, 0), title="a title", text="word " * 200)
    canvas = FigureCanvasAgg(drawn)
    canvas.draw()
    parts = [part for part in drawn.findobj(Axes) if part.get_visible()]
    boxes = [part.get_tightbbox(canvas.get_renderer()) for part in parts]  # with titles, names and numbers of the axes
    boxes += [part._suptitle.get_window_extent() for part in [drawn, *drawn.subfigs] if part._suptitle is not None]
    assert len(boxes) > 4
    for box in boxes:
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= drawn.bbox.x1 + 1 and box.y1 <= drawn.bbox.y1 + 1


def test_attention_to_patches_is_drawn_from_time_to_time_and_from_band_to_band(one, tmp_path):
    bands, heads = 3, 2
    size = one.frames * bands
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(1, heads, size, size, generator=generator).softmax(-1)
    draw(one, Weights("encoder", {0: weights}, 1, bands), HeadIndex(0, 1), tmp_path / "x.svg", title="", text="")
    shapes = [image.darkness.shape for image in Svg(tmp_path / "x.svg").images]
    assert shapes == [(one.frames, one.frames)] * (1 + heads) + [(bands, bands)] * heads


def test_the_same_picture_is_the_same_file(bundle, one, tmp_path):
    weights = view_attention(bundle, one, "decoder")
    for name in ("a.svg", "b.svg"):
        draw(one, weights, HeadIndex(0, 0), tmp_path / name, title="t", text="x")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_every_label_of_a_long_text_has_its_name_and_a_letter_without_a_font_is_told(bundle, one, tmp_path):
    text = ("fed a cab " * 12).strip()
    long = view_utterance(bundle, np.zeros(5 * 8000, np.float32), bundle.tokenizer.encode(text))
    assert not draw(
        long, view_attention(bundle, long, "decoder"), HeadIndex(0, 0), tmp_path / "x.svg", title="", text="漢"
    )
    named = [label for label in Svg(tmp_path / "x.svg").texts if label in {*"fedcab␣", END}]
    assert named[-len(text) - 1 :] == [*text.replace(" ", "␣"), END]
    weights = view_attention(bundle, one, "decoder")
    assert draw(one, weights, HeadIndex(0, 0), tmp_path / "x.png", title="", text="a \U0002a6a5") == {"\U0002a6a5"}
