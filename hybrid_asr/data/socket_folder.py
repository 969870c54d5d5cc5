"""Where processes that this one starts have their sockets: a path that the system takes."""

import multiprocessing.process
import multiprocessing.util
import os
import tempfile

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.problems import tell_user

LONGEST = 107  # bytes of a socket's path: the system's sockaddr_un has 108, with the zero
NAME_BYTES = len("/pymp-12345678/listener-12345678")  # what multiprocessing puts behind the folder
SHORT = ("/tmp", "/var/tmp", "/dev/shm")


def place_sockets() -> None:
    """Let `multiprocessing` put its sockets into a short folder where TMPDIR is too long for them, and say so.

    Raises UserError where there is no such folder. Processes that were started before keep theirs.
    """
    long = tempfile.gettempdir()
    if "tempdir" in multiprocessing.process.current_process()._config or _fits(long):  # type: ignore[attr-defined]
        return
    short = next((folder for folder in SHORT if os.access(folder, os.W_OK | os.X_OK)), None)
    told = f"TMPDIR={long} is too long for a socket, whose path may have {LONGEST} bytes"
    if short is None:
        raise UserError(f"{told}: set TMPDIR to a folder of at most {LONGEST - NAME_BYTES} bytes, or data.workers=0")
    tell_user(f"note: {told}; those of processes that read data lie in {short}")
    tempfile.tempdir = short
    try:
        multiprocessing.util.get_temp_dir()  # is kept, and removed at the end
    finally:
        tempfile.tempdir = long


def _fits(folder: str) -> bool:
    return len(os.fsencode(folder)) + NAME_BYTES <= LONGEST
