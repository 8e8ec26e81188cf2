import hashlib
import os

import pytest

from syncd.store.folders import opened, remove_empty
from syncd.store.inspecting import entries, kind_of, look, quarantined, set_aside, text_of


@pytest.fixture
def root(tmp_path):
    with opened(str(tmp_path)) as root:
        yield root


def seen(root, path):
    return look(root, path, lambda _: None)


def test_a_file_is_read_to_its_end_and_told_as_it_goes(tmp_path, root):
    content = os.urandom((2 << 20) + 7)
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b").write_bytes(content)
    steps = []
    found = look(root, "a/b", steps.append)
    assert (found.bytes, found.sha256, found.fault) == (len(content), hashlib.sha256(content).hexdigest(), "")
    assert sum(steps) == len(content)


def test_what_is_no_file_is_said_and_never_followed(tmp_path, root):
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "folder").mkdir()
    (tmp_path / "way").symlink_to("folder")
    (tmp_path / "folder/inside").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    assert seen(root, "link").fault == "it is a link"
    assert seen(root, "folder").fault == "it is a folder"
    assert seen(root, "pipe").fault == "it is no file"
    assert seen(root, "way/inside") is None
    assert seen(root, "file/inside") is None
    assert seen(root, "nothing") is None
    assert (text_of(root, "file", 9), text_of(root, "link", 9), text_of(root, "pipe", 9)) == (b"x", b"", b"")
    assert (text_of(root, "nothing", 9), text_of(root, "file", 0)) == (None, b"")
    kinds = {entry.path: entry.kind for entry in entries(root, "")}
    assert kinds == {"file": "file", "link": "link", "folder": "folder", "way": "link", "pipe": "other"}
    assert {path: kind_of(root, path) for path in kinds} == kinds
    assert list(entries(root, "way")) == list(entries(root, "nothing")) == []


def test_what_is_set_aside_is_kept_under_its_path_whatever_was_there_before(tmp_path, root):
    for content in ("one", "two"):
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / "a/b").write_text(content)
        set_aside(root, "a/b", "now")
    kept = tmp_path / ".syncd/quarantine/now/a"
    assert (kept / "b").read_text() == "one"
    assert (kept / "b~").read_text() == "two"
    assert set_aside(root, "a/b", "now") is None
    assert set_aside(root, "a", "now") == ".syncd/quarantine/now/a~"


def test_what_was_set_aside_is_counted_however_deep_it_lies(tmp_path, root):
    deep = tmp_path / ".syncd/quarantine/now" / "/".join("d" * 500)
    deep.mkdir(parents=True)
    for name in ("one", "two"):
        (deep / name).write_bytes(b"four")
    (batch,) = quarantined(root)
    assert (batch.name, batch.bytes) == ("now", 8)


def test_empty_folders_go_up_to_the_first_that_holds_something(tmp_path, root):
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "a/file").write_text("x")
    assert remove_empty(root, "a/b/c") == ["a/b/c", "a/b"]
    assert remove_empty(root, "a") == remove_empty(root, "nothing") == []
    assert (tmp_path / "a/file").exists()
