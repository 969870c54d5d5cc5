"""Who holds a folder's lock: a process of a machine, perhaps of a job; and whether it has ended."""

import dataclasses
import datetime
import json
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Job:
    """The job of SLURM, or the launch of torchrun, that a process belongs to; `attempt` counts how often it began anew.

    `name` is the same for all attempts, and empty where a process belongs to none.
    """

    name: str = ""
    attempt: tuple[int, ...] = ()

    def continues(self, other: "Job") -> bool:
        """Whether this is a later attempt of the same job: what began it anew has ended the `other`."""
        return bool(self.name) and self.name == other.name and self.attempt > other.attempt


def current_job(environment: Mapping[str, str] = os.environ) -> Job:
    """The job that this process belongs to, by what SLURM and torchrun set."""
    job, torchrun = environment.get("SLURM_JOB_ID", ""), environment.get("TORCHELASTIC_RUN_ID", "none")
    counts = environment.get("SLURM_RESTART_COUNT", "0"), environment.get("TORCHELASTIC_RESTART_COUNT", "0")
    attempt = tuple(int(count) if count.isdecimal() else 0 for count in counts)
    if job:
        array, task = environment.get("SLURM_ARRAY_JOB_ID", ""), environment.get("SLURM_ARRAY_TASK_ID", "")
        number = f"{array}_{task} ({job})" if array and task else job
        cluster = environment.get("SLURM_CLUSTER_NAME", "")
        return Job(f"SLURM job {number}{f' of {cluster}' if cluster else ''}", attempt)
    return Job(f"torchrun {torchrun}", attempt) if torchrun != "none" else Job()


@dataclasses.dataclass(frozen=True)
class Holder:
    """The process that a lock names. `started` tells it from a later one with the same `pid`; `since` is ISO-8601.

    It renews the lock's time every `heartbeat_s` seconds; 0: never, as processes of earlier versions did.
    """

    host: str
    pid: int
    started: str
    since: str
    heartbeat_s: float = 0.0
    job: Job = Job()

    @classmethod
    def current(cls, heartbeat_s: float) -> "Holder":
        """This process."""
        pid = os.getpid()
        return cls(socket.gethostname(), pid, process_started(pid), utc_now(), heartbeat_s, current_job())

    @classmethod
    def parse(cls, content: bytes) -> "Holder | None":
        """What `to_json` gave; None of anything else, such as a lock that was torn by a kill."""
        try:
            fields = json.loads(content)
            texts = (str(fields[name]) for name in ("host", "started", "since"))
            job = Job(str(fields.get("job", "")), tuple(map(int, fields.get("attempt", ()))))
            host, started, since = texts
            return cls(host, int(fields["pid"]), started, since, float(fields.get("heartbeat_s", 0)), job)
        except (ValueError, LookupError, TypeError, AttributeError):
            return None

    def to_json(self) -> bytes:
        """The content of a lock."""
        fields = {name: getattr(self, name) for name in ("host", "pid", "started", "since", "heartbeat_s")}
        return (json.dumps(fields | {"job": self.job.name, "attempt": self.job.attempt}) + "\n").encode()

    def text(self) -> str:
        """For a message."""
        return f"process {self.pid} on {self.host}{f', {self.job.name},' if self.job.name else ''} since {self.since}"

    def is_local(self) -> bool:
        """Whether it is, or was, a process of this machine: a container elsewhere may have the same name.

        That shows in the number of the boot; of a process without a heartbeat the name alone counts.
        """
        if self.host != socket.gethostname():
            return False
        return not self.heartbeat_s or self.started.partition("/")[0] in ("", boot_id())

    def has_ended(self) -> bool:
        """Whether it has certainly ended, as /proc tells; of another machine's processes that cannot be seen."""
        return self.is_local() and (not self.started or process_started(self.pid) != self.started)


def process_started(pid: int) -> str:
    """A text that tells the process `pid` from earlier and later ones with that number; empty where none runs."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    boot = boot_id()
    state, ticks = fields[0], fields[19]
    return f"{boot}/{ticks}" if boot and state not in "ZX" else ""


def boot_id() -> str:
    """A text that tells this run of this machine from all others; empty where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def utc_now() -> str:
    """The time in UTC, ISO-8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def name_of_process() -> str:
    """`host~pid`, a part of file names that tells this process from those of other machines on the same disk."""
    return f"{_host_word()}~{os.getpid()}"


def is_of_living_process(name: str) -> bool | None:
    """Whether the process that `name_of_process` named runs on this machine; None of one of another machine."""
    host, _, pid = name.rpartition("~")
    if host not in ("", _host_word()):  # processes of earlier versions named no host
        return None
    return pid.isdecimal() and bool(process_started(int(pid)))


def _host_word() -> str:
    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())
