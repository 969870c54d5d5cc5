"""`hybrid-asr prepare`: writes the manifests of a corpus, a table or a Kaldi data folder, all of them or none."""

import dataclasses
import importlib.util
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.lock_holder import is_of_living_process, name_of_process
from hybrid_asr.config.locate import corpora, find_corpus
from hybrid_asr.config.words import suggest
from hybrid_asr.data.kaldi import read_kaldi
from hybrid_asr.data.lhotse import is_lhotse_name, read_lhotse
from hybrid_asr.data.manifest import ManifestError, Utterance, write_manifest
from hybrid_asr.data.oddities import oddities
from hybrid_asr.data.prepared import Prepared, ReadingOptions
from hybrid_asr.data.table_checks import Rejected
from hybrid_asr.data.tables import read_table

REJECTED = "rejected.jsonl"
_UNFINISHED = ".prepare-"  # then the process that writes
READERS: Mapping[str, Callable[[Path, ReadingOptions], Prepared]] = {
    "table": read_table,
    "kaldi": read_kaldi,
    "lhotse": read_lhotse,
}
TABLES = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".list")


def prepare(
    corpus: str, *, source: Path | None = None, to: Path | None = None, options: ReadingOptions | None = None
) -> Path:
    """Write train.jsonl, valid.jsonl, test.jsonl, those that the source has, and one for each further set.

    `corpus` is a recipe's name, or a reader of the user's own data and what it reads, such as `table:FILE`. Lines that
    were left out go to rejected.jsonl. Returns the folder of the manifests.
    """
    kind, colon, location = corpus.partition(":")
    if colon and kind not in READERS:
        forms = " or ".join(f"{name}:PATH" for name in READERS)
        raise UserError(f"{corpus}: write CORPUS, {forms}; {suggest(kind, READERS)}")
    if colon and source is not None:
        raise UserError(f"--source: {corpus} names its source already; leave --source out")
    if not colon and options not in (None, ReadingOptions()):
        raise UserError(f"{corpus}: a corpus with a recipe is read as the recipe says; leave out the options of tables")
    if kind != "table" and options is not None and (options.columns or options.ignore_columns):
        raise UserError(f"{corpus}: only tables have columns; leave --columns and --ignore-columns out")
    own = Path(location).expanduser()
    to = to or Path("data") / (own.resolve().stem if colon else corpus)
    if to.exists() and not to.is_dir():
        raise UserError(f"--to {to}: is a file; name a folder, which is made where there is none")
    prepared = READERS[kind](own, options or ReadingOptions()) if colon else Prepared(_recipe(corpus)(source, to))
    _write(prepared, to)
    for message in prepared.messages:
        print(message, file=sys.stderr)
    for path in sorted(path for path in to.glob("*.jsonl") if path.stem not in (*prepared.sets, Path(REJECTED).stem)):
        print(f"warning: {path} is not of this preparation, perhaps of an earlier one; remove it", file=sys.stderr)
    return to


def _write(prepared: Prepared, to: Path) -> None:
    """Write the manifests, and what was left out, as files that are all new."""
    if not any(prepared.sets.values()):
        raise ManifestError(f"{to}: there are no utterances to write; check what the corpus was prepared from")
    try:
        to.mkdir(parents=True, exist_ok=True)
        _remove_unfinished(to)
        with tempfile.TemporaryDirectory(prefix=f"{_UNFINISHED}{name_of_process()}~", dir=to) as new:
            for name, utterances in prepared.sets.items():
                write_manifest(Path(new) / f"{name}.jsonl", [_relative(utterance, to) for utterance in utterances])
            if prepared.rejected:
                _write_rejected(prepared.rejected, Path(new) / REJECTED)
            else:
                (to / REJECTED).unlink(missing_ok=True)
            for file in sorted(os.listdir(new)):
                os.replace(Path(new) / file, to / file)
    except OSError as error:
        raise UserError(f"{to}: cannot be written: {error.strerror}; name another folder with --to") from error
    for name, utterances in prepared.sets.items():
        print(_summary(to / f"{name}.jsonl", utterances))
        _tell_oddities(name, utterances)


def _remove_unfinished(to: Path) -> None:
    """Remove what a preparation left that was killed while it wrote."""
    for folder in to.glob(f"{_UNFINISHED}*"):
        words = folder.name.removeprefix(_UNFINISHED)
        if is_of_living_process(words.rpartition("~")[0] or words.partition("-")[0]) is False:
            shutil.rmtree(folder, ignore_errors=True)


def _tell_oddities(name: str, utterances: Sequence[Utterance]) -> None:
    """What is odd in the transcripts of a set."""
    texts = ((utterance.text, utterance.language) for utterance in utterances)
    for oddity in oddities(texts, lambda index: f"utterance '{utterances[index].id}'", of=name):
        print(f"{'warning' if oddity.doubtful else 'note'}: {oddity.text}", file=sys.stderr)


def _write_rejected(rejected: Sequence[Rejected], path: Path) -> None:
    # half a character, which UTF-8 cannot hold, becomes an escape of JSON
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
        for one in rejected:
            file.write(json.dumps(dataclasses.asdict(one), ensure_ascii=False, default=str) + "\n")


def _recipe(corpus: str) -> Callable[[Path | None, Path], dict[str, list[Utterance]]]:
    """The function `prepare` of `recipes/<corpus>/prepare.py`, loaded by its path: no other code imports a recipe."""
    if corpus not in corpora():
        _refuse_path(corpus)
    path = find_corpus(corpus)
    spec = importlib.util.spec_from_file_location(f"hybrid_asr_recipe_{corpus}", path)
    assert spec is not None and spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.prepare


def _refuse_path(corpus: str) -> None:
    """Name the reader for what is a file or a folder rather than a corpus."""
    path = Path(corpus).expanduser()
    if path.is_dir() and ((path / "wav.scp").exists() or (path / "train" / "wav.scp").exists()):
        raise UserError(f"{corpus}: no such corpus, but a Kaldi data folder; write kaldi:{corpus}")
    files = path.iterdir() if path.is_dir() else [path]
    if path.exists() and any(is_lhotse_name(file.name) for file in files):
        raise UserError(f"{corpus}: no such corpus, but Lhotse's manifests; write lhotse:{corpus}")
    if path.suffix.lower() in TABLES or path.is_file():
        raise UserError(f"{corpus}: no such corpus; for a table write table:{corpus}")
    if path.is_dir():
        raise UserError(f"{corpus}: no such corpus; for a folder of tables write table:{corpus}")


def _relative(utterance: Utterance, to: Path) -> Utterance:
    """With a path relative to the manifest for audio below its folder, so that this can be moved; else absolute."""
    path = Path(utterance.audio) if os.path.isabs(utterance.audio) else to / utterance.audio
    path, folder = path.absolute(), to.absolute()
    return dataclasses.replace(utterance, audio=str(path.relative_to(folder) if path.is_relative_to(folder) else path))


def _summary(path: Path, utterances: Sequence[Utterance]) -> str:
    hours = sum(utterance.duration_s for utterance in utterances) / 3600
    speakers = len({utterance.speaker for utterance in utterances if utterance.speaker})
    return f"{path}: {_count(len(utterances), 'utterance')}, {hours:.2f} h, {_count(speakers, 'speaker')}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
