"""Downloads behind a proxy: everything goes through it and nothing past it, and its password stays where it is."""

import asyncio
import json
import sys
from urllib.parse import urlsplit

import pytest
from api import KEY, Api
from origin import PNG, Origin, head, ok, status
from proxy import Proxy, certificate
from running import running

from syncd.demo import payloads
from syncd.demo.ports import free_port

PASSWORD = "s3cret%2Fword"
NAME = "cdn.example.com"


def url_of(proxy, user=f"syncd:{PASSWORD}@", scheme="http", host="127.0.0.1"):
    return f'proxy = "{scheme}://{user}{host}:{proxy.port}"'


def behind(daemon, line):
    """Let the daemon fetch from any public host, and through this proxy, from now on."""
    text = daemon.config.read_text().replace("allow_private = true", "").replace('["127.0.0.1"]', '["*"]')
    daemon.write_config(text.replace("[download]\n", f"[download]\n{line}\n"))
    return in_force(daemon, 2)


async def in_force(daemon, number):
    async def is_it():
        return (await daemon.api("/api/status"))["config"]["generation"] == number

    await daemon.until(is_it, "the config is in force")


async def failures(daemon, count):
    async def are_there():
        found = (await daemon.api("/api/status"))["failures"]
        return len(found) == count and found

    return await daemon.until(are_there, "the failures")


async def everything_told(daemon):
    """All that a daemon says to anybody."""
    said = [await daemon.api(f"/api/{page}") for page in ("status", "deliveries", "assets")]
    manifests = [path.read_text() for path in daemon.root.rglob("*.json")]
    return "\n".join([daemon.log.read_text(), json.dumps(said), *manifests])


@pytest.fixture
def trusted(tmp_path, monkeypatch):
    """Make certificates that a daemon trusts; gives a server's context for a name."""
    trusted = tmp_path / "trusted.pem"
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))

    async def started(_, *args, env, stderr):  # OpenSSL looks at that variable once in the life of an interpreter
        return await asyncio.create_subprocess_exec(sys.executable, "-m", "syncd", *args, env=env, stderr=stderr)

    monkeypatch.setattr("running.born", started)

    def make(name):
        cert, tls = certificate(tmp_path, name)
        with trusted.open("a") as file:
            file.write(cert.read_text())
        return tls

    return make


async def test_files_come_through_the_proxy_alone(tmp_path, trusted):
    tls = trusted(NAME)
    proxy = Proxy("syncd:s3cret/word")
    async with (
        Origin().running() as plain,
        Origin().running(tls) as safe,
        proxy.running(),
        running(tmp_path, fresh=True) as daemon,
    ):
        await behind(daemon, url_of(proxy))
        proxy.where = {"plain.example.com": plain.port, NAME: safe.port}
        plain.url("/a.png", ok())
        heads = []

        async def note(writer):
            heads.append(safe.head)
            await ok()(writer)

        safe.url("/b.png", note)
        await daemon.send(payloads.new_banner("http://plain.example.com/a.png?X-Amz-Signature=a%2Fb", visual=1))
        await daemon.send(payloads.new_banner(f"https://{NAME}/b.png?X-Amz-Signature=a%2Fb", visual=2))
        assert (await daemon.idle())["totals"]["assets"] == 2
        assert sorted(proxy.asked) == [
            ("CONNECT", f"{NAME}:443"),
            ("GET", "http://plain.example.com/a.png?X-Amz-Signature=a%2Fb"),
        ]
        assert (plain.targets, safe.targets) == (["/a.png?X-Amz-Signature=a%2Fb"], ["/b.png?X-Amz-Signature=a%2Fb"])
        assert "Proxy-Authorization" not in heads[0]
        told = await everything_told(daemon)
        assert PASSWORD not in told
        assert "s3cret" not in told


async def test_a_certificate_for_another_name_is_refused_behind_a_proxy_as_well(tmp_path, trusted):
    tls = trusted("another.example.com")
    async with Origin().running(tls) as safe, Proxy().running() as proxy, running(tmp_path, fresh=True) as daemon:
        await behind(daemon, url_of(proxy, user=""))
        proxy.where = {NAME: safe.port}
        await daemon.send(payloads.new_banner(f"https://{NAME}/a.png"))
        (failure,) = await failures(daemon, 1)
        assert "Hostname mismatch" in failure["reason"]
        assert safe.targets == []


