"""SIGTERM drains and exits 0: what is in hand ends, what only waits is left to the journal, nothing is lost."""

import asyncio
import json
import re
import signal
import time
from pathlib import Path

import aiohttp
import pytest
from intake.receiver import exchange, post, read_answer, signature
from running import SECRET, Running, running

from syncd.demo import artwork, payloads
from syncd.demo.stage import Fault, Stage

AT_ONCE = 5.0
"""Seconds in which a daemon with nothing in hand has stopped, on a busy machine."""


async def say(daemon: Running, how: signal.Signals = signal.SIGTERM) -> None:
    """Send a signal and wait until it was heard."""
    before = daemon.log.read_text().count('"stopping')
    daemon.process.send_signal(how)
    await daemon.until(lambda: daemon.log.read_text().count('"stopping') > before, "the signal is heard")


async def ended(daemon: Running, within: float) -> int:
    async with asyncio.timeout(within):
        return await daemon.process.wait()


def signed(body: bytes) -> bytes:
    return post(body, f"X-Abyssale-Signature: {signature(body, secret=SECRET)}", signed=False)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_daemon_stops_at_once(tmp_path, how):
    async with running(tmp_path) as daemon:
        daemon.process.send_signal(how)
        assert await ended(daemon, AT_ONCE) == 0


async def heeds(daemon: Running, how: signal.Signals) -> None:
    """Wait until the process has something to do at a signal, other than to die of it."""

    def caught() -> bool:
        status = Path(f"/proc/{daemon.process.pid}/status").read_text()
        (mask,) = re.findall(r"^SigCgt:\s*(\w+)$", status, re.MULTILINE)
        return bool(int(mask, 16) >> (how - 1) & 1)

    await daemon.until(caught, f"{how.name} is heeded")


async def test_a_daemon_that_is_told_to_stop_before_it_is_there_ends_well(tmp_path):
    daemon = Running(tmp_path, fresh=True)
    daemon.write_config()
    await daemon.begin()
    await heeds(daemon, signal.SIGTERM)
    assert await daemon.stop() == 0
    assert '"ready"' not in daemon.log.read_text()


async def test_a_daemon_that_is_told_to_reload_before_it_is_there_starts_all_the_same(tmp_path):
    daemon = Running(tmp_path, fresh=True)
    daemon.write_config()
    await daemon.begin()
    await heeds(daemon, signal.SIGHUP)
    daemon.process.send_signal(signal.SIGHUP)
    async with aiohttp.ClientSession() as daemon.session:
        await daemon.until(daemon.answers, "the daemon answers")
    assert await daemon.stop() == 0


async def test_a_download_in_flight_is_finished_and_named_before_the_exit(tmp_path):
    async with Stage() as stage, running(tmp_path, manifest="") as daemon:
        content, hold = artwork.artwork("png"), asyncio.Event()
        stage.script("/a.png", Fault(hold=hold))
        await daemon.send(payloads.new_banner(stage.put("/a.png", content)))
        await stage.asked("/a.png")
        await say(daemon)
        assert not await daemon.answers()  # alive, and not ready
        hold.set()
        assert await ended(daemon, AT_ONCE) == 0
        assert list(daemon.files().values()) == [content]
        assert daemon.index()["totals"]["assets"] == 1


async def test_a_download_beyond_the_grace_is_cut_off_and_done_after_the_next_start(tmp_path):
    async with Stage() as stage, running(tmp_path, server='shutdown_grace = "300ms"') as daemon:
        stage.script("/a.png", Fault(hold=asyncio.Event()))
        await daemon.send(payloads.new_banner(stage.put("/a.png", artwork.artwork("png"))))
        await stage.asked("/a.png")
        await say(daemon)
        assert await ended(daemon, AT_ONCE) == 0
        assert daemon.files() == {}
        await daemon.start()
        assert (await daemon.idle())["totals"]["assets"] == 1
        assert stage.requests["/a.png"] == 2


