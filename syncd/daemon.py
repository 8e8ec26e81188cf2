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
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

from aiohttp import web

from syncd import __version__
from syncd.config import Address, Config, load
from syncd.errors import ConfigInvalid, Problem, StoreUnavailable
from syncd.intake.listen import bind, inherited
from syncd.intake.receive import Intake
from syncd.intake.server import Listener, tls_context
from syncd.journal.reading import SqliteReader
from syncd.journal.sqlite import SqliteJournal, open_journal
from syncd.live import Live
from syncd.mirror.limits import Bandwidth
from syncd.observe.admin import admin_app
from syncd.observe.log import configure
from syncd.observe.metrics import Metrics
from syncd.pipeline import Works
from syncd.pipeline.lanes import Line, run_lane, slots_of
from syncd.pipeline.manifests import keep_manifests, write_index, write_stale
from syncd.pipeline.publishing import Publisher
from syncd.pipeline.reading import read_deliveries
from syncd.pipeline.room import Room
from syncd.store.local import LocalTree

log = logging.getLogger(__name__)

_OWNER = "journal id"
_ROOT = "mirror root"
_PRUNE_EVERY = 3600.0
_LAG_EVERY = 0.5
_ADMIN_TIMEOUT = 30.0


def run(config_path: Path) -> int:
    """Run the daemon until it is told to stop; returns the exit code. Raises SyncdError where it can't start."""
    asyncio.run(Daemon(config_path).run())
    return 0


