"""Hybrid CTC/attention speech recognition on PyTorch Lightning."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hybrid_asr.recognizer import load

__version__ = "0.1.0"
__all__ = ["load"]


def __getattr__(name: str) -> object:
    """Import `load` on first use, so that `hybrid-asr --help` does not wait for torch."""
    if name == "load":
        from hybrid_asr.recognizer import load

        return load
    raise AttributeError(f"module 'hybrid_asr' has no attribute {name!r}")
