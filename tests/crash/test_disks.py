"""Promise 6 where the disk fails: it is said, nothing is lost, and it recovers by itself.

A fault holds as long as a file of that name exists, so that nothing here depends on a clock.
"""

import json
import shutil
import time
from pathlib import Path

import aiohttp
import pytest
from crash.rounds import ERRORS, FOLDER, sabotaged
from crash.saboteur import CALLS, JOURNAL, MIRROR, Sabotage
from running import SECRET

from syncd.demo import payloads
from syncd.demo.artwork import archive, artwork
from syncd.sources import abyssale


class Disk:
    """Breaks and mends: one switch for each kind of call and error."""

    def __init__(self, folder):
        self._folder = folder / "broken"
        self._folder.mkdir()

    def _switch(self, call, error):
        return self._folder / f"{list(CALLS).index(call)}-{error}"

    def sabotage(self, calls):
        return [Sabotage(call, error, held=str(self._switch(call, error))) for call in calls for error in ERRORS]

    def fails(self, error, *calls):
        for call in calls:
            self._switch(call, error).touch()

    def is_mended(self):
        for switch in self._folder.iterdir():
            switch.unlink()


class Banners:
    """Versions of one visual, each with a content of its own."""

    def __init__(self, stage, truth):
        self._stage, self._truth, self.version = stage, truth, 0

    def next(self, kind="png"):
        self.version += 1
        content = artwork(kind, self.version)
        self._truth.serves(content)
        url = self._stage.put(f"/{self.version}.{kind}", content)
        return payloads.new_banner(url, version=self.version, file=payloads.file(url, filename=f"a.{kind}"))

    def export(self):
        self.version += 1
        members = {"a.png": artwork("png", self.version), "b/b.png": artwork("png", 500 + self.version)}
        self._truth.exports(members.values())
        url = self._stage.put(f"/{self.version}.zip", archive(members))
        return payloads.export(url, export=self.version)


async def reasons(daemon):
    """Everything that the status says of what waits."""
    status = await daemon.api("/api/status")
    return [*status["reasons"], *(failure["reason"] for failure in status["failures"])]


async def is_well(daemon):
    """Tell if the status has nothing to say of what waits: that of a disk goes with the next look at it."""
    return not await reasons(daemon)


async def tried(daemon, payload, name):
    """Deliver once; returns status, headers and answer."""
    body = json.dumps(payload).encode()
    headers = {
        "Content-Type": "application/json",
        abyssale.DELIVERY_HEADER: name,
        abyssale.SIGNATURE_HEADER: abyssale.sign(body, SECRET, int(time.time())),
    }
    async with daemon.session.post(
        f"http://127.0.0.1:{daemon.port}/webhooks/abyssale", data=body, headers=headers
    ) as a:
        return a.status, a.headers, await a.json()


async def is_ready(daemon):
    return (await daemon.api("/readyz"))["ready"]


async def settled(daemon, truth):
    await daemon.until(daemon.is_idle, "the queue empties")
    await daemon.until(lambda: not truth.untidy(), "all is tidy")


async def test_a_journal_that_fails_is_answered_503_and_nothing_is_half_accepted(tmp_path):
    async with sabotaged(tmp_path) as (daemon, stage, truth):
        disk, banners = Disk(tmp_path), Banners(stage, truth)
        await daemon.start(*disk.sabotage(JOURNAL))
        for number, (call, error) in enumerate((call, error) for call in JOURNAL for error in ERRORS):
            banner = banners.next()
            disk.fails(error, call)
            for _ in range(2):
                status, headers, answer = await tried(daemon, banner, f"n{number}")
                assert (status, answer["error"]) == (503, "unavailable")
                assert int(headers["Retry-After"]) > 0
            assert "the journal can't be written" in " ".join((await daemon.api("/readyz"))["reasons"])
            disk.is_mended()
            await daemon.until(lambda: is_ready(daemon), "it finds out without a delivery")
            known = {one["id"] for one in (await daemon.api("/api/deliveries"))["deliveries"]}
            assert f"n{number}" not in known
            status, _, answer = await tried(daemon, banner, f"n{number}")
            assert (status, answer["status"]) == (200, "accepted")
            await settled(daemon, truth)
            assert (daemon.root / FOLDER / "a.png").read_bytes() == artwork("png", banners.version)


@pytest.mark.parametrize("error", ERRORS)
async def test_a_mirror_that_fails_takes_no_file_and_loses_none(tmp_path, error):
    async with sabotaged(tmp_path, mirror="keep_versions = 2") as (daemon, stage, truth):
        disk, banners = Disk(tmp_path), Banners(stage, truth)
        await daemon.start(*disk.sabotage(MIRROR))
        for version in range(2):
            await daemon.post(banners.next(), f"first-{version}")
            await settled(daemon, truth)
        for number, call in enumerate(one for one in MIRROR if one != "an unlink"):
            disk.fails(error, call)
            banner = banners.next()
            assert await daemon.post(banner, f"b{number}") == f"b{number}"
            newest = artwork("png", banners.version)
            assert await daemon.post(banners.export(), f"e{number}") == f"e{number}"
            await daemon.until(lambda: reasons(daemon), f"the status says that {call} fails")
            disk.is_mended()
            await settled(daemon, truth)
            assert (daemon.root / FOLDER / "a.png").read_bytes() == newest
            await daemon.until(lambda: is_well(daemon), "the status says that all is well")
            assert not list((daemon.root / ".syncd" / "tmp").iterdir())


