"""Networks that fail: what they cost, and that everything comes in the end."""

import json
import shutil

import pytest
from api import KEY, Api
from origin import Origin, ok, status
from running import running
from storage import CUT, FILE, Storage

from syncd.demo import payloads

MANY = 200


async def test_a_dead_host_costs_a_handful_of_requests_and_holds_up_nobody(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNCD_RETRY__GIVE_UP_AFTER", "60s")
    async with Origin().running() as dead, Origin().running() as well, running(tmp_path) as daemon:
        urls = [dead.url(f"/{n}.png", status(503)) for n in range(MANY)]
        await daemon.send(payloads.batch([payloads.new_banner(url, visual=n) for n, url in enumerate(urls)]))

        async def all_wait():
            found = (await daemon.api("/api/assets?state=pending"))["assets"]
            return len(found) == MANY and all("is down (HTTP 503)" in one["reason"] for one in found)

        await daemon.until(all_wait, "every asset waits for its host")
        await daemon.send(payloads.new_banner(well.url("/a.png", ok()), visual=MANY))
        await daemon.until(lambda: len(daemon.files()) == 1, "another host's file")
        assert sum(dead.asked.values()) < 40
        for n in range(MANY):
            dead.url(f"/{n}.png", ok())
        index = await daemon.idle()
        assert index["totals"]["assets"] == MANY + 1
        assert sum(dead.asked.values()) < MANY + 40
        lines = [json.loads(line) for line in daemon.log.read_text().splitlines()]
        told = [line for line in lines if line.get("host") == dead.base.removeprefix("http://")]
        assert [line["level"] for line in told] == ["warning", "info"]


async def test_a_host_that_stays_dead_ends_in_the_list_of_failures(tmp_path):
    async with Origin().running() as dead, running(tmp_path) as daemon:
        urls = [dead.url(f"/{n}.png", status(503)) for n in range(20)]
        await daemon.send(payloads.batch([payloads.new_banner(url, visual=n) for n, url in enumerate(urls)]))

        async def all_failed():
            return (await daemon.api("/api/status"))["assets"]["failed"] == 20

        await daemon.until(all_failed, "all are given up")
        failures = (await daemon.api("/api/status"))["failures"]
        assert all("retry.give_up_after" in one["reason"] and one["next_attempt_at"] is None for one in failures)


async def test_a_missing_file_comes_from_where_the_platform_says_it_is(tmp_path, monkeypatch):
    async with Api().running() as api, Origin().running() as origin:
        monkeypatch.setenv("ABYSSALE_BASE_URL", api.base)
        async with running(tmp_path, abyssale=f'api_key = "{KEY}"') as daemon:
            banner = payloads.new_banner(origin.url("/a.png?expired", status(403)))
            heads = []

            async def fresh(writer):
                heads.append(origin.head)
                await ok()(writer)

            api.banners[banner["id"]] = {**banner, "file": payloads.file(origin.url("/new.png", fresh))}
            await daemon.send(banner)
            gone = payloads.new_banner(origin.url("/gone.png", status(404)), visual=2)
            await daemon.send(gone)
            await daemon.send(payloads.export(origin.url("/gone.zip", status(404))))

            async def ended():
                counts = (await daemon.api("/api/status"))["assets"]
                return counts["published"] == 1 and counts["failed"] == 2

            await daemon.until(ended, "one is there, two have failed")
            assert set(api.asked) == {(f"/banners/{one['id']}", KEY) for one in (banner, gone)}
            assert len(api.asked) == 2
            assert KEY not in heads[0]
            assert KEY not in daemon.log.read_text()
            (failed, _) = sorted((await daemon.api("/api/status"))["failures"], key=lambda one: one["url"])
            assert "visual_not_found" in failed["reason"]


async def test_without_a_key_a_missing_file_has_failed(tmp_path, monkeypatch):
    async with Api().running() as api, Origin().running() as origin:
        monkeypatch.setenv("ABYSSALE_BASE_URL", api.base)
        async with running(tmp_path) as daemon:
            await daemon.send(payloads.new_banner(origin.url("/a.png", status(404))))

            async def failed():
                return (await daemon.api("/api/status"))["assets"]["failed"] == 1

            await daemon.until(failed, "it has failed")
            assert api.asked == []


PATIENT = {"SYNCD_RETRY__GIVE_UP_AFTER": "60s", "SYNCD_RETRY__ATTEMPTS": "1"}


async def test_a_file_that_needs_many_goes_comes_piece_by_piece(tmp_path, monkeypatch):
    for variable, value in PATIENT.items():
        monkeypatch.setenv(variable, value)
    async with Origin().running() as origin, running(tmp_path) as daemon:
        storage = Storage(origin)
        cuts = [storage.answer(cut=CUT), status(503), storage.answer(cut=2 * CUT), status(503), storage.answer()]
        await daemon.send(payloads.new_banner(origin.url("/a.png", *cuts)))
        await daemon.idle()
        assert list(daemon.files().values()) == [FILE]
        assert 0 < storage.ranges[1] < storage.ranges[2]
        assert temps(daemon) == []


def temps(daemon):
    return list((daemon.root / ".syncd" / "tmp").iterdir())


@pytest.fixture
async def waiting(tmp_path, monkeypatch):
    """A daemon with a part on its disk, whose next go is an hour away."""
    for variable, value in {**PATIENT, "SYNCD_RETRY__PAUSE": "1h", "SYNCD_RETRY__GIVE_UP_AFTER": "24h"}.items():
        monkeypatch.setenv(variable, value)
    async with Origin().running() as origin, running(tmp_path) as daemon:
        await daemon.send(payloads.new_banner(origin.url("/a.png", Storage(origin).answer(cut=CUT), ok()), version=1))

        async def waits():
            (found,) = (await daemon.api("/api/status"))["failures"] or [None]
            return found

        await daemon.until(waits, "its first go has ended")
        assert len(temps(daemon)) == 1
        yield origin, daemon


async def test_a_newer_version_drops_what_has_come_of_the_older_one(waiting):
    origin, daemon = waiting
    await daemon.send(payloads.new_banner(origin.url("/b.png", ok()), version=2))
    await daemon.idle()
    await daemon.until(lambda: not temps(daemon), "nothing is left of it")


async def test_a_disk_that_is_low_on_space_gets_back_what_waits(waiting):
    _, daemon = waiting
    above = shutil.disk_usage(daemon.root).free >> 30
    daemon.write_config(daemon.config.read_text().replace('min_free = "0"', f'min_free = "{above + 100}GiB"'))
    await daemon.until(lambda: not temps(daemon), "the space is free")


async def test_an_orderly_stop_leaves_no_temp_file(waiting):
    _, daemon = waiting
    assert await daemon.stop() == 0
    assert temps(daemon) == []
