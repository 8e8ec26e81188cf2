"""A receiver on a real socket with an in-memory journal, and the plain HTTP to talk to it."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from syncd.config import Address, Config, load
from syncd.errors import JournalUnavailable
from syncd.intake.receive import Intake
from syncd.model import Arrival, Receipt
from syncd.sources import abyssale
from syncd.web.listen import bind
from syncd.web.server import Listener

SECRET = "whsec_" + "1" * 64
PATH = "/webhooks/abyssale"
LOOPBACK = Address("127.0.0.1", 0, "")


def config(folder: Path, *, server: str = "", source: str = f'secret = "{SECRET}"') -> Config:
    path = folder / "sync.toml"
    path.write_text(
        f'[server]\nlisten = "127.0.0.1:0"\n{server}\n[admin]\nlisten = "127.0.0.1:0"\n[sources.abyssale]\n{source}\n'
    )
    path.chmod(0o600)
    return load(path, {}).config


class Book:
    """Keeps arrivals by the rules of the contract, as far as the receiver can tell."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.ids: set[str] = set()
        self.broken = False
        self.open = asyncio.Event()
        self.open.set()
        self.asked = asyncio.Event()

    def accept(self, arrival: Arrival) -> asyncio.Future[Receipt]:
        return asyncio.ensure_future(self.keep(arrival))

    async def keep(self, arrival: Arrival) -> Receipt:
        self.asked.set()
        await self.open.wait()
        if self.broken:
            raise JournalUnavailable("no space left on the journal's disk")
        delivery = arrival.platform_id or f"body-{hash(arrival.body)}"
        duplicate = delivery in self.ids
        self.ids.add(delivery)
        if not duplicate:
            self.arrivals.append(arrival)
        return Receipt(delivery, duplicate)


@dataclass
class Receiver:
    """What a test sees of a running receiver; `config` and `closed` may be changed at any time."""

    config: Config
    book: Book
    counts: Counter[tuple[str, str]]
    refusals: Counter[str]
    listener: Listener
    closed: str | None = None

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.listener.port


@asynccontextmanager
async def receiving(
    settings: Config,
    *,
    sock: socket.socket | None = None,
    tls: ssl.SSLContext | None = None,
    inherited: bool = False,
) -> AsyncIterator[Receiver]:
    book, counts, refusals = Book(), Counter[tuple[str, str]](), Counter[str]()
    intake = Intake(
        current=lambda: receiver.config,
        accept=lambda arrival: book.accept(arrival),  # noqa: PLW0108 - a test may replace it
        closed=lambda: receiver.closed,
        count=lambda source, outcome: counts.update([(source, outcome)]),
        refused=lambda word: refusals.update([word]),
    )
    listener = Listener(
        sock or bind(LOOPBACK),
        intake,
        timeout=lambda: receiver.config.server.request_timeout,
        tls=tls,
        inherited=inherited,
    )
    receiver = Receiver(settings, book, counts, refusals, listener)
    listener.open()
    try:
        yield receiver
    finally:
        await listener.drain(0)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, str]:
        return json.loads(self.body)


def signature(body: bytes, *, secret: str = SECRET, t: int | None = None) -> str:
    return abyssale.sign(body, secret, int(time.time()) if t is None else t)


def post(
    body: bytes = b'{"id":"1"}',
    *headers: str,
    path: str = PATH,
    method: str = "POST",
    signed: bool = True,
    media: str = "application/json",
) -> bytes:
    """A request as bytes; `headers` are whole lines and come before the usual ones."""
    lines = [f"{method} {path} HTTP/1.1", "Host: syncd.test", *headers]
    if media:
        lines.append(f"Content-Type: {media}")
    if not any(line.lower().startswith(("content-length:", "transfer-encoding:")) for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    if signed:
        lines.append(f"X-Abyssale-Signature: {signature(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    async with asyncio.timeout(10):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Answer(int(head[0].split()[1]), headers, body)


async def exchange(address: tuple[str, int] | str, request: bytes, **how: object) -> Answer:
    """Send one request on a connection of its own and return its answer."""
    if isinstance(address, str):
        reader, writer = await asyncio.open_unix_connection(address)
    else:
        reader, writer = await asyncio.open_connection(*address, **how)
    try:
        writer.write(request)
        return await read_answer(reader)
    finally:
        writer.close()
