"""The event loop is never held up by our own code: a good delivery and a probe are answered at any time."""

import asyncio
import json
import re

import aiohttp
from scene import watched

from syncd.demo import payloads
from syncd.demo.artwork import archive, artwork

LONGEST = 0.3
"""Seconds: the tenth that is promised, and what a busy test machine is forgiven."""
BLOCKED = re.compile(r"Executing (.*) took ([0-9.]+) seconds")
HOSTILE = [
    b'{"a":' * 100_000,
    b"[" * 1_000_000,
    json.dumps({"banners": [{"id": str(number)} for number in range(20_000)]}).encode(),
    json.dumps({"event": "x" * 900_000}).encode(),
]


async def test_nothing_holds_up_the_loop_while_much_is_done(tmp_path, monkeypatch):
    """asyncio's own debug mode tells of every callback that took longer than a tenth of a second."""
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
    members = {f"{number % 20}/{number}.png": artwork("png", number) for number in range(2000)}
    async with watched(tmp_path, server='max_body = "4MiB"') as scene:
        scene.truth.exports(members.values())
        export = scene.put("/all.zip", archive(members))
        banners = [payloads.new_banner(scene.put(f"/{n}.png", artwork("png", n)), visual=n) for n in range(300)]

        async def attack():
            for number, body in enumerate(HOSTILE * 3):
                await scene.daemon.send(body, delivery_id=f"hostile-{number}")
                async with scene.daemon.session.post(
                    f"http://127.0.0.1:{scene.daemon.port}/webhooks/abyssale", data=body
                ) as answer:
                    assert answer.status in {401, 415, 429}

        async with asyncio.TaskGroup() as senders:
            senders.create_task(scene.send(payloads.export(export)))
            senders.create_task(scene.send(payloads.batch(banners[100:])))
            senders.create_task(scene.send(*banners[:100]))
            senders.create_task(attack())
        await scene.settle()
        assert len(scene.files()) == 2300
        async with aiohttp.request("GET", f"http://127.0.0.1:{scene.daemon.admin}/metrics") as answer:
            assert "\nsyncd_loop_lag_seconds " in await answer.text()
        log = scene.daemon.log.read_text()
    blocked = [(float(seconds), what) for what, seconds in BLOCKED.findall(log)]
    assert max((seconds for seconds, _ in blocked), default=0.0) <= LONGEST, blocked
