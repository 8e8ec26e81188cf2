"""A download on the disk: a temp file with its digests, and how the rest of one is asked for.

A body that was cut short is continued where its server can prove that it is still the same
file, by a strong ETag. No other content is ever joined to what is here. Parts outlive a go on a
shelf, but not the process, which alone has their digests. What a body may hold and how fast it
has to come is `body`'s business, when to ask again `fetch`'s.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import threading
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from syncd.barrier import start_writing
from syncd.errors import StoreUnavailable
from syncd.mirror.setback import Setback
from syncd.mirror.space import check_room, check_space
from syncd.mirror.waste import throw_away

if TYPE_CHECKING:
    from _hashlib import HASH

    import aiohttp
    from _typeshed import ReadableBuffer

MOST_PARTS = 1000
MOST_BYTES = 8 << 30
"""What a shelf holds. Who comes when it is full begins anew: it must not push out what has come further."""

WRITTEN_BACK = 8 << 20
"""Bytes after which the kernel is told to begin with writing them to the disk."""

_STRONG_ETAG = re.compile(r'"[!#-~]{1,256}"')
_MD5_ETAG = re.compile(r'"([0-9a-fA-F]{32})"')


class Part:
    """The first `received` bytes of a file of `length`, at `path`; its last owner moves or discards it.

    `type` is what its beginning shows. The file is made with the first body, open only while one
    is written to it, and never synced here. It grows only while `min_free` bytes of its disk stay free.
    """

    def __init__(self, path: Path, min_free: int = 0) -> None:
        self.path = path
        self._min_free = min_free
        self._forget()

    def _forget(self) -> None:
        self.exists = False
        self.received = 0
        self.length: int | None = None
        self.type = ""
        self._etag = ""
        self._md5_promised: str | None = None
        self.digests: list[HASH] = []

    @property
    def sha256(self) -> str:
        """The SHA-256 of what is here, in hex."""
        return self.digests[0].hexdigest()

    @property
    def can_go_on(self) -> bool:
        """Tell whether the rest may be asked for."""
        return bool(self._etag) and self.length is not None and 0 < self.received < self.length

    def wish(self) -> Mapping[str, str]:
        """Give the headers that ask for the rest, none where the whole file is needed."""
        if self.received and not self._is_there():
            self.discard()
        return {"Range": f"bytes={self.received}-", "If-Range": self._etag} if self.received else {}

    def accept(self, response: aiohttp.ClientResponse) -> None:
        """Take an answer to `wish`: a 200 as a new beginning, a 206 as the rest if it is just that.

        Raises Setback for anything else, with nothing kept: the next answer is a whole file.
        """
        headers = response.headers
        if response.status == HTTPStatus.OK:
            self.discard()
            self.length = response.content_length
            etags = headers.getall("ETag", [])
            self._etag = etags[0] if len(etags) == 1 and _STRONG_ETAG.fullmatch(etags[0]) else ""
            self._md5_promised = _promised_md5(response)
            self.digests = [hashlib.sha256()]
            if self._md5_promised:
                self.digests.append(hashlib.md5(usedforsecurity=False))
        elif not (
            response.status == HTTPStatus.PARTIAL_CONTENT
            and headers.getall("Content-Range", []) == [f"bytes {self.received}-{(self.length or 0) - 1}/{self.length}"]
            and headers.getall("ETag", []) == [self._etag]
            and "Content-Encoding" not in headers
        ):
            self.discard()
            raise Setback(f"HTTP {response.status} that does not continue what is here")

    def check_space(self, wanted: int) -> None:
        """Raise StoreUnavailable where there is no room for `wanted` bytes more."""
        check_space(self.path.parent, wanted, self._min_free)

    def open(self) -> PartFile:
        """Open the file for what comes next, a new one at the beginning. Raises StoreUnavailable."""
        return PartFile(self, self._min_free)

    def append(self, data: ReadableBuffer) -> None:
        """Hash and write what comes next, from opening to closing the file. Raises StoreUnavailable."""
        with self.open() as file:
            for digest in self.digests:
                digest.update(data)
            file.write(data)

    def verify(self) -> None:
        """Raise Setback unless what is here is all that was promised, over however many answers it came."""
        if self.length is not None and self.received != self.length:
            raise Setback(f"{self.received} bytes instead of {self.length}")
        if self._md5_promised and self.digests[1].hexdigest() != self._md5_promised:
            raise Setback("a body that its ETag contradicts")

    def discard(self) -> None:
        """Remove the file and begin anew."""
        if self.exists:
            throw_away(self.path)
        self._forget()

    def _is_there(self) -> bool:
        try:
            return self.path.lstat().st_size == self.received
        except OSError:
            return False


Parts = dict[str, Part]
"""What has come of the files of one job, by URL. Its owner removes what is of no use any more."""


class Shelf:
    """Where the parts of jobs lie between two goes, by the number of the job. They belong to it meanwhile."""

    def __init__(self) -> None:
        self._parts: dict[int, Parts] = {}

    def take(self, job: int) -> Parts:
        """Give what this job has left here to it."""
        return self._parts.pop(job, {})

    def leave(self, job: int, parts: Parts) -> None:
        """Take over what the job's next go can continue, as far as there is room; the rest stays in `parts`."""
        for url, part in list(parts.items()):
            kept = [part.received for lying in self._parts.values() for part in lying.values()]
            if part.can_go_on and len(kept) < MOST_PARTS and sum(kept) + part.received <= MOST_BYTES:
                self._parts.setdefault(job, {})[url] = parts.pop(url)

    def clear(self) -> None:
        """Remove everything."""
        while self._parts:
            discard(self._parts.popitem()[1])


