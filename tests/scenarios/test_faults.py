"""Nothing fails silently: what hosts do wrong is tried again, or ends where an operator can see it."""

import asyncio
import hashlib
import re

import pytest
from origin import HTML, PNG, Origin, chunked, endless, head, ok, raw, reset, status, then_silence
from scene import watched

from syncd.demo import payloads
from syncd.demo.artwork import archive, artwork
from syncd.demo.stage import Fault

PATH = "Spring sale/medium-rectangle/a.png"


def banner(url, cdn=None, visual=1, **fields):
    file = payloads.file(url, filename="a.png", type="png", **({"cdn_url": cdn} if cdn else {}))
    return payloads.new_banner(url, visual=visual, file=file, **fields)


async def all_failed(scene):
    """The failures in the order of their announcement, once nothing waits any more and nothing is published."""
    await scene.settle()
    failures = {failure["id"]: failure for failure in await scene.failures()}
    assets = [asset for delivery in await scene.deliveries() for asset in delivery["assets"]]
    assert {delivery["outcome"] for delivery in await scene.deliveries()} == {"processed"}
    assert {asset["state"] for asset in assets} == {"failed"}
    assert scene.files() == {}
    assert all(asset["reason"] == failures[asset["id"]]["reason"] for asset in assets)
    return [failures[asset["id"]] for asset in assets]


async def failed(scene):
    """The one failure there is, once nothing waits any more."""
    (failure,) = await all_failed(scene)
    return failure


async def waiting(scene):
    """The one failure there is, once its first go is over and it waits in the journal."""
    (failure,) = await scene.daemon.until(scene.failures, "a failed go")
    return failure


PASSING = {
    "503 twice": [status(503), status(503)],
    "a timeout, then a flood": [status(408), status(429)],
    "a reset": [reset],
    "a wrong length": [raw(head(Content_Length=len(PNG) + 10) + PNG)],
    "a page": [ok(HTML, Content_Type="text/html")],
    "an empty body": [ok(b"")],
    "another type": [ok(artwork("jpeg"))],
    "another ETag": [ok(PNG, ETag=f'"{hashlib.md5(b"other", usedforsecurity=False).hexdigest()}"')],
    "no HTTP": [raw(b"220 mail.example.test ESMTP\r\n\r\n")],
    "a redirect that leads nowhere": [status(302, Location="http://127.0.0.1:1/gone")],
    "not yet there": [status(404), status(403)],
    "silence": [then_silence(head(Content_Length=len(PNG)) + PNG[:9])],
    "a cut": [raw(head(Transfer_Encoding="chunked") + b"400\r\n" + PNG[:50])],
}


async def test_a_passing_fault_is_tried_again_and_never_seen_by_a_reader(tmp_path):
    async with Origin().running() as origin, watched(tmp_path, download='stall_timeout = "300ms"') as scene:
        scene.truth.serves(PNG)
        for number, (name, answers) in enumerate(PASSING.items()):
            url = origin.url(f"/{number}.png", *answers, chunked(PNG[:100], PNG[100:]))
            await scene.send(banner(url, visual=number, id=name.replace(" ", "-")))
        await scene.settle()
        assert list(scene.files().values()) == [PNG] * len(PASSING)
        assert await scene.failures() == []
        assert [entry["outcome"] for entry in await scene.deliveries()] == ["processed"] * len(PASSING)
        for number, answers in enumerate(PASSING.values()):
            assert origin.asked[f"/{number}.png"] >= len(answers) + 1


async def test_what_is_not_there_is_failed_after_one_go_and_other_refusals_at_once(tmp_path):
    asked = {403: 3, 404: 3, 410: 3, 400: 1, 401: 1, 405: 1, 451: 1}
    async with Origin().running() as origin, watched(tmp_path) as scene:
        for code in asked:
            url = origin.url(f"/{code}.png", status(code)) + "?X-Amz-Signature=s3cret"
            await scene.send(banner(url, visual=code, id=f"visual-{code}"))
        for code, failure in zip(asked, await all_failed(scene), strict=True):
            assert f"HTTP {code}" in failure["reason"]
            assert failure["attempts"] == origin.asked[f"/{code}.png"] == asked[code]
            assert failure["next_attempt_at"] is None
            assert failure["path"].startswith(PATH.removesuffix(".png"))
            assert failure["url"] == f"{origin.base}/{code}.png"
            assert failure["id"] == f"visual-{code}"


