"""One question to Abstract's API: at the pace of all, bounded, and once more where that may help.

The token is shown to the API's host alone: no redirect is followed. What is asked is `abstract_api`'s business.
"""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import TYPE_CHECKING

import orjson

from syncd.config import AbstractSource
from syncd.door import Pace, reset_after
from syncd.model import Failed, Retry
from syncd.sources.fields import Fields
from syncd.sources.payload import parse

if TYPE_CHECKING:
    import aiohttp

    from syncd.sources.api import Client

TIMEOUT = 30.0
"""Seconds for an answer."""
LONGEST_ANSWER = 8 << 20
"""Bytes."""
TRIES = 3
MOMENT = 1.0
"""Seconds between two tries of one question, where the platform names none."""
LONGEST_WAIT = 120.0
"""Seconds that it may name; beyond them the whole push waits in the journal."""
_VERSIONS = {"project": "22", "changeset": "19"}
_USUAL_VERSION = "8"
# What a new token, a plan, or a moment of patience may mend: a commit may be told of before it can be asked for.
_SOMETIMES = {401, 402, 403, 404, 408, 425, 429}
_PASSING = {408, 425, 429}


class NoAnswerError(Exception):
    """The API did not answer the question; `why` says if it may later."""

    def __init__(self, why: Retry | Failed, status: int | None = None) -> None:
        super().__init__(why.reason)
        self.why = why
        self.status = status


class Asker:
    """One question at a time, at the pace of all."""

    def __init__(self, source: AbstractSource, client: Client, pace: Pace) -> None:
        self._source = source
        self._client = client
        self._pace = pace

    async def __call__(self, path: str, subject: str = "") -> Fields:
        """Ask one question, again after a moment where that may help. Raises NoAnswerError."""
        for tries_left in reversed(range(TRIES)):
            await asyncio.sleep(self._pace.wait(self._source.rate))
            try:
                return await self._ask_once(path, _VERSIONS.get(subject, _USUAL_VERSION))
            except NoAnswerError as error:
                wish = error.why.after if isinstance(error.why, Retry) else None
                if not (tries_left and _is_passing(error.status)) or (wish or 0.0) > LONGEST_WAIT:
                    raise
            await asyncio.sleep(0.0 if wish else MOMENT)  # a wish is the pace's to keep
        raise AssertionError("the last try has returned or raised")

    async def _ask_once(self, path: str, version: str) -> Fields:
        client = await self._client()
        import aiohttp  # noqa: PLC0415 - loaded with the client

        headers = {**credentials(self._source), "Accept": "application/json", "Abstract-Api-Version": version}
        timeout, url = aiohttp.ClientTimeout(total=TIMEOUT), self._source.api_url + path
        try:
            async with client.get(url, headers=headers, allow_redirects=False, timeout=timeout) as response:
                if response.status != HTTPStatus.OK:
                    raise self._refusal(response)
                body = await _whole(response.content)
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = "takes too long" if isinstance(error, TimeoutError) else "can't be reached"
            raise NoAnswerError(Retry(f"Abstract's API {reason} ({type(error).__name__})", 1)) from None
        try:
            said = await asyncio.to_thread(parse, body)  # a large one takes its time
        except orjson.JSONDecodeError:
            said = None
        if isinstance(said, list):
            said = {"data": said}
        if not isinstance(said, dict):
            raise NoAnswerError(Retry("Abstract's API gives an answer that can't be read", 1))
        return said

    def _refusal(self, response: aiohttp.ClientResponse) -> NoAnswerError:
        status, wish = response.status, None
        reason = f"Abstract's API says HTTP {status} to {response.url.path}"
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            told = [response.headers.get(name, "") for name in ("RateLimit-Reset", "Retry-After")]
            wish = next((reset_after(text, time.time()) for text in told if text), None)
            self._pace.rest(MOMENT if wish is None else wish)
        if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _SOMETIMES:
            return NoAnswerError(Failed(reason, 1), status)
        return NoAnswerError(Retry(reason, 1, wish), status)


def credentials(source: AbstractSource) -> dict[str, str]:
    """What shows who asks."""
    return {"Authorization": f"Bearer {source.token.text}"} if source.token else {}


def _is_passing(status: int | None) -> bool:
    """Tell if a moment may help; None: there was no answer."""
    return status is None or status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR


async def _whole(stream: aiohttp.StreamReader) -> bytes:
    body = bytearray()
    async for piece in stream.iter_any():
        body += piece
        if len(body) > LONGEST_ANSWER:
            raise NoAnswerError(Retry("Abstract's API gives an answer without an end", 1))
    return bytes(body)
