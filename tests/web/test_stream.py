"""Answers that go on, without the room that gives them."""

import asyncio
import socket
import struct

import pytest

from syncd.config import Address
from syncd.web import answers
from syncd.web.answers import Stream
from syncd.web.listen import bind
from syncd.web.request import Head, by_name, path_of
from syncd.web.server import Listener


class Streamer:
    """Begins an answer, and waits for what follows."""

    def __init__(self):
        self.asked = asyncio.Event()
        self.coming = None

    def begin(self, version, method, target, headers, _peer):
        return Head(version, method.decode(), path_of(target), headers, by_name(version, headers))

    def admit(self, _request):
        return 0

    def receive(self, _request, _body, answer):
        answer(Stream(answers.head(200), b"first", self.following))

    def following(self):
        self.coming = asyncio.get_running_loop().create_future()
        self.asked.set()
        return self.coming


@pytest.fixture
async def streamer():
    return Streamer()


@pytest.fixture
async def listener(streamer):
    listener = Listener(bind(Address("127.0.0.1", 0, "")), streamer, timeout=lambda: 5.0)
    listener.open()
    yield listener
    await listener.drain(0.0)


async def test_what_would_follow_for_a_client_that_has_gone_is_not_wanted_any_more(listener, streamer):
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
    await reader.readuntil(b"first")
    await streamer.asked.wait()
    lingering = struct.pack("ii", 1, 0)  # none at all: it is torn off, and not just closed
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, lingering)
    writer.transport.abort()
    async with asyncio.timeout(5):
        await asyncio.wait([streamer.coming])
    assert streamer.coming.cancelled()
