"""Reads ZIP archives that may lie: their directory and their entries' bytes, in bounded memory.

`zipfile` is not used: it builds the list of a million entries before anyone can count them, expands
bzip2 and LZMA without bound and forgives what we must not. Entries are read at their offsets, so that
several threads may read one archive. What an entry's name may be, and where its bytes go, is
`archive`'s business. Layout and field names follow APPNOTE.TXT 6.3.10 of PKWARE.
"""

from __future__ import annotations

import bz2
import lzma
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple, Protocol

from syncd.errors import SyncdError

Read = Callable[[int, int], bytes]
"""Reads so many bytes of the archive from an offset on, as `os.pread` does; fewer at its end."""

PIECE = 1 << 20
"""Bytes of content handed out at once, at most."""

_PACKED_PIECE = 1 << 18
_LONGEST_NAME = 1024
_LARGEST_DICTIONARY = 64 << 20
"""Bytes that LZMA may look back, and so keeps in memory: what `xz -9` uses."""

_END = struct.Struct("<4sHHHHIIH")
_END64 = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR = struct.Struct("<4sIQI")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_LOCAL = struct.Struct("<4sHHHHHIIIHH")

_STORED, _DEFLATED, _BZIP2, LZMA = 0, 8, 12, 14
_ENCRYPTED = 0x2041
"""Flag bits 0 (encrypted), 6 (strongly) and 13 (directory masked)."""
_UTF8 = 0x800
_WIDE = 0xFFFFFFFF
"""A 32-bit field that says: look into the zip64 extra field."""
_ELSEWHERE = 0xFFFF
"""The same of a disk's number, 16 bits."""


class ArchiveRefused(SyncdError):
    """The archive is damaged, hostile or beyond the limits: no later attempt at these bytes would mend it."""


class ArchiveDamaged(ArchiveRefused):
    """The bytes are not those that were packed: cut off or changed on their way, perhaps, so that others may be."""


class Entry(NamedTuple):
    """One entry as the archive's directory describes it; sizes and `offset` in bytes, `mode` as in stat(2)."""

    name: str
    raw: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    mode: int
    offset: int

    def refused(self, reason: str) -> ArchiveRefused:
        """Say why the archive is refused because of this entry, in text that is safe to print."""
        return ArchiveRefused(self._says(reason))

    def damaged(self, reason: str) -> ArchiveDamaged:
        """Say in what this entry is not what was packed, in text that is safe to print."""
        return ArchiveDamaged(self._says(reason))

    def _says(self, reason: str) -> str:
        return f"entry {self.name[:120]!r} {reason}"


def read_directory(file: BinaryIO, max_entries: int) -> list[Entry]:
    """Read the directory, in its own order. Counts before it keeps, and refuses entries that share bytes."""
    start, end = _directory_span(file)
    file.seek(start)
    entries: list[Entry] = []
    at = start
    while at < end:
        if len(entries) == max_entries:
            raise ArchiveRefused(f"the archive has more than {max_entries} entries")
        entry, length = _read_entry(file)
        entries.append(entry)
        at += length
    if at != end:
        raise ArchiveDamaged("the archive's directory is damaged")
    _refuse_overlaps(entries, start)
    return entries


def read_content(read: Read, entry: Entry) -> Iterator[bytes]:
    """Yield an entry's bytes in pieces; raises at the end if length or CRC are not what was announced."""
    header = read(_LOCAL.size + len(entry.raw), entry.offset)
    if len(header) < _LOCAL.size or not header.startswith(b"PK\3\4"):
        raise entry.damaged("is not where the directory says")
    *_, name_length, extra_length = _LOCAL.unpack_from(header)
    if name_length != len(entry.raw) or header[_LOCAL.size :] != entry.raw:
        raise entry.refused("has two different names")
    size = crc = 0
    for piece in _unpacked(read, entry, entry.offset + len(header) + extra_length) if entry.size else ():
        size += len(piece)
        if size > entry.size:
            raise entry.damaged("is larger than announced")
        crc = zlib.crc32(piece, crc)
        yield piece
    if size != entry.size:
        raise entry.damaged("is truncated")
    if crc != entry.crc:
        raise entry.damaged("does not match its CRC")


def _directory_span(file: BinaryIO) -> tuple[int, int]:
    """Find where the directory begins and ends. Nothing may stand before, between or behind what we know."""
    size = file.seek(0, os.SEEK_END)
    tail_at = max(0, size - _END.size - 0xFFFF - _LOCATOR.size - _END64.size)
    file.seek(tail_at)
    tail = file.read()
    end = tail.rfind(b"PK\5\6")
    if end < 0 or end + _END.size > len(tail):
        raise ArchiveDamaged("the archive is truncated or not a ZIP file: it has no end record")
    _, disk, first_disk, _, _, length, start, comment = _END.unpack_from(tail, end)
    if end + _END.size + comment != len(tail):
        raise ArchiveDamaged("the archive's end record is damaged, or something follows it")
    record = end - _LOCATOR.size - _END64.size
    if record >= 0 and tail.startswith(b"PK\6\7", end - _LOCATOR.size):
        _, _, record_at, _ = _LOCATOR.unpack_from(tail, end - _LOCATOR.size)
        signature, _, _, _, disk, first_disk, _, _, length, start = _END64.unpack_from(tail, record)
        if signature != b"PK\6\6" or record_at != tail_at + record:
            raise ArchiveDamaged("the archive's zip64 end record is damaged")
        end = record
    if disk or first_disk:
        raise ArchiveRefused("the archive is one of several parts")
    if start + length != tail_at + end:
        raise ArchiveDamaged("the archive's directory is not where its end record says")
    return start, start + length


