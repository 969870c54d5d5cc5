"""Kaldi data folders to utterances of train, valid and test.

Audio paths become absolute. All errors of a folder are collected and named by file and line.
"""

from pathlib import Path

from hybrid_asr.common.files import did_you_mean, expand_home
from hybrid_asr.data.kaldi_folder import KALDI_FILES, DataFolder
from hybrid_asr.data.prepared import Prepared, ReadingOptions, into_sets, refuse_copies
from hybrid_asr.data.splits import is_set_name, set_name
from hybrid_asr.data.table_checks import AudioDurations, BadLines, TableError, first_few, passed_over


def read_kaldi(folder: Path | str, options: ReadingOptions | None = None) -> Prepared:
    """Read Kaldi's `wav.scp`, `text` and, where they are, `segments`, `utt2spk`, `spk2utt`, `utt2lang` and
    `reco2file_and_channel` from `folder`, or from those of its subfolders that are called as sets are.

    Paths in wav.scp are relative to where it lies or, as in Kaldi, to the current folder; for commands see `pipes`.
    Without subfolders sets are held out of train, see `splits.hold_out`. Raises TableError.
    """
    folder = expand_home(folder)
    subsets, messages, others = _data_folders(folder)
    problems, durations, rows = BadLines(), AudioDurations(), []
    for subfolder, subset in subsets.items():
        found = DataFolder(subfolder, problems, durations)
        rows += [row._replace(subset=subset) for row in found.rows()]
        messages += found.messages()
    messages += passed_over(folder, others, rows)
    refuse_copies(rows, lambda row: row.file.parent)
    return into_sets(problems, rows, folder, options, [*messages, *durations.messages()])


def _data_folders(folder: Path) -> tuple[dict[Path, str | None], list[str], list[Path]]:
    """The folders with data and the set of each (None: it names none), what is told, and what else is there."""
    if not folder.is_dir():
        near = "" if folder.exists() else did_you_mean(folder)
        raise TableError(f"{folder}: there is no such folder; {KALDI_FILES}{near}")
    if any((folder / name).is_file() for name in ("wav.scp", "text")):
        return {folder: None}, [], []
    below = sorted(path for path in folder.iterdir())
    data = [path for path in below if any((path / name).is_file() for name in ("wav.scp", "text", "segments"))]
    sets: dict[Path, str | None] = {path: set_name(path.name) for path in data if is_set_name(path.name)}
    if not sets:
        what = "there is neither wav.scp nor a subfolder with one that is called as a set is, such as train and test"
        remedy = f"of its subfolders name one, such as kaldi:{data[0]}" if data else KALDI_FILES
        if (folder / "feats.scp").is_file():
            remedy = f"feats.scp is not read, since features are computed from the audio; {KALDI_FILES}"
        elif (folder / "stm").is_file():
            remedy = "stm is not read, write its segments to wav.scp, segments and text"
        raise TableError(f"{folder}: {what}; {remedy}")
    messages = []
    if unknown := [path.name for path in data if path not in sets]:
        folders = "1 data folder is" if len(unknown) == 1 else f"{len(unknown)} data folders are"
        what = "passed over, for want of a set's name, such as train, dev or test-other"
        messages.append(f"warning: {folder}: {folders} {what}: {first_few(unknown)}")
    return sets, messages, [path for path in below if path not in data]
