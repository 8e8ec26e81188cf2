import asyncio
import gc
import logging
import socket
import ssl
from asyncio.sslproto import SSLProtocol
from contextlib import suppress
from pathlib import Path

import pytest
from intake.receiver import LOOPBACK, config, exchange, post, read_answer, receiving

from syncd.config import Address
from syncd.web import connection, server
from syncd.web.listen import bind
from syncd.web.server import Listener, tls_context

QUICK = 'request_timeout = "100ms"'

TLS = Path(__file__).parent.parent / "tls"


@pytest.fixture
async def receiver(tmp_path):
    async with receiving(config(tmp_path)) as running:
        yield running


@pytest.fixture
async def impatient(tmp_path):
    async with receiving(config(tmp_path, server=QUICK)) as running:
        yield running


@pytest.fixture
def errors(caplog):
    """What was logged as an error or worse, by whomever."""
    return lambda: [record for record in caplog.records if record.levelno >= logging.ERROR]


# ---- one connection ----


async def test_a_connection_serves_one_request_after_another(receiver):
    reader, writer = await asyncio.open_connection(*receiver.address)
    for number in range(3):
        writer.write(post(b'{"id":"%d"}' % number))
        answer = await read_answer(reader)
        assert answer.status == 200
        assert "connection" not in answer.headers
    writer.close()


async def test_requests_sent_ahead_are_answered_in_order(receiver):
    reader, writer = await asyncio.open_connection(*receiver.address)
    writer.write(b"".join(post(b"{}", f"X-Abyssale-Delivery-Id: {number}") for number in range(50)))
    assert [(await read_answer(reader)).json["delivery"] for _ in range(50)] == [str(number) for number in range(50)]
    writer.close()


@pytest.mark.parametrize("sent", [b"", b"POST / HT", b"POST / HTTP/1.1\r\nHost: a\r\n"])
async def test_a_request_that_does_not_come_together_is_answered_408(impatient, errors, sent):
    answer = await exchange(impatient.address, sent)
    assert (answer.status, answer.json["error"]) == (408, "timeout")
    assert answer.headers["connection"] == "close"
    assert errors() == []
    assert impatient.refusals == {"timeout": 1}
    assert impatient.counts == {("", "rejected"): 1}


async def test_headers_that_drip_do_not_buy_time(impatient):
    reader, writer = await asyncio.open_connection(*impatient.address)
    answering = asyncio.create_task(reader.read())
    writer.write(b"POST / HTTP/1.1\r\nX: ")
    while not answering.done():  # ends by the deadline; pytest would wait forever otherwise
        writer.write(b"a")
        await asyncio.wait([answering], timeout=0.02)
    assert (await answering).startswith(b"HTTP/1.1 408 ")
    writer.close()


async def test_the_clock_starts_again_with_each_request_and_rests_between_them(impatient):
    reader, writer = await asyncio.open_connection(*impatient.address)
    writer.write(post())
    assert (await read_answer(reader)).status == 200
    idle = asyncio.create_task(reader.readuntil(b"\r\n\r\n"))
    await asyncio.wait([idle], timeout=0.25)  # longer than a request may take
    assert not idle.done(), "an idle connection is not a slow request"
    writer.write(b"POST ")
    assert (await idle).startswith(b"HTTP/1.1 408 ")
    writer.close()


async def test_a_request_sent_ahead_of_its_turn_has_a_clock_as_well(impatient):
    reader, writer = await asyncio.open_connection(*impatient.address)
    writer.write(post() + post(b"half", "Content-Length: 100"))
    assert (await read_answer(reader)).status == 200
    assert (await read_answer(reader)).status == 408
    writer.close()


async def test_a_handler_that_takes_its_time_is_not_a_slow_request(impatient):
    impatient.book.open.clear()
    answering = asyncio.create_task(exchange(impatient.address, post()))
    await asyncio.wait([answering], timeout=0.25)
    assert not answering.done()
    impatient.book.open.set()
    assert (await answering).status == 200


async def test_a_shorter_time_limit_holds_for_connections_that_are_open_already(receiver, tmp_path):
    reader, writer = await asyncio.open_connection(*receiver.address)
    writer.write(post())
    assert (await read_answer(reader)).status == 200
    receiver.config = config(tmp_path, server=QUICK)
    writer.write(b"POST ")
    assert (await read_answer(reader)).status == 408
    writer.close()


