"""What must hold before a delivery is stored, in the contract's order, and what is answered.

The body is not interpreted where its signature vouches for it, so that a payload nobody
understands is not lost. Which config is in force is asked once a request. Bytes, connections
and their deadlines are `connection`'s business; nothing here waits.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import orjson

from syncd.config import Config, Platform
from syncd.errors import JournalUnavailable
from syncd.intake import answers
from syncd.intake.request import Request, is_encoded, is_json, kept, read_request
from syncd.intake.senders import IPAddress, Strikes, sender, within
from syncd.model import Arrival, Receipt
from syncd.sources.payload import parse
from syncd.sources.protocol import Rejected
from syncd.sources.table import SOURCES
from syncd.web.answers import Answer, Refused, Word, status_of

log = logging.getLogger(__name__)

_RETRY_LATER = {"Retry-After": "5"}
_SHOWN = 200  # characters of a path in the log


class Intake:
    """Decides what becomes of each request that a connection of the public listener brings.

    `accept` stores an arrival; its future ends once that is on disk. `closed` gives the reason why
    nothing can be stored now, or None. `count` is told (source, `accepted` | `duplicate` |
    `rejected`) for every answered request, with an empty source where the path names none;
    `refused` is told the word of each answer that says no.
    `clock` gives unix seconds.
    """

    def __init__(
        self,
        *,
        current: Callable[[], Config],
        accept: Callable[[Arrival], asyncio.Future[Receipt]],
        closed: Callable[[], str | None],
        count: Callable[[str, str], None],
        refused: Callable[[Word], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._current = current
        self._accept = accept
        self._closed = closed
        self._count = count
        self._refused = refused
        self._clock = clock
        self._strikes = Strikes(burst=100, rate=1.0)
        self._lines = Strikes(burst=50, rate=5.0)  # of the log
        self._unlogged = 0

    def begin(
        self, version: str, method: bytes, target: bytes, headers: Sequence[tuple[str, str]], peer: str
    ) -> Request:
        """Take the headers of a request, under the config that is in force now. Raises Malformed."""
        return read_request(version, method, target, headers, peer, self._current())

    def admit(self, request: Request) -> int:
        """Check what can be told before the body comes, and return how many bytes that may have. Raises Refused."""
        source = request.source
        if source is None:
            raise Refused("not_found", "no source has this path")
        if request.tail and _hint(request) is None:
            raise Refused("not_found", "this source has no such event")
        if request.method != "POST":
            raise Refused("method", "not a POST", headers={"Allow": "POST"})
        if source.allowed_ips and (request.address is None or not within(request.address, source.allowed_ips)):
            raise Refused("address", "not one of allowed_ips")
        return request.config.server.max_body

    def receive(self, request: Request, body: bytes, answer: Callable[[Answer], None]) -> None:
        """Check and store an admitted request that is whole; `answer` is called once, now or once it is stored."""
        try:
            accepted = self._accept(self._arrival(request, body))
        except Refused as refused:
            answer(self.refuse(request, refused))
        except Exception as bug:  # noqa: BLE001 - the client is to hear of it
            answer(self.fail(bug))
        else:
            accepted.add_done_callback(partial(self._acknowledge, request, answer))

    def refuse(self, request: Request, refused: Refused) -> Answer:
        """Answer no, or 429 where too many refused requests came from this address."""
        word, detail, headers = refused.word, refused.detail, refused.headers
        if word != "unavailable":
            self._count(request.name, "rejected")
            if wait := self._strike(request.address):
                word, detail, headers = "flood", "", wait
        self._refused(word)
        path = ascii(request.path[:_SHOWN])  # control characters and the like, escaped
        about = {"address": _text(request.address), "path": path, "source": request.name}
        self._log({"error": word, "reason": str(refused), **about})
        return answers.refusal(word, detail=detail, headers=headers)

    def never_whole(self, word: Word, peer: str, reason: str) -> Answer:
        """Answer what never became a request; from which path or sender behind a proxy it came, nobody knows."""
        self._count("", "rejected")
        wait = self._strike(sender(peer, (), ()))
        word = "flood" if wait else word
        self._refused(word)
        self._log({"error": word, "reason": reason, "peer": peer})
        return answers.refusal(word, headers=wait)

    def fail(self, bug: BaseException) -> Answer:
        """Answer what broke on the way, which is nobody's fault but ours."""
        self._refused("internal")
        log.error("a request's handler failed", exc_info=bug)
        return answers.refusal("internal")

    def _arrival(self, request: Request, body: bytes) -> Arrival:
        if not is_json(request):
            raise Refused("content_type", "its Content-Type is not JSON")
        if is_encoded(request):
            raise Refused("content_type", "its body has a Content-Encoding")
        now, name = self._clock(), request.name
        assert request.source is not None  # noqa: S101 - or it would not have been admitted
        signed_at = _authenticate(name, request.source, request.headers, body, now)
        if reason := self._closed():
            raise Refused("unavailable", reason, headers=_RETRY_LATER)
        return Arrival(
            source=name,
            platform_id=SOURCES[name].delivery_id(request.headers),
            signed_at=signed_at,
            hint=_hint(request),
            headers=kept(request.headers),
            body=body,
            received_at=now,
        )

    def _acknowledge(
        self, request: Request, answer: Callable[[Answer], None], accepted: asyncio.Future[Receipt]
    ) -> None:
        try:
            receipt = accepted.result()
        except JournalUnavailable as error:
            answer(self.refuse(request, Refused("unavailable", str(error), headers=_RETRY_LATER)))
        except (Exception, asyncio.CancelledError) as bug:  # noqa: BLE001 - the client is to hear of it
            answer(self.fail(bug))
        else:
            outcome = "duplicate" if receipt.duplicate else "accepted"
            answer(answers.stored(receipt))  # first, as somebody waits for it
            self._count(request.name, outcome)
            facts = {"delivery": receipt.delivery, "source": request.name, "address": _text(request.address)}
            log.info("delivery %s", outcome, extra=facts)

    def _strike(self, address: IPAddress | None) -> dict[str, str]:
        """Count a refusal; returns the headers of a 429 where too many came from this address, none otherwise."""
        wait = self._strikes.strike(address, asyncio.get_running_loop().time())
        return {"Retry-After": str(math.ceil(wait))} if wait else {}

    def _log(self, facts: dict[str, Any]) -> None:
        """Log a refusal, unless there were too many of late: those are counted in the next line that is written."""
        if self._lines.strike(None, asyncio.get_running_loop().time()):
            self._unlogged += 1
            return
        status, before, self._unlogged = status_of(facts["error"]), self._unlogged, 0
        log.warning("request refused", extra={"status": status, **facts, "unlogged_before": before})


