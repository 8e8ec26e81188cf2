"""The admin listener's answers: health, metrics, the status page and its JSON (contract: "HTTP").

It is meant for the machine or a trusted network; a page elsewhere can't read it through a visitor's
browser, whatever name it makes its address resolve to, nor ask for the one thing that is not
read-only, a reload. The journal is read in a thread of its own, so that a long list never holds up a
delivery.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from itertools import islice
from typing import Any, Literal, Protocol, TypeVar, get_args

import orjson
from aiohttp import web

from syncd.errors import Ambiguous, JournalUnavailable, Problem
from syncd.journal.reading import SqliteReader
from syncd.model import AssetState, Outcome
from syncd.observe import page
from syncd.observe.metrics import CONTENT_TYPE, Metrics
from syncd.observe.status import status
from syncd.observe.visitors import is_from_a_page, is_ours

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")
Handler = Callable[[web.Request], Any]

MOST_DELIVERIES = 1000
"""The most that one request lists."""
RELOAD = "/-/reload"
"""Where a reload is asked for, by POST."""

_USUAL_DELIVERIES = 100
_ON_THE_PAGE = 25
_ASSETS_AT_ONCE = 500
_LIMIT = re.compile(r"[0-9]{1,4}")
_SOURCE = re.compile(r"[a-z0-9_-]{1,64}")
_PRIVATE = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Server": "syncd",  # without this, aiohttp names itself and its version
}
_THREAD = web.AppKey("thread", ThreadPoolExecutor)


class Insight(Protocol):
    """What the daemon lets be seen of itself."""

    @property
    def reader(self) -> SqliteReader:
        """The journal; used from one thread of the app's own."""

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


def admin_app(insight: Insight) -> web.Application:
    """Make the application. It has no state beyond its thread, which ends with its runner's cleanup."""
    app = web.Application(middlewares=[_guard])
    app.on_response_prepare.append(_keep_private)
    app.cleanup_ctx.append(_thread)
    routes: dict[str, Callable[[Insight, web.Request], Any]] = {
        "/healthz": _healthz,
        "/readyz": _readyz,
        "/metrics": _metrics,
        "/": _page,
        "/api/status": _status,
        "/api/deliveries": _deliveries,
        "/api/deliveries/{id}": _delivery,
        "/api/assets": _assets,
    }
    app.add_routes([web.get(path, partial(handler, insight)) for path, handler in routes.items()])
    app.add_routes([web.post(RELOAD, partial(_reload, insight))])
    return app


# ---- around every answer ----


async def _thread(app: web.Application) -> AsyncIterator[None]:
    with ThreadPoolExecutor(1, "admin") as thread:
        app[_THREAD] = thread
        yield


async def _keep_private(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_PRIVATE)


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse other hosts' names, and answer what goes wrong in JSON."""
    if not is_ours(request.headers.get("Host", "")):
        return _refusal(403, "host", "ask by address, or by this machine's own name")
    try:
        response: web.StreamResponse = await handler(request)
    except _BadQuery as bad:
        return _refusal(400, "query", str(bad))
    except Ambiguous as error:
        return _refusal(409, "ambiguous", str(error))
    except JournalUnavailable as error:
        log.warning("the journal can't be read", extra={"reason": str(error)})
        return _refusal(503, "unavailable", str(error))
    except web.HTTPException as error:
        answer = _refusal(error.status, error.reason.lower().replace(" ", "_"))
        if allowed := error.headers.get("Allow"):
            answer.headers["Allow"] = allowed
        return answer
    return response


def _refusal(code: int, word: str, detail: str = "") -> web.Response:
    return _json({"error": word, "detail": detail} if detail else {"error": word}, code)


def _json(said: Any, code: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(said), status=code, content_type="application/json")


async def _ask(request: web.Request, question: Callable[[], Answer]) -> Answer:
    """Ask the journal, in the one thread that does."""
    return await asyncio.get_running_loop().run_in_executor(request.app[_THREAD], question)


# ---- the answers ----


async def _healthz(_insight: Insight, _request: web.Request) -> web.Response:
    return _json({"status": "alive"})


