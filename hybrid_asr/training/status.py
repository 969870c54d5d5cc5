"""The progress of a training: `status.json`."""

import contextlib
import dataclasses
import json
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

from hybrid_asr.common.environment import environment
from hybrid_asr.common.files import write_text
from hybrid_asr.common.lock import is_held
from hybrid_asr.common.lock_holder import utc_now

State = Literal["running", "stopped", "failed", "finished", "killed"]
EVERY_S = 30.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingStatus:
    """The content of `status.json`. `elapsed_s` and `saved_step` are None where that does not tell them."""

    state: State
    step: int
    saved_step: int | None = None  # of the last state on disk
    total: int
    message: str = ""  # why it stopped or failed
    alarms: tuple[str, ...] = ()  # problems that did not end the training
    elapsed_s: float | None = None  # seconds of all processes together that trained this run
    audio_per_s: float | None = None  # seconds of audio in a second, of the last minutes
    updated: str = ""
    environment: dict[str, str] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Its keys in status.json."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @classmethod
    def from_json(cls, data: Any) -> "TrainingStatus":
        """What `to_json` gave; what else than state, step and total is missing has its default.

        Raises ValueError where that is damaged.
        """
        if not isinstance(data, dict) or not _is_valid(data):
            raise ValueError("no status of a training")
        saved_step, seconds, pace = data.get("saved_step"), data.get("elapsed_s"), data.get("audio_per_s")
        return cls(
            state=data["state"],
            step=data["step"],
            saved_step=saved_step if isinstance(saved_step, int) else None,
            total=data["total"],
            message=data.get("message", ""),
            alarms=tuple(str(alarm) for alarm in data.get("alarms", [])),
            elapsed_s=None if seconds is None else float(seconds),
            audio_per_s=None if pace is None else float(pace),
            updated=data.get("updated", ""),
            environment={name: str(value) for name, value in data.get("environment", {}).items()},
        )


class StatusFile:
    """Keeps `status.json`; `elapsed` gives the seconds of all processes together that trained this run.

    `saved` is the step of the last state on disk. A status that cannot be written stops no training: a checkpoint that
    cannot be written does.
    """

    def __init__(self, path: Path, *, total: int, step: int = 0, saved: int | None = None, elapsed_s: float = 0.0):
        self.path, self.total, self.step, self.saved = path, total, step, saved
        self.elapsed: Callable[[], float] = lambda: elapsed_s
        self.pace: Callable[[], float] = lambda: 0.0  # seconds of audio in a second; 0 where nothing was measured yet
        self.begun = False  # whether the run's folder is written to: before, there is nothing to report of
        self._alarms: list[str] = []
        self._environment: dict[str, str] | None = None
        self._written = -EVERY_S
        self._lock = threading.RLock()
        self._closed = False

    def alarm(self, message: str) -> None:
        """Add something that a person should look into; it is written with the next status, and stays."""
        self._alarms.append(message)

    def running(self, step: int, *, at_once: bool = True) -> None:
        """Training goes on; not `at_once`: leave it to a later call if there was one in the last half minute."""
        self.step = step
        if at_once or time.monotonic() - self._written >= EVERY_S:
            self.write("running")

    def tell_saved(self, step: int) -> None:
        """The state of `step` is on the disk now; also called by another thread than that of the training."""
        with self._lock:
            self.saved = step
            self.write("running")

    def write(self, state: State, message: str = "", *, last: bool = False) -> None:
        """Write the state at the latest step, and why it stopped or failed; nothing is written behind the `last` one.

        Where another process is the cause, an exchange with it fails in this one, too, but later.
        """
        with self._lock:
            self._write(state, message)
            self._closed = self._closed or last

    def _write(self, state: State, message: str) -> None:
        if self._closed:
            return
        if self._environment is None:
            self._environment = environment()
        status = TrainingStatus(
            state=state,
            step=self.step,
            saved_step=self.saved,
            total=self.total,
            message=message,
            alarms=tuple(self._alarms),
            elapsed_s=round(self.elapsed(), 1),
            audio_per_s=round(self.pace(), 1) or None,
            updated=utc_now(),
            environment=self._environment,
        )
        with contextlib.suppress(OSError):
            write_text(self.path, json.dumps(status.to_json(), indent=1, ensure_ascii=False) + "\n", folder="expect")
        self._written = time.monotonic()


def read_status(path: Path) -> TrainingStatus | None:
    """What `status.json` says, None without a sound one; a training that no living process holds was "killed"."""
    try:
        status = TrainingStatus.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
    if status.state == "running" and not is_held(path.parent):
        return dataclasses.replace(status, state="killed")
    return status


def _is_valid(content: dict[str, Any]) -> bool:
    """Whether the fields are what `to_json` gives, so far as they are there; the required ones must be."""
    types = {"step": int, "total": int, "message": str, "updated": str, "alarms": list, "environment": dict}
    right = all(isinstance(content[name], kind) for name, kind in types.items() if name in content)
    seconds = [content.get(name) or 0.0 for name in ("elapsed_s", "audio_per_s")]
    known = content.get("state") in get_args(State) and {"step", "total"} <= content.keys()
    return known and right and all(isinstance(each, int | float) and math.isfinite(each) for each in seconds)
