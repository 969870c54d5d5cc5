"""The page in headless Chromium: it opens the file, plays it and switches heads, on wide and on narrow screens."""

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hybrid_asr.attention.teacher_forcing import teacher_forced
from hybrid_asr.attention.utterance_view import view_attention, view_utterance
from hybrid_asr.audio import io
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.inference.encode import encode
from hybrid_asr.pages.run_page import refresh
from hybrid_asr.run.folder import Run
from tests.pages.reading import read

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install -e '.[dev]'")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select  # noqa: E402

WAIT_S = 20.0


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium; one for all tests, since it takes seconds to start."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs chromium and chromedriver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    # As root Chromium starts without its sandbox only; the page is ours.
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio"):
        options.add_argument(argument)
    options.add_argument("--autoplay-policy=no-user-gesture-required")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(driver))
    yield started
    started.quit()


def until(browser: Any, script: str, *arguments: Any) -> Any:
    """Wait until a script gives something true."""
    return wait(lambda: browser.execute_script(f"return {script}", *arguments), script)


def wait(ask: Callable[[], Any], what: str) -> Any:
    ends = time.monotonic() + WAIT_S
    while time.monotonic() < ends:
        found = ask()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"never came: {what}")


def show(browser: Any, run: Path, *, width: int = 1280, scheme: str = "light") -> None:
    """Open the run's page on a screen of a width, and wait until its picture is drawn."""
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    scheme_feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme_feature]})
    browser.get((run / "report.html").as_uri())
    until(browser, "document.readyState === 'complete'")
    if browser.find_elements(By.ID, "picture"):
        until(browser, "document.getElementById('picture').ariaLabel")


def picture(browser: Any) -> str:
    return browser.execute_script("return document.getElementById('picture').toDataURL()")


def no_complaint(browser: Any) -> None:
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_fits_the_screen_and_the_console_is_silent(browser, decoded, width, scheme):
    show(browser, decoded, width=width, scheme=scheme)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    outside = """return [...document.querySelectorAll('main *, header *')].filter((one) =>
        !one.closest('.scroll, pre, .visually-hidden') && one.getBoundingClientRect().right > innerWidth + 1
    ).map((one) => one.outerHTML.slice(0, 80))"""
    assert browser.execute_script(outside) == []
    colors = "const style = getComputedStyle(document.body); return [style.backgroundColor, style.color]"
    back, ink = (sum(map(int, re.findall(r"\d+", one)[:3])) for one in browser.execute_script(colors))
    assert (back > ink) == (scheme == "light")
    no_complaint(browser)


def test_an_utterance_plays(browser, decoded):
    show(browser, decoded)
    for player in browser.find_elements(By.TAG_NAME, "audio"):
        until(browser, "arguments[0].readyState >= 1 && arguments[0].duration > 0.2", player)
    browser.execute_script("document.getElementById('player').play()")
    until(browser, "document.getElementById('player').currentTime > 0.1")
    until(browser, "!document.getElementById('playhead').hidden")
    drawn = read(decoded).json["pictures"][0]
    length = browser.execute_script("return document.getElementById('player').duration")
    assert length == pytest.approx(drawn["seconds"], abs=0.03), "the player's time is that of the axis"
    no_complaint(browser)


def test_heads_and_utterances_are_switched_by_the_keyboard(browser, decoded):
    show(browser, decoded)
    first = picture(browser)
    head = browser.find_element(By.ID, "head")
    head.send_keys(Keys.ARROW_DOWN)
    second = wait(lambda: picture(browser) != first and picture(browser), "another head")
    assert "layer 1, head 2" in browser.find_element(By.ID, "picture").get_attribute("aria-label")
    browser.find_element(By.ID, "utterance").send_keys(Keys.ARROW_DOWN)
    name = read(decoded).json["pictures"][1]["id"]
    until(browser, "document.getElementById('picture').ariaLabel.startsWith(arguments[0])", name)
    assert picture(browser) != second
    assert "head 2" in Select(head).first_selected_option.text, "the head stays when the utterance changes"
    outline = "const style = getComputedStyle(document.activeElement); return [style.outlineStyle, style.outlineWidth]"
    assert browser.execute_script(outline) == ["solid", "3px"]
    no_complaint(browser)