async def test_a_proxy_may_speak_tls_itself(tmp_path, trusted):
    tls, own_tls = trusted(NAME), trusted("localhost")
    proxy = Proxy("syncd:s3cret/word")
    async with Origin().running(tls) as safe, proxy.running(own_tls), running(tmp_path, fresh=True) as daemon:
        await behind(daemon, url_of(proxy, scheme="https", host="localhost"))
        proxy.where = {NAME: safe.port}
        safe.url("/a.png", ok())
        await daemon.send(payloads.new_banner(f"https://{NAME}/a.png"))
        assert (await daemon.idle())["totals"]["assets"] == 1


async def test_nothing_goes_past_the_proxy_even_where_that_would_be_possible(tmp_path):
    async with (
        Origin().running() as canary,
        Origin().running() as origin,
        Proxy().running() as proxy,
        running(tmp_path, download=url_of(proxy, user="")) as daemon,
    ):
        proxy.where = {"127.0.0.1": origin.port}
        origin.url("/a.png", status(302, Location=canary.url("/b.png", ok())))
        origin.url("/b.png", ok())
        await daemon.send(payloads.new_banner(canary.url("/a.png", ok())))
        assert (await daemon.idle())["totals"]["assets"] == 1
        assert canary.targets == []
        assert len(proxy.asked) == 2


NUMERIC = [
    "127.0.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "0", "127.0.0.1.", "10.0.0.1",
    "169.254.169.254", "[::1]", "[::ffff:127.0.0.1]", "[::127.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[fd00::1]",
    "127\u30020.0.1", "\u2460\u2461\u2466.0.0.1", "localhost", "LOCALHOST.", "a.localhost",
]  # fmt: skip


async def test_a_proxy_is_not_asked_for_a_private_address_in_any_notation(tmp_path):
    async with Proxy().running() as proxy, Origin().running() as origin, running(tmp_path) as daemon:
        await behind(daemon, url_of(proxy, user=""))
        proxy.where = {"public.example.com": origin.port}
        for number, host in enumerate(NUMERIC):
            await daemon.send(payloads.new_banner(f"https://{host}/a.png", visual=number))
        await daemon.send(payloads.new_banner("http://public.example.com/" + "r.png", visual=len(NUMERIC)))
        origin.url("/r.png", status(302, Location="http://0x7f.1/a.png"))
        found = await failures(daemon, len(NUMERIC) + 1)
        assert all("a refused URL" in failure["reason"] for failure in found)
        assert proxy.asked == [("GET", "http://public.example.com/r.png")]