async def _readyz(insight: Insight, _request: web.Request) -> web.Response:
    reasons = insight.reasons()
    return _json({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)


async def _metrics(insight: Insight, request: web.Request) -> web.Response:
    """The numbers, with those brought up to date that are only looked up when somebody asks."""
    metrics = insight.metrics
    insight.take_stock()
    try:
        await _ask(request, partial(_take_stock, metrics, insight.reader))
    except JournalUnavailable as error:  # the other numbers are wanted now more than ever
        log.warning("the journal can't be read", extra={"reason": str(error)})
    return web.Response(body=metrics.expose(), headers={"Content-Type": CONTENT_TYPE})


def _take_stock(metrics: Metrics, reader: SqliteReader) -> None:
    """Set what the journal knows."""
    with reader.snapshot():
        metrics.queue(*reader.queue(time.time()))
        metrics.standing(reader.counts())
        metrics.failures(*reader.failing())
        metrics.messages(*reader.telling())
        metrics.received(reader.newest())


async def _page(insight: Insight, request: web.Request) -> web.Response:
    picture = _picture(insight)
    text = await _ask(request, lambda: page.render(picture(), insight.reader.deliveries(limit=_ON_THE_PAGE)))
    return web.Response(
        text=text,
        content_type="text/html",
        headers={"Content-Security-Policy": page.SECURITY_POLICY},
    )


async def _status(insight: Insight, request: web.Request) -> web.Response:
    return _json(await _ask(request, _picture(insight)))


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


async def _reload(insight: Insight, request: web.Request) -> web.Response:
    """Reload as SIGHUP does, and say what came of it. A browser's request is refused: no page of ours makes one."""
    if is_from_a_page(request.headers):
        return _refusal(403, "origin", "a reload is not for pages; use syncd reload, or curl")
    problems = await insight.reload()
    if not problems:
        return _json({"generation": insight.live()["config"]["generation"]})
    listed = [asdict(problem) for problem in problems]
    detail = "the config on disk is not valid; the one in force stays"
    return _json({"error": "config", "detail": detail, "problems": listed}, 422)


async def _deliveries(insight: Insight, request: web.Request) -> web.Response:
    query = _query(request, "limit", "source", "outcome")
    question = partial(
        insight.reader.deliveries,
        limit=_limit(query.get("limit")),
        source=_source(query.get("source")),
        outcome=_one_of(Outcome, "outcome", query.get("outcome")),
    )
    # One by one, in the thread: of a thousand with a thousand assets each, one call would stop all others.
    listed = await _ask(request, lambda: b",".join(map(orjson.dumps, question())))
    return web.Response(body=b'{"deliveries":[' + listed + b"]}", content_type="application/json")


async def _delivery(insight: Insight, request: web.Request) -> web.Response:
    found = await _ask(request, partial(insight.reader.delivery, request.match_info["id"]))
    return _refusal(404, "not_found", "no delivery has this id") if found is None else _json(found)


async def _assets(insight: Insight, request: web.Request) -> web.StreamResponse:
    """All of them, written as they are read: there may be millions."""
    state = _one_of(AssetState, "state", _query(request, "state").get("state"))
    assets = insight.reader.assets(state)
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    before = b'{"assets":['
    while some := await _ask(request, lambda: b",".join(map(orjson.dumps, islice(assets, _ASSETS_AT_ONCE)))):
        if not response.prepared:  # not before the journal has answered: until then it may be a 503
            await response.prepare(request)
        await response.write(before + some)
        before = b","
    if not response.prepared:
        return _json({"assets": []})
    await response.write_eof(b"]}")
    return response


# ---- what is asked ----


class _BadQuery(ValueError):
    """A query that can't be answered; its text says what is allowed."""


def _query(request: web.Request, *known: str) -> dict[str, str]:
    for name in request.query:
        if name not in known or len(request.query.getall(name)) > 1:
            raise _BadQuery(f"allowed, each once: {', '.join(known)}")
    return dict(request.query)


def _limit(text: str | None) -> int:
    if text is None:
        return _USUAL_DELIVERIES
    if not _LIMIT.fullmatch(text) or not 1 <= int(text) <= MOST_DELIVERIES:
        raise _BadQuery(f"limit must be a number from 1 to {MOST_DELIVERIES}")
    return int(text)


def _source(text: str | None) -> str | None:
    if text is not None and not _SOURCE.fullmatch(text):
        raise _BadQuery("source must be the name of one, such as abyssale")
    return text


def _one_of(words: Any, name: Literal["outcome", "state"], text: str | None) -> Any:
    allowed = get_args(words)
    if text is not None and text not in allowed:
        raise _BadQuery(f"{name} must be one of {', '.join(allowed)}")
    return text
