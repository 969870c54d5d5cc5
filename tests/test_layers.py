"""Imports point one way, from the left to the right of ORDER, and each library is imported only in its packages."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ORDER = """cli > arguments, commands > serve, study > launch, pages, recognizer > run > training > attention > inference
    > convert, decoding > data, lm > models > nn, losses, scoring > audio, text > config > common"""
DEPTH = {name.strip(): depth for depth, names in enumerate(ORDER.split(">")) for name in names.split(",")}
ONLY_IN = {
    "lightning": {"training"},
    "wandb": {"training"},
    "tensorboard": {"training"},
    "jiwer": {"scoring"},
    "matplotlib": {"pages"},
    "PIL": {"pages"},
    "omegaconf": {"config", "study", "cli"},
    "recipes": set(),
}
OF_RECIPES = ("data.manifest", "data.splits", "data.download", "audio.io", "common.errors")  # what a recipe may import
MODULES = sorted((ROOT / "hybrid_asr").rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """The dotted names of all modules that a file imports, wherever in the file they are."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_point_one_way(path):
    layer = path.relative_to(ROOT / "hybrid_asr").with_suffix("").parts[0]
    if layer in ("__init__", "__main__"):
        return  # the package's own entry points: they import the recognizer and the command line on first use
    assert layer in DEPTH, f"{layer} has no place in ORDER yet"
    for name in imports(path):
        top, inner = [*name.split("."), ""][:2]
        assert name != "__future__.annotations", "jaxtyping needs annotations that are no text"
        assert layer in ONLY_IN.get(top, {layer}), f"{top} belongs to {ONLY_IN[top] or 'nobody'}"
        if top == "hybrid_asr" and inner not in (layer, "__version__"):
            assert DEPTH[inner] > DEPTH[layer], f"{layer} must not import {name}"


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").rglob("*.py")), ids=lambda path: path.parent.name)
def test_a_recipe_imports_only_what_recipes_may(path):
    assert path.name == "prepare.py", "prepare.py is the only code of a recipe"
    for name in imports(path):
        if name.split(".")[0] in ("hybrid_asr", "recipes"):
            assert f"{name}.".startswith(tuple(f"hybrid_asr.{module}." for module in OF_RECIPES))


def test_help_loads_no_torch():
    code = (
        "import sys; sys.argv = ['hybrid-asr', '--help']\n"
        "try:\n    from hybrid_asr.cli import main; status = main()\n"
        "except SystemExit as end:\n    status = end.code\n"
        "sys.exit(f'{status=}' if status else 'torch is loaded' if 'torch' in sys.modules else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "transcribe" in done.stdout


def test_decoding_loads_no_lightning():
    code = "import sys, hybrid_asr.commands.decode, hybrid_asr.recognizer, hybrid_asr.inference.align\n"
    code += "sys.exit('lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=120).returncode == 0
