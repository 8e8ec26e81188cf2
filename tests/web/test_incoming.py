"""Requests come whole or not at all, whatever the pieces they come in."""

import random
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from intake.receiver import PATH, config, post

from syncd.intake.receive import Intake
from syncd.web import incoming
from syncd.web.incoming import Incoming
from syncd.web.request import Malformed

MOST = 4096
CHUNKED = "Transfer-Encoding: chunked"


def nobody(*_):
    raise AssertionError("nothing is stored or counted here")


@pytest.fixture(scope="module")
def intake(tmp_path_factory):
    current = config(tmp_path_factory.mktemp("config"), server=f'max_body = "{MOST}"')
    return Intake(current=lambda: current, accept=nobody, closed=lambda: None, count=nobody, refused=nobody)


def chunked(body: bytes, *sizes: int, trailer: bytes = b"") -> bytes:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(body[at : at + size])
        at += size
    pieces.append(body[at:])
    framed = b"".join(b"%x;x=y\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece)
    return post(framed + b"0\r\n" + trailer + b"\r\n", CHUNKED, signed=False)


def taken(intake, pieces):
    """What is read out of pieces that come one after the other: (method, path, body or the word of a refusal)."""
    found, came = [], Incoming(intake, "127.0.0.1")
    for piece in pieces:
        came.ahead += piece
        while True:
            came.read()
            if came.more:
                continue
            if not came.whole:
                break
            said = came.refused.word if came.refused else came.body
            found.append((came.request.method, came.request.path, said))
            came.forget()
    assert came.ahead == b""
    assert came.request is None
    return found


STREAM = {
    "with a length": (post(b'{"a":1}', signed=False), ("POST", PATH, b'{"a":1}')),
    "without a body": (post(b"", signed=False), ("POST", PATH, b"")),
    "in chunks": (chunked(b"{\r\n\r\n\r\n}", 2, 3), ("POST", PATH, b"{\r\n\r\n\r\n}")),
    "with a trailer": (chunked(b"{}", trailer=b"X: a\r\nContent-Type: text/plain\r\n"), ("POST", PATH, b"{}")),
    "after empty lines": (b"\r\n\r\n" + post(b"{}", path="/", signed=False), ("POST", "/", "not_found")),
    "too large": (post(b" " * (MOST + 1), signed=False), ("POST", PATH, "too_large")),
    "too large in chunks": (chunked(b" " * (MOST + 1), 1000), ("POST", PATH, "too_large")),
    "with an offer": (
        post(b"{}", "Connection: Upgrade", "UPGRADE: h2c", signed=False), ("POST", PATH, b"{}"),
    ),
    "with an offer, the last one": (
        post(b"{}", "Connection: close, Upgrade", "Upgrade: h2c", signed=False), ("POST", PATH, b"{}"),
    ),
    "with an offer, in chunks": (
        post(b"2\r\n{}\r\n0\r\n\r\n", "Upgrade: websocket", "Connection: upgrade", CHUNKED, signed=False),
        ("POST", PATH, b"{}"),
    ),
    "of HTTP/1.0": (b"POST %b HTTP/1.0\r\n\r\n" % PATH.encode(), ("POST", PATH, b"")),
}  # fmt: skip


def is_last(raw: bytes) -> bool:
    """Tell if a request is the last one of its connection."""
    return b"HTTP/1.0" in raw or b"close" in raw


@pytest.mark.parametrize(("raw", "expected"), STREAM.values(), ids=STREAM.keys())
def test_a_request_is_the_same_wherever_it_is_cut(intake, raw, expected):
    followed = raw + post(b"next", signed=False)
    wanted = [expected, ("POST", PATH, b"next")]
    if is_last(raw):
        followed, wanted = raw, [expected]
    for cut in range(min(len(followed), 1500)):
        assert taken(intake, [followed[:cut], followed[cut:]]) == wanted
    assert taken(intake, [bytes([byte]) for byte in followed]) == wanted


def pieces_of(raw: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(raw), *(cut % (len(raw) + 1) for cut in cuts)})
    return [raw[start:end] for start, end in pairwise(edges)]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from([name for name, (raw, _) in STREAM.items() if not is_last(raw)]), min_size=1, max_size=6),
    st.lists(st.integers(0, 10_000), max_size=12),
)
def test_requests_sent_ahead_are_told_apart_wherever_they_are_cut(intake, names, cuts):
    raw = b"".join(STREAM[name][0] for name in names)
    assert taken(intake, pieces_of(raw, cuts)) == [STREAM[name][1] for name in names]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=3 * MOST),
    st.lists(st.integers(1, 500), max_size=8),
    st.lists(st.integers(0, 20_000), max_size=8),
)
def test_any_body_comes_as_it_was_sent_or_is_too_large(intake, body, sizes, cuts):
    expected = ("POST", PATH, body if len(body) <= MOST else "too_large")
    for raw in (post(body, signed=False), chunked(body, *sizes)):
        assert taken(intake, pieces_of(raw, cuts)) == [expected]


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(list(STREAM)), st.integers(0, 2**32), st.lists(st.integers(0, 10_000), max_size=4))
def test_what_was_tampered_with_is_read_alike_in_one_piece_and_in_many(intake, name, seed, cuts):
    """Or another one on the way, who sees it in other pieces, would be of another opinion."""
    dice = random.Random(seed)
    raw = bytearray(STREAM[name][0] + post(b"next", signed=False))
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(raw))
        new = dice.choice([b"\r\n", b"\n", b"\r", b"\0", b" ", b":", b"0", b"f", b"\xff", b"\r\n\r\n", b""])
        raw[at : at + dice.randint(0, 3)] = new

    def read(pieces):
        found, came = [], Incoming(intake, "127.0.0.1")
        for piece in pieces:
            came.ahead += piece
            while True:
                try:
                    came.read()
                except Malformed:
                    return [*found, "malformed"]
                if came.more:
                    continue
                if not came.whole:
                    break
                found.append((came.request.path, came.refused.word if came.refused else came.body))
                if not came.keep:
                    return found
                came.forget()
        return found

    assert read([bytes(raw)]) == read(pieces_of(bytes(raw), cuts)) == read([bytes([byte]) for byte in raw])


