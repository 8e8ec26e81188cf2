import os
from contextlib import contextmanager

import pytest

from syncd.store import Move, exchange, local
from syncd.store.local import LocalTree


@contextmanager
def folder_at(path):
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@pytest.fixture
def two(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    return tmp_path


def test_two_folders_change_places(two):
    with folder_at(two) as folder:
        assert exchange.exchange(two / "one", folder, "other")
    assert (two / "one" / "other").exists()
    assert (two / "other" / "one").exists()


def test_what_is_not_there_can_not_be_exchanged(two):
    with folder_at(two) as folder, pytest.raises(FileNotFoundError):
        exchange.exchange(two / "one", folder, "nothing")
    assert (two / "one" / "one").exists()


def test_a_c_library_without_it_is_told(two, monkeypatch):
    monkeypatch.setattr(exchange.ctypes, "CDLL", lambda *_, **__: object())
    with folder_at(two) as folder:
        assert not exchange.exchange(two / "one", folder, "other")
    assert (two / "one" / "one").exists()


@pytest.mark.parametrize("able", [True, False])
async def test_a_folder_is_replaced_whether_or_not_the_file_system_can_exchange(tmp_path, monkeypatch, able):
    if not able:
        monkeypatch.setattr(local, "exchange", lambda *_: False)
    root = tmp_path / "mirror"
    tree = LocalTree(root, "journal", file_mode=0o644, dir_mode=0o755)
    await tree.attach(make=True)
    for content in ("old", "new"):
        temp = tree.temp()
        temp.mkdir()
        (temp / content).touch()
        assert await tree.publish([Move(temp, "_exports/e1", folder=True)]) == [None]
    assert [path.name for path in (root / "_exports" / "e1").iterdir()] == ["new"]
    assert list((root / ".syncd" / "tmp").iterdir()) == []
    await tree.close()