def test_the_picture_tells_the_weight_of_the_chosen_head_at_that_time_and_label(browser, decoded, bundle, tones):
    show(browser, decoded)
    head = 1
    drawn = read(decoded).json["pictures"][0]
    Select(browser.find_element(By.ID, "head")).select_by_value(f"0.{head}")
    manifest = Manifest.read(tones / "test.jsonl")
    [place] = [place for place, one in enumerate(manifest) if one.id == drawn["id"]]
    with torch.inference_mode():
        encoded = encode(bundle, [io.read(manifest.audio_path(place), rate=8000)], torch.device("cpu"))
        labels = torch.tensor(bundle.tokenizer.encode(drawn["text"]))
        decoder = bundle.model.decoder
        weights = teacher_forced(decoder, encoded, labels[None], sos=decoder.sos)[0, 0, head]
    canvas = browser.find_element(By.ID, "picture")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    seen = {}
    for down in range(60, canvas.size["height"] - 60, 17):
        for across in (0.35, 0.65):
            aim = (round((across - 0.5) * canvas.size["width"]), down - canvas.size["height"] // 2)
            ActionChains(browser, duration=0).move_to_element_with_offset(canvas, *aim).perform()
            told = browser.find_element(By.ID, "readout").text
            found = re.fullmatch(r"([\d.]+) s · label (\d+): (\S+) · weight ([\d.]+)", told)
            if found:
                seen[float(found[1]), int(found[2]) - 1] = (found[3], float(found[4]))
    assert len(seen) > len(labels)
    for (seconds, row), (piece, weight) in seen.items():
        frames = [int((seconds + shift) / drawn["frame_s"]) for shift in (-0.005, 0.005)]  # the time is rounded
        assert piece == drawn["pieces"][row].replace(" ", "␣")
        assert min(abs(float(weights[row, frame]) - weight) for frame in frames) < 0.006


@pytest.mark.parametrize(
    ("of", "told"),
    [
        ("encoder", r"([\d.]+) s · query ([\d.]+) s · weight ([\d.]+)"),
        ("labels", r"label (\d+): \S+ · key (\S+) · weight ([\d.]+)"),
    ],
)
def test_self_attention_can_be_chosen_and_tells_its_weights(browser, decoded, bundle, tones, of, told):
    show(browser, decoded)
    before = picture(browser)
    drawn = read(decoded).json["pictures"][0]
    Select(browser.find_element(By.ID, "kind")).select_by_value(of)
    wait(lambda: picture(browser) != before, "another kind")
    Select(browser.find_element(By.ID, "head")).select_by_value("0.1")
    label = browser.find_element(By.ID, "picture").get_attribute("aria-label")
    assert f"{of.removesuffix('s')}" in label and "layer 1, head 2" in label
    manifest = Manifest.read(tones / "test.jsonl")
    [place] = [place for place, one in enumerate(manifest) if one.id == drawn["id"]]
    one = view_utterance(bundle, io.read(manifest.audio_path(place), rate=8000), bundle.tokenizer.encode(drawn["text"]))
    weights = view_attention(bundle, one, of).layers[0][0, 1]
    canvas = browser.find_element(By.ID, "picture")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    bottom, found = canvas.size["height"], 0
    for down in range(bottom - 150, bottom - 60, 23):
        for across in (90, 130, 170):
            aim = (across - canvas.size["width"] // 2, down - bottom // 2)
            ActionChains(browser, duration=0).move_to_element_with_offset(canvas, *aim).perform()
            parts = re.fullmatch(told, browser.find_element(By.ID, "readout").text)
            assert parts, browser.find_element(By.ID, "readout").text
            if of == "encoder":
                row = round(float(parts[2]) / one.frame_s)
                columns = [int((float(parts[1]) + shift) / one.frame_s) for shift in (-0.005, 0.005)]
            else:
                row, read_labels = int(parts[1]) - 1, ["▸", *drawn["pieces"]]
                columns = [n for n in range(weights.shape[1]) if read_labels[n].replace(" ", "␣") == parts[2]]
            assert min(abs(float(weights[row, column]) - float(parts[3])) for column in columns) < 0.006
            found += 1
    assert found == 12
    no_complaint(browser)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_can_be_read_against_their_background(browser, decoded, scheme):
    """The contrast of WCAG 2.1 AA: 4.5 for text of this size."""
    show(browser, decoded, scheme=scheme)
    pairs = browser.execute_script("""
        const solid = (one) => { for (let at = one; at; at = at.parentElement) {
            const color = getComputedStyle(at).backgroundColor; if (!/, 0\\)$/.test(color)) return color; } return 'rgb(255, 255, 255)'; };
        return [...document.querySelectorAll('main *, header *, nav *')]
            .filter((one) => !one.closest('svg, canvas, select, audio') && [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
            .map((one) => [getComputedStyle(one).color, solid(one), one.className || one.tagName])""")  # noqa: E501
    assert len(pairs) > 100
    poor = {(name, ink, back) for ink, back, name in pairs if contrast(ink, back) < 4.5}
    assert not poor


def contrast(one: str, other: str) -> float:
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def luminance(color: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("width", [1280, 400])
def test_a_picture_of_an_epoch_is_opened_by_the_keyboard_and_fits(browser, copy, width):
    (copy / "attention").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (60, 1150, 3), dtype=np.uint8)
    for epoch in range(1, 8):
        Image.fromarray(pixels).save(copy / f"attention/epoch_{epoch:04d}.png")
    refresh(Run(copy), depth="quick")
    show(browser, copy, width=width)
    image, summary = (browser.find_element(By.CSS_SELECTOR, f".epoch {name}") for name in ("img", "summary"))
    assert image.get_property("naturalWidth") == 1150, "the policy of the page lets it in"
    small = image.size["width"]
    assert small <= width / 1.05
    summary.send_keys(Keys.ENTER)
    assert wait(lambda: image.size["width"], "a width") > 1.5 * small
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    no_complaint(browser)


def test_a_page_without_pictures_is_silent_too(browser, copy):
    shutil.rmtree(copy / "decode")
    refresh(Run(copy))
    show(browser, copy, width=400)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 400
    no_complaint(browser)


def test_words_of_low_confidence_are_marked_and_stay_texts(browser, copy, tones):
    """One written word of each utterance is a tag that nobody said: it is marked, and made no part of the page."""
    from hybrid_asr.pages.run_page import refresh

    path = copy / "decode/test/joint/hypotheses.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row["text"] = " ".join(["<i>", *row["reference"].split()[1:]])
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    refresh(Run(copy))
    show(browser, copy)
    drawn = read(copy).json["pictures"]
    for place, one in enumerate(drawn):
        Select(browser.find_element(By.ID, "utterance")).select_by_value(str(place))
        until(browser, "document.getElementById('picture').ariaLabel.startsWith(arguments[0])", one["id"])
        marks = browser.find_elements(By.CSS_SELECTOR, "#recognized .low-confidence")
        assert [mark.text for mark in marks] == [part for part, mark in one["segments"] if mark] and "<i>" in one[
            "text"
        ]
        assert marks[0].text == "<i>" and re.fullmatch(r"low CTC confidence: .* %", marks[0].get_attribute("title"))
        whole = browser.find_element(By.ID, "recognized").get_attribute("textContent")
        assert re.sub(r" \(low CTC confidence: [^)]*\)", "", whole) == one["text"]
    listed = browser.find_elements(By.CSS_SELECTOR, "ol.worst .low-confidence")
    lines = (
        "[...document.querySelectorAll('.low-confidence')].map((part) => getComputedStyle(part).textDecorationStyle)"
    )
    assert len(listed) >= len(rows)
    assert set(browser.execute_script(f"return {lines}")) == {"wavy"}, "also without colors"
    assert not browser.find_elements(By.TAG_NAME, "i")
    players = browser.find_elements(By.CSS_SELECTOR, "#errors td audio")
    assert players and all(player.get_attribute("src").startswith("data:audio/") for player in players)
    no_complaint(browser)
