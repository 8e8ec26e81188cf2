import errno
import hashlib
import io
import itertools
import logging
import os
import stat
import threading
import warnings
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.barrier import MANY
from syncd.errors import StoreUnavailable
from syncd.mirror import archive
from syncd.mirror.archive import ArchiveRefused, ExtractionCancelled, extract
from syncd.mirror.portable import fold


def entry(name, mode=0):
    """An entry exactly as named: zipfile would tidy the name of a path or cut it at a NUL."""
    info = zipfile.ZipInfo("x")
    info.filename = name
    info.external_attr = mode << 16
    info.create_system = 3
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


@pytest.fixture
def unpack(tmp_path):
    def unpack(files, **options):
        packed = tmp_path / "export.zip"
        with warnings.catch_warnings(), zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as zipped:
            warnings.simplefilter("ignore")  # zipfile warns of duplicates
            for info, content in files.items() if isinstance(files, dict) else files:
                zipped.writestr(entry(info) if isinstance(info, str) else info, content)
        return unpack_file(packed, tmp_path / "out", **options)

    return unpack


def unpack_file(packed, into, **options):
    usual = {
        "max_files": 100, "max_expanded": 1 << 30, "min_free": 0, "style": "portable",
        "file_mode": 0o644, "dir_mode": 0o755, "cancelled": lambda: False,
    }  # fmt: skip
    return extract(packed, into, **usual | options)


def tree(folder: Path):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_come_out_whole_with_their_digests_in_order(unpack, tmp_path):
    noise = os.urandom(3 << 20)
    listed = unpack({"b/c/noise.bin": noise, "b/": b"", "a.txt": b"hello", "empty": b""})
    assert tree(tmp_path / "out") == {"a.txt": b"hello", "b/c/noise.bin": noise, "empty": b""}
    assert [(one.path, one.bytes, one.sha256) for one in listed] == [
        ("a.txt", 5, hashlib.sha256(b"hello").hexdigest()),
        ("b/c/noise.bin", 3 << 20, hashlib.sha256(noise).hexdigest()),
        ("empty", 0, hashlib.sha256(b"").hexdigest()),
    ]


def test_files_and_folders_have_the_modes_of_the_config(unpack, tmp_path):
    unpack({"d/a": b"x"}, file_mode=0o640, dir_mode=0o2750)
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out", *(tmp_path / "out").rglob("*"))
    }
    assert modes == {"out": 0o2750, "d": 0o2750, "a": 0o640}


def test_a_file_system_that_refuses_modes_is_tolerated_and_said_once(unpack, tmp_path, monkeypatch, caplog):
    def refuse(*_args, **_options):
        raise OSError(errno.EPERM, "not here")

    monkeypatch.setattr(Path, "chmod", refuse)  # no file system at hand refuses it to root
    monkeypatch.setattr(os, "fchmod", refuse)
    with caplog.at_level(logging.WARNING):
        unpack({"d/a": b"x", "d/b": b"y"})
    assert tree(tmp_path / "out") == {"d/a": b"x", "d/b": b"y"}
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("/etc/passwd", "absolute"),
        ("\\\\server\\share\\x", "absolute"),
        ("C:\\x", "absolute"),
        ("c:x", "absolute"),
        ("../x", "leads out"),
        ("a/../../x", "leads out"),
        ("a\\..\\x", "leads out"),
        ("a/.. /x", "leads out"),
        ("..", "leads out"),
        ("a\0.png", "NUL"),
        ("/".join("d" * 250 for _ in range(4)), "path of more than"),
        ("\x01/" * 99, "path of more than"),
    ],
)
def test_a_name_that_leads_elsewhere_refuses_the_archive(unpack, tmp_path, name, reason):
    with pytest.raises(ArchiveRefused, match=reason):
        unpack({"good": b"", name: b"" if name.endswith("/") else b"x"})
    assert [path.name for path in tmp_path.iterdir()] == ["export.zip"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_special_files_refuse_the_archive(unpack, kind):
    with pytest.raises(ArchiveRefused, match="'evil' is a link or another special file"):
        unpack([(entry("evil", kind | 0o777), b"/etc/passwd")])


@pytest.mark.parametrize(
    "names",
    [
        ("a.png", "a.png"),
        ("a.png", "A.PNG"),
        ("é", "e\u0301"),
        ("d/a", "d\\a"),
        ("d/a", "D/A"),
        ("a", "./a"),
        ("d/a", "d//a"),
    ],
)
def test_two_entries_that_may_be_one_file_refuse_the_archive(unpack, names):
    with pytest.raises(ArchiveRefused, match="is the same file as"):
        unpack([(name, b"x") for name in names])


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "A"), ("d/", "D")])
def test_a_file_that_is_also_a_folder_refuses_the_archive(unpack, names):
    with pytest.raises(ArchiveRefused, match="is a file and a folder"):
        unpack([(name, b"" if name.endswith("/") else b"x") for name in names])