async def test_an_idle_connection_is_closed_in_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(connection, "_KEEP_ALIVE", 0.1)
    async with receiving(config(tmp_path)) as receiver:
        reader, writer = await asyncio.open_connection(*receiver.address)
        writer.write(post())
        assert (await read_answer(reader)).status == 200
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",  # TLS on a plain port
        b"POST\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: ten\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nX: " + b"a" * 10_000 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + b"X: a\r\n" * 200 + b"\r\n",
        b"POST /" + b"a" * 10_000 + b" HTTP/1.1\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_answered_400_and_leaves_no_traceback(receiver, errors, sent):
    reader, writer = await asyncio.open_connection(*receiver.address)
    writer.write(sent)
    answer = await read_answer(reader)
    assert (answer.status, answer.json["error"]) == (400, "malformed")
    assert await reader.read() == b""
    assert errors() == []
    writer.close()


async def test_an_answer_before_the_body_was_read_ends_the_connection(receiver):
    reader, writer = await asyncio.open_connection(*receiver.address)
    writer.write(post(b"{}", "Content-Length: 100", path="/"))
    answer = await read_answer(reader)
    assert (answer.status, answer.headers["connection"]) == (404, "close")
    writer.write(b" " * 98 + post())
    assert await asyncio.wait_for(reader.read(), 5) == b"", "the rest is read, and nothing behind it"
    writer.close()


@pytest.mark.parametrize("where", ["accept", "keep"], ids=["on the way", "in the journal"])
async def test_a_bug_is_answered_500_and_logged(receiver, monkeypatch, errors, where):
    def broken(arrival):
        raise ZeroDivisionError

    async def broken_later(arrival):
        raise ZeroDivisionError

    monkeypatch.setattr(receiver.book, where, broken if where == "accept" else broken_later)
    answer = await exchange(receiver.address, post())
    assert (answer.status, answer.json["error"]) == (500, "internal")
    assert receiver.refusals == {"internal": 1}
    (line,) = errors()
    assert line.exc_info[0] is ZeroDivisionError


# ---- many connections ----


@pytest.mark.parametrize("held_with", [b"", b"POST / HT", post(b"{}", "Content-Length: 100")])
@pytest.mark.parametrize("good_one_from", ["127.0.0.1", "127.0.0.2"])
async def test_a_delivery_passes_while_one_address_holds_all_connections(
    receiver, monkeypatch, held_with, good_one_from
):
    monkeypatch.setattr(server, "CONNECTIONS", 200)
    held = [await asyncio.open_connection(*receiver.address) for _ in range(300)]
    for _, writer in held:
        writer.write(held_with)
    answer = await exchange(receiver.address, post(), local_addr=(good_one_from, 0))
    assert answer.status == 200
    for _, writer in held:
        writer.close()


async def test_room_is_made_at_the_expense_of_the_address_that_holds_the_most(receiver, monkeypatch):
    monkeypatch.setattr(server, "CONNECTIONS", 20)
    reader, writer = await asyncio.open_connection(*receiver.address, local_addr=("127.0.0.2", 0))
    held = [await asyncio.open_connection(*receiver.address) for _ in range(30)]
    assert (await exchange(receiver.address, post())).status == 200
    writer.write(post())
    assert (await read_answer(reader)).status == 200, "the oldest of all is not the one to go"
    for _, one in [*held, (reader, writer)]:
        one.close()


async def test_what_unfinished_requests_hold_in_all_is_bounded(receiver, monkeypatch):
    monkeypatch.setattr(server, "UNFINISHED", 1 << 20)
    others = post(b"{}", "Content-Length: 50000", signed=False)
    other_reader, other_writer = await asyncio.open_connection(*receiver.address, local_addr=("127.0.0.2", 0))
    other_writer.write(others)
    begun = post(b" " * 400_000, "Content-Length: 500000", signed=False)
    held = [await asyncio.open_connection(*receiver.address) for _ in range(6)]
    for _, writer in held:
        writer.write(begun)
    async with asyncio.timeout(10):
        ends = [asyncio.create_task(reader.read()) for reader, _ in held]
        dropped, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        while sum(one.held for one in receiver.listener._connections) > 1 << 20 or len(dropped) < 4:
            await asyncio.sleep(0.001)
            dropped = {end for end in ends if end.done()}
    assert len(dropped) == 4
    other_writer.write(b" " * 49_998)
    assert (await read_answer(other_reader)).status == 401, "who holds less is not the one to go"
    for end in ends:
        end.cancel()
    for _, one in [*held, (other_reader, other_writer)]:
        one.close()


async def test_a_client_that_never_reads_its_answers_is_dropped(receiver, monkeypatch):
    monkeypatch.setattr(server, "_UNREAD_MS", 100)
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # so that little fills it
    deaf.connect(receiver.address)
    deaf.setblocking(False)

    async def send_on() -> None:
        while True:
            await asyncio.get_running_loop().sock_sendall(deaf, post(b"", path="/", method="GET") * 1000)

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(send_on(), 10)
    deaf.close()