def _read_entry(file: BinaryIO) -> tuple[Entry, int]:
    """Read one record of the directory, and tell its length."""
    fixed = file.read(_CENTRAL.size)
    if len(fixed) != _CENTRAL.size or not fixed.startswith(b"PK\1\2"):
        raise ArchiveDamaged("the archive's directory is damaged")
    (_, _, _, flags, method, _, _, crc, packed, size, name, extra, comment, disk, _, attributes, offset) = (
        _CENTRAL.unpack(fixed)
    )
    if name > _LONGEST_NAME:
        raise ArchiveRefused(f"the archive has a name of {name} bytes, more than {_LONGEST_NAME}")
    rest = file.read(name + extra + comment)
    raw = rest[:name]
    size, packed, offset = _widened(rest[name : name + extra], size, packed, offset)
    entry = Entry(_text(raw), raw, flags, method, crc, packed, size, attributes >> 16, offset)
    if flags & _ENCRYPTED:
        raise entry.refused("is encrypted")
    if method not in (_STORED, _DEFLATED, _BZIP2, LZMA):
        raise entry.refused(f"is compressed in a way that is not supported (method {method})")
    if disk not in (0, _ELSEWHERE):  # of an archive in one part, whose zip64 field has the number
        raise entry.refused("is in another part of the archive")
    if flags & _UTF8 and entry.name.encode() != raw:
        raise entry.refused("says that its name is UTF-8, which it is not")
    return entry, _CENTRAL.size + name + extra + comment


def _text(name: bytes) -> str:
    """Many tools write UTF-8 without saying so; what is not UTF-8 is code page 437."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode("cp437")


def _widened(extra: bytes, *values: int) -> list[int]:
    """Replace the fields that did not fit into 32 bits by those of the zip64 extra field."""
    while len(extra) >= 4:  # noqa: PLR2004 - a tag and a length of two bytes each
        tag, length = struct.unpack_from("<HH", extra)
        if tag == 1:
            field = extra[4 : 4 + length]  # shorter than announced, perhaps
            wide = struct.iter_unpack("<Q", field[: len(field) // 8 * 8])
            return [next(wide, (value,))[0] if value == _WIDE else value for value in values]
        extra = extra[4 + length :]
    return list(values)


def _refuse_overlaps(entries: list[Entry], directory: int) -> None:
    """Refuse the bomb in which many entries share the same packed bytes, or reach into the directory."""
    following = directory
    for entry in sorted(entries, key=lambda entry: entry.offset, reverse=True):
        if entry.offset + _LOCAL.size + len(entry.raw) + entry.packed > following:
            raise entry.refused("overlaps with what follows it")
        following = entry.offset


class _Decoder(Protocol):
    """What bz2 and lzma offer: output that is bounded per call."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Inflater:
    """zlib's raw inflate in the shape of the other two."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def needs_input(self) -> bool:
        return not self._inflate.unconsumed_tail

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        return self._inflate.decompress(self._inflate.unconsumed_tail + data, max_length)


def _unpacked(read: Read, entry: Entry, start: int) -> Iterator[bytes]:
    """Yield what the packed bytes from `start` on expand to; stops where they end, whole or not."""
    end = start + entry.packed
    if entry.method == _STORED:
        yield from _pieces(read, start, end)
        return
    decoder: _Decoder
    if entry.method == LZMA:
        decoder = _lzma_decoder(read(9, start), entry)
        start += 9
    else:
        decoder = _Inflater() if entry.method == _DEFLATED else bz2.BZ2Decompressor()
    packed = _pieces(read, start, end)
    while not decoder.eof:
        data = next(packed, b"") if decoder.needs_input else b""
        starved = decoder.needs_input and not data
        try:
            piece = decoder.decompress(data, PIECE)
        except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as error:  # bz2 raises OSError
            raise entry.damaged(f"is damaged: {error}") from None
        if piece:
            yield piece
        elif starved:
            return


def _pieces(read: Read, start: int, end: int) -> Iterator[bytes]:
    while start < end and (piece := read(min(end - start, _PACKED_PIECE), start)):
        start += len(piece)
        yield piece


def _lzma_decoder(header: bytes, entry: Entry) -> lzma.LZMADecompressor:
    """Set up LZMA from the header that APPNOTE 5.8.8 puts before the packed bytes."""
    if len(header) != 9 or header[2:4] != b"\5\0":  # noqa: PLR2004 - version, length 5, properties
        raise entry.damaged("has a damaged LZMA header")
    properties, dictionary = struct.unpack_from("<BI", header, 4)
    if dictionary > _LARGEST_DICTIONARY:
        raise entry.refused(f"needs {dictionary} bytes of memory to be unpacked")
    rest, lc = divmod(properties, 9)
    pb, lp = divmod(rest, 5)
    chain = [{"id": lzma.FILTER_LZMA1, "dict_size": max(dictionary, 4096), "lc": lc, "lp": lp, "pb": pb}]
    try:
        return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=chain)
    except (lzma.LZMAError, ValueError) as error:
        raise entry.damaged(f"has a damaged LZMA header: {error}") from None
