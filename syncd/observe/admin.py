"""The admin listener's service: who may see what, and how the views' answers come to be (contract: "HTTP").

It is meant for the machine or a trusted network; a page elsewhere can't read it through a visitor's
browser, whatever name it makes its address resolve to, nor ask for the one thing that is not
read-only, a reload. The journal is read in a thread of its own, so that a long list never holds up a
delivery. Visitors are told the reason of a refusal, and none is logged.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from syncd.errors import JournalUnavailable
from syncd.observe.views import PRIVATE, RELOAD, Desk, Insight, view_of
from syncd.observe.visit import Visit
from syncd.observe.visitors import is_ours
from syncd.web import answers
from syncd.web.answers import Answer, Refused, Word
from syncd.web.request import by_name, path_of

log = logging.getLogger(__name__)

_MOST = 64 << 10  # bytes of a body; none is looked at


class Admin:
    """Answers visitors; see `Service`. `close` ends its thread, after its listener."""

    def __init__(self, insight: Insight) -> None:
        self._desk = Desk(insight, ThreadPoolExecutor(1, "admin"))
        self._looks: set[asyncio.Task[Answer]] = set()

    async def close(self) -> None:
        """Give up what is not answered yet."""
        for look in self._looks:
            look.cancel()
        await asyncio.gather(*self._looks, return_exceptions=True)
        await asyncio.to_thread(self._desk.thread.shutdown, cancel_futures=True)

    def begin(
        self,
        version: str,
        method: bytes,
        target: bytes,
        headers: Sequence[tuple[str, str]],
        peer: str,  # noqa: ARG002 - whoever comes here is trusted alike
    ) -> Visit:
        """Take the headers of a request. Raises Malformed."""
        named, query = by_name(version, headers), target.partition(b"#")[0].partition(b"?")[2]
        return Visit(version, method.decode(), path_of(target), headers, named, query.decode("latin-1"))

    def admit(self, visit: Visit) -> int:
        """Refuse other hosts' names, unknown paths and methods; any body may have a few bytes."""
        if not is_ours(visit.named.get("host", [""])[0]):
            raise Refused("host", "ask by address, or by this machine's own name")
        if view_of(visit.path) is None:
            raise Refused("not_found", "")
        allowed = ("POST",) if visit.path == RELOAD else ("GET", "HEAD")
        if visit.method not in allowed:
            raise Refused("method_not_allowed", "", headers={"Allow": ",".join(allowed)})
        return _MOST

    def receive(self, visit: Visit, body: bytes, answer: Callable[[Answer], None]) -> None:  # noqa: ARG002 - see _MOST
        """Have a view answer."""
        view = view_of(visit.path)
        assert view is not None  # noqa: S101 - or it would not have been admitted
        look = asyncio.ensure_future(view(self._desk, visit))
        self._looks.add(look)
        look.add_done_callback(partial(self._answer, visit, answer))

    def _answer(self, visit: Visit, answer: Callable[[Answer], None], look: asyncio.Task[Answer]) -> None:
        self._looks.discard(look)
        try:
            found = look.result()
        except Refused as refused:
            found = self.refuse(visit, refused)
        except (Exception, asyncio.CancelledError) as bug:  # noqa: BLE001 - the visitor is to hear of it
            found = self.fail(bug)
        answer(found)

    def refuse(self, visit: Visit, refused: Refused) -> Answer:  # noqa: ARG002 - nothing is told of a visit
        """Say no, and why."""
        return answers.refusal(refused.word, str(refused), {**PRIVATE, **refused.headers})

    def never_whole(self, word: Word, peer: str, reason: str) -> Answer:  # noqa: ARG002 - nor of a visitor
        """Answer what never became a request."""
        return answers.refusal(word, reason, PRIVATE)

    def fail(self, bug: BaseException) -> Answer:
        """Answer what could not be read, or broke on the way."""
        if isinstance(bug, JournalUnavailable):
            log.warning("the journal can't be read", extra={"reason": str(bug)})
            return answers.refusal("unavailable", str(bug), PRIVATE)
        if isinstance(bug, asyncio.CancelledError):
            return answers.refusal("unavailable", "syncd is stopping", PRIVATE)
        log.error("a request's handler failed", exc_info=bug)
        return answers.refusal("internal", "an unexpected error, which is in the log", PRIVATE)
