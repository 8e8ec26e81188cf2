"""The event loop is never held up by our own code: a good delivery and a probe are answered at any time."""

import asyncio
import itertools
import json
import os
import re
import sqlite3
from contextlib import closing

from journal.press import START, arrival, download, rules
from nursery import born
from running import SECRET, Running, running

from syncd.demo import payloads
from syncd.demo.artwork import archive, artwork
from syncd.demo.stage import Stage
from syncd.journal import Decision, Published
from syncd.journal.sqlite import open_journal
from syncd.model import Asset, Format, Template
from syncd.observe.loop import LONGEST

LOOKED_AT = ("/", "/metrics", "/api/status", "/api/assets", "/api/deliveries?limit=1000", "/healthz", "/readyz")
ELSEWHERE = [payloads.new_banner("https://elsewhere.test/a.png", visual=number) for number in range(10_000, 11_500)]
HOSTILE = [
    b'{"a":' * 180_000,
    b"[" * 900_000,
    json.dumps({"banners": [{"id": str(number)} for number in range(50_000)]}).encode(),
    json.dumps({"event": "x" * 900_000}).encode(),
    json.dumps(payloads.batch(ELSEWHERE)).encode(),
]


async def test_a_config_that_takes_long_to_load_holds_nobody_up(tmp_path):
    daemon = Running(tmp_path)
    daemon.write_config(server="max_body = 0")
    env = {**os.environ, "TEST_SECRET": SECRET}
    with daemon.log.open("ab") as log:
        process = await born("bug:slow_config", "run", "--config", str(daemon.config), env=env, stderr=log)
    assert await process.wait() == 2
    (line,) = daemon.log.read_text().splitlines()
    assert "server.max_body" in line


def published_long_ago(number: int) -> Asset:
    """One of twenty: four are where the new ones go, the others in folders of their own."""
    place = number % 20 if number % 20 >= 4 else payloads.FORMAT["id"]
    return Asset(
        "abyssale", "file", f"old-{number}", f"https://host.test/{number}.png", "png", filename=f"old-{number}-.png",
        template=Template(payloads.TEMPLATE["id"], payloads.TEMPLATE["name"]), format=Format(f"{place}"),
    )  # fmt: skip


async def fill(daemon: Running) -> None:
    """Have a journal of 10,000 published assets: 1,000 in its own words, then copies of them under other names."""
    path = daemon.folder / "state" / "journal.db"
    async with open_journal(path) as journal:
        for first in range(0, 1000, 100):
            await journal.accept(arrival(f"old-{first}", f"{first}".encode()))
            (delivery,) = await journal.inbox(1)
            assets = tuple(published_long_ago(number) for number in range(first, first + 100))
            await journal.decide([Decision(delivery, "NEW_BANNER_BATCH", "accepted", assets=assets)], rules(), START)
        jobs = await journal.claim("visuals", 1000, START, frozenset())
        fetched = [(job, download(job.asset, b"")) for job in jobs]
        places = await journal.place(fetched, rules())
        done = [Published(place, *one, START, place.key) for place, one in zip(places, fetched, strict=True)]
        await journal.settle(done, rules(), START)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        columns = [name for _, name, *_ in db.execute("PRAGMA table_info(assets)")]
        other = {
            "asset": "asset + ?1",
            "visual": "visual + ?1 * 1000",
            "key": "replace(key, '-.png', '-' || ?1 || '.png')",
        }
        values = ", ".join(other.get(column, column) for column in columns)
        for by in range(1000, 10_000, 1000):
            db.execute(f"INSERT INTO assets SELECT {values} FROM assets WHERE asset <= 1000", (by,))  # noqa: S608 - ours


async def held_up(daemon: Running) -> tuple[float, float]:
    """The longest hold-up by syncd of late, and the longest by a machine that was busy otherwise."""
    async with daemon.session.get(f"http://127.0.0.1:{daemon.admin}/metrics") as answer:
        found = dict(re.findall(r"^syncd_loop_(lag|starved)_seconds (\S+)$", await answer.text(), re.MULTILINE))
    return float(found["lag"]), float(found["starved"])


async def test_nothing_holds_up_the_loop_while_much_is_done(tmp_path):
    await fill(Running(tmp_path))
    members = {f"{number % 20}/{number}.png": artwork("png", number) for number in range(2000)}
    async with Stage() as stage, running(tmp_path) as daemon:
        export = stage.put("/all.zip", archive(members))
        banners = [payloads.new_banner(stage.put(f"/{n}.png", artwork("png", n)), visual=n) for n in range(500)]
        names, seen = itertools.count(), []

        async def send(*some):
            for payload in some:
                status, answer = await daemon.send(payload, delivery_id=f"delivery-{next(names)}")
                assert status == 200, answer

        async def attack():
            url = f"http://127.0.0.1:{daemon.port}/webhooks/abyssale"
            for body in HOSTILE:
                await send(body)
                async with daemon.session.post(url, data=body) as answer:
                    assert answer.status in {401, 415, 429}

        async def look():
            for path in LOOKED_AT * 3:
                async with daemon.session.get(f"http://127.0.0.1:{daemon.admin}{path}") as answer:
                    assert answer.status == 200
                    await answer.read()
                seen.append(await held_up(daemon))
                await asyncio.sleep(0.1)

        async def edit():
            for number in range(10, 20):
                daemon.write_config(download=f"concurrency = {number}")
                await asyncio.sleep(0.3)

        new = send(payloads.export(export)), send(payloads.batch(banners[250:])), send(*banners[:250])
        await asyncio.gather(*new, attack(), look(), edit())
        newer = payloads.batch([{**banner, "version": 2} for banner in banners])
        await asyncio.gather(send(newer), look(), edit())
        await daemon.idle()
        seen.append(await held_up(daemon))
        status = await daemon.api("/api/status")
        assert status["assets"] == {"pending": 0, "published": 10_501, "superseded": 500, "failed": 1500}
        assert status["config"]["generation"] > 2
        # What keeps the loop from the CPU keeps the threads from it, too, that it waits for at times.
        assert [held for held, starved in seen if held > LONGEST + starved] == []
