"""One round of the crash matrix: deliveries come, the daemon dies as planned, and nothing may be lost.

A sender repeats each delivery until it has its 200, as the platform does; a reader looks at the
tree all the time, also while nobody runs. After the last planned death the daemon runs
undisturbed, and everything that was ever answered 200 must be published, named and counted.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from crash.saboteur import CALLS, GATED, MIRROR, REFUSED, STEPS, Sabotage
from nursery import born
from running import PATIENCE, SECRET, Running
from truth import Truth

from syncd.demo import payloads
from syncd.demo.artwork import archive, artwork
from syncd.demo.stage import Stage

FOLDER = "Spring sale/medium-rectangle"
BIG = artwork("png", 77) + bytes(3 << 20)
MEMBERS = {f"{number % 3}/{number}.png": artwork("png", 100 + number) for number in range(9)}
PAUSE = 0.01
AT_A_TIME = "at a random time: kill"
LAST_CHANCE = 0.3
"""Seconds that an idle daemon may still take to what is done last, and seen by nobody."""
ERRORS = ("ENOSPC", "EIO", "EROFS", "EDQUOT")


@dataclass(frozen=True, slots=True)
class Life:
    """What is done to one process: sabotage inside it, and SIGKILL `after` so many seconds."""

    sabotage: tuple[Sabotage, ...] = ()
    after: float | None = None


@dataclass(slots=True)
class Plan:
    """The lives before the undisturbed one, and the config they have."""

    lives: Sequence[Life]
    keep_versions: int = 2
    checksums: bool = True
    keep_archive: bool = True
    gated: bool = False
    seed: int = 0


@dataclass(slots=True)
class Told:
    """What a round has to tell: what was done to the daemon, and which deliveries were answered 200."""

    faults: list[str] = field(default_factory=list)
    acknowledged: set[str] = field(default_factory=set)


class Sabotaged(Running):
    """A daemon with a saboteur inside; a start doesn't wait, for it may never be ready."""

    async def begin(self, sabotage: Sequence[Sabotage] = ()) -> None:
        """Start the process."""
        with self.log.open("ab") as log:
            self.process = await born(
                "crash.saboteur:main", str(self.config), str(self.folder / "struck"), stderr=log,
                env={**os.environ, "TEST_SECRET": SECRET, "SABOTAGE": json.dumps([asdict(one) for one in sabotage])},
            )  # fmt: skip

    async def start(self, *sabotage: Sabotage) -> None:
        """Start the process and wait until it accepts."""
        await self.begin(sabotage)
        await self.until(self.answers, "the daemon answers")

    def write_config(self, text: str | None = None, **sections: str) -> None:
        """Write the config, with more patience than a round can have."""
        super().write_config(text, **sections)
        self.config.write_text(self.config.read_text().replace('give_up_after = "3s"', 'give_up_after = "1h"'))

    async def kill(self) -> None:
        """End the process as a power cut does."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def post(self, payload: Any, name: str) -> str:
        """Repeat a delivery until it is answered 200, as the platform does; returns the id it is kept under."""
        while True:
            try:
                status, answer = await self.send(payload, delivery_id=name)
            except (aiohttp.ClientError, TimeoutError):
                pass
            else:
                if status == 200:
                    return str(answer["delivery"])
                assert status == 503, answer
            await asyncio.sleep(PAUSE)

    async def is_idle(self) -> bool:
        """Tell if nothing is left to do and all is indexed; a daemon that doesn't answer is not idle."""
        try:
            status = await self.api("/api/status")
        except (aiohttp.ClientError, ValueError):
            return False
        return status["queue"]["depth"] == 0 and self.is_indexed(status["assets"]["published"])

    def is_sound(self) -> bool:
        """Tell if the journal passes SQLite's own check, or was never begun."""
        path = self.folder / "state" / "journal.db"
        if not path.exists():
            return True
        db = sqlite3.connect(path)
        try:
            return bool(db.execute("PRAGMA integrity_check").fetchone() == ("ok",))
        finally:
            db.close()


@asynccontextmanager
async def sabotaged(folder: Path, **sections: str) -> AsyncIterator[tuple[Sabotaged, Stage, Truth]]:
    """A daemon that is not started yet, a platform and a reader; what still runs at the end is killed."""
    daemon = Sabotaged(folder)
    truth = Truth(daemon.root)
    async with aiohttp.ClientSession() as daemon.session, Stage() as stage, truth.watching():
        daemon.write_config(**sections)
        try:
            yield daemon, stage, truth
        finally:
            if hasattr(daemon, "process"):
                await daemon.kill()


