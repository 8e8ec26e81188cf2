"""The daemon: everything wired, supervised and stopped. The only file that wires.

Services are tasks of nested groups: one that fails with a bug takes the others with it, the
process ends with the traceback, and systemd starts it again over a journal that remembers.
Stopping goes the way of the data: no new requests, no new jobs, a grace for what is in hand,
then the manifests, then the journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from syncd import __version__
from syncd.config import Loaded, load
from syncd.errors import JournalUnavailable, SyncdError
from syncd.intake.listen import inherited
from syncd.intake.receive import Intake
from syncd.intake.server import Listener
from syncd.journal.reading import SqliteReader
from syncd.journal.sqlite import open_journal
from syncd.listeners import Listeners
from syncd.live import Live
from syncd.mirror.limits import Bandwidth
from syncd.mirror.outages import Outages
from syncd.observe.admin import admin_app
from syncd.observe.log import configure
from syncd.observe.metrics import Metrics
from syncd.pipeline import Works, first_of
from syncd.pipeline.lanes import Line, run_lane, slots_of
from syncd.pipeline.manifests import keep_manifests
from syncd.pipeline.publishing import Publisher
from syncd.pipeline.reading import read_deliveries
from syncd.pipeline.room import Room, open_tree
from syncd.sources.abyssale_api import AbyssaleApi

log = logging.getLogger(__name__)

_PRUNE_EVERY = 3600.0
_ORDERS_EVERY = 0.5
_LAG_EVERY = 1.0
_LAST_LOOK = 0.5  # seconds in which the admin listener answers what it has been asked
_ADMIN_TIMEOUT = 30.0


def run(config_path: Path) -> int:
    """Run the daemon until it is told to stop; returns the exit code. Raises SyncdError where it can't start."""
    asyncio.run(Daemon(config_path).run())
    return 0


