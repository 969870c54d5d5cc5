"""Rarer containers whose headers count samples: libsndfile shortens them silently, but writes the count to its log."""

import re
import struct
from typing import BinaryIO

import soundfile

from hybrid_asr.audio.embedded import AudioFile
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
_WITHOUT = ("PVF", "IRCAM", "PAF", "XI")
_SLACK = 64  # samples
_VOC_SAMPLES = (1, 2, 9)  # kinds of blocks: with a header, without one, with a longer one


def check_frames(path: AudioFile, sound: soundfile.SoundFile) -> tuple[str, ...]:
    """What is doubtful about the length of `sound`. Raises AudioError if its header counts more samples than it has."""
    if sound.format in _WITHOUT:
        return (f"{path}: its format, {sound.format}, states no length: whether the file is whole cannot be told",)
    counts = re.findall(_COUNTS[sound.format], sound.extra_info) if sound.format in _COUNTS else []
    if not counts or int(counts[-1]) <= sound.frames:
        return ()
    promise = f"its header counts {counts[-1]} samples, the file holds {sound.frames}"
    if int(counts[-1]) > sound.frames + _SLACK:
        raise AudioError(f"{path}: is truncated: {promise}; {AGAIN}")
    return (f"{path}: is cut by a few samples: {promise}; what is there is read",)


def voc_blocks(path: AudioFile, file: BinaryIO, size: int) -> int:
    """How many blocks of samples a VOC file of `size` bytes has: libsndfile takes those behind the first for one.

    Raises AudioError if a block ends behind the file.
    """
    file.seek(20)
    position, blocks = struct.unpack("<H", file.read(2).ljust(2))[0], 0
    while position + 4 <= size:
        file.seek(position)
        kind, low, high = struct.unpack("<BHB", file.read(4))
        if kind == 0 or kind > 9:  # the end, which sox's sizes put 8 bytes too early
            break
        position += 4 + low + (high << 16)
        blocks += kind in _VOC_SAMPLES
    if position > size:
        raise AudioError(
            f"{path}: is truncated: a block of samples ends at byte {position}, the file at {size}; {AGAIN}"
        )
    return blocks
