"""The entries of a manifest beside the headers of their audio files: is the audio there, long enough, in doubt?"""

from pathlib import Path
from typing import Any

from hybrid_asr.audio import io

REMEMBERED = 100_000  # headers: the entries of one file are mostly neighbors


class AudioHeaders:
    """Compares entries with the headers of their audio files; a file is opened once, as long as they are not many."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._heads: dict[str, tuple[float, int] | str] = {}  # seconds and channels, or why there are none
        self._doubts: dict[str, tuple[str, ...]] = {}

    def problem(self, record: dict[str, Any]) -> str | None:
        """What keeps an entry from being read, with the remedy."""
        audio, channel = record["audio"], record.get("channel")
        if audio not in self._heads:
            if len(self._heads) >= REMEMBERED:
                self._heads.clear()
            self._heads[audio] = self._read(audio)
        head, end = self._heads[audio], record.get("start_s", 0.0) + record["duration_s"]
        if isinstance(head, str):
            return head
        seconds, channels = head
        if end > seconds + io.END_TOLERANCE_S:
            return f"audio {audio} lasts {seconds:.2f} s, the entry ends at {end:.2f} s; run 'hybrid-asr prepare' again"
        if channel is not None and channel > channels:
            return f"audio {audio} has {_count(channels)}, the entry names channel {channel}; correct it"
        return None

    def take_doubts(self) -> dict[str, tuple[str, ...]]:
        """What is doubtful about the files that were opened since the last call, by their names."""
        doubts, self._doubts = self._doubts, {}
        return doubts

    def _read(self, audio: str) -> tuple[float, int] | str:
        try:
            info = io.info(self._folder / audio)
        except io.AudioError as error:
            return str(error)
        if info.notes:
            self._doubts[audio] = tuple(info.notes)
        return info.duration_s, info.channels


def _count(channels: int) -> str:
    return "one channel" if channels == 1 else f"{channels} channels"