@pytest.mark.parametrize("files", [{}, {"d/": b""}, {"d/": b"", "d/e/": b""}])
def test_an_archive_without_a_file_is_refused(unpack, files):
    with pytest.raises(ArchiveRefused, match="holds no file"):
        unpack(files)


def test_a_folder_with_content_is_refused(unpack):
    with pytest.raises(ArchiveRefused, match="folder with content"):
        unpack({"a": b"", "d/": b"x"})


def test_names_are_made_safe_and_kept_apart(unpack, tmp_path):
    unpack({"a?.png": b"1", "a*.png": b"2", "nul": b"3", ".hidden": b"4", "_own/manifest.json": b"5", "t. /x": b"6"})
    files = tree(tmp_path / "out")
    [second] = [name for name in files if name.startswith("a_~")]
    assert files.pop(second) == b"2"
    assert files == {"a_.png": b"1", "nul_": b"3", "hidden": b"4", "_own/manifest.json": b"5", "t/x": b"6"}


def test_a_file_whose_safe_name_is_a_folders_gets_an_id(unpack, tmp_path):
    unpack({"a?": b"1", "a_/b": b"2"})
    files = tree(tmp_path / "out")
    assert files.pop("a_/b") == b"2"
    assert [name.startswith("a_~") for name in files] == [True]


def test_folders_that_differ_in_case_become_one(unpack, tmp_path):
    unpack({"Spring/a": b"1", "spring/b": b"2"})
    assert set(tree(tmp_path / "out")) == {"Spring/a", "Spring/b"}


def test_more_files_or_folders_than_allowed_are_refused(unpack):
    with pytest.raises(ArchiveRefused, match="more than 3 entries"):
        unpack({str(n): b"" for n in range(4)}, max_files=3)
    with pytest.raises(ArchiveRefused, match="more than 3 folders"):
        unpack({"a/b/c/d/e": b""}, max_files=3)


def test_more_bytes_than_allowed_are_refused_before_anything_is_written(unpack, tmp_path):
    with pytest.raises(ArchiveRefused, match="expands to 2000 bytes, more than 1999"):
        unpack({"a": bytes(1000), "b": bytes(1000)}, max_expanded=1999)
    assert not (tmp_path / "out").exists()
    assert len(unpack({"a": bytes(1000), "b": bytes(1000)}, max_expanded=2000)) == 2


def test_an_archive_for_which_there_is_no_room_is_not_its_own_fault(unpack, tmp_path):
    with pytest.raises(StoreUnavailable, match="min_free"):
        unpack({"a.png": b"x"}, min_free=1 << 60)
    assert not (tmp_path / "out").exists()


def test_a_bomb_is_refused_by_its_ratio(unpack):
    with pytest.raises(ArchiveRefused, match="as only bombs do"):
        unpack({"a": bytes((16 << 20) + 1)})


def test_a_small_archive_may_expand_much(unpack):
    assert unpack({"a": bytes(16 << 20)})[0].bytes == 16 << 20


def test_cancelling_stops_between_pieces(unpack):
    answers = iter([False, False, True])
    with pytest.raises(ExtractionCancelled):
        unpack({"a": os.urandom(5 << 20)}, cancelled=lambda: next(answers))


def test_after_a_cancellation_nothing_is_written_any_more(unpack, tmp_path):
    asked = itertools.count()
    with pytest.raises(ExtractionCancelled):
        unpack({str(n): b"x" for n in range(90)}, cancelled=lambda: next(asked) > 60)
    assert 20 < len(tree(tmp_path / "out")) < 40
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("unpack")]


