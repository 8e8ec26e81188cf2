"""Abyssale's API, as far as the mirror asks it: where the files of a banner lie by now.

The official client does the talking, without retries of its own: those are the pipeline's. It
is loaded at the first question, because it brings a second HTTP library that few daemons ever
need. The key goes to the API and nowhere else. Facts: SDK 1.7.0, API v2026-10-21.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from syncd.config import AbyssaleSource, Secret
from syncd.model import Asset, Failed, Retry
from syncd.sources import fields
from syncd.sources.api import Api

if TYPE_CHECKING:
    import httpx
    from abyssale import AbyssaleAPIError, AsyncAbyssale

APART = 0.125
"""Seconds between two questions; the API takes ten a second."""
TIMEOUT = 10.0
"""Seconds for a connection, and between two pieces of an answer."""
PATIENCE = 30.0
"""Seconds for an answer."""
LONGEST_ANSWER = 1 << 20
"""Bytes; a banner has a few thousand."""
_LONGEST_WISH = 86400.0
_SOMETIMES = {408, 425, 429}
_NEVER = "feature_not_in_plan"  # the one 429 that doesn't pass


class AbyssaleApi(Api):
    """The connections to the API, made at the first question through each proxy and closed by the owner."""

    def __init__(self) -> None:
        self._http: dict[Secret | None, httpx.AsyncClient] = {}
        self._turn = asyncio.Lock()

    async def close(self) -> None:
        """Close what was opened."""
        for http in self._http.values():
            await http.aclose()

    async def renew(self, source: AbyssaleSource, asset: Asset, proxy: Secret | None) -> Asset | Retry | Failed:
        """Look an asset up, where there is a key and something to ask."""
        if source.api_key is None or asset.kind == "export":
            return asset
        return await self.look_up(source.api_key.text, asset, proxy)

    async def look_up(self, key: str, asset: Asset, proxy: Secret | None = None) -> Asset | Retry | Failed:
        """Return the asset with the URLs that its banner has now; Failed where the API says that it has none."""
        async with self._turn:
            if proxy not in self._http:  # a former one stays: somebody may be asking through it
                self._http[proxy] = await asyncio.to_thread(_connections, proxy)
            await asyncio.sleep(APART)
        return await _ask(key, asset, self._http[proxy])


def _connections(proxy: Secret | None) -> httpx.AsyncClient:
    import abyssale  # noqa: F401, PLC0415 - takes its time: in this thread, and only where it is used
    import httpx  # noqa: PLC0415 - same, as is the next

    from syncd.sources.abyssale_answers import PLAIN, Bounded  # noqa: PLC0415

    limits = httpx.Limits(max_connections=8)
    transport = Bounded(size=LONGEST_ANSWER, seconds=PATIENCE, limits=limits, proxy=proxy.text if proxy else None)
    return httpx.AsyncClient(transport=transport, headers=PLAIN, follow_redirects=False, trust_env=False)


async def _ask(key: str, asset: Asset, http: httpx.AsyncClient) -> Asset | Retry | Failed:
    import httpx  # noqa: PLC0415 - loaded by now, as is the next
    from abyssale import AbyssaleAPIError, AbyssaleError, AsyncAbyssale  # noqa: PLC0415

    api: AsyncAbyssale = AsyncAbyssale(key, max_retries=0, timeout=TIMEOUT, http_client=http)
    try:
        async with asyncio.timeout(PATIENCE):
            banner: Any = await api.get_file(asset.id)
    except AbyssaleAPIError as error:
        return _refusal(error)
    except (AbyssaleError, httpx.HTTPError, TimeoutError):
        return Retry("Abyssale's API does not answer", 0)
    except (httpx.InvalidURL, ValueError, RecursionError):  # a base URL, key or answer that makes no sense
        return Retry("Abyssale's API can't be asked or understood", 0)
    return _renewed(asset, banner)


def _refusal(error: AbyssaleAPIError) -> Retry | Failed:
    reason = f"Abyssale's API says HTTP {error.status}"
    if error.id:
        reason += f" {''.join(filter(str.isprintable, error.id[:64]))}"
    definite = 400 <= error.status < 500 and error.status not in _SOMETIMES  # noqa: PLR2004 - the class of 4xx
    if definite or error.id == _NEVER:
        return Failed(reason, 0)
    wish = getattr(error, "retry_after", None)
    return Retry(reason, 0, None if wish is None else min(wish, _LONGEST_WISH))


def _renewed(asset: Asset, banner: Any) -> Asset | Failed:
    """Take the URLs out of an answer, of which the client lets pass any shape."""
    version = getattr(banner, "version", None)
    if None not in (asset.version, version) and version != asset.version:
        return Failed("Abyssale's API has only another version of it", 0)
    file = getattr(banner, "file", None)
    known = {name: getattr(file, name, None) for name in ("url", "cdn_url", "fallback_image_url")}
    url, cdn = fields.link(known, "url"), fields.link(known, "cdn_url")
    if asset.kind == "fallback":
        url, cdn = fields.link(known, "fallback_image_url"), ""
    return replace(asset, url=url, fallback_url=cdn)
