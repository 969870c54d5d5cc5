"""Rarer containers whose headers count samples: libsndfile shortens them silently, but writes the count to its log."""

import re
from pathlib import Path

import soundfile

from hybrid_asr.audio.formats import AGAIN, AudioError

# By libsndfile's name of the format: where its log has the number of samples per channel, the last one counts.
_COUNTS = {
    "AVR": r"Frames +: (\d+)",
    "MPC2K": r"Frames +: (\d+)",
    "SVX": r"OneShotHiSamples +: (\d+)",
    "MAT4": r"Cols +: (\d+)",
    "MAT5": r"Cols +: (\d+)",
    "WVE": r"Data length (\d+)",
}
_CUT = {"VOC": "Seems to be a truncated file."}
_WITHOUT = ("PVF", "IRCAM", "PAF", "XI")
_SLACK = 64  # samples


def check_frames(path: Path, sound: soundfile.SoundFile) -> tuple[str, ...]:
    """What is doubtful about the length of `sound`. Raises AudioError if its header counts more samples than it has."""
    if sound.format in _WITHOUT:
        return (f"{path}: its format, {sound.format}, states no length: whether the file is whole cannot be told",)
    if sound.format in _CUT and _CUT[sound.format] in sound.extra_info:
        raise AudioError(f"{path}: is truncated: its last block of samples is not whole; {AGAIN}")
    counts = re.findall(_COUNTS[sound.format], sound.extra_info) if sound.format in _COUNTS else []
    if not counts or int(counts[-1]) <= sound.frames:
        return ()
    promise = f"its header counts {counts[-1]} samples, the file holds {sound.frames}"
    if int(counts[-1]) > sound.frames + _SLACK:
        raise AudioError(f"{path}: is truncated: {promise}; {AGAIN}")
    return (f"{path}: is cut by a few samples: {promise}; what is there is read",)
