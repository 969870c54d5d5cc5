"""Recipes are loaded as `hybrid-asr prepare` loads them: by their path."""

import importlib.util
from collections.abc import Callable
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def recipe(checkout) -> Callable[[str], ModuleType]:
    """Load `recipes/<corpus>/prepare.py`."""

    def load(corpus: str) -> ModuleType:
        path = checkout / "recipes" / corpus / "prepare.py"
        spec = importlib.util.spec_from_file_location(f"prepare_{corpus}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
