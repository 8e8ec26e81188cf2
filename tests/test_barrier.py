import os

import pytest

from syncd import barrier
from syncd.barrier import barrier_of, check_written, start_writing, sync_all


@pytest.fixture
def folder(tmp_path):
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def elsewhere():
    """A file system that is on no disk."""
    descriptor = os.open("/proc", os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def test_what_is_on_no_disk_has_no_barrier(elsewhere):
    assert barrier_of(elsewhere) is None
    assert not sync_all(elsewhere)


def test_a_local_disk_has_one(folder, monkeypatch):
    monkeypatch.setattr(barrier, "is_local", lambda _: True)  # wherever the tests have their files
    barrier_of(folder)()
    assert sync_all(folder)


def test_a_barrier_that_fails_says_why(folder, monkeypatch):
    monkeypatch.setattr(barrier, "is_local", lambda _: True)
    closed = os.dup(folder)
    held_back = barrier_of(closed)
    os.close(closed)
    with pytest.raises(OSError, match="Bad file descriptor"):
        held_back()


@pytest.mark.parametrize(
    ("release", "tells"),
    [
        ("4.18.0-553.el8_10.x86_64", False),
        ("5.7.19", False),
        ("5.8.0-rc1", True),
        ("5.15.167.4-WSL2", True),
        ("6.1", True),
    ],
)
def test_a_kernel_that_would_not_tell_of_faults_is_not_asked(release, tells):
    assert barrier._is_telling(release) is tells


def test_writing_may_start_whatever_it_is(folder, tmp_path):
    start_writing(folder)
    with (tmp_path / "a").open("wb") as file:
        file.write(b"x")
        start_writing(file.fileno())


def test_a_file_is_asked_if_it_could_be_written(tmp_path):
    with (tmp_path / "a").open("wb") as file:
        file.write(b"content")
        file.flush()
        check_written(file.fileno())
    here, there = os.pipe()
    os.close(there)
    with pytest.raises(OSError, match="Illegal seek"):
        check_written(here)
    os.close(here)