# ---- bounds ----


def refuses(intake, raw: bytes, at_a_time: int = 1000) -> int:
    """Send on and on until it is malformed; return how many bytes that took."""
    came = Incoming(intake, "127.0.0.1")
    for start in range(0, len(raw), at_a_time):
        came.ahead += raw[start : start + at_a_time]
        try:
            came.read()
        except Malformed:
            return start
        assert not came.whole
    raise AssertionError("it was read to the end")


FIRST = b"POST / HTTP/1.1\r\nHost: a\r\n"
BODY = b"POST %b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" % PATH.encode()
ENDLESS = {
    "a method": b"P" * 500_000,
    "a target": b"POST /" + b"a" * 500_000,
    "a header's name": FIRST + b"a" * 500_000,
    "a header's value": FIRST + b"X: " + b"a" * 500_000,
    "headers": FIRST + b"X: a\r\n" * 100_000,
    "a chunk's size": BODY + b"0" * 500_000,
    "a chunk's extension": BODY + b"1;" + b"a" * 500_000,
    "a trailer": BODY + b"1\r\n{\r\n0\r\nX: " + b"a" * 500_000,
    "trailers": BODY + b"0\r\n" + b"X: a\r\n" * 100_000,
}


@pytest.mark.parametrize("raw", ENDLESS.values(), ids=ENDLESS.keys())
@pytest.mark.parametrize("at_a_time", [1000, 100_000])
def test_what_never_ends_is_refused_within_bounds(intake, raw, at_a_time):
    assert refuses(intake, raw, at_a_time) <= incoming._HEAD + at_a_time


def test_endless_empty_lines_are_not_kept(intake):
    came = Incoming(intake, "")
    for _ in range(100):
        came.ahead += b"\r\n" * 10_000
        assert not came.read()
        assert came.ahead == b""


def test_what_is_too_large_is_not_kept(intake):
    came = Incoming(intake, "")
    came.ahead = post(b"", CHUNKED, signed=False)
    for _ in range(100):
        came.ahead += b"2710\r\n" + b"a" * 10_000 + b"\r\n"
        came.read()
        assert len(came.body) <= MOST
        assert len(came.ahead) < 4
    assert came.refused.word == "too_large"


