import errno
import os
import signal
import subprocess
import sys

import pytest

from syncd.errors import InUse
from syncd.owner import sole_owner

HOLD = """
import pathlib, sys
from syncd.owner import sole_owner

with sole_owner(pathlib.Path(sys.argv[1]), "the mirror"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_and_told_the_pid_until_the_first_is_gone(tmp_path):
    lock = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(InUse, match=f"the mirror is in use by another syncd .pid {holder.pid}.") as refused:
            sole_owner(lock, "the mirror").__enter__()
        assert str(lock) in refused.value.hint
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with sole_owner(lock, "the mirror"):
            assert lock.read_text() == f"{os.getpid()}\n"


def test_the_lock_is_free_after_an_error_inside(tmp_path):
    with pytest.raises(ValueError, match="inside"), sole_owner(tmp_path / "lock", "it"):
        raise ValueError("inside")
    with sole_owner(tmp_path / "lock", "it"):
        pass


def test_a_shorter_pid_does_not_leave_digits_of_a_longer_one(tmp_path):
    (tmp_path / "lock").write_text("99999999999\n")
    with sole_owner(tmp_path / "lock", "it"):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_a_link_in_its_place_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError), sole_owner(tmp_path / "lock", "it"):  # noqa: PT011 - systems differ in the number
        pass
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_full_disk_does_not_stop_the_owner(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with sole_owner(tmp_path / "lock", "it"), pytest.raises(InUse, match="pid unknown"):
        sole_owner(tmp_path / "lock", "it").__enter__()
