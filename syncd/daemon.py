"""The daemon: everything wired, supervised and stopped. The only file that wires.

Services are tasks of nested groups: one that fails with a bug takes the others with it, the
process ends with the traceback, and systemd starts it again over a journal that remembers.
Stopping goes the way of the data: no new requests, no new jobs, a grace for what is in hand,
then the manifests, then the journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any

from syncd import __version__, supervisor
from syncd.config import Config, Loaded, load
from syncd.errors import JournalUnavailable, SyncdError
from syncd.insight import Insight
from syncd.intake.receive import Intake
from syncd.journal.reading import SqliteReader
from syncd.journal.sqlite import open_journal
from syncd.journal.whereabouts import WHEREABOUTS, Whereabouts
from syncd.listeners import Listeners
from syncd.live import Live
from syncd.mirror.limits import Bandwidth
from syncd.mirror.outages import Outages
from syncd.observe.admin import Admin
from syncd.observe.log import configure
from syncd.observe.loop import LoopWatch
from syncd.observe.metrics import Metrics
from syncd.observe.silence import Silence
from syncd.observe.telling import Telling
from syncd.pipeline import Works, first_of, rules_of
from syncd.pipeline.asking import ask_platforms
from syncd.pipeline.catching_up import catch_up
from syncd.pipeline.gates import keep_gates
from syncd.pipeline.lanes import Line, run_lane, slots_of
from syncd.pipeline.manifests import keep_manifests
from syncd.pipeline.publishing import Publisher
from syncd.pipeline.pulse import report
from syncd.pipeline.reading import read_deliveries
from syncd.pipeline.room import Room, open_tree
from syncd.pipeline.upkeep import forget_old, notice_orders, watch_clock
from syncd.sources.table import open_apis
from syncd.web.listen import inherited
from syncd.web.server import Listener

log = logging.getLogger(__name__)

_LAST_REQUESTS = 5.0  # seconds for those that came to systemd's socket before it was left to the next process
_LAST_WRITES = 30.0  # seconds that manifests and journal may take after the grace
_TURN = 0.0005  # seconds
_GARBAGE = 20_000  # objects, until it is looked for: with the usual 700 the looking is a tenth of a banner's cost
_LAST_LOOK = 0.5  # seconds in which the admin listener answers what it has been asked
_ADMIN_TIMEOUT = 30.0
_OPEN_FILES = 16_384  # two listeners full of connections, downloads, and the folders of deep trees
_NOTED_AGAIN = 5.0


def run(config_path: Path) -> int:
    """Run the daemon until it is told to stop; returns the exit code. Raises SyncdError where it can't start."""
    # Some threads compute for long: this is how long they may keep the loop from the interpreter.
    sys.setswitchinterval(_TURN)
    _allow_open_files()
    daemon = Daemon(config_path)
    with asyncio.Runner(loop_factory=daemon.new_loop) as runner:
        runner.run(daemon.run())
    return 0


def work_off(config_path: Path, work: Callable[[], None]) -> None:
    """Run the pipeline, without listeners, for as long as `work` gives it orders and waits for them in a thread.

    Raises InUse where a daemon runs, SyncdError where this can't start, and what `work` raises.
    """

    async def beside() -> None:
        ready = asyncio.Event()
        daemon = Daemon(config_path, ready=ready.set, listens=False)
        running = asyncio.create_task(daemon.run(), name="daemon")
        running.add_done_callback(lambda _: ready.set())
        try:
            await ready.wait()
            if not running.done():
                await asyncio.to_thread(work)
        finally:
            if not running.done():
                daemon.stop()
            await running

    asyncio.run(beside())


