"""What there is to see on the admin listener, one function a view.

Each takes what it needs of the daemon and the journal through a `Desk`, and gives an answer or
raises why there is none. Who may see it is `admin`'s business.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

import orjson

from syncd.errors import Ambiguous, JournalUnavailable, Problem
from syncd.journal.reading import SqliteReader
from syncd.model import AssetState, Outcome
from syncd.observe import page
from syncd.observe.metrics import CONTENT_TYPE, Metrics
from syncd.observe.status import status
from syncd.observe.visit import Visit, limit_of, one_of, read_query, source_of
from syncd.observe.visitors import is_from_a_page
from syncd.web import answers
from syncd.web.answers import JSON, Answer, Refused, Stream

log = logging.getLogger(__name__)

Found = TypeVar("Found")

PRIVATE: Mapping[str, str] = MappingProxyType({"X-Content-Type-Options": "nosniff"})
"""Headers of each answer, beside those that every one has."""
RELOAD = "/-/reload"
"""Where a reload is asked for, by POST; all else is there to GET."""

_ON_THE_PAGE = 25
_ASSETS_AT_ONCE = 500
_DELIVERY = re.compile(r"/api/deliveries/([^/]+)")


class Insight(Protocol):
    """What the daemon lets be seen of itself."""

    @property
    def reader(self) -> SqliteReader:
        """The journal; used from one thread alone."""

    @property
    def metrics(self) -> Metrics:
        """The numbers since the start."""

    def reasons(self) -> list[str]:
        """Why nothing can be accepted now; empty: ready."""

    def take_stock(self) -> None:
        """Set those of the numbers that nobody counts, but that can be looked up."""

    def live(self) -> dict[str, Any]:
        """The part of the status that only the daemon knows; see `status`."""

    async def reload(self) -> Sequence[Problem]:
        """Put the config on disk in force; what is wrong with it where that can't be."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What a view has to work with; `thread` is the one in which the journal is read."""

    insight: Insight
    thread: ThreadPoolExecutor

    def ask(self, question: Callable[[], Found]) -> asyncio.Future[Found]:
        """Ask the journal."""
        return asyncio.get_running_loop().run_in_executor(self.thread, question)


View = Callable[[Desk, Visit], Awaitable[Answer]]
"""Raises Refused where it can't be asked like that, and JournalUnavailable."""


def view_of(path: str) -> View | None:
    """Return what there is to see at a path."""
    return _VIEWS.get(path) or (_delivery if _DELIVERY.fullmatch(path) else None)


async def _healthz(_desk: Desk, _visit: Visit) -> Answer:
    return _json({"status": "alive"})


async def _readyz(desk: Desk, _visit: Visit) -> Answer:
    reasons = desk.insight.reasons()
    return _json({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)


async def _metrics(desk: Desk, _visit: Visit) -> Answer:
    """The numbers, with those brought up to date that are only looked up when somebody asks."""
    insight = desk.insight
    insight.take_stock()
    try:
        await desk.ask(partial(_take_stock, insight.metrics, insight.reader))
    except JournalUnavailable as error:  # the other numbers are wanted now more than ever
        log.warning("the journal can't be read", extra={"reason": str(error)})
    return answers.said(200, insight.metrics.expose(), CONTENT_TYPE, PRIVATE)


def _take_stock(metrics: Metrics, reader: SqliteReader) -> None:
    """Set what the journal knows."""
    with reader.snapshot():
        metrics.queue(*reader.queue(time.time()))
        metrics.standing(reader.counts())
        metrics.failures(*reader.failing())
        metrics.messages(*reader.telling())
        metrics.received(reader.newest())


async def _page(desk: Desk, _visit: Visit) -> Answer:
    picture, reader = _picture(desk.insight), desk.insight.reader
    text = await desk.ask(lambda: page.render(picture(), reader.deliveries(limit=_ON_THE_PAGE)))
    headers = {**PRIVATE, "Content-Security-Policy": page.SECURITY_POLICY}
    return answers.said(200, text.encode(), "text/html; charset=utf-8", headers)


async def _status(desk: Desk, _visit: Visit) -> Answer:
    return _json(await desk.ask(_picture(desk.insight)))


def _picture(insight: Insight) -> Callable[[], dict[str, Any]]:
    """The question how things are; what the daemon knows itself is taken at once."""
    return partial(
        status,
        insight.live(),
        reasons=insight.reasons(),
        deliveries=dict(insight.metrics.deliveries),
        reader=insight.reader,
        now=time.time(),
    )


async def _reload(desk: Desk, visit: Visit) -> Answer:
    """Reload as SIGHUP does, and say what came of it. A browser's request is refused: no page of ours makes one."""
    if is_from_a_page(visit.named):
        raise Refused("origin", "a reload is not for pages; use syncd reload, or curl")
    problems = await desk.insight.reload()
    if not problems:
        return _json({"generation": desk.insight.live()["config"]["generation"]})
    listed = [asdict(problem) for problem in problems]
    detail = "the config on disk is not valid; the one in force stays"
    return _json({"error": "config", "detail": detail, "problems": listed}, answers.status_of("config"))


async def _deliveries(desk: Desk, visit: Visit) -> Answer:
    query = read_query(visit, "limit", "source", "outcome")
    question = partial(
        desk.insight.reader.deliveries,
        limit=limit_of(query.get("limit")),
        source=source_of(query.get("source")),
        outcome=one_of(Outcome, "outcome", query.get("outcome")),
    )
    # One by one, in the thread: of a thousand with a thousand assets each, one call would stop all others.
    listed = await desk.ask(lambda: b",".join(map(orjson.dumps, question())))
    return answers.said(200, b'{"deliveries":[' + listed + b"]}", headers=PRIVATE)


async def _delivery(desk: Desk, visit: Visit) -> Answer:
    try:
        found = await desk.ask(partial(desk.insight.reader.delivery, visit.path.rpartition("/")[2]))
    except Ambiguous as error:
        raise Refused("ambiguous", str(error)) from None
    if found is None:
        raise Refused("not_found", "no delivery has this id")
    return _json(found)


async def _assets(desk: Desk, visit: Visit) -> Answer:
    """All of them, told as they are read: there may be millions."""
    assets = desk.insight.reader.assets(one_of(AssetState, "state", read_query(visit, "state").get("state")))

    def some() -> bytes:
        return b",".join(map(orjson.dumps, islice(assets, _ASSETS_AT_ONCE)))

    first = await desk.ask(some)  # before anything is said: it may have to be a 503
    if not first:
        return _json({"assets": []})
    ended = False

    def following() -> bytes:
        nonlocal ended
        if ended:
            return b""
        more = some()
        ended = not more
        return b"]}" if ended else b"," + more

    return Stream(answers.head(200, JSON, PRIVATE), b'{"assets":[' + first, partial(desk.ask, following))


def _json(said: Any, code: int = 200) -> Answer:
    return answers.said(code, orjson.dumps(said), headers=PRIVATE)


_VIEWS: Mapping[str, View] = {
    "/": _page,
    "/healthz": _healthz,
    "/readyz": _readyz,
    "/metrics": _metrics,
    "/api/status": _status,
    "/api/deliveries": _deliveries,
    "/api/assets": _assets,
    RELOAD: _reload,
}