async def test_what_does_not_come_is_given_up_in_the_end_and_visible(tmp_path):
    async with Origin().running() as origin, watched(tmp_path) as scene:
        await scene.send(banner(origin.url("/a.png", status(503))))
        first = await waiting(scene)
        assert first["next_attempt_at"] is not None
        assert first["attempts"] >= 3
        assert "503" in first["reason"]
        failure = await failed(scene)
        assert failure["next_attempt_at"] is None
        assert failure["attempts"] == origin.asked["/a.png"] > 3
        assert "give_up_after" in failure["reason"]
        counted = (await scene.daemon.api("/api/status"))["assets"]
        assert (counted["failed"], counted["pending"]) == (1, 0)


async def test_a_failed_asset_that_is_announced_again_is_tried_again_with_its_new_url(tmp_path):
    async with watched(tmp_path) as scene:
        await scene.send(banner(scene.stage.url("/gone.png")))
        await failed(scene)
        await scene.send(banner(scene.put("/here.png", artwork("png"))))
        await scene.settle()
        assert scene.files() == {PATH: artwork("png")}
        assert await scene.failures() == []
        assert {entry["outcome"] for entry in await scene.deliveries()} == {"processed"}


async def test_retry_after_is_obeyed_within_a_go(tmp_path):
    limits = 'first = "1ms"\nlongest = "2s"\nattempts = 2\npause = "1h"'
    async with Origin().running() as origin, watched(tmp_path) as scene:
        scene.truth.serves(PNG)
        scene.daemon.write_config(
            re.sub(r"(?s)\[retry\].*?(?=\[)", f"[retry]\n{limits}\n", scene.daemon.config.read_text())
        )
        await scene.daemon.until(lambda: generation(scene, 2), "the new limits")
        times = []

        async def refuse(writer):
            times.append(asyncio.get_running_loop().time())
            await status(429, Retry_After=1)(writer)

        async def give(writer):
            times.append(asyncio.get_running_loop().time())
            await ok(PNG)(writer)

        await scene.send(banner(origin.url("/a.png", refuse, give)))
        await scene.settle()
        assert scene.files() == {PATH: PNG}
        assert times[1] - times[0] >= 1.0


async def generation(scene, number):
    return (await scene.daemon.api("/api/status"))["config"]["generation"] == number


async def test_a_longer_retry_after_is_obeyed_through_the_journal(tmp_path):
    async with Origin().running() as origin, watched(tmp_path) as scene:
        scene.truth.serves(PNG)
        await scene.send(banner(origin.url("/a.png", status(503, Retry_After=2), ok(PNG))))
        began = asyncio.get_running_loop().time()
        failure = await waiting(scene)
        assert failure["next_attempt_at"] > failure["since"]
        assert origin.asked["/a.png"] == 1
        await scene.settle()
        assert asyncio.get_running_loop().time() - began >= 1.8
        assert origin.asked["/a.png"] == 2
        assert scene.files() == {PATH: PNG}
        assert await scene.failures() == []


async def test_what_waits_in_the_journal_holds_no_slot(tmp_path):
    async with watched(tmp_path, download="concurrency = 1") as scene:
        scene.stage.script("/slow.png", Fault(status=503, headers={"Retry-After": "2"}))
        await scene.send(banner(scene.put("/slow.png", artwork("png", 1)), visual=1))
        await waiting(scene)
        await scene.send(banner(scene.put("/quick.png", artwork("png", 2)), visual=2))
        await scene.daemon.until(lambda: artwork("png", 2) in scene.files().values(), "the other banner")
        assert len(await scene.failures()) == 1
        await scene.daemon.until(lambda: artwork("png", 1) in scene.files().values(), "the patient one")
        await scene.settle()


@pytest.mark.parametrize("prefer", ["origin", "cdn"])
async def test_the_other_url_is_the_fallback(tmp_path, prefer):
    async with watched(tmp_path, download=f'prefer = "{prefer}"') as scene:
        good = scene.put("/good.png", artwork("png"))
        missing = scene.stage.url("/missing.png")
        await scene.send(banner(*((missing, good) if prefer == "origin" else (good, missing))))
        await scene.settle()
        assert scene.files() == {PATH: artwork("png")}
        assert scene.stage.requests["/missing.png"] >= 1
        (entry,) = scene.entries().values()
        assert entry["source_url"] == good


