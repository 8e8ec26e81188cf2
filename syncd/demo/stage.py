"""A stand-in for the platform's file host, for the demo and the tests: real files over real HTTP.

It serves what it was given and does to a request what it was told to do. Loopback only; it
knows nothing of the daemon that asks.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from types import TracebackType
from typing import Self

from aiohttp import web
from yarl import URL

# Written out, because what Python's own table knows depends on the version and the machine.
CONTENT_TYPES = {
    ".avif": "image/avif",
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".mp4": "video/mp4",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".webp": "image/webp",
    ".zip": "application/zip",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What one request gets instead of the plain file.

    It waits `delay` seconds, and for `hold` to be set; a `status` other than 200 comes without
    the file; after `cut` bytes of the file the connection ends.
    """

    status: int = 200
    delay: float = 0.0
    hold: asyncio.Event | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None


NONE = Fault()


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    headers: dict[str, str]


class Stage:
    """A file host on 127.0.0.1, at a port of the system's choice, from `async with` until its end.

    `requests` counts what was asked for, by path, faults and misses included.
    """

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self._counted = asyncio.Condition()
        self._files: dict[str, _File] = {}
        self._faults: defaultdict[str, deque[Fault]] = defaultdict(deque)
        # Cleaning up must not wait for requests that a fault holds.
        self._runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=0.1)
        self._base = URL()

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self._base = URL.build(scheme="http", host=host, port=port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    def url(self, path: str) -> str:
        """Return the URL of a path, which begins with `/`, whether or not a file is there."""
        return str(self._base.with_path(path))

    def put(self, path: str, content: bytes, **headers: str) -> str:
        """Serve this content from now on, and return its URL.

        As S3 does for a file uploaded in one part, the ETag is the content's MD5. `headers`
        (`ETag='"x"'`) go out instead of, or beside, the usual ones.
        """
        usual = {
            "Content-Type": CONTENT_TYPES.get(PurePosixPath(path).suffix, "application/octet-stream"),
            "ETag": f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"',
        }
        self._files[path] = _File(content, {**usual, **headers})
        return self.url(path)

    def remove(self, path: str) -> None:
        """Answer 404 from now on."""
        self._files.pop(path, None)

    def script(self, path: str, *faults: Fault | int) -> None:
        """Do these to the next requests for a path, one each, in order; a number is a status.

        The requests after that get the plain file. A script replaces what is left of an earlier one.
        """
        self._faults[path] = deque(Fault(fault) if isinstance(fault, int) else fault for fault in faults)

    async def asked(self, path: str, times: int = 1) -> None:
        """Wait until a path has been asked for this many times in all."""
        async with self._counted:
            await self._counted.wait_for(lambda: self.requests[path] >= times)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        async with self._counted:
            self.requests[request.path] += 1
            self._counted.notify_all()
        faults = self._faults[request.path]
        fault = faults.popleft() if faults else NONE
        await asyncio.sleep(fault.delay)
        if fault.hold is not None:
            await fault.hold.wait()
        file = self._files.get(request.path)
        if fault.status != NONE.status or file is None:
            status = fault.status if fault.status != NONE.status else 404
            return web.Response(status=status, headers=fault.headers, text=f"{status} on purpose\n")
        if fault.cut is not None:
            return await _cut(request, file, fault.cut)
        return web.Response(body=file.content, headers={**file.headers, **fault.headers})


async def _cut(request: web.BaseRequest, file: _File, after: int) -> web.StreamResponse:
    response = web.StreamResponse(headers={**file.headers, "Content-Length": str(len(file.content))})
    await response.prepare(request)
    await response.write(file.content[:after])
    if request.transport is not None:
        request.transport.close()
    return response
