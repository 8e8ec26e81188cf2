"""Every row of the contract's table of answers, through the real process."""

import asyncio
import json
import socket
import ssl
import time
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from intake.receiver import exchange, post, read_answer, signature
from running import SECRET, running

from syncd.demo import artwork, payloads
from syncd.demo.ports import free_port
from syncd.demo.send import deliver
from syncd.demo.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

TLS = Path(__file__).parent.parent / "tls"
BODY = b'{"id":"1"}'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def daemon(tmp_path_factory):
    """One daemon for the tests that leave it as it was."""
    server = 'max_body = "64KiB"\nrequest_timeout = "700ms"\n'
    async with running(tmp_path_factory.mktemp("daemon"), server=server) as started:
        yield started


def signed(body: bytes = BODY, *headers: str, secret: str = SECRET, t: int | None = None, **rest) -> bytes:
    """A signed request as bytes."""
    return post(body, f"X-Abyssale-Signature: {signature(body, secret=secret, t=t)}", *headers, signed=False, **rest)


async def ask(daemon, request: bytes):
    return await exchange(("127.0.0.1", daemon.port), request)


async def stored(daemon) -> int:
    return len((await daemon.api("/api/deliveries?limit=100"))["deliveries"])


async def test_a_delivery_is_accepted_under_the_platforms_id(daemon):
    answer = await ask(daemon, signed(b'{"a":1}', "X-Abyssale-Delivery-Id: first.1"))
    assert (answer.status, answer.json) == (200, {"status": "accepted", "delivery": "first.1"})
    assert answer.headers["content-type"].startswith("application/json")


async def test_the_same_id_is_a_duplicate(daemon):
    await ask(daemon, signed(b'{"b":1}', "X-Abyssale-Delivery-Id: again"))
    answer = await ask(daemon, signed(b'{"b":2}', "X-Abyssale-Delivery-Id: again"))
    assert (answer.status, answer.json) == (200, {"status": "duplicate", "delivery": "again"})


async def test_a_captured_request_is_a_duplicate_under_whatever_id(daemon):
    body, now = b'{"c":1}', int(time.time())
    await ask(daemon, signed(body, "X-Abyssale-Delivery-Id: captured", t=now))
    for header in (["X-Abyssale-Delivery-Id: another"], []):
        answer = await ask(daemon, signed(body, *header, t=now))
        assert (answer.status, answer.json) == (200, {"status": "duplicate", "delivery": "captured"})


async def test_a_body_without_an_id_is_known_by_its_digest(daemon):
    body, now = b'{"d":1}', int(time.time())
    first = await ask(daemon, signed(body, t=now))
    second = await ask(daemon, signed(body, t=now - 1))
    assert first.json["status"] == "accepted"
    assert len(first.json["delivery"]) == 64
    assert second.json == {"status": "duplicate", "delivery": first.json["delivery"]}


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [f"X-Abyssale-Signature: {signature(BODY, secret='whsec_' + 'f' * 64)}"],
        [f"X-Abyssale-Signature: {signature(BODY, secret=SECRET, t=int(time.time()) - 3600)}"],
        [f"X-Abyssale-Signature: {signature(BODY, secret=SECRET, t=int(time.time()) + 3600)}"],
        [f"X-Abyssale-Signature: {signature(BODY, secret=SECRET)}"] * 2,
        [f"X-Abyssale-Signature: {signature(BODY, secret=SECRET)},t=1"],
        ["X-Abyssale-Signature: nonsense"],
    ],
    ids=["missing", "forged", "stale", "early", "doubled header", "doubled t", "nonsense"],
)
async def test_what_is_not_authentic_gets_one_answer_and_changes_nothing(daemon, headers):
    before = await stored(daemon)
    answer = await ask(daemon, post(BODY, *headers, signed=False))
    assert (answer.status, answer.json) == (401, {"error": "signature"})
    assert await stored(daemon) == before


@pytest.mark.parametrize("path", ["/", "/webhooks", "/webhooks/abyssale/no_such_event", "/webhooks/abstract"])
async def test_other_paths_are_not_found(daemon, path):
    answer = await ask(daemon, signed(path=path))
    assert (answer.status, answer.json["error"]) == (404, "not_found")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
async def test_other_methods_are_not_allowed(daemon, method):
    answer = await ask(daemon, signed(method=method))
    assert answer.status == 405
    assert answer.headers["allow"] == "POST"


async def test_the_path_is_checked_before_the_method_and_the_type_before_the_signature(daemon):
    assert (await ask(daemon, post(method="GET", path="/nowhere", signed=False))).status == 404
    assert (await ask(daemon, post(media="text/plain", signed=False))).status == 415
    assert (await ask(daemon, post(b"x" * 70_000, media="text/plain", signed=False))).status == 413


@pytest.mark.parametrize("sent", [b"", b"POST /webhooks/abyssale HTTP/1.1\r\nHost: x\r\n", signed()[:-3]])
async def test_a_request_that_does_not_come_together_in_time_gets_408(daemon, sent):
    answer = await ask(daemon, sent)
    assert answer.status == 408