async def test_a_second_signal_hurries(tmp_path):
    async with Stage() as stage, running(tmp_path) as daemon:
        stage.script("/a.png", Fault(hold=asyncio.Event()))
        await daemon.send(payloads.new_banner(stage.put("/a.png", artwork.artwork("png"))))
        await stage.asked("/a.png")
        # A request that never ends must not hold it up either.
        _, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
        writer.write(signed(b"{}")[:-1])
        await writer.drain()
        await say(daemon)
        await say(daemon)
        assert await ended(daemon, AT_ONCE) == 0
        writer.close()
        await daemon.start()
        assert (await daemon.idle())["totals"]["assets"] == 1


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "40"}], ids=["between attempts", "as the server asked"])
async def test_a_job_that_only_waits_does_not_hold_up_the_stop(tmp_path, headers):
    patience = 'first = "50s"\nlongest = "60s"\ngive_up_after = "1h"\npause = "10ms"'
    async with Stage() as stage, running(tmp_path) as daemon:
        text = daemon.config.read_text()
        table = text[text.index("[retry]") : text.index("[manifest]")]
        daemon.write_config(text.replace(table, f"[retry]\nattempts = 3\n{patience}\n"))

        async def in_force():
            return (await daemon.api("/api/status"))["config"]["generation"] == 2

        await daemon.until(in_force, "it is patient")
        stage.script("/a.png", Fault(status=503, headers=headers))
        await daemon.send(payloads.new_banner(stage.put("/a.png", artwork.artwork("png"))))
        await stage.asked("/a.png")
        daemon.process.send_signal(signal.SIGTERM)
        assert await ended(daemon, AT_ONCE) == 0
        await daemon.start()
        assert (await daemon.idle())["totals"]["assets"] == 1


async def test_jobs_that_wait_for_a_slot_are_left_to_the_next_start(tmp_path):
    async with Stage() as stage, running(tmp_path, download="concurrency = 1") as daemon:
        hold = asyncio.Event()
        stage.script("/0.png", Fault(hold=hold))
        for number in range(5):
            url = stage.put(f"/{number}.png", artwork.artwork("png", number))
            await daemon.send(payloads.new_banner(url, visual=number))
        await stage.asked("/0.png")
        await say(daemon)
        hold.set()
        assert await ended(daemon, AT_ONCE) == 0
        assert sum(stage.requests.values()) == 1
        assert len(daemon.files()) == 1
        await daemon.start()
        assert (await daemon.idle())["totals"]["assets"] == 5


async def test_a_request_under_way_is_answered_and_kept(tmp_path):
    async with running(tmp_path) as daemon:
        request = signed(b'{"under":"way"}')
        reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
        writer.write(request[:-3])
        await writer.drain()
        await exchange(("127.0.0.1", daemon.port), signed(b'{"so":"that the first one has been read"}'))
        await say(daemon)
        writer.write(request[-3:])
        answer = await read_answer(reader)
        assert answer.json["status"] == "accepted"
        assert answer.headers["connection"] == "close"
        writer.close()
        assert await ended(daemon, AT_ONCE) == 0
        await daemon.start()
        found = await daemon.api(f"/api/deliveries/{answer.json['delivery']}")
        assert json.loads(found["payload"]) == {"under": "way"}


async def test_a_stop_under_load_loses_nothing_that_was_acknowledged_and_stores_nothing_that_was_not(tmp_path):
    async with running(tmp_path) as daemon:
        acknowledged, unanswered = set(), set()

        async def post_until_refused(name):
            for number in range(100_000):
                body = b'{"%b":%d}' % (name, number)
                try:
                    answer = await exchange(("127.0.0.1", daemon.port), signed(body))
                except ConnectionRefusedError:
                    return
                except (ConnectionError, asyncio.IncompleteReadError):
                    unanswered.add(body)
                    continue
                assert answer.status == 200
                acknowledged.add(body)

        posters = [asyncio.create_task(post_until_refused(name)) for name in (b"a", b"b", b"c")]
        await daemon.until(lambda: len(acknowledged) > 30, "requests are coming")
        daemon.process.send_signal(signal.SIGTERM)
        await asyncio.gather(*posters)
        assert await ended(daemon, AT_ONCE) == 0
        await daemon.start()
        found = (await daemon.api("/api/deliveries?limit=1000"))["deliveries"]
        bodies = {(await daemon.api(f"/api/deliveries/{one['id']}"))["payload"].encode() for one in found}
        assert bodies >= acknowledged
        assert not bodies & unanswered


async def test_a_stop_during_the_start_of_a_download_of_many_ends_in_time(tmp_path):
    async with Stage() as stage, running(tmp_path, server='shutdown_grace = "5s"') as daemon:
        for number in range(60):
            url = stage.put(f"/{number}.png", artwork.artwork("png", number))
            await daemon.send(payloads.new_banner(url, visual=number))
        began = time.monotonic()
        assert await daemon.stop() == 0
        assert time.monotonic() - began < AT_ONCE
        published = len(daemon.files())
        assert published == (daemon.index()["totals"]["assets"] if published else 0)
        await daemon.start()
        assert (await daemon.idle())["totals"]["assets"] == 60


async def test_an_admin_connection_that_stays_open_does_not_hold_up_the_stop(tmp_path):
    async with running(tmp_path) as daemon, aiohttp.ClientSession() as kept:
        async with kept.get(f"http://127.0.0.1:{daemon.admin}/healthz") as answer:
            assert answer.status == 200
        daemon.process.send_signal(signal.SIGTERM)
        assert await ended(daemon, AT_ONCE) == 0