def test_a_body_in_tiny_pieces_costs_no_more_than_another(intake):
    body = b"{}" * (MOST // 2)
    came = Incoming(intake, "")
    came.ahead = chunked(body, *[2] * (MOST // 2))[:-5]
    tracemalloc.start()
    came.read()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert came.body == body
    assert held < 4 * MOST


def test_a_body_with_many_possible_ends_is_read_a_little_at_a_time(intake):
    body = b"\r\n" * (MOST // 2)
    came = Incoming(intake, "")
    came.ahead = chunked(body) + post(b"next", signed=False)
    turns = 0
    while not came.whole:
        came.read()
        turns += 1
        assert came.whole or came.more
    assert turns > 3
    assert came.body == body
    came.forget()
    came.read()
    assert came.body == b"next"


def test_a_bug_on_the_way_is_not_taken_for_the_clients_fault(intake, monkeypatch):
    monkeypatch.setattr(Incoming, "on_header", lambda *_: 1 / 0)
    came = Incoming(intake, "")
    came.ahead = post()
    with pytest.raises(ZeroDivisionError):
        came.read()


def test_the_rest_of_what_is_refused_is_not_taken_for_a_request(intake):
    came = Incoming(intake, "")
    inner = post(b"{}", signed=False)
    came.ahead = post(inner, path="/", signed=False)[:-1]
    came.read()
    assert (came.refused.word, came.whole, came.ahead) == ("not_found", False, b"")
    came.ahead = inner[-1:]
    came.read()
    assert came.whole


LINE = b"POST %b HTTP/1.1\r\n" % PATH.encode()
AMBIGUOUS = {
    "two lengths": LINE + b"Host: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a list of lengths": LINE + b"Host: a\r\nContent-Length: 2, 2\r\n\r\n{}",
    "a signed length": LINE + b"Host: a\r\nContent-Length: +2\r\n\r\n{}",
    "an underscore": LINE + b"Host: a\r\nContent-Length: 0_2\r\n\r\n{}",
    "a length and chunks": LINE + b"Host: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": LINE + b"Host: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
    "chunks twice": LINE + b"Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks not last": LINE + b"Host: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunks of another encoding": LINE + b"Host: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunks after nothing": LINE + b"Host: a\r\nTransfer-Encoding: , chunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": LINE.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a length of too many digits": LINE + b"Host: a\r\nContent-Length: " + b"0" * 5000 + b"2\r\n\r\n{}",
    "unknown encoding": LINE + b"Host: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "bare line feeds": LINE.replace(b"\r\n", b"\n") + b"Host: a\nContent-Length: 2\n\n{}",
    "a bare line feed": LINE + b"Host: a\r\nX: a\nContent-Length: 2\r\n\r\n{}",
    "an end of line feeds": LINE + b"Host: a\r\nContent-Length: 2\n\n",
    "a bare line feed at the end": LINE + b"Host: a\r\nContent-Length: 2\r\n\n",
    "a bare carriage return": LINE + b"Host: a\r\nX: a\rContent-Length: 2\r\n\r\n{}",
    "a folded header": LINE + b"Host: a\r\nX: a\r\n b\r\n\r\n",
    "space before the colon": LINE + b"Host: a\r\nContent-Length : 2\r\n\r\n{}",
    "a header without a name": LINE + b"Host: a\r\n: a\r\n\r\n",
    "NUL": LINE + b"Host: a\r\nX: a\0b\r\n\r\n",
    "no host": LINE + b"\r\n",
    "two hosts": LINE + b"Host: a\r\nHost: b\r\n\r\n",
    "two types": LINE + b"Host: a\r\nContent-Type: application/json\r\nContent-Type: text/plain\r\n\r\n",
    "a chunk of line feeds": BODY + b"2\n{}\r\n0\r\n\r\n",
    "a chunk that is longer": BODY + b"1\r\n{}\r\n0\r\n\r\n",
    "a chunk in 0x": BODY + b"0x2\r\n{}\r\n0\r\n\r\n",
    "a negative chunk": BODY + b"-2\r\n{}\r\n0\r\n\r\n",
    "a huge chunk": BODY + b"fffffffffffffffff\r\n{}",
    "a last chunk of line feeds": BODY + b"2\r\n{}\r\n0\n\n",
    "a last chunk with one": BODY + b"2\r\n{}\r\n0\r\n\n",
    "a length in the trailer": BODY + b"0\r\nContent-Length: 2\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/2 in the line": b"POST / HTTP/2.0\r\nHost: a\r\n\r\n",
    "HTTP/0.9": b"POST /\r\n\r\n",
    "a tunnel": b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
}


@pytest.mark.parametrize("raw", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_what_could_be_read_in_two_ways_is_not_read(intake, raw):
    came = Incoming(intake, "127.0.0.1")
    came.ahead = raw
    with pytest.raises(Malformed):
        came.read()
    assert not came.whole or came.ahead == raw


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (f"http://syncd.test{PATH}?a=b", PATH),
        (f"{PATH}?/../x#y", PATH),
        ("/webhooks/%61byssale", PATH),
        (f"/{PATH}", f"/{PATH}"),
        (f"/x/..{PATH}", f"/x/..{PATH}"),
        ("http://syncd.test", "/"),
        (f"http://syncd.test?a={PATH}", "/"),
        ("*", "/"),
    ],
)
def test_the_path_is_what_the_target_says_and_nothing_is_made_of_it(intake, target, path):
    method = "OPTIONS" if target == "*" else "POST"
    assert taken(intake, [post(b"", path=target, method=method, signed=False)])[0][1] == path