class Round:
    """A play for one daemon: what is delivered, and what must have become of it."""

    def __init__(
        self, daemon: Sabotaged, stage: Stage, truth: Truth, dice: random.Random, *, gated: bool = False
    ) -> None:
        self._daemon, self._stage, self._truth, self._dice, self._gated = daemon, stage, truth, dice, gated
        self.acknowledged: set[str] = set()
        self.newest: dict[str, tuple[int, bytes]] = {}
        truth.exports(MEMBERS.values())

    def banner(self, visual: int, version: int, kind: str = "png", content: bytes | None = None) -> Any:
        """Announce a version of a visual; all versions have one file name."""
        content = content or artwork(kind, 10 * visual + version)
        self._truth.serves(content)
        url = self._stage.put(f"/{visual}/{version}.{kind}", content)
        payload = payloads.new_banner(
            url, visual=visual, version=version, file=payloads.file(url, filename=f"{visual}.{kind}")
        )
        if version > self.newest.get(payload["sharing_id"], (0, b""))[0]:
            self.newest[payload["sharing_id"]] = version, content
        return payload

    def html5(self, visual: int) -> Any:
        """Announce an animated visual, which is a ZIP and the image beside it."""
        package, image = artwork("zip", visual), artwork("jpeg", visual)
        self._truth.serves(package, image)
        file = payloads.file(self._stage.put("/moving.zip", package))
        file["fallback_image_url"] = self._stage.put("/moving.jpeg", image)
        return payloads.new_banner(file["url"], visual=visual, file=file)

    def waves(self) -> tuple[list[Any], ...]:
        """Give what is delivered first, and what comes when that is visible: newer, older, re-typed, repeated.

        Behind a gate the design is approved in the first, rejected in the second, and approved again in a third.
        """
        packed = archive(MEMBERS)
        self._truth.serves(packed)
        first = [
            *(self.banner(visual, 2) for visual in (1, 2, 3)),
            payloads.batch([self.banner(visual, 1) for visual in (4, 5)]),
            payloads.export(self._stage.put("/all.zip", packed)),
        ]
        second = [
            self.banner(1, 3),
            self.banner(1, 1),
            self.banner(2, 3, "jpeg"),
            self.banner(3, 4),
            self.banner(3, 3),
            self.banner(4, 1),
            self.banner(6, 1, content=BIG),
            self.html5(7),
            payloads.template_status("REJECTED" if self._gated else "APPROVED"),
        ]
        third = []
        if self._gated:
            first.append(payloads.template_status("APPROVED", status_updated_at=1788000000))
            third.append(payloads.template_status("APPROVED", status_updated_at=1790000000))
        for wave in (first, second):
            self._dice.shuffle(wave)
        return first, second, third

    async def send_all(self) -> None:
        """Deliver the waves, some at a time, each delivery until it is accepted."""
        for number, wave in enumerate(self.waves()):
            left = deque((f"{number}-{place}", payload) for place, payload in enumerate(wave))

            async def sender(left: deque[tuple[str, Any]] = left) -> None:
                while left:
                    name, payload = left.popleft()
                    self.acknowledged.add(await self._daemon.post(payload, name))

            async with asyncio.TaskGroup() as senders:
                for _ in range(3):
                    senders.create_task(sender())
            seen = [(self._daemon.root / FOLDER / f"{one}.png").exists for one in (1, 2, 3)]
            while number == 0 and not all(exists() for exists in seen):
                await asyncio.sleep(PAUSE)
            while number == 1 and self._gated and any(exists() for exists in seen):
                await asyncio.sleep(PAUSE)

    async def live(self, life: Life, sending: asyncio.Task[None]) -> bool:
        """Let the daemon live until it is killed, or has no work left; tells if that was at a time, from here."""
        await self._daemon.begin(life.sabotage)
        try:
            async with asyncio.timeout(life.after):
                while self._daemon.process.returncode is None:
                    if sending.done() and await self._daemon.is_idle():
                        await asyncio.wait_for(self._daemon.process.wait(), LAST_CHANCE)
                    await asyncio.sleep(PAUSE)
        except TimeoutError:
            timed = life.after is not None
        else:
            timed = False
            assert self._daemon.process.returncode in {-signal.SIGKILL, REFUSED}, "it ended by itself"
        await self._daemon.kill()
        assert self._daemon.is_sound()
        return timed

    async def judge(self) -> None:
        """Hold what there is in the end against what was promised."""
        daemon = self._daemon
        await daemon.until(lambda: not self._truth.untidy(), "all is named and counted, and nothing else is there")
        found = (await daemon.api("/api/deliveries?limit=1000"))["deliveries"]
        outcomes = {delivery["id"]: delivery["outcome"] for delivery in found}
        assert {outcomes[name] for name in self.acknowledged} == {"processed"}
        counted = (await daemon.api("/api/status"))["assets"]
        assert (counted["failed"], counted["pending"], counted.get("held", 0)) == (0, 0, 0)
        entries = json.loads((daemon.root / FOLDER / "manifest.json").read_bytes())["assets"]
        visible = {
            entry["sharing_id"]: (entry["version"], (daemon.root / entry["path"]).read_bytes())
            for entry in entries if not entry.get("superseded") and entry["sharing_id"] in self.newest
        }  # fmt: skip
        assert visible == self.newest
        assert {(daemon.root / FOLDER / f"moving.{kind}").read_bytes() for kind in ("zip", "jpeg")} == {
            artwork("zip", 7), artwork("jpeg", 7),
        }  # fmt: skip
        (export,) = daemon.index()["exports"]
        assert export["files"] == len(MEMBERS)
        assert await daemon.stop() == 0
        assert daemon.is_sound()
        for own in ("tmp", "held"):
            assert not list((daemon.root / ".syncd" / own).iterdir())


