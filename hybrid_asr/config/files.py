"""Trees of keys and values, read from YAML and written as YAML with a comment on each value."""

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from hybrid_asr.common.files import read_problem
from hybrid_asr.config.locate import display_path
from hybrid_asr.config.schema import ConfigError
from hybrid_asr.config.yaml_limits import check_yaml

Tree = dict[str, Any]
LARGEST = 1 << 20  # bytes: a configuration that people write has thousands


def load_yaml(path: Path) -> Tree:
    """Read keys and values from a YAML file.  Raises ConfigError that names the file and the line, where known."""
    where = display_path(path)
    problem = read_problem(path, largest=LARGEST)
    if problem:
        raise ConfigError(f"{where}: {problem}")
    text = _decoded(path.read_bytes(), where)
    try:
        check_yaml(text, where)
        tree: Any = OmegaConf.to_container(OmegaConf.create(text), resolve=False) if text.strip() else {}
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{where}:{line}: holds the control character {error.character:#04x}; remove it") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}{yaml_problem(error)}") from None
    except ConfigError:
        raise
    except (OmegaConfBaseException, ValueError) as error:
        line = text.partition("${")[0].count("\n") + 1  # only a reference can be wrong in this way
        raise ConfigError(f"{where}:{line}: cannot be read: {str(error).splitlines()[0]}") from None
    return tree


def _decoded(content: bytes, where: str) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{where}:{line}: is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def yaml_problem(error: yaml.YAMLError) -> str:
    """`:line: problem` of an error that PyYAML reports."""
    mark = getattr(error, "problem_mark", None)
    line = f":{mark.line + 1}" if mark else ""
    return f"{line}: {getattr(error, 'problem', None) or str(error).splitlines()[0]}"


def to_yaml(tree: Tree, sources: Mapping[str, str] | None = None) -> str:
    """`tree` as YAML, a line a value; with `sources`, each has a comment: its source, or `default` without one."""
    rows = list(_rows(tree))
    if sources is None:
        return "".join(f"{text}\n" for text, _ in rows)
    width = min(50, max((len(text) for text, path in rows if path is not None), default=0))
    lines = (text if path is None else f"{text:<{width}}  # {sources.get(path, 'default')}" for text, path in rows)
    return "".join(f"{line}\n" for line in lines)


def flatten(tree: Tree, above: str = "") -> Iterator[tuple[str, Any]]:
    """All dotted paths with their values; a list is one value, and so is an empty section."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from flatten(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def scalar(value: Any) -> str:
    """A value in one line, such that `load_yaml` reads the same."""
    match value:
        case list():
            return f"[{', '.join(map(scalar, value))}]"
        case dict():
            return "{" + ", ".join(f"{scalar(key)}: {scalar(inner)}" for key, inner in value.items()) + "}"
    text = yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=2**30)[1:-2]
    if isinstance(value, str) and ("\n" in text or _read(text) != value):  # what looks like a number to OmegaConf
        return yaml.safe_dump(value, default_style='"', width=2**30).strip()
    return text


def _rows(tree: Tree, above: str = "", depth: int = 0) -> Iterator[tuple[str, str | None]]:
    """The lines of `tree`, each with the dotted path of its value; None for the name of a section."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield f"{'':{depth}}{scalar(key)}:", None
            yield from _rows(value, f"{above}{key}.", depth + 2)
        else:
            yield f"{'':{depth}}{scalar(key)}: {scalar(value)}", f"{above}{key}"


@functools.cache
def _read(text: str) -> Any:
    """What OmegaConf takes a text for that stands after `key=`."""
    return OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]))["value"]  # type: ignore[index,call-overload]