def test_an_extraction_that_is_cancelled_from_the_start_writes_no_file(unpack, tmp_path):
    with pytest.raises(ExtractionCancelled):
        unpack({"a": b"", "b": b""}, cancelled=lambda: True)
    assert tree(tmp_path / "out") == {}


def test_of_several_faulty_entries_the_first_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "_THREADS", 4)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as zipped:
        for number in range(40):
            zipped.writestr(f"{number:02}", os.urandom(2_000_000 if number == 20 else 10))
    damaged = bytearray(packed.getvalue())
    directory = damaged.index(b"PK\1\2")
    for number in range(20, 40):  # each has another CRC than it says, and the first takes longest
        at = damaged.index(b"PK\1\2", directory)
        while damaged[at + 46 : at + 48] != b"%02d" % number:
            at = damaged.index(b"PK\1\2", at + 1)
        damaged[at + 16 : at + 20] = bytes(4)
    for attempt in range(5):
        (tmp_path / "bad.zip").write_bytes(damaged)
        with pytest.raises(ArchiveRefused, match="entry '20' does not match its CRC"):
            unpack_file(tmp_path / "bad.zip", tmp_path / str(attempt))


def test_what_looks_far_back_is_unpacked_one_at_a_time(unpack, monkeypatch):
    reading, together = set(), []

    def seen(read, entry):
        reading.add(entry.name)
        together.append(len(reading))
        yield from read_content(read, entry)
        reading.remove(entry.name)

    read_content = archive.read_content
    monkeypatch.setattr(archive, "read_content", seen)
    monkeypatch.setattr(archive, "_THREADS", 4)
    entries = [entry(str(number)) for number in range(12)]
    for one in entries:
        one.compress_type = zipfile.ZIP_LZMA
    unpack([(one, os.urandom(200_000)) for one in entries])
    assert together == [1] * 12


@pytest.mark.parametrize("able", [True, False])
def test_many_files_are_on_the_disk_once_it_returns(unpack, tmp_path, monkeypatch, able):
    done = []
    fsync = os.fsync

    def seen_fsync(descriptor):
        done.append("fsync")
        fsync(descriptor)

    def barrier():
        done.append(f"barrier after {len(tree(tmp_path / 'out'))}")

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(archive, "barrier_of", lambda _: barrier if able else None)
    unpack({f"d/{n}": b"x" for n in range(MANY)})
    assert done == ([f"barrier after {MANY}"] if able else ["fsync"] * (MANY + 2))


def test_what_the_barrier_could_not_write_is_the_disks_fault(unpack, monkeypatch):
    def broken():
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(archive, "barrier_of", lambda _: broken)
    with pytest.raises(OSError, match="input/output error"):
        unpack({str(n): b"x" for n in range(MANY)})


def test_a_folder_that_exists_is_not_touched(unpack, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(FileExistsError):
        unpack({"a": b"x"})
    assert list((tmp_path / "out").iterdir()) == []


def test_a_full_disk_is_not_the_archives_fault(unpack, monkeypatch):
    def full(_handle):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        unpack({"a": b"x"})


part = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
names = st.lists(st.lists(part, min_size=1, max_size=3).map("/".join), min_size=1, max_size=5)


@given(names)
def test_whatever_the_names_nothing_leaves_the_folder(tmp_path_factory, given_names):
    work = tmp_path_factory.mktemp("any")
    packed = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(packed, "w") as zipped:
        warnings.simplefilter("ignore")
        for name in given_names:
            zipped.writestr(entry(name), b"" if name.endswith("/") else b"x")
    (work / "export.zip").write_bytes(packed.getvalue())
    try:
        listed = unpack_file(work / "export.zip", work / "out")
    except ArchiveRefused:
        assert [path.name for path in work.iterdir()] == ["export.zip"]
        return
    assert {path.name for path in work.iterdir()} == {"export.zip", "out"}
    assert set(tree(work / "out")) == {one.path for one in listed}
    assert len({fold(one.path) for one in listed}) == len(listed)