async def test_an_older_file_that_could_not_be_removed_goes_once_it_can(tmp_path):
    async with sabotaged(tmp_path) as (daemon, stage, truth):
        broken, banners = tmp_path / "broken", Banners(stage, truth)
        await daemon.start(Sabotage("named no more, not removed", "EIO", held=str(broken)))
        older, newer = banners.next(), banners.next("jpeg")
        await daemon.post(older, "first")
        await settled(daemon, truth)
        broken.touch()
        await daemon.post(newer, "second")
        await daemon.until(lambda: "removals wait" in daemon.log.read_text(), "the removal fails")
        assert (daemon.root / FOLDER / "a.png").exists()
        broken.unlink()
        await daemon.until(lambda: not (daemon.root / FOLDER / "a.png").exists(), "the older file goes")
        assert (daemon.root / FOLDER / "a.jpeg").read_bytes() == artwork("jpeg", 2)


async def test_temps_that_could_not_be_removed_go_with_the_next_start(tmp_path):
    async with sabotaged(tmp_path) as (daemon, stage, truth):
        disk, banners = Disk(tmp_path), Banners(stage, truth)
        await daemon.start(*disk.sabotage(MIRROR))
        await daemon.post(banners.next(), "first")
        await settled(daemon, truth)
        disk.fails("EIO", "a rename", "an unlink")
        await daemon.post(banners.next(), "second")
        await daemon.post(banners.export(), "third")

        async def both_wait():
            return (await daemon.api("/api/status"))["assets"]["pending"] == 2 and await reasons(daemon)

        await daemon.until(both_wait, "the status says why")
        assert list((daemon.root / ".syncd" / "tmp").iterdir())
        disk.is_mended()
        await daemon.until(daemon.is_idle, "the queue empties")
        assert await daemon.stop() == 0
        await daemon.start()
        await settled(daemon, truth)


async def test_a_mirror_that_turns_read_only_is_waited_for(tmp_path):
    async with sabotaged(tmp_path) as (daemon, stage, truth):
        disk, banners = Disk(tmp_path), Banners(stage, truth)
        await daemon.start(*disk.sabotage(MIRROR))
        await daemon.post(banners.next(), "first")
        await settled(daemon, truth)
        disk.fails("EROFS", *MIRROR)
        await daemon.post(banners.next(), "second")
        await daemon.post(banners.export(), "third")

        async def says_why():
            return "Read-only" in " ".join((await daemon.api("/api/status"))["reasons"])

        await daemon.until(says_why, "the status says why")
        assert await daemon.answers(), "and deliveries are taken all the same"
        assert (daemon.root / FOLDER / "a.png").read_bytes() == artwork("png", 1)
        disk.is_mended()
        await settled(daemon, truth)
        assert (daemon.root / FOLDER / "a.png").read_bytes() == artwork("png", 2)
        await daemon.until(lambda: is_well(daemon), "the status says that all is well")


@pytest.fixture
def elsewhere(tmp_path_factory):
    """A folder on another file system."""
    other = Path("/dev/shm")  # noqa: S108 - a file system of its own on every Linux
    if not other.is_dir() or other.stat().st_dev == tmp_path_factory.getbasetemp().stat().st_dev:
        pytest.skip("there is no second file system")
    folder = other / f"syncd-test-{tmp_path_factory.getbasetemp().name}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def free(folder):
    return shutil.disk_usage(folder).free


@pytest.mark.parametrize("low", ["mirror", "journal"])
async def test_min_free_holds_for_the_file_system_that_is_low_and_no_other(tmp_path, elsewhere, low):
    """Mirror and journal lie on two of them; the limit is set between what these have free."""
    narrow, roomy = sorted((tmp_path, elsewhere), key=free)
    mirror, journal = (narrow, roomy) if low == "mirror" else (roomy, narrow)
    async with sabotaged(tmp_path) as (daemon, stage, truth):
        daemon.root = truth.root = mirror / "mirror"
        text = daemon.config.read_text().replace("../mirror", str(daemon.root)).replace("../state", f"{journal}/state")
        enough = text.replace('min_free = "0"', f'min_free = "{(free(narrow) + free(roomy)) // 2}"')
        daemon.config.write_text(enough)
        banner = Banners(stage, truth).next()
        await daemon.begin()

        async def is_up():
            try:
                return await reasons(daemon)
            except aiohttp.ClientError:
                return []

        (reason,) = await daemon.until(is_up, "the status says what is low")
        assert f"the {low} has" in reason
        assert (await tried(daemon, banner, "n1"))[0] == (200 if low == "mirror" else 503)
        assert not (daemon.root / FOLDER).exists()
        daemon.write_config(text)
        await daemon.post(banner, "n1")
        await settled(daemon, truth)
        await daemon.until(lambda: is_well(daemon), "the status says that all is well")