class Daemon:
    """One run of the daemon, from the config at `path` to the exit.

    `ready` is called once deliveries can be accepted, with the addresses of the two listeners.
    `environ` overrides the config as the process's own environment would.
    """

    def __init__(
        self,
        path: Path,
        *,
        ready: Callable[[Daemon], None] = lambda _: None,
        environ: os._Environ[str] | dict[str, str] = os.environ,
    ) -> None:
        self.path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow a symlink that may be swapped
        self.public: Listener
        self.admin: Listener
        self._ready = ready
        self._environ = environ
        self._started_at = time.time()
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._background: set[asyncio.Task[Any]] = set()
        self._inherited = inherited()

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
            journal = await stack.enter_async_context(open_journal(config.journal.path))
            tree = await stack.enter_async_context(_own_tree(journal, config))
            self._reader = stack.enter_context(contextlib.closing(SqliteReader(config.journal.path)))
            self._metrics = Metrics()
            self._live = Live(self.path, self._prepare, self._reloaded, self._environ)
            self._works = Works(journal, tree, self._live, self._metrics, time.time)
            self._room = Room(self._works, tree)
            self._intake = Intake(
                current=lambda: self._live.config,
                accept=journal.accept,
                closed=self._closed,
                count=self._count,
            )
            self._runner = web.AppRunner(admin_app(self), access_log=None)
            await self._runner.setup()
            stack.push_async_callback(self._runner.cleanup)
            await self._live.start()
            stack.push_async_callback(self._live.close)
            await self._room.look()
            with _signals({signal.SIGTERM: self.stop, signal.SIGINT: self.stop, signal.SIGHUP: self._reload_soon}):
                await self._serve()

    async def _serve(self) -> None:
        works = self._works
        publisher = Publisher(works)
        bandwidth = Bandwidth(lambda: self._live.config.download.bandwidth)
        self._lines = [
            Line(lane, works, self._room, publisher, slots_of(works, lane), bandwidth)
            for lane in ("visuals", "exports")
        ]
        works.changed.set()  # the index may be behind what a crash left
        async with asyncio.TaskGroup() as services:

            def serve(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
                return services.create_task(work, name=name)

            publishing = serve(publisher.run(), "publisher")
            manifests = serve(keep_manifests(works, publisher), "manifests")
            reading = serve(read_deliveries(works), "reader")
            lanes = [serve(run_lane(line), f"lane {line.name}") for line in self._lines]
            others = [
                serve(self._live.watch(), "config watch"),
                serve(self._room.watch(), "disk watch"),
                serve(self._forget_old(), "retention"),
                serve(self._watch_loop(), "loop watch"),
            ]
            self.public.open()
            self.admin.open()
            log.info("ready", extra={"listen": str(self._live.config.server.listen), "pid": os.getpid()})
            self._ready(self)
            await self._stop.wait()
            await self._wind_down(lanes)
            for task in (reading, manifests, publishing, *others):
                task.cancel()
        if self._room.mirror_trouble() is None and await write_stale(works):
            await write_index(works)
        await self.admin.drain(0.5)
        await asyncio.gather(*self._background)
        log.info("stopped")

    async def _wind_down(self, lanes: list[asyncio.Task[None]]) -> None:
        """Close the door, then let what is in hand finish within the grace."""
        grace = self._live.config.server.shutdown_grace
        ends = asyncio.get_running_loop().time() + grace
        self._works.stopping.set()
        loop = asyncio.get_running_loop()
        hurry: asyncio.Future[Any] = loop.create_task(self._hurry.wait())
        door = loop.create_task(self.public.drain(grace))
        finished: asyncio.Future[Any] = asyncio.gather(door, *lanes)
        await asyncio.wait([finished, hurry], timeout=grace, return_when=asyncio.FIRST_COMPLETED)
        late = [task for task in lanes if not task.done()]
        if late and asyncio.get_running_loop().time() >= ends:
            log.warning("downloads cut off, they begin again after the next start")
        for task in late:
            task.cancel()
        hurry.cancel()
        await asyncio.gather(door, *lanes, return_exceptions=True)

    # Reload

    async def _prepare(self, old: Config | None, new: Config) -> Callable[[], None]:
        """Open what a new config needs. Nothing of the running one is touched before the answer is called."""
        where = str(self.path)
        try:
            tls = tls_context(new.server.tls)
        except (OSError, ssl.SSLError) as error:
            raise ConfigInvalid([Problem(where, None, "server.tls", str(error))]) from error
        public, admin = None, None
        if old is None and self._inherited is not None:
            public = self._inherited
        elif self._inherited is None and (old is None or old.server.listen != new.server.listen):
            public = _bind(where, "server.listen", new.server.listen)
        try:
            if old is None or old.admin.listen != new.admin.listen:
                admin = _bind(where, "admin.listen", new.admin.listen)
        except ConfigInvalid:
            if public is not None:
                public.close()
            raise
        return lambda: self._put_to_use(old, new, tls, public, admin)

    def _put_to_use(
        self,
        old: Config | None,
        new: Config,
        tls: ssl.SSLContext | None,
        public: Any,
        admin: Any,
    ) -> None:
        configure(new.log.level, new.log.format)
        if public is not None:
            listener = Listener(
                public,
                self._intake.receive,
                timeout=lambda: self._live.config.server.request_timeout,
                inherited=self._inherited is not None,
            )
            self._replace("public", listener, grace=new.server.request_timeout, first=old is None)
        self.public.tls = tls
        if admin is not None:
            server = self._runner.server
            assert server is not None  # noqa: S101 - set up above
            listener = Listener(
                admin, server.request_handler, timeout=lambda: _ADMIN_TIMEOUT, factory=server.request_factory
            )
            self._replace("admin", listener, grace=_ADMIN_TIMEOUT, first=old is None)
        if old is not None:
            for line in self._lines:
                line.slots.refill()
            if old.manifest.checksums != new.manifest.checksums:
                self._in_background(self._rewrite_manifests())

    def _replace(self, name: str, listener: Listener, *, grace: float, first: bool) -> None:
        """Serve another socket; the old one answers what it has, then closes."""
        replaced = None if first else getattr(self, name)
        setattr(self, name, listener)
        if replaced is not None:
            listener.open()
            self._in_background(replaced.drain(grace))

    async def _rewrite_manifests(self) -> None:
        await self._works.journal.rewrite_all()
        self._works.changed.set()

    def _reload_soon(self) -> None:
        self._in_background(self._live.reload())

    def _reloaded(self, ok: bool) -> None:  # noqa: FBT001 - a plain callback
        self._metrics.reload(ok=ok, at=time.time())

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        task.add_done_callback(self._stop_on_bug)

    def _stop_on_bug(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("a background task failed", exc_info=error)
            self._stop.set()

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
        """Why this daemon is not ready to accept deliveries, or not to publish; empty if it is."""
        stopping = ["stopping"] if self._stop.is_set() else []
        return stopping + [reason for reason in (self._room.journal_trouble(), self._room.mirror_trouble()) if reason]

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
        }  # fmt: skip

    def _count(self, source: str, outcome: Any) -> None:
        self._metrics.delivery(source, "", outcome)

    def _closed(self) -> str | None:
        return "shutting down" if self._stop.is_set() and self._hurry.is_set() else self._room.journal_trouble()

    # Small services

    async def _forget_old(self) -> None:
        while True:
            before = time.time() - self._live.config.journal.retention
            more = await self._works.journal.prune(before)
            await asyncio.sleep(0 if more else _PRUNE_EVERY)

    async def _watch_loop(self) -> None:
        """Measure how late the loop runs what is due."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LAG_EVERY
            await asyncio.sleep(_LAG_EVERY)
            self._metrics.loop_lag(max(loop.time() - due, 0.0))


@contextlib.asynccontextmanager
async def _own_tree(journal: SqliteJournal, config: Config) -> AsyncIterator[LocalTree]:
    """The mirror root, made on its first use. One that is absent later is waited for by the room."""
    owner = await journal.recall(_OWNER)
    if owner is None:
        owner = str(uuid.uuid4())
        await journal.note(_OWNER, owner)
    root = config.mirror.root
    known = await journal.recall(_ROOT)
    tree = LocalTree(root, owner, file_mode=config.mirror.file_mode, dir_mode=config.mirror.dir_mode)
    try:
        try:
            await tree.attach(make=known is None)
        except StoreUnavailable as trouble:
            if known != str(root):
                hint = trouble.hint if known is None else f"the tree of this journal was {known}: move it to {root}"
                raise StoreUnavailable(str(trouble), hint=hint) from trouble
            log.error("the mirror is unusable, deliveries wait: %s", trouble)  # noqa: TRY400 - no bug of ours
        else:
            await journal.note(_ROOT, str(root))
        yield tree
    finally:
        await tree.close()


def _bind(file: str, key: str, address: Address) -> Any:
    try:
        return bind(address)
    except OSError as error:
        raise ConfigInvalid([Problem(file, None, key, error.strerror or str(error))]) from error


@contextlib.contextmanager
def _signals(handlers: dict[signal.Signals, Callable[[], None]]) -> Any:
    loop = asyncio.get_running_loop()
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)
