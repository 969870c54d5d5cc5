"""docs/plugin_example: pip installs it, the command line trains, decodes and loads with it, and refuses without it."""

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hybrid_asr.cli import main
from tests.tones import words

SETTINGS = ("presets.model=example", "data.batch_seconds=30", "trainer.epochs=1", "decode.beam=2")
MODEL = """
encoder: {kind: plugin, name: gru, options: {dim: 16, layers: 1}}
decoder: {kind: plugin, name: gru, options: {dim: 16}}
"""


@pytest.fixture(scope="module")
def installed(checkout, tmp_path_factory) -> Path:
    """The folder into which pip put the example, without the network."""
    source = tmp_path_factory.mktemp("source") / "plugin_example"
    shutil.copytree(checkout / "docs/plugin_example", source)
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-build-isolation", "--no-deps", "--no-index"]
    pip += ["--disable-pip-version-check", "--target", str(target), str(source)]
    done = subprocess.run(pip, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def recipe(tones, tmp_path, monkeypatch) -> list[str]:
    """The command that trains three steps of the example on tones, from a folder with a preset of its own."""
    (tmp_path / "conf/model").mkdir(parents=True)
    (tmp_path / "conf/model/example.yaml").write_text(MODEL)
    recipe = tmp_path / "tones.yaml"
    text = (tones / "tiny.yaml").read_text().splitlines()
    sizes = ("model:", "  encoder:", "  decoder:")  # of another preset
    recipe.write_text("\n".join(line for line in text if not line.startswith(sizes)))
    monkeypatch.chdir(tmp_path)
    command = words(tones, tmp_path / "run", *SETTINGS)
    return ["train", str(recipe), *command[2:]]


def test_it_is_installed_trained_decoded_and_loaded(installed, recipe, tones, tmp_path, monkeypatch, capsys):
    assert main(recipe) == 2
    told = capsys.readouterr().err
    assert "model.encoder.name: no installed package has the plugin 'gru'" in told and "with pip" in told
    assert not (tmp_path / "run").exists()
    with monkeypatch.context() as patch:
        patch.syspath_prepend(installed)
        assert main([*recipe, "model.encoder.options.dmi=3"]) == 2
        assert "model.encoder.options.dmi: unknown key; did you mean 'dim'?" in capsys.readouterr().err
        assert main(recipe) == 0
        told = capsys.readouterr().err
        assert "trained for" in told and "not harmed" not in told, told  # the page was written, too
        assert main(["decode", str(tmp_path / "run"), "--sets", "test", "--decoders", "ctc_greedy,joint"]) == 0
        assert "plugin" in (tmp_path / "run/report.html").read_text()
        report = json.loads((tmp_path / "run/decode/test/joint/report.json").read_text())
        assert report["decoder"]["beam"] == 2
        capsys.readouterr()
        assert main(["transcribe", str(tmp_path / "run"), str(tones / "test/00.wav")]) == 0
        assert capsys.readouterr().err == ""
    for name in [name for name in sys.modules if name.startswith("hybrid_asr_example")]:
        monkeypatch.delitem(sys.modules, name)
    importlib.invalidate_caches()
    assert main(["transcribe", str(tmp_path / "run"), str(tones / "test/00.wav")]) == 2
    told = capsys.readouterr().err
    assert "model.pt: the model needs a plugin: model.encoder.name: no installed package has the plugin 'gru'" in told
