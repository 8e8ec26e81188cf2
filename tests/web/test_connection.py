"""What a connection does with clients that send ahead, don't read, go away or speak another version."""

import asyncio
import logging
import socket

import pytest
from intake.receiver import config, exchange, post, read_answer, receiving, signature

from syncd.web import connection

NOWHERE = post(b"", path="/", method="GET", signed=False)
A_READ = 256 * 1024  # bytes that asyncio takes at once


@pytest.fixture
async def receiver(tmp_path):
    async with receiving(config(tmp_path)) as running:
        yield running


@pytest.fixture
def errors(caplog):
    return lambda: [record for record in caplog.records if record.levelno >= logging.ERROR]


async def link_of(receiver, count: int = 1):
    """The connection, once it is there; a test has only one at a time."""
    while len(receiver.listener._connections) != count or any(
        link.transport is None for link in receiver.listener._connections
    ):
        await asyncio.sleep(0)
    return next(iter(receiver.listener._connections))


async def none_left(receiver) -> None:
    async with asyncio.timeout(10):
        while receiver.listener._connections:
            await asyncio.sleep(0.001)


# ---- requests sent ahead ----


async def test_what_is_sent_ahead_waits_in_the_clients_socket(receiver):
    receiver.book.open.clear()
    reader, writer = await asyncio.open_connection(*receiver.address)
    writer.write(post())
    await receiver.book.asked.wait()
    link = await link_of(receiver)
    requests = 40_000
    writer.write(NOWHERE * requests)  # some megabytes
    async with asyncio.timeout(10):
        while link.transport.is_reading():
            await asyncio.sleep(0.001)
    assert len(link._incoming.ahead) <= 2 * A_READ
    receiver.book.open.set()
    assert (await read_answer(reader)).status == 200
    for _ in range(1000):
        assert (await read_answer(reader)).status in {404, 429}
        assert len(link._incoming.ahead) <= 2 * A_READ
    writer.close()


async def test_who_sends_much_ahead_does_not_hold_up_the_others(receiver):
    reader, writer = await asyncio.open_connection(*receiver.address)
    seen = 0

    async def count() -> None:
        nonlocal seen
        while True:
            await read_answer(reader)
            seen += 1

    counting = asyncio.create_task(count())
    writer.write(NOWHERE * 4000)
    while not seen:
        await asyncio.sleep(0)
    assert (await exchange(receiver.address, post())).status == 200
    assert seen < 3000
    counting.cancel()
    writer.close()


async def test_different_requests_sent_ahead_in_small_pieces_are_answered_in_order(receiver):
    raw = post(b'{"a":1}') + NOWHERE + post(b"{}", signed=False) + post(b'{"b":2}')
    reader, writer = await asyncio.open_connection(*receiver.address)
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for start in range(0, len(raw), 50):
        writer.write(raw[start : start + 50])
        await asyncio.sleep(0.001)
    assert [(await read_answer(reader)).status for _ in range(4)] == [200, 404, 401, 200]
    assert [arrival.body for arrival in receiver.book.arrivals] == [b'{"a":1}', b'{"b":2}']
    writer.close()


# ---- clients that don't read, or go away ----


async def test_who_does_not_read_is_answered_no_more_until_it_does(receiver):
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.connect(receiver.address)
    deaf.setblocking(False)
    link = await link_of(receiver)
    link.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    loop = asyncio.get_running_loop()
    sending = asyncio.create_task(loop.sock_sendall(deaf, NOWHERE * 2000))
    async with asyncio.timeout(10):
        while not link._unread:
            await asyncio.sleep(0.001)
    left = link.transport.get_write_buffer_size()
    for _ in range(100):
        await asyncio.sleep(0)
    assert link.transport.get_write_buffer_size() <= left, "nothing is answered meanwhile"
    heard = b""
    async with asyncio.timeout(20):
        while heard.count(b"HTTP/1.1 ") < 2000 or not heard.endswith(b"}"):
            heard += await loop.sock_recv(deaf, 65536)
    await sending
    deaf.close()


@pytest.mark.parametrize("sent", [b"", b"POST / HT", NOWHERE[:-2], post(b"{}", "Content-Length: 100"), NOWHERE])
@pytest.mark.parametrize("rudely", [False, True], ids=["closing", "with a reset"])
async def test_who_goes_away_is_forgotten(receiver, errors, sent, rudely):
    client = socket.create_connection(receiver.address)
    if rudely:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.sendall(sent)
    await link_of(receiver)
    client.close()
    await none_left(receiver)
    assert receiver.book.arrivals == []
    assert errors() == []


@pytest.mark.parametrize("rudely", [False, True], ids=["closing", "with a reset"])
async def test_what_is_being_stored_is_stored_though_its_client_goes_away(receiver, errors, rudely):
    receiver.book.open.clear()
    client = socket.create_connection(receiver.address)
    if rudely:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.sendall(post())
    await receiver.book.asked.wait()
    link = await link_of(receiver)
    client.close()
    async with asyncio.timeout(10):
        while link.transport is not None and link.transport.is_reading():
            await asyncio.sleep(0.001)
    assert receiver.listener._connections, "a listener that ends waits for it"
    receiver.book.open.set()
    await none_left(receiver)
    assert receiver.counts == {("abyssale", "accepted"): 1}
    assert errors() == []


async def test_who_goes_away_unseen_before_its_last_answer_is_no_error(receiver, errors):
    receiver.book.open.clear()
    client = socket.create_connection(receiver.address)
    client.sendall(post())
    await receiver.book.asked.wait()
    link = await link_of(receiver)
    client.sendall(NOWHERE)  # ahead of its turn, so that no more is read
    while link.transport.is_reading():
        await asyncio.sleep(0.001)
    client.close()
    link.closing = True
    receiver.book.open.set()
    await none_left(receiver)
    assert receiver.counts == {("abyssale", "accepted"): 1}
    assert errors() == []