async def test_dripping_bytes_do_not_buy_time(daemon):
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)

    async def drip() -> None:
        for byte in signed():
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.02)

    dripping = asyncio.create_task(drip())
    assert (await read_answer(reader)).status == 408
    dripping.cancel()
    await asyncio.gather(dripping, return_exceptions=True)
    writer.close()


async def test_a_body_too_large_by_its_length_is_refused(daemon):
    answer = await ask(daemon, signed(b"x" * (64 * 1024 + 1)))
    assert (answer.status, answer.json["error"]) == (413, "too_large")


def chunked(body: bytes, size: int) -> bytes:
    head, _, _ = signed(body, "Transfer-Encoding: chunked").partition(b"\r\n\r\n")
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return head + b"\r\n\r\n" + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


async def test_chunks_are_counted(daemon):
    fits = json.dumps({"chunked": "x" * 60_000}).encode()
    assert (await ask(daemon, chunked(fits, 1000))).status == 200
    assert (await ask(daemon, chunked(b"x" * 70_000, 1000))).status == 413


@pytest.mark.parametrize(
    ("media", "header"),
    [("text/plain", ""), ("", ""), ("application/x-www-form-urlencoded", ""), ("application/json", "gzip")],
)
async def test_what_is_not_plain_json_is_refused(daemon, media, header):
    headers = [f"Content-Encoding: {header}"] if header else []
    answer = await ask(daemon, signed(BODY, *headers, media=media))
    assert (answer.status, answer.json["error"]) == (415, "content_type")


async def test_a_payload_that_nobody_understands_is_stored_all_the_same(daemon):
    answer = await ask(daemon, signed(b"\xff not JSON", "X-Abyssale-Delivery-Id: nonsense"))
    assert answer.status == 200

    async def read():
        delivery = await daemon.api("/api/deliveries/nonsense")
        return delivery if delivery["outcome"] != "accepted" else None

    delivery = await daemon.until(read, "the delivery is read")
    assert delivery["outcome"] == "quarantined"
    assert delivery["reason"]


async def test_rejections_are_counted(daemon):
    before = (await daemon.api("/api/status"))["deliveries"]
    await ask(daemon, post(signed=False))
    await ask(daemon, signed(b'{"counted":1}'))
    await ask(daemon, signed(b'{"counted":1}'))
    after = (await daemon.api("/api/status"))["deliveries"]
    grown = {word: after[word] - before[word] for word in ("rejected", "accepted", "duplicate")}
    assert grown == {"rejected": 1, "accepted": 1, "duplicate": 1}


async def test_only_allowed_addresses_may_deliver_and_a_trusted_proxy_speaks_for_others(tmp_path):
    async with running(tmp_path, abyssale='allowed_ips = ["203.0.113.0/24"]') as daemon:
        assert (await ask(daemon, signed())).status == 403
        assert (await ask(daemon, signed(BODY, "X-Forwarded-For: 198.51.100.7"))).status == 403
        assert (await ask(daemon, signed(BODY, "X-Forwarded-For: 203.0.113.9, 198.51.100.7"))).status == 403
        assert (await ask(daemon, signed(BODY, "X-Forwarded-For: 198.51.100.7, 203.0.113.9"))).status == 200


async def test_a_flood_is_slowed_down_while_a_signed_delivery_passes(tmp_path):
    async with running(tmp_path) as daemon:
        answers = await asyncio.gather(*(ask(daemon, post(signed=False)) for _ in range(140)))
        codes = [answer.status for answer in answers]
        assert set(codes) == {401, 429}
        refused = next(answer for answer in answers if answer.status == 429)
        assert int(refused.headers["retry-after"]) >= 1
        assert (await ask(daemon, signed())).status == 200


