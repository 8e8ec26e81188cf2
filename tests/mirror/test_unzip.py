import io
import os
import struct
import tracemalloc
import zipfile
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.mirror.unzip import ArchiveDamaged, ArchiveRefused, read_content, read_directory

METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


def zipped(files, method=zipfile.ZIP_DEFLATED, **options):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method, **options) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def reading(data):
    """What `os.pread` is to a file."""
    return lambda length, at: data[at : at + length]


def read(data, max_entries=100):
    entries = read_directory(io.BytesIO(data), max_entries)
    return {entry.name: b"".join(read_content(reading(data), entry)) for entry in entries}


def central(name, *, offset=0, packed=0, size=0, method=0, flags=0, extra=b"", comment=b"", disk=0):
    head = struct.pack(
        "<4sHHHHHHIIIHHHHHII", b"PK\1\2", 20, 20, flags, method, 0, 0, 0, packed, size,
        len(name), len(extra), len(comment), disk, 0, 0, offset,
    )  # fmt: skip
    return head + name + extra + comment


def ended(body, directory):
    return body + directory + struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 0, 0, len(directory), len(body), 0)


def patched(data, at, value):
    return data[:at] + value + data[at + len(value) :]


@pytest.mark.parametrize("method", METHODS)
def test_every_usual_compression_is_read(method):
    files = {"a.txt": b"hello " * 1000, "empty": b"", "d/noise.bin": os.urandom(300_000), "zeros": bytes(3 << 20)}
    assert read(zipped(files, method)) == files


def test_a_comment_and_a_streamed_archive_are_fine():
    class Pipe(io.RawIOBase):
        def __init__(self):
            self.data = b""

        def writable(self):
            return True

        def write(self, data):
            self.data += bytes(data)
            return len(data)

    pipe = Pipe()  # it can't seek: sizes follow the content in data descriptors
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = b"made by hand"
        archive.writestr("a", b"content")
    assert read(pipe.data) == {"a": b"content"}


def test_zip64_sizes_and_end_records_are_read():
    content = b"wide"
    extra = struct.pack("<HHQQQ", 1, 24, 4, 4, 0)
    local = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 45, 0, 0, 0, 0, 0, 0, 0, 1, 0) + b"a" + content
    entry = central(b"a", packed=0xFFFFFFFF, size=0xFFFFFFFF, offset=0xFFFFFFFF, extra=b"UT\1\0x" + extra)
    entry = patched(entry, 16, struct.pack("<I", zlib.crc32(content)))
    end64 = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(entry), len(local))
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, len(local) + len(entry), 1)
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    assert read(local + entry + end64 + locator + end) == {"a": content}
    # Microsoft's library says of the disk numbers, too, that they are elsewhere.
    assert read(local + entry + end64 + locator + patched(end, 4, b"\xff" * 4)) == {"a": content}
    everywhere = patched(entry, 34, b"\xff\xff")
    assert read(local + everywhere + end64 + locator + end) == {"a": content}
    with pytest.raises(ArchiveRefused, match="one of several parts"):
        read(local + entry + patched(end64, 16, b"\1") + locator + end)
    with pytest.raises(ArchiveRefused, match="zip64 end record is damaged"):
        read(local + entry + b"?" + end64[1:] + locator + end)
    with pytest.raises(ArchiveRefused, match="zip64 end record is damaged"):
        read(b"?" + local + entry + end64 + locator + end)


def test_a_zip64_field_that_is_cut_off_gives_what_it_has():
    extra = struct.pack("<HHQQ", 1, 16, 0, 0)[:-1]
    cut = central(b"a", packed=0xFFFFFFFF, size=0xFFFFFFFF, extra=extra)
    with pytest.raises(ArchiveRefused, match="overlaps with what follows it"):
        read(ended(b"", cut))


@pytest.mark.parametrize(
    ("raw", "flags", "name"),
    [
        ("été.png".encode(), 0, "été.png"),
        ("été.png".encode("cp437"), 0, "été.png"),
        ("été.png".encode(), 0x800, "été.png"),
    ],
)
def test_names_are_read_as_they_were_meant(raw, flags, name):
    body = bytes(30 + len(raw))
    [entry] = read_directory(io.BytesIO(ended(body, central(raw, flags=flags))), 1)
    assert entry.name == name


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (central(b"a", flags=1), "is encrypted"),
        (central(b"a", flags=0x40), "is encrypted"),
        (central(b"a", method=9), "method 9"),
        (central(b"\xff", flags=0x800), "UTF-8"),
        (central(b"a", disk=1), "another part"),
        (central(b"a", packed=1), "overlaps"),
        (central(b"a", offset=0xFFFFFFF0), "overlaps"),
        (central(b"a" * 1025), "name of 1025 bytes"),
        (central(b"a")[:-1], "directory is damaged"),
        (b"PK\1\2", "directory is damaged"),
        (central(b"a") + b"rest", "directory is damaged"),
    ],
)
def test_a_directory_that_promises_what_cannot_be_is_refused(record, reason):
    with pytest.raises(ArchiveRefused, match=reason):
        read_directory(io.BytesIO(ended(bytes(31), record)), 5)


