"""Configuration: presets and recipes merged, checked by pydantic, seen by the code as frozen dataclasses."""
