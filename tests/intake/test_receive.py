import asyncio
import json
import logging
import time

import pytest
from intake.receiver import PATH, SECRET, config, exchange, post, read_answer, receiving, signature

from syncd.intake.answers import USUAL
from syncd.observe import metrics

UNSIGNED_TOO = "require_signature = false"


@pytest.fixture
async def receiver(tmp_path):
    async with receiving(config(tmp_path)) as running:
        yield running


async def test_a_signed_delivery_is_stored_before_it_is_acknowledged(receiver):
    receiver.book.open.clear()
    answering = asyncio.create_task(
        exchange(receiver.address, post(b'{"id":"7"}', "X-Abyssale-Delivery-Id: abc", path=f"{PATH}/new_banner"))
    )
    await receiver.book.asked.wait()
    assert not answering.done()
    receiver.book.open.set()
    answer = await answering
    assert answer.status == 200
    assert answer.json == {"status": "accepted", "delivery": "abc"}
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["server"] == "syncd"
    [arrival] = receiver.book.arrivals
    assert (arrival.source, arrival.platform_id, arrival.hint) == ("abyssale", "abc", "NEW_BANNER")
    assert arrival.body == b'{"id":"7"}'
    assert abs(arrival.received_at - time.time()) < 60
    assert abs(int(arrival.signed_at) - time.time()) < 60
    assert receiver.counts == {("abyssale", "accepted"): 1}


async def test_a_duplicate_says_so(receiver):
    again = post(b"{}", "X-Abyssale-Delivery-Id: abc")
    await exchange(receiver.address, again)
    answer = await exchange(receiver.address, again)
    assert (answer.status, answer.json) == (200, {"status": "duplicate", "delivery": "abc"})
    assert receiver.counts["abyssale", "duplicate"] == 1


async def test_a_signed_body_is_not_interpreted(receiver):
    assert (await exchange(receiver.address, post(b"\xff not JSON"))).status == 200


async def test_headers_are_kept_without_secrets_and_within_bounds(receiver):
    secret_ones = ("Authorization", "Cookie", "X-Api-Key", "Proxy-Authorization", "X-Abyssale-Signature")
    lines = [f"{name}: hush" for name in secret_ones[:-1]]
    await exchange(receiver.address, post(b"{}", *lines, "X-Long: " + "a" * 5000, "X-Bytes: caf\xe9"))
    kept = dict(receiver.book.arrivals[0].headers)
    assert {kept[name] for name in secret_ones} == {"***"}
    assert kept["X-Long"] == "a" * 1024
    assert kept["X-Bytes"] == r"caf\xe9"
    assert kept["Host"] == "syncd.test"
    assert json.dumps(kept, ensure_ascii=False).encode(), "everything kept is valid text"


CHUNKED = "Transfer-Encoding: chunked"


def chunks(*sizes: int) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (size, b" " * size) for size in (*sizes, 0))


REFUSALS = {
    "an unknown path": (post(path="/"), 404, "not_found"),
    "an unknown event": (post(path=f"{PATH}/new_thing"), 404, "not_found"),
    "an event in capitals": (post(path=f"{PATH}/NEW_BANNER"), 404, "not_found"),
    "nothing after the slash": (post(path=f"{PATH}/"), 404, "not_found"),
    "a path that only begins alike": (post(path=f"{PATH}s"), 404, "not_found"),
    "GET": (post(b"", method="GET"), 405, "method"),
    "OPTIONS": (post(b"", method="OPTIONS"), 405, "method"),
    "an unknown path before the method": (post(b"", path="/", method="GET"), 404, "not_found"),
    "too large": (post(b" " * 1025), 413, "too_large"),
    "too large before its type": (post(b" " * 1025, media="text/plain"), 413, "too_large"),
    "too large, in chunks": (post(chunks(600, 600), CHUNKED), 413, "too_large"),
    "no type": (post(media=""), 415, "content_type"),
    "a form": (post(media="application/x-www-form-urlencoded"), 415, "content_type"),
    "almost JSON": (post(media="application/jsonp"), 415, "content_type"),
    "text": (post(media="text/json"), 415, "content_type"),
    "compressed": (post(b"\x1f\x8b", "Content-Encoding: gzip"), 415, "content_type"),
    "compressed, hidden": (post(b"{}", "Content-Encoding: identity", "Content-Encoding: br"), 415, "content_type"),
    "the type before the signature": (post(media="text/plain", signed=False), 415, "content_type"),
    "unsigned": (post(signed=False), 401, "signature"),
    "forged": (post(b"{}", f"X-Abyssale-Signature: {signature(b'{ }')}", signed=False), 401, "signature"),
    "signed by another": (
        post(b"{}", f"X-Abyssale-Signature: {signature(b'{}', secret='whsec_2')}", signed=False), 401, "signature",
    ),
    "stale": (post(b"{}", f"X-Abyssale-Signature: {signature(b'{}', t=1790000000)}", signed=False), 401, "signature"),
    "signed twice": (post(b"{}", f"X-Abyssale-Signature: {signature(b'{}')}"), 401, "signature"),
    "signed in bytes": (post(b"{}", "X-Abyssale-Signature: t=1,v1=\xff", signed=False), 401, "signature"),
    "a broken chunk": (post(b"zz\r\n", CHUNKED), 400, "malformed"),
}  # fmt: skip