async def test_the_cdn_is_not_asked_while_the_origin_gives(tmp_path):
    async with watched(tmp_path) as scene:
        cdn = scene.put("/cdn.png", artwork("png"))
        await scene.send(banner(scene.put("/origin.png", artwork("png")), cdn))
        await scene.settle()
        assert scene.stage.requests["/cdn.png"] == 0


async def test_a_file_beyond_max_size_is_failed_and_leaves_no_trace(tmp_path):
    async with Origin().running() as origin, watched(tmp_path, download='max_size = "256KiB"') as scene:
        for number, answer in enumerate([endless, ok(PNG + bytes(300_000)), chunked(PNG, bytes(300_000))]):
            await scene.send(banner(origin.url(f"/{number}.png", answer), visual=number))
        assert all("max_size" in failure["reason"] for failure in await all_failed(scene))


REFUSED = [
    "https://elsewhere.example.test/a.png", "https://127.0.0.1.example.test/a.png", "http://user@127.0.0.1/a.png",
    "http://localhost/a.png", "http://[::1]/a.png", "http://2130706433/a.png", "http://0x7f.1/a.png",
]  # fmt: skip


async def test_a_host_that_is_not_allowed_is_not_asked(tmp_path):
    async with watched(tmp_path) as scene:
        for number, url in enumerate(REFUSED):
            await scene.send(banner(url, visual=number))
        await scene.send(payloads.export(REFUSED[0]))
        await scene.settle()
        failures = await scene.failures()
        assert len(failures) == len(REFUSED) + 1
        assert all("refused" in failure["reason"] for failure in failures)
        assert all(failure["attempts"] == 1 for failure in failures)


async def test_a_redirect_does_not_lead_to_a_host_that_is_not_allowed(tmp_path):
    async with Origin().running() as origin, Origin().running() as canary, watched(tmp_path) as scene:
        elsewhere = canary.base.replace("127.0.0.1", "localhost") + "/a.png"
        await scene.send(banner(origin.url("/a.png", status(302, Location=elsewhere))))
        assert "allowed_hosts" in (await failed(scene))["reason"]
        assert canary.targets == []


async def test_no_private_address_is_dialled_unless_that_is_allowed(tmp_path):
    async with Origin().running() as canary, watched(tmp_path) as scene:
        text = scene.daemon.config.read_text()
        text = text.replace("allow_private = true", "").replace('["127.0.0.1"]', '["*"]')
        scene.daemon.write_config(text)
        await scene.daemon.until(lambda: generation(scene, 2), "the stricter config")
        port = canary.base.rpartition(":")[2]
        hosts = ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "127.1", "0x7f000001", "0"]
        hosts += ["169.254.169.254", "[64:ff9b::7f00:1]", "10.0.0.1"]
        for number, host in enumerate(hosts):
            await scene.send(banner(f"http://{host}:{port}/a.png", visual=number))
        await scene.settle()
        failures = await scene.failures()
        assert len(failures) == len(hosts)
        assert all(failure["attempts"] == 1 for failure in failures), failures
        assert canary.targets == []


async def test_plain_http_is_refused_unless_that_is_allowed(tmp_path):
    async with Origin().running() as canary, watched(tmp_path) as scene:
        scene.daemon.write_config(scene.daemon.config.read_text().replace("allow_http = true", ""))
        await scene.daemon.until(lambda: generation(scene, 2), "the stricter config")
        await scene.send(banner(canary.url("/a.png", ok())))
        assert "scheme" in (await failed(scene))["reason"]
        assert canary.targets == []


async def test_one_bad_host_does_not_hold_up_the_others(tmp_path):
    async with watched(tmp_path, download="concurrency = 4\nper_host = 4") as scene:
        held = asyncio.Event()
        scene.stage.script("/e.zip", *[Fault(hold=held)] * 9)
        scene.truth.exports([b"x"])
        export = scene.put("/e.zip", archive({"x": b"x"}))
        await scene.send(*(payloads.export(export, export=number) for number in range(9)))
        await scene.stage.asked("/e.zip", 4)
        for number in range(30):
            url = scene.put(f"/{number}.png", artwork("png", number))
            scene.stage.script(f"/{number}.png", *[503] * (number % 3))
            await scene.send(payloads.new_banner(url, visual=number))
        await scene.daemon.until(lambda: len(scene.files()) == 30, "the banners")
        held.set()
        await scene.settle()
        assert len(scene.files()) == 39