@pytest.mark.parametrize("ahead", [b"", post(b"half", "Content-Length: 100")], ids=["whole", "half a request"])
async def test_who_only_listens_any_more_is_answered(receiver, errors, ahead):
    receiver.book.open.clear()
    reader, writer = await asyncio.open_connection(*receiver.address)
    writer.write(post(b'{"a":1}') + post(b'{"b":2}') + ahead)
    writer.write_eof()
    await receiver.book.asked.wait()
    await asyncio.sleep(0.01)
    receiver.book.open.set()
    assert [(await read_answer(reader)).status for _ in range(2)] == [200, 200]
    assert await asyncio.wait_for(reader.read(), 5) == b""
    await none_left(receiver)
    assert len(receiver.book.arrivals) == 2
    assert errors() == []
    writer.close()


async def test_who_sends_a_body_that_is_laborious_to_read_does_not_hold_up_the_others(receiver):
    reader, writer = await asyncio.open_connection(*receiver.address)
    body = b"\r\n" * 200_000
    head = post(b"", "Transfer-Encoding: chunked", f"X-Abyssale-Signature: {signature(body)}", signed=False)
    writer.write(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
    link = await link_of(receiver)
    while not link.begun:
        await asyncio.sleep(0)
    assert (await exchange(receiver.address, post())).status == 200
    assert link.begun, "it is read still"
    assert (await read_answer(reader)).status == 200
    assert receiver.book.arrivals[-1].body == body
    writer.close()


async def test_who_is_refused_sees_why_though_it_sends_on(receiver):
    reader, writer = await asyncio.open_connection(*receiver.address)
    body = b" " * 8_000_000
    writer.write(post(body, signed=False))
    await asyncio.wait_for(writer.drain(), 10)
    assert (await read_answer(reader)).status == 413
    assert await reader.read() == b""
    writer.close()


async def test_who_sends_on_after_the_last_answer_is_cut_off_in_time(receiver, monkeypatch):
    monkeypatch.setattr(connection, "_LINGERING", 0.1)
    reader, writer = await asyncio.open_connection(*receiver.address)
    writer.write(b"NONSENSE\r\n\r\n")
    assert (await read_answer(reader)).status == 400

    async def send_on() -> None:
        while True:
            writer.write(b"a" * 10_000)
            await writer.drain()
            await asyncio.sleep(0.001)

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(send_on(), 10)
    await none_left(receiver)
    writer.close()


async def test_a_client_that_is_refused_and_does_not_close_is_cut_off_in_time(receiver, monkeypatch):
    monkeypatch.setattr(connection, "_LINGERING", 0.1)
    reader, writer = await asyncio.open_connection(*receiver.address)
    writer.write(post(b"{}", "Content-Length: 100", path="/"))
    assert (await read_answer(reader)).status == 404
    await none_left(receiver)
    writer.close()


# ---- versions and the like ----


async def test_a_client_of_http_1_0_gets_one_answer_unless_it_asks_for_more(receiver):
    old = post().replace(b"HTTP/1.1\r\nHost: syncd.test", b"HTTP/1.0")
    reader, writer = await asyncio.open_connection(*receiver.address)
    writer.write(old.replace(b"HTTP/1.0", b"HTTP/1.0\r\nConnection: keep-alive"))
    answer = await read_answer(reader)
    assert (answer.status, answer.headers["connection"]) == (200, "keep-alive")
    writer.write(old)
    answer = await read_answer(reader)
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert await reader.read() == b""
    writer.close()


async def test_a_client_of_http_1_0_is_not_told_to_go_on(receiver):
    head = post(b"{}", "Expect: 100-continue").replace(b"HTTP/1.1", b"HTTP/1.0")
    reader, writer = await asyncio.open_connection(*receiver.address)
    writer.write(head[:-2])
    await link_of(receiver)
    await asyncio.sleep(0.01)
    writer.write(head[-2:])
    assert (await reader.readline()) == b"HTTP/1.1 200 OK\r\n"
    writer.close()


async def test_the_client_may_say_that_a_request_is_its_last(receiver):
    reader, writer = await asyncio.open_connection(*receiver.address)
    writer.write(post(b"{}", "Connection: close"))
    answer = await read_answer(reader)
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert await reader.read() == b""
    writer.close()


async def test_head_is_refused_without_a_body(receiver):
    reader, writer = await asyncio.open_connection(*receiver.address)
    writer.write(post(b"", method="HEAD", signed=False) + post())
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 405 Method Not Allowed\r\n")
    assert (await read_answer(reader)).status == 200
    writer.close()


async def test_an_answer_is_dated(receiver):
    answer = await exchange(receiver.address, post())
    assert answer.headers["date"].endswith(" GMT")


async def test_an_offer_of_another_protocol_is_passed_over(receiver):
    headers = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
    answer = await exchange(receiver.address, post(b"{}", *headers))
    assert answer.json["status"] == "accepted"
    assert receiver.book.arrivals[0].body == b"{}"


async def test_each_request_that_asks_first_is_told_to_go_on_once(receiver):
    head, body = post(b"{}", "Expect: 100-continue").split(b"\r\n\r\n")
    reader, writer = await asyncio.open_connection(*receiver.address)
    for _ in range(2):
        writer.write(head + b"\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        for byte in body:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.01)
        assert (await read_answer(reader)).status == 200
    writer.close()
