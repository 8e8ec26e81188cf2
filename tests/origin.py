"""A server on loopback that answers each path as a test says, to the byte, faults included."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4
HTML = b"<!DOCTYPE html><title>Sign in</title>"


class Origin:
    """`answers[path]` are given one a request, the last one again and again; `asked` counts per path.

    `targets` are the request targets as they came, in order; `head` is the last request, headers and all.
    """

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.asked: Counter[str] = Counter()
        self.targets: list[str] = []
        self.head = ""
        self.base = ""
        self.port = 0
        self._connections: set[asyncio.Task[None]] = set()

    def url(self, path: str, *answers: Answer) -> str:
        if answers:
            self.answers[path] = list(answers)
        return self.base + path

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._connections.add(task)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.head = head.decode("ascii")
            target = self.head.split(" ")[1]
            path = target.partition("?")[0]
            self.targets.append(target)
            self.asked[path] += 1
            script = self.answers.get(path, [status(404)])
            await script[min(self.asked[path], len(script)) - 1](writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            writer.close()

    @asynccontextmanager
    async def running(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[Origin]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        host, self.port = server.sockets[0].getsockname()
        self.base = f"{'https' if tls else 'http'}://{host}:{self.port}"
        try:
            yield self
        finally:
            server.close()
            for task in list(self._connections):
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)


def raw(*pieces: bytes) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()

    return answer


def head(code: int = 200, **headers: object) -> bytes:
    lines = [f"HTTP/1.1 {code} Whatever", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def ok(body: bytes = PNG, **headers: object) -> Answer:
    return raw(head(**{"Content_Length": len(body), **headers}) + body)


def status(code: int, **headers: object) -> Answer:
    return raw(head(code, **{"Content_Length": 0, **headers}))


def chunked(*pieces: bytes) -> Answer:
    framed = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces]
    return raw(head(Transfer_Encoding="chunked"), *framed, b"0\r\n\r\n")


def then_silence(*pieces: bytes) -> Answer:
    """Send this much and keep the connection open."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        await raw(*pieces)(writer)
        await asyncio.Event().wait()

    return answer


async def reset(writer: asyncio.StreamWriter) -> None:
    writer.write(head(Content_Length=len(PNG)) + PNG[:100])
    await writer.drain()
    writer.transport.abort()


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(head(Transfer_Encoding="chunked"))
    piece = PNG + bytes(64 << 10)
    while True:
        writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        await writer.drain()
