"""Every file, module and make target that the documents name is there; links lead somewhere."""

import re

import pytest

from tests.documents import DOCUMENTS, ROOT, commands, named_paths
from tests.test_layers import DEPTH

READERS = {"conf/model/plugin_example.yaml"}  # files that a reader is told to write
OURS = ("hybrid_asr/", "tools/", "tests/", "docs/", "conf/", "recipes/")  # other paths are the user's own


FILES = {path.name for name in OURS for path in (ROOT / name).rglob("*.py")}


def exists(path: str) -> bool:
    """Whether a path from the root is there, with `<name>` for any name."""
    return any(ROOT.glob(re.sub(r"<[^>]+>", "*", path.rstrip("/.,;:"))))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_path_and_link_is_there(document):
    missing = []
    for where, path in named_paths(document):
        if path.startswith("]("):
            link = path.removeprefix("](")
            there = "://" in link or (DOCUMENTS[document].parent / link).exists()
        else:
            there = not path.startswith(OURS) or path in READERS or exists(path)
        if not there:
            missing.append(f"{where}: {path}")
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_module_is_there(document):
    text = DOCUMENTS[document].read_text(encoding="utf-8")
    for dotted in re.findall(r"`(hybrid_asr(?:\.\w+)+)[`(]", text):
        *folders, last = dotted.split(".")
        files = [ROOT.joinpath(*folders).with_suffix(".py"), ROOT.joinpath(*folders, "__init__.py")]
        here = ROOT.joinpath(*folders, last)
        inside = any(file.is_file() and re.search(rf"\b{last}\b", file.read_text(encoding="utf-8")) for file in files)
        if dotted not in ("hybrid_asr.encoders", "hybrid_asr.decoders"):  # groups of entry points
            assert inside or here.with_suffix(".py").is_file() or here.is_dir(), f"{document}: {dotted}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_make_target_and_file_is_there(document):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M))
    text = DOCUMENTS[document].read_text(encoding="utf-8")
    for target in re.findall(r"`make ([a-z-]+)", text) + [
        command.text.split()[1] for command in commands(document) if command.text.startswith("make ")
    ]:
        assert target in targets, f"{document}: make {target}"
    for module in re.findall(r"(?:python -m |`)((?:tools|tests)\.[\w.]+)", text):
        assert exists(module.replace(".", "/") + ".py"), f"{document}: {module}"
    for tool in re.findall(r"python (tools/\S+\.py)", text):
        assert exists(tool), f"{document}: {tool}"
    for name in re.findall(r"`(\w+\.py)`", text):
        assert name in FILES, f"{document}: {name}"


def test_the_readme_is_short_and_the_index_names_every_page():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    for page in ROOT.glob("docs/*.md"):
        assert page.name == "index.md" or f"({page.name})" in index, page


def test_the_architecture_page_has_every_package_in_the_order_of_imports():
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8").partition("## From audio to text")[0]
    names = [name.removesuffix(".py") for name in re.findall(r"^\| `([\w.]+)` \|", text, flags=re.M)]
    there = {
        path.stem
        for path in (ROOT / "hybrid_asr").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert set(names) == there - {"__init__", "__main__"}
    depths = [DEPTH[name] for name in names]
    assert depths == sorted(depths, reverse=True)
