"""One go at downloading an asset: attempts, waits between them, which URL is asked, how it ends.

Returns what came of it as a value. It knows neither the journal nor the store: what happens
after a go, and when the next one begins, is the pipeline's to say.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from syncd.config.tree import Config
from syncd.config.tree import Retry as Patience
from syncd.door import Door
from syncd.mirror.guard import host_of, parse, proxy_of, server_of, shown
from syncd.mirror.limits import Bandwidth, Slots
from syncd.mirror.outages import Outages
from syncd.mirror.part import Part, Parts
from syncd.mirror.setback import Lasting, Setback
from syncd.model import Asset, Failed, Fetched, Retry

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

log = logging.getLogger(__name__)


class Terms(Protocol):
    """What one attempt works under: a config, and a client opened as it says."""

    @property
    def config(self) -> Config:
        """The settings of `[download]` and `[retry]` are read."""

    @property
    def client(self) -> Callable[[], Awaitable[aiohttp.ClientSession]]:
        """As `session.Session`."""


Borrow = Callable[[], AbstractContextManager[Terms]]
"""Lends the terms in force for the length of a block; what is lent stays open until its end."""

LookUp = Callable[[Asset], Awaitable[Asset | Retry | Failed]]
"""Asks the platform where an asset's files lie by now: the asset with the URLs it has, or why not."""

Doors = Callable[[Asset, str], Door | None]
"""Tells what a server asks of those who fetch a URL of an asset there, if it asks for anything."""

LONGEST_TURN = 5.0
"""Seconds that a download waits for its turn at a door; whoever would have to wait longer goes back to the journal."""


def no_door(_asset: Asset, _url: str) -> None:
    """Say that no server asks for anything."""


@dataclass(frozen=True, slots=True)
class Means:
    """What all downloads of a lane share. `temp` gives a fresh path, `sleep` is the wait between attempts."""

    temp: Callable[[], Path]
    borrow: Borrow
    slots: Slots
    bandwidth: Bandwidth
    outages: Outages
    look_up: LookUp
    doors: Doors = no_door
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


async def fetch(asset: Asset, parts: Parts, means: Means) -> Fetched | Retry | Failed:
    """Download an asset in one go: at most `retry.attempts` attempts with waits between them.

    Each attempt works under the terms of its time and writes to a fresh path from `temp`, or
    continues what an earlier one, of an earlier go maybe, had to leave off in `parts`; these
    are the caller's to keep or discard afterwards. A slot is held only while a URL is being asked.
    A file that is missing to the end of the go is looked up, and asked for where it is by then.
    Failed means that no URL of the asset will ever give it, Retry that a later go may do; `after`
    is then the server's wish. Where all servers that might have it are down, or the proxy is, or
    it would not be its turn for long, the go ends at once as a parked Retry.

    Raises StoreUnavailable where the temp file can't be written, which is nobody's attempt,
    and what `temp` and `sleep` raise.
    """
    go = _Go(asset, parts, means)
    try:
        try:
            return await go.attempt()
        except Setback as setback:
            return await go.retry_after(setback)
    except Setback as setback:
        if setback.parked:
            return Retry(setback.reason, go.number, setback.after, parked=True)
        reason = f"{setback.reason} (attempt {go.number} of {go.retry.attempts})"
        if setback.lasting is Lasting.PASSING:
            return Retry(reason, go.number, setback.after)
        return Failed(reason, go.number)


