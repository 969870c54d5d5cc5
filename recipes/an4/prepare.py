"""CMU AN4: people spell names and addresses and read dates and numbers (Acero, 1993). 48 minutes.

The corpus is read in its published layout: `etc/an4_{train,test}.{fileids,transcription}` and `wav/<file id>.sph`.
The 130 test utterances are the corpus's own. Validation is cut from its 948 training utterances, whole speakers at a
time: every NINTH speaker in the order of their names, the first one included. Names begin with f or m for the
speaker's sex, so both are held out in proportion: 3 of 21 women and 6 of 53 men.

Its dictionary, `etc/an4.dic`, is written beside the manifests as `lexicon.txt`.

Without a source the corpus is downloaded, 64 MB, from its official address, or from the address in the environment
variable HYBRID_ASR_AN4_URL (the same archive on a mirror, say). A broken download is continued by the next call.
"""

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from hybrid_asr.audio import io
from hybrid_asr.common.errors import UserError
from hybrid_asr.data.download import fetch_folder
from hybrid_asr.data.manifest import Utterance

URL = "http://www.speech.cs.cmu.edu/databases/an4/an4_sphere.tar.gz"
SIZES = {"train": 948, "test": 130}  # of the published corpus; a copy given as source may be smaller
NINTH = 9
SHOWN = 5


def prepare(source: Path | None, to: Path) -> dict[str, list[Utterance]]:
    """Read AN4 from `source`, or download it to `to/an4` if it is not there yet. `source` is never written to.

    Raises UserError if files are missing (the first few by name, and their number), if the download fails or its
    archive is not AN4, and AudioError for a file that is not audio.
    """
    folder = locate(source) if source is not None else _download(to)
    copy_lexicon(folder, to)
    training, test = read_set(folder, "train"), read_set(folder, "test")
    held_out = set(sorted({str(utterance.speaker) for utterance in training})[::NINTH])
    return {
        "train": [utterance for utterance in training if utterance.speaker not in held_out],
        "valid": [utterance for utterance in training if utterance.speaker in held_out],
        "test": test,
    }


# The published layout


def locate(source: Path) -> Path:
    """Return the folder that has `etc` and `wav`: `source`, or the folder an4 in it."""
    for folder in (source, source / "an4"):
        if (folder / "etc").is_dir():
            return folder.resolve()
    raise UserError(f"--source {source}: AN4's folder 'etc' is not there; give the folder that holds 'etc' and 'wav'")


def read_set(folder: Path, name: str) -> list[Utterance]:
    """Read the set `train` or `test` as AN4 cuts it, in the order of its list of file ids."""
    return [
        Utterance(
            id=PurePosixPath(file_id).name,
            audio=str(audio),
            duration_s=io.info(audio).duration_s,
            text=text,
            speaker=PurePosixPath(file_id).parent.name,
            language="en",
        )
        for file_id, audio, text in listed(folder, name)
    ]


def listed(folder: Path, name: str) -> list[tuple[str, Path, str]]:
    """List file id, sound file and words of a set. Raises UserError if a list, a file or a transcription is missing."""
    lists = [folder / "etc" / f"an4_{name}.{kind}" for kind in ("fileids", "transcription")]
    _refuse_missing([path for path in lists if not path.is_file()], f"{len(lists)} lists")
    ids = lists[0].read_text(encoding="utf-8").split()
    texts = _transcriptions(lists[1])
    _refuse_missing([name for name in ids if PurePosixPath(name).name not in texts], f"{len(ids)} transcriptions")
    audio = [folder / "wav" / f"{file_id}.sph" for file_id in ids]
    _refuse_missing([path for path in audio if not path.is_file()], f"{len(ids)} sound files")
    return [(file_id, path, texts[PurePosixPath(file_id).name]) for file_id, path in zip(ids, audio, strict=True)]


def copy_lexicon(folder: Path, to: Path) -> None:
    """Write the corpus's dictionary to `to/lexicon.txt`, where it has one: only phoneme models need it."""
    dictionary = folder / "etc" / "an4.dic"
    if dictionary.is_file():
        to.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(dictionary, to / "lexicon.txt.part")
        os.replace(to / "lexicon.txt.part", to / "lexicon.txt")


def _transcriptions(path: Path) -> dict[str, str]:
    """Read lines like `<s> GO </s> (an253-fash-b)` into words by the last part of a file id."""
    texts = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = re.fullmatch(r"\s*(?:<s>)?([^<>()]*)(?:</s>)?\s*\((\S+)\)\s*", line)
        if match is None or not match[1].strip():
            raise UserError(f"{path}:{number}: {line!r} is not of the form 'WORDS (id)'; copy or download AN4 again")
        texts[match[2]] = " ".join(match[1].split())
    return texts


def _refuse_missing(missing: Sequence[Path | str], of: str) -> None:
    if missing:
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        shown = ", ".join(map(str, missing[:SHOWN]))
        raise UserError(f"AN4: {len(missing)} of {of} are missing: {shown}{more}; copy or download it again")


def _download(to: Path) -> Path:
    url = os.environ.get("HYBRID_ASR_AN4_URL", URL)
    return fetch_folder(url, to.absolute() / "an4", corpus="AN4", check=_refuse_other_corpus)


def _refuse_other_corpus(folder: Path) -> None:
    for name, size in SIZES.items():
        count = len(listed(folder, name))
        if count != size:
            raise UserError(f"its {name} set has {count} utterances instead of {size}")
