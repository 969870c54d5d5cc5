"""The entries of a manifest beside the headers of their audio files: is the audio there, long enough, in doubt?"""

from math import inf
from pathlib import Path
from typing import Any

from hybrid_asr.audio import io
from hybrid_asr.audio.embedded import AudioFile
from hybrid_asr.data.shards import MemberPlace, RemoteShards, locate, open_member, shown

REMEMBERED = 100_000  # headers: the entries of one file are mostly neighbors
_ANY_CHANNEL = 1 << 16


class AudioHeaders:
    """Compares entries with the headers of their audio files; a file is opened once, as long as they are not many."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._heads: dict[str, tuple[float, int] | str] = {}  # seconds and channels, or why there are none
        self._doubts: dict[str, tuple[str, ...]] = {}
        self._remote = RemoteShards()

    def problem(self, record: dict[str, Any]) -> str | None:
        """What keeps an entry from being read, with the remedy."""
        audio, channel = record["audio"], record.get("channel")
        file = audio if record.get("offset") is None else f"{shown(audio)}:{record['offset']}"
        if file not in self._heads:
            if len(self._heads) >= REMEMBERED:
                self._heads.clear()
            self._heads[file] = self._read(record, file)
        head, end = self._heads[file], record.get("start_s", 0.0) + record["duration_s"]
        if isinstance(head, str):
            return head
        seconds, channels = head
        audio = shown(audio)
        if end > seconds + io.END_TOLERANCE_S:
            return f"audio {audio} lasts {seconds:.2f} s, the entry ends at {end:.2f} s; run 'hybrid-asr prepare' again"
        if channel is not None and channel > channels:
            return f"audio {audio} has {_count(channels)}, the entry names channel {channel}; correct it"
        return None

    def take_doubts(self) -> dict[str, tuple[str, ...]]:
        """What is doubtful about the files that were opened since the last call, by their names."""
        doubts, self._doubts = self._doubts, {}
        return doubts

    def _read(self, record: dict[str, Any], name: str) -> tuple[float, int] | str:
        try:
            file = self._file(record)
            if file is None:
                return inf, _ANY_CHANNEL
            info = io.info(file)
        except io.AudioError as error:
            return str(error)
        if info.notes:
            self._doubts[name] = tuple(info.notes)
        return info.duration_s, info.channels

    def _file(self, record: dict[str, Any]) -> AudioFile | None:
        """What to read the header of; None for a member of a shard on a server, other than the first one."""
        if record.get("offset") is None:
            return self._folder / record["audio"]
        place = MemberPlace(record["audio"], record["offset"], record["bytes"], record.get("crc32"))
        shard = locate(place.shard, self._folder)
        return self._remote.sample(place, shard) if isinstance(shard, str) else open_member(place, shard)


def _count(channels: int) -> str:
    return "one channel" if channels == 1 else f"{channels} channels"
