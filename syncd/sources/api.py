"""What the daemon asks of a platform's API; each platform has its own, beside its source.

Answers are values; what is asked again, and when, is the pipeline's business.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from syncd.config import Secret
from syncd.door import Door
from syncd.model import Asset, Event, Failed, Missed, Retry

if TYPE_CHECKING:
    import aiohttp

    Client = Callable[[], Awaitable[aiohttp.ClientSession]]
    """Gives the session to ask with, opened the first time."""


class Api:
    """A platform's API, as far as the daemon asks it. Each question has an answer where there is nothing to ask.

    `source` is the platform's table of the config in force.
    """

    async def close(self) -> None:
        """Close what was opened."""

    async def renew(
        self,
        source: Any,  # noqa: ARG002 - see above
        asset: Asset,
        proxy: Secret | None,  # noqa: ARG002 - same
    ) -> Asset | Retry | Failed:
        """Say where the files of an asset lie by now, asking through `download.proxy`."""
        return asset

    async def expand(
        self,
        source: Any,  # noqa: ARG002 - see above
        event: Event,
        client: Client,  # noqa: ARG002 - same
    ) -> Event | Retry | Failed:
        """Say what the commits of an event have changed: the same with assets, and without commits."""
        return event

    async def missed(
        self,
        source: Any,  # noqa: ARG002 - see above
        client: Client,  # noqa: ARG002 - same
    ) -> Sequence[Missed] | Retry | Failed:
        """Say which deliveries the platform could not make, in the order in which it tried, where it keeps a record."""
        return ()

    def door(self, source: Any, url: str) -> Door | None:  # noqa: ARG002 - see above
        """Tell what a server asks of those who fetch this URL, if it asks for anything."""
        return None
