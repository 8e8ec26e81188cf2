"""Abyssale's API as a command asks it: one question after the other, patiently.

The official client knows which refusal passes and which does not, and waits as long as the
platform asks for; here its requests are kept to the rate the platform takes, and its answers to a
size. No redirect is followed, so that the key goes to the two hosts of the API and nowhere else.
What the daemon asks meanwhile is `abyssale_api`'s business. Facts: SDK 1.7.0, API v2026-10-21.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote

import httpx
from abyssale import AbyssaleAPIError, AbyssaleError, AsyncAbyssale

from syncd.sources.abyssale_answers import PLAIN, Bounded
from syncd.sources.abyssale_api import APART, TIMEOUT

LONGEST_WAIT = 3600.0
"""Seconds that one Retry-After may ask for; the platform's own go up to half an hour."""
LONGEST_ANSWER = 64 << 20
"""Bytes; a generation request of thousands of banners has a few."""
PATIENCE = 120.0
"""Seconds for the body of an answer."""
WEBHOOKS_BASE_URL = "ABYSSALE_WEBHOOKS_BASE_URL"
"""Names another host for subscriptions, as ABYSSALE_BASE_URL does for the API itself."""

_TRIES = 3  # after the first, where the platform says that it may work later
_CONNECTIONS = 2  # tries more, where nobody answers
_WORTH_SAYING = 2.0  # seconds of a wait
_NUMBER = re.compile(r"[0-9]{1,12}")
_UNIX_TIMES = 1_000_000_000  # larger ones are points in time, smaller ones seconds from now
_UNAUTHORIZED = 401


@dataclass(frozen=True, slots=True)
class Answer:
    """What the platform said, as it said it.

    `reason` is why this is no answer to the question, "" where it is one; `status` is None where nobody answered at
    all. `hopeless`: any other question would fare alike. `date` is the text of the platform's clock.
    """

    status: int | None
    body: bytes = b""
    date: str = ""
    reason: str = ""
    hopeless: bool = False


class AbyssaleSession:
    """The questions, over connections that end with the `async with` block.

    `tell` is told of waits that a person would notice. `proxy` is an HTTP proxy's URL.
    """

    def __init__(self, key: str, *, tell: Callable[[str], None], proxy: str | None = None) -> None:
        self._tell = tell
        self._next = 0.0  # on the loop's clock
        self._heard: list[httpx.Response] = []  # the last one alone
        self._http = httpx.AsyncClient(
            transport=Bounded(size=LONGEST_ANSWER, seconds=PATIENCE, retries=_CONNECTIONS, proxy=proxy),
            headers=PLAIN,
            event_hooks={"request": [self._wait_for_turn], "response": [self._heed]},
            follow_redirects=False,
            trust_env=False,
        )
        self._key = key
        self._client = AsyncAbyssale(
            key, max_retries=_TRIES, max_retry_wait=LONGEST_WAIT, timeout=TIMEOUT, http_client=self._http
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def authenticate(self) -> Answer:
        """Ask if the key is good."""
        return await self._ask(self._client.verify_api_key())

    async def banner(self, name: str) -> Answer:
        """Ask for a banner by its id."""
        return await self._ask(self._client.get_file(name))

    async def generation_request(self, name: str) -> Answer:
        """Ask for a generation request by its id; 202 where it is not finished."""
        return await self._ask(self._client.get_generation_request(name))

    async def subscribe(self, event: str, url: str) -> Answer:
        """Ask for an event's webhooks (`new_banner`) to be sent to a URL. Not repeated: each makes a subscription."""
        return await self._ask(self._of_webhooks("POST", "/subscribe", {"hook_url": url, "type": event}))

    async def subscription(self, name: str) -> Answer:
        """Ask for a subscription by its id."""
        return await self._ask(self._of_webhooks("GET", f"/webhook/{quote(name, safe='')}"))

    async def unsubscribe(self, name: str) -> Answer:
        """End a subscription."""
        return await self._ask(self._of_webhooks("DELETE", f"/unsubscribe/{quote(name, safe='')}"))

    async def _of_webhooks(self, method: str, path: str, said: Any = None) -> None:
        """Ask the host of subscriptions, which the official client doesn't know."""
        base = os.environ.get(WEBHOOKS_BASE_URL) or "https://webhook.abyssale.com"
        headers = {"x-api-key": self._key, "accept": "application/json"}
        await self._http.request(method, base.rstrip("/") + path, json=said, headers=headers, timeout=TIMEOUT)

    async def _ask(self, question: Awaitable[Any]) -> Answer:
        try:
            await question
        except AbyssaleAPIError as error:
            if error.status >= httpx.codes.BAD_REQUEST:
                return _refused(error.status, error.id)
        except (AbyssaleError, httpx.HTTPError) as error:
            cause = error.__cause__ if isinstance(error, AbyssaleError) else error
            nobody = isinstance(cause, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError)
            reason = f"Abyssale's API can't be reached ({_words(cause or error)})"
            return Answer(None, reason=reason, hopeless=nobody)
        except (httpx.InvalidURL, ValueError, RecursionError):  # a base URL, key or answer that makes no sense
            return Answer(None, reason="Abyssale's API can't be asked or understood")
        last = self._heard[0]
        if not last.is_success:
            return _refused(last.status_code, _error_id(last))
        return Answer(last.status_code, last.content, last.headers.get("date", ""))

    async def _wait_for_turn(self, _: httpx.Request) -> None:
        now = asyncio.get_running_loop().time()
        if (wait := self._next - now) > 0:
            if wait > _WORTH_SAYING:
                self._tell(f"the API's budget is used up; the next question in {wait:.0f} s")
            await asyncio.sleep(wait)
        self._next = max(now, self._next) + APART

    async def _heed(self, response: httpx.Response) -> None:
        """Keep an answer as it came, and what it says about the budget."""
        await response.aread()
        self._heard = [response]
        later = response.headers.get("retry-after", "")
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS and _NUMBER.fullmatch(later):
            self._tell(f"the platform asks to wait for {later} s")
        if wait := _wish(response, time.time()):
            self._next = max(self._next, asyncio.get_running_loop().time() + wait)


def _wish(response: httpx.Response, now: float) -> float:
    """Seconds in which nothing may be asked, by X-RateLimit-*; a Retry-After is the client's own business."""
    remaining, reset = (response.headers.get(f"x-ratelimit-{name}", "") for name in ("remaining", "reset"))
    if response.status_code == httpx.codes.TOO_MANY_REQUESTS or remaining.strip() != "0":
        return 0.0
    if not _NUMBER.fullmatch(reset):
        return 1.0
    seconds = float(reset)
    return min(max(0.0, seconds - now if seconds > _UNIX_TIMES else seconds), LONGEST_WAIT)


def _error_id(response: httpx.Response) -> str | None:
    try:
        said = response.json().get("id")
    except (ValueError, AttributeError, RecursionError):
        return None
    return said if isinstance(said, str) else None


def _refused(status: int, name: str | None) -> Answer:
    words = f"Abyssale's API says HTTP {status} {''.join(filter(str.isprintable, (name or '')[:64]))}".rstrip()
    return Answer(status, reason=words, hopeless=status == _UNAUTHORIZED)


def _words(error: BaseException) -> str:
    """Say what went wrong without the URL, which may hold a proxy's password."""
    if isinstance(error, httpx.TimeoutException):
        return "it takes too long"
    if isinstance(error, httpx.ConnectError):
        return "no connection"
    return re.sub(r"(?<!^)(?=[A-Z])", " ", type(error).__name__).lower()