def discard(parts: Parts) -> None:
    """Remove the files of these parts."""
    while parts:
        parts.popitem()[1].discard()


class PartFile(io.FileIO):
    """A part's open file, which grows only while `min_free` bytes stay free; any OSError of it is the store's.

    A lock keeps the file open while a thread writes whose task has been cancelled: its
    descriptor could be another file's by then.
    """

    def __init__(self, part: Part, min_free: int) -> None:
        self._part = part
        self._min_free = min_free
        self._on_its_way = part.received
        self._writing = threading.Lock()
        try:
            super().__init__(part.path, "ab" if part.received else "xb", opener=_known if part.received else _new)
        except OSError as error:
            raise self._unusable(error) from error
        if os.fstat(self.fileno()).st_size != part.received:
            self.close()
            raise StoreUnavailable(f"{part.path}: somebody has changed what was written to it")
        part.exists = True

    def write(self, data: ReadableBuffer, /) -> int:
        """Write all of it, if there is room for it."""
        with self._writing, memoryview(data) as rest:
            descriptor, size = self.fileno(), len(rest)
            try:
                if self._min_free:
                    check_room(os.fstatvfs(descriptor), size, self._min_free)
                done = os.write(descriptor, rest)
                while done < size:
                    done += os.write(descriptor, rest[done:])
                self._part.received += size
                self._write_back(descriptor, self._part.received)
            except OSError as error:
                raise self._unusable(error) from error
        return size

    def writelines(self, pieces: Iterable[ReadableBuffer], /) -> None:
        """Write all of each piece."""
        for piece in pieces:
            self.write(piece)

    def close(self) -> None:
        """Close it; a network share tells of a full disk only here."""
        with self._writing:
            try:
                super().close()
            except OSError as error:
                raise self._unusable(error) from error

    def _write_back(self, descriptor: int, end: int) -> None:
        """Have the kernel begin to bring it to the disk, so that little is left for the sync in the end."""
        if end - self._on_its_way >= WRITTEN_BACK:
            start_writing(descriptor)
            self._on_its_way = end

    def _unusable(self, error: OSError) -> StoreUnavailable:
        return StoreUnavailable(f"{self._part.path.parent}: {error.strerror or error}")


def _new(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_NOFOLLOW, 0o600)


def _known(name: str, flags: int) -> int:
    return os.open(name, (flags & ~os.O_CREAT) | os.O_NOFOLLOW)


def _promised_md5(response: aiohttp.ClientResponse) -> str | None:
    """Read the MD5 that object storage gives as the ETag of a file uploaded in one part.

    With a key of one's own the ETag is of that form too, but of the encrypted bytes.
    """
    headers = response.headers
    match = _MD5_ETAG.fullmatch(headers.get("ETag", ""))
    if match is None or "x-amz-server-side-encryption-customer-algorithm" in headers:
        return None
    encrypted = headers.get("x-amz-server-side-encryption", "").startswith("aws:kms")
    return None if encrypted else match[1].lower()