class Daemon:
    """One run of the daemon, from the config at `path` to the exit.

    `ready` is called once deliveries can be accepted; without `listens` none are, and all else is
    done. `environ` overrides the config as the process's own environment would.
    """

    def __init__(
        self,
        path: Path,
        *,
        ready: Callable[[], None] = lambda: None,
        listens: bool = True,
        environ: os._Environ[str] | dict[str, str] = os.environ,
    ) -> None:
        self.path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow a symlink that may be swapped
        self._ready = ready
        self._listens = listens
        self._environ = environ
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._reload = asyncio.Event()
        self._moved = asyncio.Event()
        self._lines: list[Line] = []
        self._metrics = Metrics()

    def new_loop(self) -> asyncio.AbstractEventLoop:
        """Make an event loop that is watched for hold-ups, in the thread where it will run."""
        return asyncio.SelectorEventLoop(LoopWatch(self._metrics.stalled))

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
        config = (await asyncio.to_thread(load, self.path, self._environ)).config
        configure(config.log.level, config.log.format)
        async with contextlib.AsyncExitStack() as stack:
            handlers = {signal.SIGTERM: self.stop, signal.SIGINT: self.stop, signal.SIGHUP: self._reload.set}
            stack.enter_context(_signals(handlers))
            async with supervisor.starting():
                await self._open(config, stack)
            await self._serve()

    async def _open(self, config: Config, stack: contextlib.AsyncExitStack) -> None:
        """Open what the services share; closed by `stack`."""
        journal = await stack.enter_async_context(open_journal(config.journal.path, self._metrics.committed))
        tree = await stack.enter_async_context(open_tree(journal, config))
        reader = stack.enter_context(contextlib.closing(SqliteReader(config.journal.path)))
        self._apis = open_apis()
        for api in self._apis.values():
            stack.push_async_callback(api.close)
        self._live = Live(self.path, self._prepare, self._reloaded, self._environ)
        self._works = Works(journal, tree, self._live, self._metrics, time.time)
        outbox = journal.outbox
        self._telling = Telling(outbox, self._config, rules_of, self._metrics.message, time.time)
        self._silence = Silence(journal, outbox, self._config, rules_of, time.time)
        self._room = Room(self._works, tree, self._telling.note)
        self._outages = Outages()
        self._insight = Insight(self._works, self._room, self._outages, reader, self._stop)
        self._listeners = await self._make_listeners(stack) if self._listens else Listeners({}, passed=None)
        await self._live.start()
        stack.push_async_callback(self._live.close)
        await self._room.look()

    async def _make_listeners(self, stack: contextlib.AsyncExitStack) -> Listeners:
        intake = Intake(
            current=lambda: self._live.config,
            accept=self._works.journal.accept,
            closed=self._refusing,
            count=self._count,
            refused=self._metrics.refused,
        )
        visited = Admin(self._insight)
        stack.push_async_callback(visited.close)
        try:
            passed = inherited()
        except OSError as error:
            raise SyncdError(error.strerror or str(error)) from error

        def public(sock: socket.socket) -> Listener:
            return Listener(
                sock,
                intake,
                timeout=lambda: self._live.config.server.request_timeout,
                inherited=sock is passed,
            )

        def admin(sock: socket.socket) -> Listener:
            return Listener(sock, visited, timeout=lambda: _ADMIN_TIMEOUT)

        return Listeners({"server": public, "admin": admin}, passed=passed)

    async def _serve(self) -> None:
        works = self._works
        publisher = Publisher(works)
        bandwidth = Bandwidth(lambda: self._live.config.download.bandwidth)
        self._lines = [
            Line(lane, works, self._room, publisher, slots_of(works, lane), bandwidth, self._outages, self._apis)
            for lane in ("visuals", "exports")
        ]
        async with asyncio.TaskGroup() as services:

            def serve(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
                return services.create_task(work, name=name)

            reloading = [serve(self._live.watch(), "config watch"), serve(self._reload_when_asked(), "reload")]
            publishing = serve(publisher.run(), "publisher")
            manifests = serve(keep_manifests(works, publisher, self._room), "manifests")
            lanes = [serve(run_lane(line), f"lane {line.name}") for line in self._lines]
            gates = serve(keep_gates(works, publisher, self._room), "gates")
            others = [
                serve(read_deliveries(works), "reader"),
                serve(ask_platforms(works, self._apis), "questions"),
                *([serve(catch_up(works, self._apis), "catching up")] if self._listens else []),
                *([serve(self._keep_whereabouts(), "whereabouts")] if self._listens else []),
                serve(self._room.watch(), "disk watch"),
                serve(forget_old(works), "retention"),
                serve(watch_clock(works), "clock"),
                serve(notice_orders(works, self._outages, self._telling.stir), "orders"),
                serve(report(works, publisher, self._room), "pulse"),
                serve(self._telling.run(), "telling"),
                serve(self._silence.watch(), "silence"),
            ]
            self._listeners.open(services)
            gc.collect()
            gc.set_threshold(_GARBAGE)
            gc.freeze()  # what is here stays, and need not be looked at again and again while the loop waits
            if self._listens:
                listen, admin = (str(self._listeners.address(name)) for name in ("server", "admin"))
                facts = {"listen": listen, "admin": admin, "pid": os.getpid(), "version": __version__}
                log.info("ready", extra={**facts, "config": str(self.path)})
            supervisor.tell(READY=1, STATUS="ready")
            self._ready()
            await self._stop.wait()
            supervisor.tell_of_stopping(self._live.config.server.shutdown_grace + _LAST_WRITES)
            await _end(*reloading, *self._insight.reloads)
            await self._wind_down([*lanes, gates])
            works.finished.set()
            await manifests
            await _end(publishing, *others)
            await self._listeners.close("admin", _LAST_LOOK)
        log.info("stopped")

    async def _wind_down(self, lanes: list[asyncio.Task[None]]) -> None:
        """Stop listening, then let what is in hand finish within the grace.

        On a socket of systemd's, what comes meanwhile would wait for the next process: there,
        deliveries are taken until all else has finished.
        """
        grace = self._live.config.server.shutdown_grace
        self._works.stopping.set()
        finishing, finished = list(lanes), asyncio.Event()
        if not self._listeners.outlive:
            finishing.append(asyncio.create_task(self._listeners.close("server", grace), name="drain"))
        asyncio.gather(*finishing, return_exceptions=True).add_done_callback(lambda _: finished.set())
        await first_of(grace, self._hurry, finished)
        if any(not lane.done() for lane in lanes):
            log.warning("downloads cut off, they begin again after the next start")
        self._listeners.close_replaced()
        await _end(*finishing)
        await self._listeners.close("server", 0.0 if self._hurry.is_set() else _LAST_REQUESTS)

    # Reload

    async def _prepare(self, loaded: Loaded) -> Callable[[], None]:
        """Open what a new config needs. Nothing of the running one is touched before the answer is called."""
        switch = await self._listeners.prepare(loaded)

        def put_to_use() -> None:
            configure(loaded.config.log.level, loaded.config.log.format)
            switch()
            self._moved.set()
            self._room.judge()
            for line in self._lines:
                line.slots.refill()
            self._works.changed.set()  # manifests may be written in another way
            self._works.gates.set()
            self._telling.stir()
            self._silence.changed.set()

        return put_to_use

    async def _reload_when_asked(self) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            await self._live.reload()

    async def _keep_whereabouts(self) -> None:
        """Note where commands find this daemon, now and after each reload."""
        while True:
            await self._moved.wait()
            self._moved.clear()
            server, admin = (str(self._listeners.address(name)) for name in ("server", "admin"))
            here = Whereabouts(str(os.getpid()), server, admin, str(self._live.config.mirror.root))
            try:
                await self._works.journal.note(WHEREABOUTS, str(here))
            except JournalUnavailable:
                await asyncio.sleep(_NOTED_AGAIN)
                self._moved.set()

    def _reloaded(self, ok: bool) -> None:  # noqa: FBT001 - a plain callback
        self._metrics.reload(ok=ok, at=time.time())
        if (error := self._live.error) is not None and not ok:
            facts = {"file": error.file, "line": error.line, "key": error.key or None}
            self._telling.note("config.rejected", str(self.path), reason=str(error), **facts)

    def _count(self, source: str, outcome: Any) -> None:
        self._metrics.delivery(source, "", outcome)

    def _config(self) -> Config:
        return self._live.config

    def _refusing(self) -> str | None:
        return "shutting down" if self._hurry.is_set() else self._room.journal_trouble()


async def _end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait until they are gone. What they raise is for the group that they belong to."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _allow_open_files() -> None:
    """Have as many files open as we may: shells give 1024, which silent connections alone could use up."""
    with contextlib.suppress(OSError, ValueError):  # a sandbox may forbid even to ask
        usual, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        if usual < min(most, _OPEN_FILES):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, _OPEN_FILES), most))


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