async def test_a_proxy_that_refuses_is_named_and_asked_again_later(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNCD_RETRY__GIVE_UP_AFTER", "60s")
    proxy = Proxy("syncd:s3cret/word")
    async with Origin().running() as origin, proxy.running(), running(tmp_path) as daemon:
        origin.url("/a.png", ok())
        proxy.refusal = head(407, Content_Length=0)
        await behind(daemon, url_of(proxy))
        await daemon.send(payloads.new_banner(f"http://{NAME}/a.png"))
        (failure,) = await failures(daemon, 1)
        assert f"HTTP 407 of the proxy 127.0.0.1:{proxy.port}" in failure["reason"]
        assert failure["next_attempt_at"] is not None
        proxy.refusal = None
        proxy.where = {NAME: origin.port}
        await daemon.until(lambda: len(daemon.files()) == 1, "the file")
        assert "s3cret" not in await everything_told(daemon)


async def test_a_dead_proxy_costs_a_handful_of_connections_whatever_the_number_of_hosts(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNCD_RETRY__GIVE_UP_AFTER", "60s")
    many, proxy = 200, Proxy()
    proxy.port = free_port()
    async with Origin().running() as origin, running(tmp_path) as daemon:
        await behind(daemon, url_of(proxy, user=""))
        hosts = [f"h{number}.example.com" for number in range(many)]
        await daemon.send(
            payloads.batch([payloads.new_banner(f"http://{host}/a.png", visual=n) for n, host in enumerate(hosts)])
        )

        async def all_wait():
            found = (await daemon.api("/api/assets?state=pending"))["assets"]
            return len(found) == many and all("is down (no connection to the proxy" in one["reason"] for one in found)

        await daemon.until(all_wait, "every asset waits for the proxy")
        found = (await daemon.api("/api/assets?state=pending"))["assets"]
        assert sum(one["attempts"] for one in found) < 60
        origin.url("/a.png", ok())
        proxy.where = dict.fromkeys(hosts, origin.port)
        async with proxy.running(port=proxy.port):
            assert (await daemon.idle())["totals"]["assets"] == many
        assert len(proxy.asked) == many


async def test_a_server_that_the_proxy_can_not_reach_does_not_hold_up_others(tmp_path):
    async with Origin().running() as origin, Proxy().running() as proxy, running(tmp_path) as daemon:
        await behind(daemon, url_of(proxy, user=""))
        proxy.where = {NAME: origin.port}
        origin.url("/a.png", ok())
        lost = [payloads.new_banner(f"https://lost.example.com/{n}.png", visual=n) for n in range(30)]
        await daemon.send(payloads.batch(lost))
        await failures(daemon, 30)
        await daemon.send(payloads.new_banner(f"http://{NAME}/a.png", visual=99))
        await daemon.until(lambda: len(daemon.files()) == 1, "another server's file")
        assert "proxy" in (await failures(daemon, 30))[0]["reason"]


async def test_a_proxy_in_the_environment_is_ignored(tmp_path, monkeypatch):
    async with Origin().running() as origin, Origin().running() as canary:
        for variable in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(variable, canary.base)
        async with running(tmp_path) as daemon:
            await daemon.send(payloads.new_banner(origin.url("/a.png", ok())))
            assert (await daemon.idle())["totals"]["assets"] == 1
        assert canary.targets == []


async def test_a_proxy_comes_and_goes_while_a_download_runs(tmp_path):
    async with Origin().running() as origin, Proxy().running() as proxy, running(tmp_path) as daemon:
        proxy.where, hold = {"127.0.0.1": origin.port}, asyncio.Event()

        async def slowly(writer):
            writer.write(head(Content_Length=len(PNG)) + PNG[:100])
            await hold.wait()
            writer.write(PNG[100:])

        text = daemon.config.read_text()
        await daemon.send(payloads.new_banner(origin.url("/slow.png", slowly), visual=1))
        await daemon.until(lambda: origin.asked["/slow.png"], "it has begun")
        daemon.write_config(text.replace("[download]\n", f"[download]\n{url_of(proxy, user='')}\n"))
        await in_force(daemon, 2)
        await daemon.send(payloads.new_banner(origin.url("/a.png", ok()), visual=2))
        await daemon.until(lambda: len(daemon.files()) == 1, "one through the proxy")
        assert proxy.asked == [("GET", origin.url("/a.png"))]
        daemon.write_config(text)
        await in_force(daemon, 3)
        hold.set()
        await daemon.send(payloads.new_banner(origin.url("/b.png", ok()), visual=3))
        assert (await daemon.idle())["totals"]["assets"] == 3
        assert len(proxy.asked) == 1
        assert origin.asked["/slow.png"] == 1


async def test_where_a_missing_file_lies_by_now_is_asked_through_the_proxy_of_the_moment(tmp_path, monkeypatch):
    monkeypatch.setenv("ABYSSALE_BASE_URL", "http://api.example.com")
    async with (
        Api().running() as api,
        Origin().running() as origin,
        Proxy("syncd:s3cret/word").running() as first,
        Proxy().running() as second,
        running(tmp_path, abyssale=f'api_key = "{KEY}"') as daemon,
    ):
        first.where = second.where = {"api.example.com": urlsplit(api.base).port, NAME: origin.port}
        origin.url("/gone.png", status(404))
        origin.url("/new.png", ok())

        async def looked_up(proxy, number):
            banner = payloads.new_banner(f"http://{NAME}/gone.png", visual=number)
            api.banners[banner["id"]] = {**banner, "file": payloads.file(f"http://{NAME}/new.png")}
            await daemon.send(banner)
            assert (await daemon.idle())["totals"]["assets"] == number
            return ("GET", f"http://api.example.com/banners/{banner['id']}") in proxy.asked

        await behind(daemon, url_of(first))
        assert await looked_up(first, 1)
        daemon.write_config(daemon.config.read_text().replace(url_of(first), url_of(second, user="")))
        await in_force(daemon, 3)
        assert await looked_up(second, 2)
        assert len(api.asked) == 2
        assert "s3cret" not in await everything_told(daemon)
