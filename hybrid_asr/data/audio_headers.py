"""The entries of a manifest beside the headers of their audio files: is the audio there, long enough, in doubt?"""

from pathlib import Path
from typing import Any

from hybrid_asr.audio import io
from hybrid_asr.common.problems import SHOWN


class AudioHeaders:
    """Compares entries with the headers of their audio files; every file is opened once."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._heads: dict[str, tuple[float, int] | str] = {}  # seconds and channels, or why there are none
        self._notes: list[str] = []
        self._noted = 0

    def problem(self, record: dict[str, Any]) -> str | None:
        """What keeps an entry from being read, with the remedy."""
        audio, channel = record["audio"], record.get("channel")
        if audio not in self._heads:
            self._heads[audio] = self._read(self._folder / audio)
        head, end = self._heads[audio], record.get("start_s", 0.0) + record["duration_s"]
        if isinstance(head, str):
            return head
        seconds, channels = head
        if end > seconds + io.END_TOLERANCE_S:
            return f"audio {audio} lasts {seconds:.2f} s, the entry ends at {end:.2f} s; run 'hybrid-asr prepare' again"
        if channel is not None and channel > channels:
            return f"audio {audio} has {_count(channels)}, the entry names channel {channel}; correct it"
        return None

    def notes(self) -> tuple[str, ...]:
        """What is doubtful about the files: the first few notes, and the number of all."""
        more = f"... and {self._noted - SHOWN} more, {self._noted} in all"
        return (*self._notes, more) if self._noted > SHOWN else tuple(self._notes)

    def _read(self, path: Path) -> tuple[float, int] | str:
        try:
            info = io.info(path)
        except io.AudioError as error:
            return str(error)
        self._noted += len(info.notes)
        self._notes = [*self._notes, *info.notes][:SHOWN]
        return info.duration_s, info.channels


def _count(channels: int) -> str:
    return "one channel" if channels == 1 else f"{channels} channels"
