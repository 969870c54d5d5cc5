"""Checks of model files before anything is built from them; their messages name the cause."""

import math
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

_GLOBAL = re.compile(r"\bGLOBAL ([\w.]+)")
_WORDS = {
    "EOFError": "its contents end too early",
    "UnpicklingError": "its record data.pkl is no pickle of plain containers and tensors",
    "MemoryError": "its contents claim more numbers than there is memory for",
    "OverflowError": "its contents claim a size beyond all bounds",
}


def check_archive(archive: zipfile.ZipFile, path: Path) -> None:
    """Raise BadZipFile where records are compressed, which torch never does, or claim more bytes than the file has."""
    size = path.stat().st_size
    for entry in archive.infolist():
        if entry.compress_type != zipfile.ZIP_STORED:
            raise zipfile.BadZipFile(f"its record {entry.filename[:80]} is compressed, which torch never does")
        if entry.file_size > size:
            claim = f"its record {entry.filename[:80]} claims {entry.file_size:,} bytes"
            raise zipfile.BadZipFile(f"{claim}, the file has {size:,}")


def cause(error: Exception, path: Path) -> str:
    """What `zipfile` or `torch.load` found wrong with the file at `path`, in a line that names no exception."""
    text = " ".join(str(error).split())
    code = _GLOBAL.search(text)
    if code:
        return f"its record data.pkl refers to {code[1]}, which is code and is not run"
    with path.open("rb") as file:
        head = file.read(4)
    if not head:
        return "it is empty"
    if head != b"PK\x03\x04":
        return f"it begins with the bytes {head.hex(' ')}, a torch file with 50 4b 03 04"
    if (isinstance(error, zipfile.BadZipFile) and "record" in text) or "checksum" in text:
        return text
    if isinstance(error, zipfile.BadZipFile | OSError | ValueError | NotImplementedError):
        known = {"File is not a zip file": "it ends the file, and is not there"}
        reason = error.strerror if isinstance(error, OSError) else text
        return f"the list of its records is broken: {known.get(text, reason)}"
    kind = type(error).__name__
    if kind in _WORDS:
        return _WORDS[kind]
    words = re.split(r" Exception raised from | frame #| This is |\(default_program\)", text)[0][:200]
    return f"its records do not fit together: {words}" if words else "its records do not fit together"


def check_description(description: Mapping[str, Any], weights: Any) -> None:
    """Raise ValueError that names the key of what cannot describe a model, or the name of what is no weight."""
    _check(description, "config", dict)
    _check(description, "tokenizer", dict)
    _check_positive("labels_per_frame", description.get("labels_per_frame"))
    if description.get("labels_per_second") is not None:  # models of former versions lack it
        _check_positive("labels_per_second", description["labels_per_second"])
    for section in ("features", "model", "loss", "text"):
        _check(description["config"], section, dict, "config.")
    share = description["config"]["loss"].get("ctc_weight")
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise ValueError(f"'config.loss.ctc_weight': expected a number from 0 to 1, got {_shown(share)}")
    if not isinstance(weights, dict):
        raise ValueError(f"'weights': expected names and tensors, got {_shown(weights)}")
    for name, value in weights.items():
        dense = isinstance(value, torch.Tensor) and value.layout == torch.strided and value.device.type == "cpu"
        if not isinstance(name, str) or not dense or value.is_complex():
            what = f"a {value.dtype} of layout {value.layout}" if isinstance(value, torch.Tensor) else _shown(value)
            raise ValueError(f"weights: {_shown(name)} should be a dense tensor of real numbers, got {what}")


def check_finite(weights: Mapping[str, torch.Tensor]) -> None:
    """Raise ValueError that names the first weight with a number that is NaN or infinite."""
    for name, value in weights.items():
        if not torch.isfinite(value).all():
            raise ValueError(
                f"weights: '{name}' holds numbers that are NaN or infinite; such a model recognizes nothing"
            )


def _check_positive(key: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f"'{key}': expected a positive number, got {_shown(value)}")


def _check(tree: Mapping[str, Any], key: str, kind: type, above: str = "") -> None:
    if key not in tree:
        raise ValueError(f"the key '{above}{key}' is missing")
    if not isinstance(tree[key], kind):
        raise ValueError(f"'{above}{key}': expected keys, got {_shown(tree[key])}")


def _shown(value: Any) -> str:
    """A value of any type, shortly and without its memory address."""
    return repr(value)[:60] if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