async def test_connections_whose_deliveries_are_being_stored_make_no_room(receiver, monkeypatch):
    monkeypatch.setattr(server, "CONNECTIONS", 2)
    receiver.book.open.clear()
    busy = [asyncio.create_task(exchange(receiver.address, post(b'{"id":"%d"}' % one))) for one in range(2)]
    while sum(one.waiting for one in receiver.listener._connections) or len(receiver.listener._connections) < 2:
        await asyncio.wait(busy, timeout=0.01)
    reader, writer = await asyncio.open_connection(*receiver.address)
    assert await reader.read() == b"", "there is no room"
    writer.close()
    receiver.book.open.set()
    assert [(await one).status for one in busy] == [200, 200]


# ---- sockets of other kinds ----


async def test_ipv6_is_served(tmp_path):
    async with receiving(config(tmp_path), sock=bind(Address("::1", 0, ""))) as receiver:
        assert (await exchange(("::1", receiver.listener.port), post())).status == 200


async def test_a_unix_socket_is_served_and_goes_with_its_listener(tmp_path):
    path = tmp_path / "http.sock"
    source = 'secret = "whsec_1"\nrequire_signature = false\nallowed_ips = ["203.0.113.7"]'
    async with receiving(config(tmp_path, source=source), sock=bind(Address("", 0, str(path)))) as receiver:
        forwarded = post(b"{}", "X-Forwarded-For: 203.0.113.7", signed=False)
        assert (await exchange(str(path), forwarded)).status == 200
        assert (await exchange(str(path), post(signed=False))).status == 403
        await receiver.listener.drain(1)
        assert not path.exists()


async def test_a_unix_socket_of_systemd_stays(tmp_path, receiver):
    path = tmp_path / "http.sock"
    listener = Listener(bind(Address("", 0, str(path))), print, timeout=lambda: 5.0, inherited=True)
    listener.open()
    await listener.drain(1)
    assert path.is_socket()


# ---- TLS ----


@pytest.fixture
def pairs():
    """Two self-signed certificates of one name, as lines of the config and as files to trust."""
    return {
        name: (f'tls = {{ cert = "{TLS}/{name}.crt", key = "{TLS}/{name}.key" }}', TLS / f"{name}.crt")
        for name in ("old", "new")
    }


def secure(pairs, folder, name: str, more: str = "") -> dict:
    settings = config(folder, server=f"{pairs[name][0]}\n{more}")
    return {"settings": settings, "tls": tls_context(settings.server.tls)}


def trusting(pairs, name: str) -> dict:
    return {"ssl": ssl.create_default_context(cafile=pairs[name][1]), "server_hostname": "syncd.test"}


async def test_no_tls_means_no_context():
    assert tls_context(None) is None


async def test_deliveries_come_over_tls(pairs, tmp_path):
    async with receiving(**secure(pairs, tmp_path, "old")) as receiver:
        assert (await exchange(receiver.address, post(), **trusting(pairs, "old"))).status == 200


async def test_a_new_certificate_serves_new_connections_and_leaves_old_ones_alone(pairs, tmp_path):
    async with receiving(**secure(pairs, tmp_path, "old")) as receiver:
        reader, writer = await asyncio.open_connection(*receiver.address, **trusting(pairs, "old"))
        receiver.listener.tls = secure(pairs, tmp_path, "new")["tls"]
        assert (await exchange(receiver.address, post(), **trusting(pairs, "new"))).status == 200
        writer.write(post())
        assert (await read_answer(reader)).status == 200
        writer.close()
        await writer.wait_closed()


async def test_old_versions_of_tls_are_refused(pairs, tmp_path):
    async with receiving(**secure(pairs, tmp_path, "old")) as receiver:
        how = trusting(pairs, "old")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            how["ssl"].maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(ssl.SSLError):
            await exchange(receiver.address, post(), **how)


@pytest.mark.parametrize("sent", [b"", post()])
async def test_a_handshake_that_does_not_come_together_ends_in_time(pairs, tmp_path, errors, sent):
    async with receiving(**secure(pairs, tmp_path, "old", QUICK)) as receiver:
        reader, writer = await asyncio.open_connection(*receiver.address)
        writer.write(sent)
        assert b"HTTP" not in await asyncio.wait_for(reader.read(), 5)
        assert (await exchange(receiver.address, post(), **trusting(pairs, "old"))).status == 200
        assert errors() == []
        writer.close()


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01", post()])
async def test_a_handshake_that_failed_leaves_nothing_in_memory(pairs, tmp_path, sent):
    gc.collect()
    gc.disable()  # which finds a circle some time, and until then there may be many
    try:
        async with receiving(**secure(pairs, tmp_path, "old")) as receiver:
            _, writer = await asyncio.open_connection(*receiver.address)
            writer.write(sent)
            while not receiver.listener._connections:
                await asyncio.sleep(0.001)
            writer.close()
            async with asyncio.timeout(10):
                while receiver.listener._connections:
                    await asyncio.sleep(0.001)
            await asyncio.sleep(0.01)
            assert [one for one in gc.get_objects() if isinstance(one, SSLProtocol)] == []
    finally:
        gc.enable()


