"""What happens to a daemon is seen from outside: in its metrics, and in one line of the log each."""

import asyncio
import json
import time

import pytest
from origin import PNG, Origin, ok, status
from prometheus_client.parser import text_string_to_metric_families
from running import running

from syncd.demo.payloads import new_banner


@pytest.fixture
async def origin():
    async with Origin().running() as served:
        yield served


@pytest.fixture
async def daemon(tmp_path):
    async with running(tmp_path) as one:
        yield one


async def metric(daemon, name, **labels):
    async with daemon.session.get(f"http://127.0.0.1:{daemon.admin}/metrics") as answer:
        text = await answer.text()
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    (value,) = [sample.value for sample in samples if sample.name == name and sample.labels == labels]
    return value


async def becomes(daemon, wanted, name, **labels):
    async def is_so():
        return await metric(daemon, name, **labels) == wanted

    await daemon.until(is_so, f"{name} {labels} becomes {wanted}")


def logged(daemon, message):
    lines = map(json.loads, daemon.log.read_text().splitlines())
    return [line for line in lines if line["message"] == message]


async def test_a_delivery_is_followed_by_its_id_from_receipt_to_file(daemon, origin):
    url = origin.url("/a.png", ok())
    assert (await daemon.send(new_banner(f"{url}?secret=1"), delivery_id="d-1"))[0] == 200
    await daemon.until(lambda: logged(daemon, "asset published"), "the line of the published file")
    lines = [line for line in map(json.loads, daemon.log.read_text().splitlines()) if line.get("delivery") == "d-1"]
    assert [line["message"] for line in lines] == ["delivery accepted", "delivery read", "asset published"]
    assert (lines[2]["url"], lines[2]["attempts"], lines[2]["bytes"]) == (url, 1, len(PNG))
    assert (daemon.root / lines[2]["path"]).exists()
    assert "secret=1" not in daemon.log.read_text()


async def test_what_was_given_up_stays_to_be_seen_until_it_is_there(daemon, origin):
    assert await metric(daemon, "syncd_last_delivery_timestamp_seconds") == 0
    await daemon.send(new_banner(origin.url("/a.png", *[status(404)] * 3, ok())), delivery_id="d-1")
    await becomes(daemon, 1, "syncd_failures", kind="given_up")
    assert abs(await metric(daemon, "syncd_last_delivery_timestamp_seconds") - time.time()) < 60
    (line,) = logged(daemon, "asset failed")
    assert (line["level"], line["delivery"], line["attempts"]) == ("error", "d-1", 3)
    assert "404" in line["reason"]


async def test_a_config_that_is_refused_is_seen_until_it_is_mended(daemon):
    good = daemon.config.read_text()
    daemon.write_config(good.replace('delay = "100ms"', "delay = 7"))
    await becomes(daemon, 0, "syncd_config_last_reload_successful")
    (line,) = logged(daemon, "config refused")
    assert (line["key"], line["file"]) == ("manifest.delay", str(daemon.config))
    daemon.write_config(good)
    await becomes(daemon, 1, "syncd_config_last_reload_successful")


async def test_a_mirror_that_is_lost_is_told_once_and_again_when_it_is_back(daemon):
    away = daemon.root.rename(daemon.root.with_name("away"))
    await becomes(daemon, 0, "syncd_mirror_usable")
    assert await metric(daemon, "syncd_ready") == 1
    away.rename(daemon.root)
    await becomes(daemon, 1, "syncd_mirror_usable")
    await daemon.until(lambda: logged(daemon, "the mirror is usable again"), "the line of the return")
    (line,) = logged(daemon, "the mirror is unusable, files wait")
    assert "is not there" in line["reason"]


async def test_requests_that_never_come_together_are_counted(daemon):
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    writer.write(b"NONSENSE\r\n\r\n")
    await reader.read()
    writer.close()
    assert await metric(daemon, "syncd_requests_refused_total", error="malformed") == 1
    assert await metric(daemon, "syncd_deliveries_total", source="", event="", outcome="rejected") == 1