async def test_no_room_for_the_journal_is_503_until_an_edit_mends_it(tmp_path):
    async with running(tmp_path) as daemon:
        good = daemon.config.read_text()
        assert await daemon.answers()
        daemon.write_config(good.replace('min_free = "0"', 'min_free = "1000TiB"'))

        async def refuses():
            status, _ = await daemon.send({"room": time.time()})
            return status == 503

        await daemon.until(refuses, "the journal's disk is too small")
        answer = await ask(daemon, signed(b'{"late":1}'))
        assert (answer.status, answer.json["error"]) == (503, "unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        async with daemon.session.get(f"http://127.0.0.1:{daemon.admin}/readyz") as ready:
            assert ready.status == 503
            assert "min_free" in " ".join((await ready.json())["reasons"])
        assert (await ask(daemon, post(signed=False))).status == 401  # forged ones learn nothing of it
        daemon.write_config(good)
        await daemon.until(daemon.answers, "it is ready again")
        assert (await ask(daemon, signed(b'{"late":1}'))).status == 200


async def test_unsigned_deliveries_pass_only_where_that_is_configured_and_must_be_objects(tmp_path):
    async with running(tmp_path, abyssale="require_signature = false") as daemon:
        assert (await ask(daemon, post(b'{"a":1}', signed=False))).status == 200
        for body in (b"[]", b"no JSON", b'"text"', b""):
            answer = await ask(daemon, post(body, signed=False))
            assert (answer.status, answer.json["error"]) == (400, "malformed")
            assert answer.json["detail"]
        forged = f"X-Abyssale-Signature: {signature(BODY, secret='whsec_' + 'f' * 64)}"
        assert (await ask(daemon, post(BODY, forged, signed=False))).status == 401


async def test_two_secrets_are_good_while_one_replaces_the_other(tmp_path):
    old, new = "whsec_" + "a" * 64, "whsec_" + "b" * 64
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "old").write_text(old + "\n")
    (folder / "new").write_text(new + "\n")
    async with running(tmp_path) as daemon:
        text = daemon.config.read_text()

        async def codes():
            body = json.dumps({"at": time.time_ns()}).encode()
            return tuple([(await ask(daemon, signed(body, secret=one))).status for one in (SECRET, old, new)])

        async def rotate(secret: str, *wanted: int) -> None:
            daemon.write_config(text.replace('{ env = "TEST_SECRET" }', secret))

            async def rotated():
                return await codes() == wanted

            await daemon.until(rotated, f"{secret} is in force")

        assert await codes() == (200, 401, 401)
        await rotate('[{ env = "TEST_SECRET" }, { file = "old" }]', 200, 200, 401)
        await rotate('{ file = "old" }', 401, 200, 401)
        await rotate('[{ file = "old" }, { file = "new" }]', 401, 200, 200)
        await rotate('{ file = "new" }', 401, 401, 200)


def listening_at(daemon, address: str) -> str:
    return daemon.config.read_text().replace(f'"127.0.0.1:{daemon.port}"', f'"{address}"')


async def test_deliveries_come_over_a_unix_socket(tmp_path):
    async with running(tmp_path) as daemon:
        path = tmp_path / "http.sock"
        daemon.write_config(listening_at(daemon, f"unix:{path}"))
        await daemon.until(path.exists, "the socket is there")
        answer = await exchange(str(path), signed())
        assert answer.json["status"] == "accepted"
        assert path.stat().st_mode & 0o777 == 0o660
    assert not path.exists()


async def test_deliveries_come_over_ipv6(tmp_path):
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    async with running(tmp_path) as daemon:
        port = free_port()
        before = (await daemon.api("/api/status"))["config"]["generation"]
        daemon.write_config(listening_at(daemon, f"[::1]:{port}"))

        async def in_force():
            return (await daemon.api("/api/status"))["config"]["generation"] > before

        await daemon.until(in_force, "the new address is in force")
        assert (await exchange(("::1", port), signed())).status == 200
        with pytest.raises(ConnectionRefusedError):
            await ask(daemon, signed())


async def test_a_certificate_is_replaced_while_deliveries_come(tmp_path):
    folder = tmp_path / "config"
    folder.mkdir()

    def install(name: str) -> None:
        for kind in ("crt", "key"):
            fresh = folder / f"fresh.{kind}"
            fresh.write_bytes((TLS / f"{name}.{kind}").read_bytes())
            fresh.rename(folder / f"server.{kind}")

    def trusting(name: str) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=TLS / f"{name}.crt")
        context.check_hostname = False
        return context

    install("old")
    async with running(tmp_path, server='tls = { cert = "server.crt", key = "server.key" }') as daemon:
        url = f"https://127.0.0.1:{daemon.port}/webhooks/abyssale"

        async def post_trusting(name: str, number: int):
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting(name))) as session:
                return await deliver(url, b'{"n":%d}' % number, secret=SECRET, delivery_id=None, session=session)

        assert (await post_trusting("old", 1))[0] == 200
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting("old"))) as kept:
            assert (await deliver(url, b"{}", secret=SECRET, delivery_id=None, session=kept))[0] == 200
            install("new")

            async def renewed():
                try:
                    return (await post_trusting("new", time.time_ns()))[0] == 200
                except aiohttp.ClientConnectorError:
                    return False

            await daemon.until(renewed, "the new certificate is shown")
            # A connection that stood before goes on.
            assert (await deliver(url, b'{"k":2}', secret=SECRET, delivery_id=None, session=kept))[0] == 200
        with pytest.raises(aiohttp.ClientConnectorError):
            await post_trusting("old", 3)
        assert (await daemon.api("/api/status"))["config"]["error"] is None


async def test_a_hinted_path_and_a_plain_one_mirror_the_same(tmp_path):
    async with Stage() as stage, running(tmp_path) as daemon:
        for number, path in enumerate(("/webhooks/abyssale", "/webhooks/abyssale/new_banner"), start=1):
            url = stage.put(f"/{number}.png", artwork.artwork("png", number))
            assert (await daemon.send(payloads.new_banner(url, visual=number), path=path))[0] == 200
        assert (await daemon.idle())["totals"]["assets"] == 2
