"""The built wheel carries presets and recipes, and works where there is no checkout."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


def run(*command: str | Path, folder: Path) -> str:
    done = subprocess.run([str(word) for word in command], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(checkout, tmp_path_factory) -> Path:
    """A wheel of the checkout, built with the installed hatchling."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, checkout, folder=folder)
    [built] = folder.glob("hybrid_asr-*.whl")
    return built


def test_the_wheel_carries_all_presets_and_recipes(wheel, checkout):
    inside = set(zipfile.ZipFile(wheel).namelist())
    for name in ("conf", "recipes"):
        files = [path for path in (checkout / name).rglob("*") if path.suffix in (".yaml", ".py", ".md", ".json")]
        assert files
        assert {f"hybrid_asr/_assets/{path.relative_to(checkout).as_posix()}" for path in files} <= inside
    assert not [name for name in inside if name.startswith(("tests/", "tools/", "conf/")) or "__pycache__" in name]


def test_the_wheel_carries_what_pages_are_made_of(wheel, checkout):
    inside = set(zipfile.ZipFile(wheel).namelist())
    files = sorted((checkout / "hybrid_asr/pages/templates").iterdir())
    assert {path.suffix for path in files} == {".html", ".css", ".js"}
    assert {path.relative_to(checkout).as_posix() for path in files} <= inside


def test_an_installed_wheel_works_in_an_empty_folder(wheel, tmp_path):
    """Unpacked as pip would, before everything else on the path, since installing torch again would take minutes."""
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    zipfile.ZipFile(wheel).extractall(site)
    code = f"import sys; sys.path.insert(0, {str(site)!r}); from hybrid_asr.cli import main; sys.exit(main())"
    shown = run(sys.executable, "-c", code, "show", "config", "recipes/spoken/conformer_s.yaml", "seed=7", folder=empty)
    assert "# recipe: packaged recipes/spoken/conformer_s.yaml" in shown
    assert "seed: 7" in shown
    assert not list(empty.iterdir())