@pytest.mark.parametrize(("request_", "status", "word"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_what_is_not_a_delivery_is_refused_and_changes_nothing(tmp_path, request_, status, word):
    async with receiving(config(tmp_path, server='max_body = "1KiB"')) as receiver:
        answer = await exchange(receiver.address, request_)
        assert (answer.status, answer.json["error"]) == (status, word)
        assert set(answer.json) == ({"error"} if status == 401 else {"error", "detail"})
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers.get("allow") == ("POST" if status == 405 else None)
        assert receiver.book.arrivals == []
        assert [outcome for _, outcome in receiver.counts] in (["rejected"], [])


@pytest.mark.parametrize(
    "request_",
    [
        post(media="application/json; charset=utf-8"),
        post(media="APPLICATION/JSON"),
        post(media="application/cloudevents+json"),
        post(b"{}", "Content-Encoding: identity"),
        post(b" " * 1024),
        post(path=f"{PATH}?from=dashboard"),
    ],
)
async def test_what_is_unusual_but_right_is_accepted(tmp_path, request_):
    async with receiving(config(tmp_path, server='max_body = "1KiB"')) as receiver:
        assert (await exchange(receiver.address, request_)).status == 200


async def test_a_chunked_body_within_the_limit_is_accepted(receiver):
    body = b" " * 900
    raw = post(chunks(500, 400), CHUNKED, f"X-Abyssale-Signature: {signature(body)}", signed=False)
    assert (await exchange(receiver.address, raw)).status == 200
    assert receiver.book.arrivals[0].body == body


async def test_what_follows_the_body_is_no_header(receiver):
    trailer = f"X-Abyssale-Signature: {signature(b' ' * 500)}\r\nX-Abyssale-Delivery-Id: abc\r\n\r\n".encode()
    raw = post(chunks(500).removesuffix(b"\r\n") + trailer, CHUNKED, signed=False)
    assert (await exchange(receiver.address, raw)).status == 401
    raw = post(
        chunks(500).removesuffix(b"\r\n") + trailer, CHUNKED, trailer.decode().partition("\r\n")[0], signed=False
    )
    assert (await exchange(receiver.address, raw)).status == 200
    assert receiver.book.arrivals[0].platform_id is None
    assert "X-Abyssale-Delivery-Id" not in dict(receiver.book.arrivals[0].headers)


async def test_white_space_around_a_header_is_not_part_of_it(receiver):
    answer = await exchange(receiver.address, post(b"{}", "X-Abyssale-Delivery-Id: \t abc \t "))
    assert answer.json["delivery"] == "abc"


async def test_a_slow_body_is_answered_408_and_not_stored(tmp_path):
    async with receiving(config(tmp_path, server='request_timeout = "200ms"')) as receiver:
        answer = await exchange(receiver.address, post(b'{"half":', "Content-Length: 100"))
        assert (answer.status, answer.json["error"]) == (408, "timeout")
        assert answer.headers["connection"] == "close"
        assert receiver.counts == {("abyssale", "rejected"): 1}


async def test_a_body_that_breaks_off_is_not_stored_and_not_called_a_bug(receiver, caplog):
    reader, writer = await asyncio.open_connection(*receiver.address)
    writer.write(post(b'{"half":', "Content-Length: 100"))
    await writer.drain()
    writer.write_eof()
    writer.close()
    await reader.read()
    await receiver.listener.drain(5)
    assert receiver.book.arrivals == []
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_client_that_asks_first_is_told_to_go_on_only_within_the_bounds(tmp_path):
    async with receiving(config(tmp_path, server='max_body = "1KiB"')) as receiver:
        reader, writer = await asyncio.open_connection(*receiver.address)
        head, body = post(b"{}", "Expect: 100-continue").split(b"\r\n\r\n")
        writer.write(head + b"\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert (await read_answer(reader)).status == 200
        writer.write(post(b"", "Expect: 100-continue", "Content-Length: 1025"))
        assert (await read_answer(reader)).status == 413
        writer.close()


@pytest.mark.parametrize(
    ("forwarded", "status"),
    [(None, 403), ("198.51.100.1", 403), ("203.0.113.7", 200), ("203.0.113.7, 198.51.100.1", 403), ("?", 403)],
)
async def test_only_allowed_addresses_may_send(tmp_path, forwarded, status):
    source = f'secret = "{SECRET}"\nallowed_ips = ["203.0.113.0/24"]'
    async with receiving(config(tmp_path, source=source)) as receiver:
        headers = [f"X-Forwarded-For: {forwarded}"] if forwarded else []
        answer = await exchange(receiver.address, post(b"{}", *headers))
        assert answer.status == status
        assert status == 200 or answer.json["error"] == "address"


async def test_a_forwarded_address_is_not_believed_from_anyone(tmp_path):
    source = f'secret = "{SECRET}"\nallowed_ips = ["203.0.113.7"]'
    async with receiving(config(tmp_path, server="trusted_proxies = []", source=source)) as receiver:
        assert (await exchange(receiver.address, post(b"{}", "X-Forwarded-For: 203.0.113.7"))).status == 403


async def test_a_flood_of_refused_requests_is_answered_429_while_a_signed_one_passes(receiver, caplog):
    caplog.set_level(logging.INFO)
    reader, writer = await asyncio.open_connection(*receiver.address)
    statuses = []
    for _ in range(120):
        writer.write(post(signed=False))
        answer = await read_answer(reader)
        statuses.append(answer.status)
    assert statuses[:100] == [401] * 100
    assert statuses[-1] == 429
    assert answer.json["error"] == "flood"
    assert sum(receiver.refusals.values()) == receiver.counts["abyssale", "rejected"] == 120
    assert receiver.refusals["flood"] == statuses.count(429)
    assert int(answer.headers["retry-after"]) >= 1
    writer.write(post())
    assert (await read_answer(reader)).status == 200
    writer.close()
    elsewhere = await exchange(receiver.address, post(b"{}", "X-Forwarded-For: 198.51.100.1", signed=False))
    assert elsewhere.status == 401, "another address has done nothing yet"
    assert 50 <= len(caplog.records) < 100, "the log is not flooded"


async def test_a_flood_of_what_is_no_request_is_answered_429_as_well(receiver):
    statuses = [(await exchange(receiver.address, b"GARBAGE\r\n\r\n")).status for _ in range(120)]
    assert statuses[:100] == [400] * 100
    assert statuses[-1] == 429
    assert (await exchange(receiver.address, post())).status == 200


async def test_another_header_of_an_unsigned_delivery_makes_it_no_forged_one(tmp_path):
    source = f'secret = "{SECRET}"\n{UNSIGNED_TOO}'
    async with receiving(config(tmp_path, source=source)) as receiver:
        assert (await exchange(receiver.address, post(b"{}", "Signature-Agent: x", signed=False))).status == 200
        forged = post(b"{}", "X-Abyssale-Signature: t=1,v1=00", signed=False)
        assert (await exchange(receiver.address, forged)).status == 401


async def test_the_log_names_each_delivery_by_the_id_that_it_has_from_here_on(receiver, caplog):
    caplog.set_level(logging.INFO)
    for _ in range(2):
        await exchange(receiver.address, post(b"{}", "X-Abyssale-Delivery-Id: d-1", "X-Forwarded-For: 203.0.113.7"))
    assert [(record.getMessage(), record.delivery, record.source, record.address) for record in caplog.records] == [
        ("delivery accepted", "d-1", "abyssale", "203.0.113.7"),
        ("delivery duplicate", "d-1", "abyssale", "203.0.113.7"),
    ]


async def test_what_is_no_request_is_counted_and_said_as_well(receiver, caplog):
    assert (await exchange(receiver.address, b"NONSENSE\r\n\r\n")).status == 400
    assert receiver.refusals == {"malformed": 1}
    assert receiver.counts == {("", "rejected"): 1}
    [record] = caplog.records
    assert (record.getMessage(), record.error, record.status, record.peer) == (
        "request refused", "malformed", 400, "127.0.0.1",
    )  # fmt: skip


def test_every_word_of_a_refusal_is_one_that_is_counted():
    assert set(USUAL) == set(metrics.REFUSALS)


async def test_the_log_says_why_and_repeats_nothing_raw(receiver, caplog):
    await exchange(receiver.address, post(b"{}", path="/a%0D%0Ab%1B", signed=False))
    [record] = caplog.records
    assert (record.error, record.status, record.path) == ("not_found", 404, r"'/a\r\nb\x1b'")
    caplog.clear()
    answer = await exchange(receiver.address, post(b"{}", signed=False))
    assert "0 signature headers" in caplog.records[0].reason
    assert answer.json == {"error": "signature"}


async def test_what_can_not_be_stored_now_is_to_be_sent_again(receiver):
    receiver.book.broken = True
    answer = await exchange(receiver.address, post())
    assert (answer.status, answer.json["error"]) == (503, "unavailable")
    assert answer.headers["retry-after"] == "5"
    receiver.book.broken = False
    receiver.closed = "the journal's disk is almost full"
    assert (await exchange(receiver.address, post())).status == 503
    assert (await exchange(receiver.address, post(signed=False))).status == 401, "who may not send learns nothing"
    receiver.closed = None
    assert (await exchange(receiver.address, post())).status == 200
    assert receiver.counts == {("abyssale", "rejected"): 1, ("abyssale", "accepted"): 1}


async def test_a_changed_config_is_in_force_for_the_next_request(receiver, tmp_path):
    reader, writer = await asyncio.open_connection(*receiver.address)
    writer.write(post())
    assert (await read_answer(reader)).status == 200
    receiver.config = config(tmp_path, source=f'secret = "{SECRET}"\npath = "/elsewhere"')
    writer.write(post())
    assert (await read_answer(reader)).status == 404
    writer.write(post(path="/elsewhere/new_export"))
    assert (await read_answer(reader)).status == 200
    writer.close()


async def test_either_secret_will_do_while_rotating(tmp_path):
    async with receiving(config(tmp_path, source=f'secret = ["whsec_new", "{SECRET}"]')) as receiver:
        new = f"X-Abyssale-Signature: {signature(b'{}', secret='whsec_new')}"
        assert (await exchange(receiver.address, post(b"{}", new, signed=False))).status == 200
        assert (await exchange(receiver.address, post(b"{}"))).status == 200


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"a":NaN}', b"\xff", b'{"a":' * 2000, b"{} {}"])
async def test_an_unsigned_body_must_be_a_json_object(tmp_path, body):
    async with receiving(config(tmp_path, source=UNSIGNED_TOO)) as receiver:
        answer = await exchange(receiver.address, post(body, signed=False))
        assert (answer.status, answer.json["error"]) == (400, "malformed")
        assert "JSON" in answer.json["detail"]
        assert receiver.book.arrivals == []


async def test_unsigned_deliveries_are_believed_where_signatures_are_not_required(tmp_path):
    async with receiving(config(tmp_path, source=UNSIGNED_TOO)) as receiver:
        assert (await exchange(receiver.address, post(signed=False))).status == 200
        assert receiver.book.arrivals[0].signed_at is None


async def test_a_signature_that_is_there_must_be_right_even_where_none_is_required(tmp_path):
    async with receiving(config(tmp_path, source=f'{UNSIGNED_TOO}\nsecret = "{SECRET}"')) as receiver:
        forged = post(b"{}", f"X-Abyssale-Signature: {signature(b'[]')}", signed=False)
        assert (await exchange(receiver.address, forged)).status == 401
        assert (await exchange(receiver.address, post(b"{}"))).status == 200
        assert receiver.book.arrivals[0].signed_at is not None
        assert (await exchange(receiver.address, post(b'{"id":"2"}', signed=False))).status == 200