class Daemon:
    """One run of the daemon, from the config at `path` to the exit.

    `ready` is called once deliveries can be accepted. `environ` overrides the config as the
    process's own environment would.
    """

    def __init__(
        self,
        path: Path,
        *,
        ready: Callable[[], None] = lambda: None,
        environ: os._Environ[str] | dict[str, str] = os.environ,
    ) -> None:
        self.path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow a symlink that may be swapped
        self._ready = ready
        self._environ = environ
        self._started_at = time.time()
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._reload = asyncio.Event()
        self._lines: list[Line] = []
        self._metrics = Metrics()

    def stop(self) -> None:
        """Begin an orderly stop; called again, don't wait for what is in hand."""
        if self._stop.is_set():
            log.warning("stopping at once")
            self._hurry.set()
        else:
            log.info("stopping")
            self._stop.set()

    async def run(self) -> None:
        """Run until `stop`. Raises SyncdError where it can't start, and any bug of a service."""
        config = load(self.path, self._environ).config
        configure(config.log.level, config.log.format)
        async with contextlib.AsyncExitStack() as stack:
            handlers = {signal.SIGTERM: self.stop, signal.SIGINT: self.stop, signal.SIGHUP: self._reload.set}
            stack.enter_context(_signals(handlers))
            journal = await stack.enter_async_context(open_journal(config.journal.path))
            tree = await stack.enter_async_context(open_tree(journal, config))
            self._reader = stack.enter_context(contextlib.closing(SqliteReader(config.journal.path)))
            self._api = AbyssaleApi()
            stack.push_async_callback(self._api.close)
            self._live = Live(self.path, self._prepare, self._reloaded, self._environ)
            self._works = Works(journal, tree, self._live, self._metrics, time.time)
            self._room = Room(self._works, tree)
            self._listeners = await self._make_listeners(stack)
            await self._live.start()
            stack.push_async_callback(self._live.close)
            await self._room.look()
            await self._serve()

    async def _make_listeners(self, stack: contextlib.AsyncExitStack) -> Listeners:
        intake = Intake(
            current=lambda: self._live.config,
            accept=self._works.journal.accept,
            closed=self._refusing,
            count=self._count,
        )
        runner = web.AppRunner(admin_app(self), access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        insight = runner.server
        assert insight is not None  # noqa: S101 - set up just now
        try:
            passed = inherited()
        except OSError as error:
            raise SyncdError(error.strerror or str(error)) from error

        def public(sock: socket.socket) -> Listener:
            return Listener(
                sock,
                intake.receive,
                timeout=lambda: self._live.config.server.request_timeout,
                inherited=sock is passed,
            )

        def admin(sock: socket.socket) -> Listener:
            return Listener(
                sock, insight.request_handler, timeout=lambda: _ADMIN_TIMEOUT, factory=insight.request_factory
            )

        return Listeners({"server": public, "admin": admin}, passed=passed)

    async def _serve(self) -> None:
        works = self._works
        publisher = Publisher(works)
        bandwidth, outages = Bandwidth(lambda: self._live.config.download.bandwidth), Outages()
        self._lines = [
            Line(lane, works, self._room, publisher, slots_of(works, lane), bandwidth, outages, self._api)
            for lane in ("visuals", "exports")
        ]
        async with asyncio.TaskGroup() as services:

            def serve(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
                return services.create_task(work, name=name)

            reloading = [serve(self._live.watch(), "config watch"), serve(self._reload_when_asked(), "reload")]
            publishing = serve(publisher.run(), "publisher")
            manifests = serve(keep_manifests(works, publisher, self._room), "manifests")
            lanes = [serve(run_lane(line), f"lane {line.name}") for line in self._lines]
            others = [
                serve(read_deliveries(works), "reader"),
                serve(self._room.watch(), "disk watch"),
                serve(self._forget_old(), "retention"),
                serve(self._notice_orders(), "orders"),
                serve(self._watch_loop(), "loop watch"),
            ]
            self._listeners.open(services)
            where = {"listen": str(self._listeners.address("server")), "admin": str(self._listeners.address("admin"))}
            log.info("ready", extra={**where, "pid": os.getpid()})
            self._ready()
            await self._stop.wait()
            await _end(*reloading)
            await self._wind_down(lanes)
            works.finished.set()
            await manifests
            await _end(publishing, *others)
            await self._listeners.close("admin", _LAST_LOOK)
        log.info("stopped")

    async def _wind_down(self, lanes: list[asyncio.Task[None]]) -> None:
        """Stop listening, then let what is in hand finish within the grace."""
        grace = self._live.config.server.shutdown_grace
        self._works.stopping.set()
        draining = asyncio.create_task(self._listeners.close("server", grace), name="drain")
        finished = asyncio.gather(draining, *lanes, return_exceptions=True)
        finished.add_done_callback(lambda _: self._hurry.set())
        await first_of(grace, self._hurry)
        if any(not lane.done() for lane in lanes):
            log.warning("downloads cut off, they begin again after the next start")
        self._listeners.close_replaced()
        await _end(draining, *lanes)

    # Reload

    async def _prepare(self, loaded: Loaded) -> Callable[[], None]:
        """Open what a new config needs. Nothing of the running one is touched before the answer is called."""
        switch = await self._listeners.prepare(loaded)

        def put_to_use() -> None:
            configure(loaded.config.log.level, loaded.config.log.format)
            switch()
            self._room.judge()
            for line in self._lines:
                line.slots.refill()
            self._works.changed.set()  # manifests may be written in another way

        return put_to_use

    async def _reload_when_asked(self) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            await self._live.reload()

    def _reloaded(self, ok: bool) -> None:  # noqa: FBT001 - a plain callback
        self._metrics.reload(ok=ok, at=time.time())

    # Insight

    @property
    def reader(self) -> SqliteReader:
        """What the admin pages read."""
        return self._reader

    @property
    def metrics(self) -> Metrics:
        """What the admin listener exposes."""
        return self._metrics

    def reasons(self) -> list[str]:
        """Why no delivery should be sent here now; empty if this daemon is ready."""
        return list(filter(None, ["stopping" if self._stop.is_set() else None, self._room.journal_trouble()]))

    def live(self) -> dict[str, Any]:
        """The part of the status that only the running daemon knows."""
        generation, error = self._live.current, self._live.error
        return {
            "version": __version__,
            "started_at": self._started_at,
            "config": {
                "path": str(self.path),
                "generation": generation.number,
                "loaded_at": generation.loaded_at,
                "error": error and {
                    "message": error.message, "file": error.file, "line": error.line, "key": error.key or None,
                },
            },
            "disk": {"mirror_free": self._room.mirror_free, "journal_free": self._room.journal_free},
            "waiting": list(filter(None, [self._room.mirror_trouble()])),
        }  # fmt: skip

    def _count(self, source: str, outcome: Any) -> None:
        self._metrics.delivery(source, "", outcome)

    def _refusing(self) -> str | None:
        return "shutting down" if self._hurry.is_set() else self._room.journal_trouble()

    # Small services

    async def _forget_old(self) -> None:
        while True:
            before = time.time() - self._live.config.journal.retention
            try:
                more = await self._works.journal.prune(before)
            except JournalUnavailable as trouble:
                log.warning("old deliveries stay: %s", trouble)
                more = 0
            await asyncio.sleep(0 if more else _PRUNE_EVERY)

    async def _notice_orders(self) -> None:
        """Look for work when a command has changed the journal."""
        works = self._works
        while True:
            await asyncio.sleep(_ORDERS_EVERY)
            try:
                disturbed = await works.journal.disturbed()
            except JournalUnavailable as trouble:
                log.warning("orders wait: %s", trouble)
                continue
            if disturbed:
                works.journal.arrived.set()
                works.wake_lanes()
                works.changed.set()

    async def _watch_loop(self) -> None:
        """Measure how late the loop runs what is due."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LAG_EVERY
            await asyncio.sleep(_LAG_EVERY)
            self._metrics.loop_lag(max(loop.time() - due, 0.0))


async def _end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait until they are gone. What they raise is for the group that they belong to."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.contextmanager
def _signals(handlers: Mapping[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)
