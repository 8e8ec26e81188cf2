import asyncio
import socket
import traceback

import pytest
from aiohttp.abc import AbstractResolver
from origin import Origin, head, ok, raw, then_silence
from proxy import Proxy

from syncd.config.tree import Download
from syncd.mirror.client import ask, open_client
from syncd.mirror.setback import Lasting, Setback

ANYWHERE = Download(allowed_hosts=["*"], allow_http=True)
HERE = Download(allowed_hosts=["*"], allow_http=True, allow_private=True)


class Liar(AbstractResolver):
    """Says that every name is at the given addresses."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def resolve(self, host, port=0, family=socket.AF_INET):  # noqa: ARG002 - the resolver protocol
        return [
            {"hostname": host, "host": address, "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}
            for address in self.addresses
        ]

    async def close(self):
        pass


@pytest.fixture
async def canary():
    """A server on loopback that notes who connects: its port, and the list of them."""
    connections = []

    async def note(reader, writer):
        connections.append(writer.get_extra_info("peername"))
        writer.close()

    server = await asyncio.start_server(note, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], connections


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "0", "localhost"),
        *("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[::1]", "[64:ff9b::7f00:1]"),
    ],
)
async def test_loopback_is_not_reached_in_any_notation(canary, host):
    port, connections = canary
    async with open_client(allow_private=False) as client:
        with pytest.raises(Setback) as refused:
            async with ask(client, f"http://{host}:{port}/", ANYWHERE):
                pass
    assert refused.value.lasting is Lasting.FINAL
    assert refused.value.reason.startswith("a refused URL")
    assert connections == []


@pytest.mark.parametrize("addresses", [("127.0.0.1",), ("10.0.0.1", "127.0.0.1")])
async def test_a_name_that_leads_to_private_addresses_is_refused(canary, addresses):
    port, connections = canary
    async with open_client(allow_private=False, resolver=Liar(*addresses)) as client:
        with pytest.raises(Setback, match="not a public address") as refused:
            async with ask(client, f"http://cdn.example.com:{port}/", ANYWHERE):
                pass
    assert refused.value.lasting is Lasting.FINAL
    assert connections == []


async def test_a_name_is_reached_where_private_addresses_are_allowed():
    async with (
        Origin().running() as origin,
        open_client(allow_private=True, resolver=Liar("127.0.0.1")) as client,
        ask(client, origin.url("/a", ok()).replace("127.0.0.1", "cdn.example.com"), HERE) as response,
    ):
        assert response.status == 200


@pytest.fixture
async def proxy():
    async with Proxy("user:s3cret").running() as running:
        yield running


def through(proxy, **fields):
    return Download(allowed_hosts=["*"], allow_http=True, proxy=f"http://user:s3cret@127.0.0.1:{proxy.port}", **fields)


async def setback_of(url, download):
    async with open_client(allow_private=False, proxy=download.proxy) as client:
        with pytest.raises(Setback) as caught:
            async with ask(client, url, download):
                pass
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))
    return caught.value


@pytest.mark.parametrize("url", ["http://cdn.example.com/a", "https://cdn.example.com/a"])
async def test_a_proxy_that_does_not_know_us_is_in_trouble_itself(proxy, url):
    stranger = Download(allowed_hosts=["*"], allow_http=True, proxy=f"http://user:wr0ng@127.0.0.1:{proxy.port}")
    setback = await setback_of(url, stranger)
    assert setback.reason == f"HTTP 407 of the proxy 127.0.0.1:{proxy.port}"
    assert (setback.lasting, setback.troubled) == (Lasting.PASSING, f"127.0.0.1:{proxy.port}")


@pytest.mark.parametrize("code", [302, 400, 403, 404, 429, 500, 502, 503, 504])
async def test_what_a_proxy_refuses_to_reach_may_be_reached_later(proxy, code):
    proxy.refusal = head(code, Content_Length=0, Location="http://elsewhere.example.com/")
    setback = await setback_of("https://cdn.example.com/a", through(proxy))
    assert setback.reason == f"HTTP {code} of the proxy 127.0.0.1:{proxy.port}"
    assert (setback.lasting, setback.troubled) == (Lasting.PASSING, "cdn.example.com")
    assert len(proxy.asked) == 1


@pytest.mark.parametrize("refusal", [b"", b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\nno TLS"])
async def test_a_proxy_that_is_none_is_a_passing_setback(proxy, refusal):
    proxy.refusal = refusal
    setback = await setback_of("https://cdn.example.com/a", through(proxy))
    assert (setback.lasting, setback.troubled) == (Lasting.PASSING, "cdn.example.com")


@pytest.mark.parametrize("silent", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 "])
async def test_a_proxy_that_falls_silent_is_left(silent):
    async with Origin().running() as proxy:
        proxy.answers["cdn.example.com:443"] = [then_silence(silent)]
        setback = await setback_of("https://cdn.example.com/a", through(proxy, connect_timeout="100ms"))
        assert setback.reason == "no connection within 0.1s"


@pytest.mark.parametrize("host", ["127.0.0.1", "proxy.invalid"])
async def test_a_proxy_that_is_not_there_is_named_without_its_password(host):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        download = Download(allowed_hosts=["*"], proxy=f"http://user:s3cret@{host}:{port}")
        setback = await setback_of("https://cdn.example.com/a", download)
    assert setback.reason.startswith(f"no connection to the proxy {host}:{port} (")
    assert (setback.lasting, setback.troubled) == (Lasting.PASSING, f"{host}:{port}")


async def test_nobody_listening_is_a_passing_setback():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refuses
        async with open_client(allow_private=True) as client:
            with pytest.raises(Setback, match="no connection") as refused:
                async with ask(client, f"http://127.0.0.1:{taken.getsockname()[1]}/", HERE):
                    pass
    assert refused.value.lasting is Lasting.PASSING


async def test_a_request_asks_for_the_plain_file_and_says_who_asks():
    heard = []

    async def listen(reader, writer):
        heard.append((await reader.readuntil(b"\r\n\r\n")).decode())
        await ok(Set_Cookie="a=b")(writer)
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, open_client(allow_private=True) as client:
        for _ in range(2):
            async with ask(client, url, HERE) as response:
                await response.read()
    assert "\r\nAccept-Encoding: identity\r\n" in heard[0]
    assert "\r\nUser-Agent: syncd/" in heard[0]
    assert "Cookie" not in heard[1]


async def test_a_setback_of_the_body_is_told_like_one_of_the_headers():
    async with Origin().running() as origin, open_client(allow_private=True) as client:
        with pytest.raises(Setback, match="cut short"):
            async with ask(client, origin.url("/a", raw(head(Content_Length=9))), HERE) as response:
                await response.read()


async def test_a_handshake_that_never_ends_is_left():
    hasty = Download(allowed_hosts=["*"], allow_private=True, connect_timeout="50ms")
    async with Origin().running() as origin, open_client(allow_private=True) as client:
        with pytest.raises(Setback, match=r"no connection within 0\.05s") as refused:
            async with ask(client, origin.url("/a").replace("http:", "https:"), hasty):
                pass
    assert refused.value.lasting is Lasting.PASSING