# ---- the end of a listener ----


async def test_what_waits_in_the_backlog_is_answered_when_the_listener_ends(tmp_path):
    async with receiving(config(tmp_path)) as receiver:
        address = receiver.address
        # Nothing is accepted while this blocks the loop.
        waiting = [socket.create_connection(address) for _ in range(100)]
        for number, client in enumerate(waiting):
            client.sendall(post(b'{"id":"%d"}' % number))
        await receiver.listener.drain(5)
        assert len(receiver.book.arrivals) == 100
        for client in waiting:
            answer = client.recv(1000)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"Connection: close" in answer
            client.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)


async def test_a_request_under_way_is_answered_and_told_that_it_is_the_last(receiver):
    receiver.book.open.clear()
    answering = asyncio.create_task(exchange(receiver.address, post()))
    await receiver.book.asked.wait()
    draining = asyncio.create_task(receiver.listener.drain(5))
    await asyncio.wait([draining], timeout=0.05)
    assert not draining.done()
    receiver.book.open.set()
    answer = await answering
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    await draining


async def test_a_request_on_an_idle_connection_is_still_answered_while_draining(receiver):
    reader, writer = await asyncio.open_connection(*receiver.address)
    writer.write(post())
    assert (await read_answer(reader)).status == 200
    draining = asyncio.create_task(receiver.listener.drain(5))
    await asyncio.wait([draining], timeout=0.05)
    writer.write(post())
    answer = await read_answer(reader)
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    await draining
    writer.close()


async def test_draining_does_not_wait_for_idle_connections_beyond_a_moment(receiver, monkeypatch):
    monkeypatch.setattr(server, "_LAST_CALL", 0.1)
    reader, writer = await asyncio.open_connection(*receiver.address)
    writer.write(post())
    assert (await read_answer(reader)).status == 200
    await asyncio.wait_for(receiver.listener.drain(60), 5)
    assert await reader.read() == b""
    writer.close()


async def test_draining_does_not_wait_for_a_handshake_beyond_a_moment(pairs, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(server, "_LAST_CALL", 0.1)
    async with receiving(**secure(pairs, tmp_path, "old")) as receiver:
        reader, writer = await asyncio.open_connection(*receiver.address)
        writer.write(b"\x16\x03\x01")
        while not receiver.listener._connections:
            await asyncio.sleep(0.001)
        await asyncio.wait_for(receiver.listener.drain(60), 5)
        with suppress(ConnectionError):
            assert await reader.read() == b""
        assert caplog.messages == []
        writer.close()


async def test_draining_ends_with_its_grace(receiver, caplog):
    receiver.book.open.clear()
    reader, writer = await asyncio.open_connection(*receiver.address)
    writer.write(post())
    await receiver.book.asked.wait()
    await asyncio.wait_for(receiver.listener.drain(0.1), 5)
    assert await reader.read() == b"", "nothing is acknowledged that may not be stored"
    assert "connections cut off" in caplog.messages
    writer.close()


async def test_no_request_is_lost_when_one_process_hands_its_socket_to_the_next(tmp_path):
    """As under systemd, which keeps the socket open: here a duplicate of it does."""
    kept = bind(LOOPBACK)
    settings = config(tmp_path)
    answered, stop = [], asyncio.Event()

    async def keep_posting(client: int) -> None:
        reader = writer = None
        while not stop.is_set():
            if writer is None:
                reader, writer = await asyncio.open_connection(*kept.getsockname())
            writer.write(post(b"{}", f"X-Abyssale-Delivery-Id: {client}.{len(answered)}"))
            answer = await read_answer(reader)
            answered.append(answer.status)
            if answer.headers.get("connection") == "close":
                writer.close()
                writer = None
        if writer is not None:
            writer.close()

    async def see(answers: int) -> None:
        target = len(answered) + answers
        while len(answered) < target:
            await asyncio.wait(posting, timeout=0.001)

    async with asyncio.timeout(20), asyncio.TaskGroup() as clients:
        posting = [clients.create_task(keep_posting(client)) for client in range(8)]
        for _ in range(4):
            async with receiving(settings, sock=kept.dup(), inherited=True) as receiver:
                await see(50)
                await receiver.listener.drain(5)
        async with receiving(settings, sock=kept.dup(), inherited=True):
            await see(50)
            stop.set()
            await asyncio.wait(posting)
    assert set(answered) == {200}
    kept.close()
