"""What decides the labels of transcripts, as a digest by which what was computed from them is kept."""

import hashlib
import json
import unicodedata
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import hybrid_asr.text
from hybrid_asr.config.schema import plain
from hybrid_asr.text.normalize import TextConfig
from hybrid_asr.text.tokenizer import Tokenizer


def text_digest(text: TextConfig, *others: Any) -> str:
    """A digest of the rules that spell transcripts, of the code that follows them, and of `others`, for JSON."""
    return hashlib.sha256(json.dumps([_code(), plain(text), *others], sort_keys=True).encode()).hexdigest()[:16]


def tokenizer_digest(tokenizer: Tokenizer) -> str:
    """A digest of all that decides what a tokenizer does."""
    return hashlib.sha256(json.dumps(tokenizer.state(), sort_keys=True, default=_tensor).encode()).hexdigest()[:16]


def _tensor(value: torch.Tensor) -> str:
    return hashlib.sha256(value.cpu().contiguous().numpy().data).hexdigest()


@cache
def _code() -> str:
    """The package `text` as it is installed, Unicode's tables and sentencepiece: others may spell or cut otherwise."""
    digest = hashlib.sha256(f"{unicodedata.unidata_version} {version('sentencepiece')}".encode())
    for folder in (Path(hybrid_asr.text.__file__).parent, Path(__file__).parent):
        for path in sorted(folder.glob("*.py")):
            if folder.name == "text" or path.name in ("label_counts.py", "odd_transcripts.py"):
                digest.update(path.read_bytes())
    return digest.hexdigest()
