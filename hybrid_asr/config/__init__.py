"""Configuration: presets and recipes merged, checked by pydantic, used by the code as frozen dataclasses."""
