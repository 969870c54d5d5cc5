"""Finds presets, recipes and corpora: in `./conf` and `./recipes` in the current folder, else in the package."""

import os
from pathlib import Path
from typing import Literal

from hybrid_asr.common.files import near_files
from hybrid_asr.config.schema import ConfigError
from hybrid_asr.config.words import SECTIONS, one_of, suggest, targets

_PACKAGE = Path(__file__).resolve().parents[1]


def folders(name: Literal["conf", "recipes"]) -> list[Path]:
    """The folders that are searched for `name`, the first one winning file by file."""
    bundled = _PACKAGE / "_assets"  # in a wheel; a checkout has them beside the package
    candidates = [Path.cwd() / name, (bundled if bundled.is_dir() else _PACKAGE.parent) / name]
    return [folder for folder in dict.fromkeys(candidates) if folder.is_dir()]


def display_path(path: Path) -> str:
    """A short name of a file for messages: relative to the current folder, or `packaged conf/...`."""
    if path.is_relative_to(Path.cwd()):
        return path.relative_to(Path.cwd()).as_posix()
    for folder in (*folders("conf"), *folders("recipes")):
        if path.is_relative_to(folder):
            return f"packaged {path.relative_to(folder.parent).as_posix()}"
    return str(path)


def sections() -> list[str]:
    """The sections that have presets."""
    return sorted({path.name for folder in folders("conf") for path in folder.iterdir() if path.is_dir()})


def presets(section: str) -> list[str]:
    """The presets of a section, such as the decoders of `decode`."""
    return sorted({path.stem for folder in folders("conf") for path in (folder / section).glob("*.yaml")})


def recipes() -> list[str]:
    """All recipes as `<corpus>/<recipe>`."""
    paths = [path for folder in folders("recipes") for path in folder.glob("*/*.yaml")]
    return sorted({f"{path.parent.name}/{path.stem}" for path in paths})


def corpora() -> list[str]:
    """The corpora that can be prepared."""
    return sorted({path.parent.name for folder in folders("recipes") for path in folder.glob("*/prepare.py")})


def find_preset(section: str, name: str) -> Path:
    """The file of a preset.  Raises ConfigError with the nearest section or preset."""
    if section not in sections():
        meant = targets(section, SECTIONS)
        near = f"did you mean 'presets.{meant}'?" if meant in sections() else suggest(section, sections())
        raise ConfigError(f"presets.{section}: unknown section; {near}")
    if name not in presets(section):
        raise ConfigError(f"presets.{section}: unknown preset '{name}'; {suggest(name, presets(section))}")
    return _first("conf", f"{section}/{name}.yaml")


def find_recipe(recipe: Path | str) -> Path:
    """The file of a recipe, given by its path or as `<corpus>/<recipe>`.  Raises ConfigError with the nearest one."""
    path = Path(recipe)
    if path.is_file() or (path.suffix == ".yaml" and os.path.lexists(path)):  # reading it reports what is wrong
        return path.absolute()
    name = path.as_posix().removeprefix("recipes/").removesuffix(".yaml")
    if (path / "config.yaml").is_file():
        raise ConfigError(
            f"{recipe}: is a run, and a recipe is trained; the recipe's command goes on with it, 'init.from={recipe}' "
            "begins with its weights"
        )
    if name not in recipes():
        if path.parts[:1] != ("recipes",) and (beside := near_files(path, (".yaml", ".yml"))):
            raise ConfigError(f"{recipe}: no such recipe; did you mean {one_of(beside)}?")
        if named := [known for known in recipes() if known.rpartition("/")[2] == path.stem]:
            raise ConfigError(f"{recipe}: no such recipe; did you mean {one_of(named)}?")
        raise ConfigError(f"{recipe}: no such recipe; {suggest('/'.join(name.split('/')[-2:]), recipes())}")
    return _first("recipes", f"{name}.yaml")


def find_corpus(corpus: str) -> Path:
    """The `prepare.py` of a corpus.  Raises ConfigError with the nearest one."""
    if corpus not in corpora():
        raise ConfigError(f"{corpus}: no such corpus; {suggest(corpus, corpora())}")
    return _first("recipes", f"{corpus}/prepare.py")


def _first(kind: Literal["conf", "recipes"], name: str) -> Path:
    """The file in the first of the searched folders that has it, even as a broken link; one of them must have it."""
    return next(folder / name for folder in folders(kind) if os.path.lexists(folder / name))