def _hint(request: Request) -> str | None:
    return SOURCES[request.name].hint_of(request.tail) if request.tail else None


def _text(address: IPAddress | None) -> str | None:
    return None if address is None else str(address)


def _authenticate(
    name: str, source: Platform, headers: Sequence[tuple[str, str]], body: bytes, now: float
) -> str | None:
    """Return what was signed together with the body, None for an unsigned one that may pass.

    Where signatures are not required but a secret is known, a signature that is there must still
    be right: a forged one is never just unsigned.
    """
    if not source.require_signature and not (source.secret and _is_signed(name, headers)):
        _check_object(body)
        return None
    secrets = [secret.text for secret in source.secret]
    verdict = SOURCES[name].verify(headers, body, secrets, source.tolerance, now)
    if isinstance(verdict, Rejected):
        raise Refused("signature", verdict.reason)
    return verdict.signed_at


def _is_signed(name: str, headers: Sequence[tuple[str, str]]) -> bool:
    return any(key.lower() == SOURCES[name].SIGNATURE_HEADER.lower() for key, _ in headers)


def _check_object(body: bytes) -> None:
    """Hold an unsigned body to the least that any delivery is: a JSON object."""
    try:
        payload = parse(body)
    except orjson.JSONDecodeError as error:
        raise Refused("malformed", str(error), detail="the body is not JSON") from error
    if not isinstance(payload, dict):
        raise Refused("malformed", "not an object", detail="the body is not a JSON object")
