"""A TMPDIR that is too long for a socket's path, as that of a job on a cluster may be."""

import multiprocessing.connection
import multiprocessing.process
import os
import subprocess
import sys

import pytest

from hybrid_asr.common.errors import UserError
from hybrid_asr.data import socket_folder
from tests.tones import CHECKOUT

CODE = """
import multiprocessing.connection
from hybrid_asr.data.socket_folder import place_sockets
place_sockets()
with multiprocessing.connection.Listener(family="AF_UNIX") as listener:
    print(listener.address)
"""


@pytest.mark.parametrize(("more", "moved"), [(0, False), (1, True)])
def test_sockets_are_placed_where_the_system_takes_them(more, moved, tmp_path):
    """To the byte: with one more byte the system would refuse the path."""
    room = socket_folder.LONGEST - socket_folder.NAME_BYTES - len(os.fsencode(tmp_path)) - 1
    if room < 1:
        pytest.skip(f"the folder of this test, {tmp_path}, is too long itself")
    folder = tmp_path / ("x" * (room + more))
    folder.mkdir()
    environment = os.environ | {"TMPDIR": str(folder), "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(folder)) != moved
    assert (f"note: TMPDIR={folder} is too long for a socket" in done.stderr) == moved
    assert not os.path.exists(os.path.dirname(done.stdout.strip())), "removed at the end"


def test_where_no_folder_is_short_enough_the_remedy_is_told(monkeypatch):
    monkeypatch.setattr(socket_folder, "SHORT", ("/nowhere",))
    monkeypatch.setattr(socket_folder.tempfile, "tempdir", "/" + "x" * 80)
    monkeypatch.delitem(multiprocessing.process.current_process()._config, "tempdir", raising=False)  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"at most 75 bytes, or data\.workers=0"):
        socket_folder.place_sockets()