def test_entries_that_share_their_bytes_are_refused():
    body = zipped({"a": b"x" * 100}, zipfile.ZIP_STORED)[:131]
    twice = central(b"a", packed=100, size=100) + central(b"b", packed=100, size=100)
    with pytest.raises(ArchiveRefused, match="overlaps"):
        read_directory(io.BytesIO(ended(body, twice)), 5)


def test_a_million_entries_are_counted_without_being_kept():
    data = ended(b"", central(b"a") * 1_000_000)
    file = io.BytesIO(data)
    tracemalloc.start()
    with pytest.raises(ArchiveRefused, match="more than 20 entries"):
        read_directory(file, 20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


def test_the_limit_itself_is_allowed():
    assert len(read(zipped({str(n): b"" for n in range(5)}), 5)) == 5


@pytest.mark.parametrize("cut", [1, 10, 22, 60, 200])
def test_a_truncated_archive_is_damaged(cut):
    data = zipped({"a.txt": os.urandom(500)})
    with pytest.raises(ArchiveDamaged):
        read(data[:-cut])


@pytest.mark.parametrize("data", [b"", b"PK\5\6", b"<html>" * 100, bytes(100_000)])
def test_what_is_no_archive_is_refused(data):
    with pytest.raises(ArchiveRefused, match="no end record"):
        read(data)


@pytest.mark.parametrize(("before", "after"), [(b"#!/bin/sh\n", b""), (b"", b"more")])
def test_bytes_around_the_archive_are_refused(before, after):
    with pytest.raises(ArchiveRefused):
        read(before + zipped({"a": b"x"}) + after)


@pytest.mark.parametrize("method", METHODS)
def test_a_flipped_bit_is_noticed(method):
    data = zipped({"a.txt": os.urandom(5000)}, method)
    with pytest.raises(ArchiveDamaged, match=r"'a\.txt'"):
        read(patched(data, 2000, bytes([data[2000] ^ 1])))


def test_content_beyond_the_announced_size_is_refused():
    data = zipped({"a": bytes(5000)})
    size_at = data.index(b"PK\1\2") + 24
    with pytest.raises(ArchiveDamaged, match="larger than announced"):
        read(patched(data, size_at, struct.pack("<I", 10)))
    with pytest.raises(ArchiveDamaged, match="truncated"):
        read(patched(data, size_at, struct.pack("<I", 5001)))


def test_two_names_for_one_entry_are_refused():
    with pytest.raises(ArchiveRefused, match="two different names"):
        read(patched(zipped({"good.png": b"x"}), 30, b"evil.exe"))


def test_lzma_that_wants_much_memory_is_refused():
    data = zipped({"a": bytes(5000)}, zipfile.ZIP_LZMA)
    with pytest.raises(ArchiveRefused, match="needs 4294967295 bytes of memory"):
        read(patched(data, 31 + 5, b"\xff\xff\xff\xff"))
    with pytest.raises(ArchiveRefused, match="LZMA header"):
        read(patched(data, 31 + 4, b"\xff"))


@pytest.mark.parametrize("method", METHODS[1:])
def test_bombs_expand_in_small_pieces(method):
    data = zipped({"zeros": bytes(20 << 20)}, method)
    [entry] = read_directory(io.BytesIO(data), 1)
    assert max(len(piece) for piece in read_content(reading(data), entry)) <= 1 << 20


SAMPLE = zipped({"a.txt": b"hello" * 50, "b/c.bin": bytes(range(256))})


@given(st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_whatever_is_damaged_it_is_read_whole_or_refused(changes):
    data = bytearray(SAMPLE)
    for at, value in changes:
        data[at] = value
    try:
        files = read(bytes(data))
    except ArchiveRefused:
        return
    assert sorted(files.values()) == sorted([b"hello" * 50, bytes(range(256))])
