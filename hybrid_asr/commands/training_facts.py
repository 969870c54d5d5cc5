"""What all processes of a training must have alike, as texts by their names, to be compared before the first step."""

import json
from pathlib import Path

from hybrid_asr.common.environment import code_versions
from hybrid_asr.config.files import flatten
from hybrid_asr.config.schema import plain
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.run.config import RunConfig
from hybrid_asr.training.checkpoint import LAST, name_of_state

# What may differ from node to node: where the data lie, who reads them, where results go.
LOCAL_SETTINGS = ("data.root", "data.workers", "data.prefetch", "data.audio", "trainer.threads", "logger", "presets")


def setting_facts(cfg: RunConfig) -> dict[str, str]:
    """All settings but those that may differ from node to node, by their dotted paths."""
    local = tuple(f"{name}." for name in LOCAL_SETTINGS)
    return {path: json.dumps(value) for path, value in flatten(plain(cfg)) if not f"{path}.".startswith(local)}


def code_facts() -> dict[str, str]:
    """Versions and commit of the code."""
    return {f"version of {name}" if name != "commit" else name: text for name, text in code_versions().items()}


def data_facts(train_set: Manifest, valid_set: Manifest) -> dict[str, str]:
    """Digests of what is read."""
    sets = {"data.train": train_set, "data.valid": valid_set}
    return {f"{name} digest": f"{manifest.digest[:12]}, {len(manifest)} utterances" for name, manifest in sets.items()}


def checkpoint_facts(folder: Path, *, first: bool) -> dict[str, str]:
    """The state to resume from that lies in `folder`. A process other than the first need not see the folder at all."""
    path = folder / LAST
    if not path.is_file():
        return {"checkpoint": "none"} if first else {}
    return {"checkpoint": name_of_state(path)}
