"""A forward proxy on loopback: plain requests and CONNECT, with a password if it has one, everything counted."""

from __future__ import annotations

import asyncio
import base64
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from origin import head


class Proxy:
    """Reaches the names of `where` on the ports given there, all on loopback, and says 502 of any other.

    `asked` are the methods and targets as they came, `port` where it listens. While `refusal` is
    set, that is the answer to everybody; `user_password` is demanded unless it is "".
    """

    def __init__(self, user_password: str = "") -> None:
        self.where: dict[str, int] = {}
        self.asked: list[tuple[str, str]] = []
        self.refusal: bytes | None = None
        self.port = 0
        self._password = base64.b64encode(user_password.encode()).decode()
        self._connections: set[asyncio.Task[None]] = set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            request = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
            method, target, _ = request.split(" ", 2)
            self.asked.append((method, target))
            url = urlsplit(f"//{target}" if method == "CONNECT" else target)
            if self.refusal is not None:
                writer.write(self.refusal)
            elif self._password and f"\r\nProxy-Authorization: Basic {self._password}\r\n" not in request:
                writer.write(head(407, Proxy_Authenticate='Basic realm="x"', Content_Length=0))
            elif url.hostname not in self.where:
                writer.write(head(502, Content_Length=0))
            elif method == "CONNECT":
                await self._pass_on(self.where[url.hostname], b"", reader, writer)
            else:
                lines = [line for line in request.split("\r\n")[1:] if not line.startswith("Proxy-")]
                path = f"{url.path}?{url.query}" if url.query else url.path
                plain = "\r\n".join([f"{method} {path} HTTP/1.1", *lines])
                await self._pass_on(self.where[url.hostname], plain.encode(), reader, writer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            writer.close()

    async def _pass_on(
        self, port: int, request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        there, onward = await asyncio.open_connection("127.0.0.1", port)
        if request:
            onward.write(request)
        else:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        sending = asyncio.create_task(_copy(reader, onward))
        try:
            await _copy(there, writer)
        finally:
            sending.cancel()
            onward.close()

    @asynccontextmanager
    async def running(self, tls: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[Proxy]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", port, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in list(self._connections):
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(1 << 16):
            writer.write(piece)
            await writer.drain()


def certificate(folder: Path, name: str) -> tuple[Path, ssl.SSLContext]:
    """Make a certificate for a name: the file to trust, and a server's context that shows it."""
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"),
            *("-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", f"/CN={name}"),
            *("-addext", f"subjectAltName=DNS:{name}", "-addext", "keyUsage=critical,keyCertSign,digitalSignature"),
        ],
        check=True,
        capture_output=True,
    )
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)
    return cert, tls
