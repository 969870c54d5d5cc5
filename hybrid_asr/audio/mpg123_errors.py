"""Errors that libmpg123 prints to standard error: it reports damaged mp3 files there and nowhere else."""

import contextlib
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator

_LOCK = threading.RLock()  # standard error belongs to the whole process
_MPG123 = re.compile(rb"\[src/libmpg123/|Note: |Warning: |\s*$|.*MPEG|\s*This is |.*resync")


@contextlib.contextmanager
def mpg123_errors() -> Iterator[list[str]]:
    """Catch what libmpg123 prints in the block: its errors are in the list when the block ends, its notes are dropped.

    What other threads print in the meantime appears when the block ends.
    """
    errors: list[str] = []
    with _LOCK, tempfile.TemporaryFile() as log:
        try:
            former = os.dup(2)
        except OSError:  # a process without standard error
            yield errors
            return
        sys.stderr.flush()
        os.dup2(log.fileno(), 2)
        try:
            yield errors
        finally:
            sys.stderr.flush()
            os.dup2(former, 2)
            os.close(former)
            log.seek(0)
            for line in log.read().splitlines(keepends=True):
                if not _MPG123.match(line):
                    os.write(2, line)
                elif b"] error: " in line:
                    errors.append(line.partition(b"] error: ")[2].decode("utf-8", "replace").strip())
