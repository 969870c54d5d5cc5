"""`hybrid-asr prepare`: writes the manifests of a corpus, a table or a Kaldi data folder, all of them or none."""

import dataclasses
import importlib.util
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from hybrid_asr.common.errors import UserError
from hybrid_asr.config.locate import find_corpus
from hybrid_asr.data.kaldi import read_kaldi
from hybrid_asr.data.manifest import Utterance, write_manifest
from hybrid_asr.data.tables import read_table

SETS = ("train", "valid", "test")


def prepare(corpus: str, *, source: Path | None = None, to: Path | None = None) -> Path:
    """Write train.jsonl, valid.jsonl, test.jsonl, and one for each further set of the corpus.

    `corpus` is a recipe's name, `table:FILE` or `kaldi:DIR`. Returns their folder.
    """
    kind, colon, location = corpus.partition(":")
    if colon and kind not in ("table", "kaldi"):
        raise UserError(f"{corpus}: write CORPUS, table:FILE or kaldi:DIR")
    if colon and source is not None:
        raise UserError(f"--source: {corpus} names its source already; leave --source out")
    to = to or Path("data") / (Path(location).resolve().stem if colon else corpus)
    if colon:
        sets = (read_table if kind == "table" else read_kaldi)(Path(location))
    else:
        sets = _recipe(corpus).prepare(source, to)
    to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=to) as new:
        names = list(dict.fromkeys([*SETS, *sets]))
        for name in names:
            write_manifest(Path(new) / f"{name}.jsonl", [_relative(utterance, to) for utterance in sets.get(name, [])])
        for name in names:
            os.replace(Path(new) / f"{name}.jsonl", to / f"{name}.jsonl")
            print(_summary(to / f"{name}.jsonl", sets[name]))
    return to


def _recipe(corpus: str) -> ModuleType:
    """Load `recipes/<corpus>/prepare.py` by its path: no other code imports a recipe."""
    path = find_corpus(corpus)
    spec = importlib.util.spec_from_file_location(f"hybrid_asr_recipe_{corpus}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _relative(utterance: Utterance, to: Path) -> Utterance:
    """With a path relative to the manifest for audio below its folder, so that this can be moved; else absolute."""
    path = Path(utterance.audio) if os.path.isabs(utterance.audio) else to / utterance.audio
    path, folder = path.absolute(), to.absolute()
    return dataclasses.replace(utterance, audio=str(path.relative_to(folder) if path.is_relative_to(folder) else path))


def _summary(path: Path, utterances: Sequence[Utterance]) -> str:
    hours = sum(utterance.duration_s for utterance in utterances) / 3600
    speakers = len({utterance.speaker for utterance in utterances if utterance.speaker})
    return f"{path}: {len(utterances)} utterances, {hours:.2f} h, {speakers} speakers"