class _Go:
    """The attempts at one asset: `number` counts them, `retry` is in force since the last one began."""

    def __init__(self, asset: Asset, parts: Parts, means: Means) -> None:
        self._asset = asset
        self._parts = parts
        self._means = means
        self._asked = False
        self._refused: dict[str, Setback] = {}
        self.number = 0
        self.retry: Patience

    async def retry_after(self, first: Setback) -> Fetched:
        """Leave to tenacity all that follows a first setback, which most files never meet."""
        known = [first]

        async def attempt() -> Fetched:
            if known:
                raise known.pop()
            return await self.attempt()

        attempts = AsyncRetrying(
            retry=retry_if_exception_type(Setback),
            stop=self._is_over,
            wait=self._pause,
            sleep=self._means.sleep,
            reraise=True,
        )
        return await attempts(attempt)

    async def attempt(self) -> Fetched:
        """Ask the preferred URL, and the other one where that may help; raises what became of both.

        The other one is asked when the first doesn't have the file, and whatever the first's
        trouble is before the go ends: a CDN is metered, so not at every hiccup.
        """
        with self._means.borrow() as terms:
            self.retry, prefer = terms.config.retry, terms.config.download.prefer
        self.number += 1
        self._asked = False
        setbacks: list[Setback] = []
        urls = _in_order(self._asset, prefer)
        for url in urls:
            try:
                return await self._ask(url)
            except Setback as setback:
                log.debug("download attempt failed", extra={"url": shown(url), "reason": setback.reason})
                setbacks.append(setback)
                if setback.lasting is Lasting.PASSING and not self._is_last(setback):
                    break
        joint = _all_of(setbacks)
        if joint.lasting is Lasting.MISSING and self._is_last(joint):
            return await self._ask_anew(urls, prefer, setbacks)
        if joint.parked and not self._asked:
            self.number -= 1
        raise joint

    async def _ask_anew(self, known: Sequence[str], prefer: str, setbacks: list[Setback]) -> Fetched:
        """Ask once where a missing file lies by now, and for it there; raises what became of all."""
        match await self._means.look_up(self._asset):
            case Asset() as fresh:
                for url in _in_order(fresh, prefer):
                    if url not in known:
                        try:
                            return await self._ask(url)
                        except Setback as setback:
                            setbacks.append(setback)
            case Failed(reason=reason):
                setbacks.append(Setback(reason, Lasting.MISSING))
            case Retry(reason=reason, after=after):
                setbacks.append(Setback(reason, after=after))
        raise _all_of(setbacks)

    def _is_over(self, state: RetryCallState) -> bool:
        """Tell tenacity when a go ends: nothing to hope for, or no attempt left, or the server wants long."""
        setback = _setback_of(state)
        return setback.lasting is Lasting.FINAL or self._is_last(setback)

    def _pause(self, state: RetryCallState) -> float:
        """Give the wait before the next attempt: full jitter, but at least what the server asked for."""
        jitter = wait_random_exponential(multiplier=self.retry.first, max=self.retry.longest)
        return max(jitter(state), _setback_of(state).after or 0.0)

    def _is_last(self, setback: Setback) -> bool:
        return setback.parked or self.number >= self.retry.attempts or (setback.after or 0.0) > self.retry.longest

    async def _ask(self, text: str) -> Fetched:
        """Ask one URL once. One that refused for good is not asked again in this go, one that is down not now."""
        if text in self._refused:
            raise self._refused[text]
        means, asset = self._means, self._asset
        try:
            url = parse(text)
            server = server_of(url)
            means.outages.check(server)
            door = means.doors(asset, text)
            if door is not None:
                await self._turn(door)
            with await means.slots.take(host_of(server)), means.borrow() as terms:
                proxy = proxy_of(terms.config.download)
                with means.outages.attempt(server, asset.id), means.outages.attempt(proxy, asset.id):
                    self._asked = True
                    return await self._download(text, url, terms, door)
        except Setback as setback:
            if setback.parked:
                raise
            lasting = setback.lasting
            if lasting is Lasting.MISSING and asset.patient:
                lasting = Lasting.PASSING
            named = Setback(f"{setback.reason} from {shown(text)}", lasting, after=setback.after)
            if setback.lasting is Lasting.FINAL:
                self._refused[text] = named
            raise named from setback

    async def _turn(self, door: Door) -> None:
        """Wait for the next turn at a door, or be put off as nobody's failure."""
        wait = door.wait(LONGEST_TURN)
        if wait > LONGEST_TURN:
            raise Setback("", after=wait, parked=True)
        await self._means.sleep(wait)

    async def _download(self, text: str, url: URL, terms: Terms, door: Door | None) -> Fetched:
        began, path = time.monotonic(), self._means.temp()
        part = self._parts.get(text)
        if part is None or not part.received:
            part = self._parts[text] = Part(path, terms.config.mirror.min_free)
        download, client = terms.config.download, await terms.client()
        from syncd.mirror.body import save  # noqa: PLC0415 - loaded with the client
        from syncd.mirror.client import ask  # noqa: PLC0415 - same

        try:
            async with ask(client, url, download, rest=part.wish(), door=door) as response:
                await save(
                    response,
                    part,
                    declared=self._asset.type,
                    kind=self._asset.kind,
                    max_size=download.max_size,
                    bandwidth=self._means.bandwidth,
                )
        except Setback as setback:
            if door is not None and setback.troubled and setback.after:
                door.pace.rest(setback.after)
            raise
        del self._parts[text]
        return Fetched(
            path=part.path,
            bytes=part.received,
            sha256=part.sha256,
            type=part.type,
            url=shown(text),
            attempts=self.number,
            seconds=time.monotonic() - began,
        )


def _in_order(asset: Asset, prefer: str) -> list[str]:
    """Name the URLs of an asset, the preferred one first."""
    both = (asset.url, asset.fallback_url) if prefer == "origin" else (asset.fallback_url, asset.url)
    return list(dict.fromkeys(filter(None, both)))


def _all_of(setbacks: Sequence[Setback]) -> Setback:
    """Join what became of an asset's URLs: as hopeful as the best of them, as patient as the slowest."""
    if not setbacks:
        return Setback("no URL to ask", Lasting.FINAL)
    lasting = min(setback.lasting for setback in setbacks)
    parked = all(setback.parked for setback in setbacks if setback.lasting is lasting)
    wishes = [setback.after for setback in setbacks if setback.after is not None and setback.parked is parked]
    return Setback(
        "; ".join(setback.reason for setback in setbacks if setback.reason),
        lasting,
        after=max(wishes, default=None),
        parked=parked,
    )


def _setback_of(state: RetryCallState) -> Setback:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, Setback)  # noqa: S101 -- nothing else is retried
    return error