async def play(folder: Path, plan: Plan) -> Told:
    """Play a round; raises AssertionError with the plan and the end of the log where a promise was broken."""
    told = Told()
    daemon: Sabotaged | None = None
    sections = {
        "mirror": f"keep_versions = {plan.keep_versions}",
        "manifest": f"checksums = {str(plan.checksums).lower()}\natomic_batches = {str(plan.gated).lower()}",
        "approval": 'publish = ["APPROVED"]' if plan.gated else "",
        "exports": f"keep_archive = {str(plan.keep_archive).lower()}",
    }
    try:
        async with asyncio.timeout(PATIENCE), sabotaged(folder, **sections) as (daemon, stage, truth):
            course = Round(daemon, stage, truth, random.Random(plan.seed), gated=plan.gated)
            told.acknowledged = course.acknowledged
            sending = asyncio.create_task(course.send_all())
            try:
                for life in plan.lives:
                    if await course.live(life, sending):
                        told.faults.append(AT_A_TIME)
                await daemon.start()
                await sending
                await daemon.until(daemon.is_idle, "the queue empties")
                await course.judge()
            finally:
                sending.cancel()
        told.faults += (folder / "struck").read_text().splitlines()
    except Exception as error:
        log = daemon.log.read_text()[-6000:] if daemon and daemon.log.exists() else ""
        raise AssertionError(f"ROUND={plan.seed}: {error!r}\n{plan}\n{told}\n{log}") from error
    return told


def at_step(step: str) -> Plan:
    """Plan one kill at a named step; a recovery needs an earlier one that leaves a question."""
    lives = [Life((Sabotage(step),))]
    if step.startswith("recovery"):
        lives.insert(0, Life((Sabotage("moved, not recorded"),)))
    return Plan(lives, gated=step in GATED)


def drawn(seed: int) -> Plan:
    """Draw a plan: one to three lives, each killed at a step, at a call or at a time, some with a failing disk."""
    dice = random.Random(seed)
    return Plan(
        [_life(dice) for _ in range(dice.randint(1, 3))],
        keep_versions=dice.choice((1, 2, 3)),
        checksums=dice.random() < 0.5,
        keep_archive=dice.random() < 0.5,
        gated=dice.random() < 0.5,
        seed=seed,
    )


def _life(dice: random.Random) -> Life:
    sabotage = []
    if dice.random() < 0.4:
        where, what = dice.choice(MIRROR), dice.choice(ERRORS)
        sabotage.append(Sabotage(where, what, count=dice.randint(1, 30), times=dice.randint(1, 3)))
    match dice.randrange(3):
        case 0:
            return Life((*sabotage, Sabotage(dice.choice(list(STEPS)), count=dice.randint(1, 8))))
        case 1:
            return Life((*sabotage, Sabotage(dice.choice(list(CALLS)), count=dice.randint(1, 60))))
        case _:
            return Life(tuple(sabotage), after=dice.uniform(0.5, 2.0))
