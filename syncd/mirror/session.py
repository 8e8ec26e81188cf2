"""The session that downloads share, opened when it is first asked for.

What it takes is loaded then, too: a daemon that has fetched nothing yet does without aiohttp
and the 8 MB that it needs. How downloads are asked for is `client`'s business.
"""

from __future__ import annotations

import asyncio
import mimetypes
import os
from importlib import import_module
from typing import TYPE_CHECKING

from syncd.config import Secret

if TYPE_CHECKING:
    import aiohttp


class Session:
    """`await session()` gives one of `client.open_client`, by the same arguments. Whoever made this closes it."""

    def __init__(self, *, allow_private: bool, proxy: Secret | None) -> None:
        self._allow_private = allow_private
        self._proxy = proxy
        self._opened: aiohttp.ClientSession | None = None
        self._turn = asyncio.Lock()

    async def __call__(self) -> aiohttp.ClientSession:
        """Return the session, the same each time."""
        if self._opened is None:
            async with self._turn:
                if self._opened is None:
                    await load_aiohttp()
                    from syncd.mirror.client import open_client  # noqa: PLC0415 - see above

                    self._opened = open_client(allow_private=self._allow_private, proxy=self._proxy)
        return self._opened

    async def close(self) -> None:
        """Close what was opened."""
        if self._opened is not None:
            await self._opened.close()


async def load_aiohttp() -> None:
    """Load what downloads take, where nobody has, in a thread: it is longer than the loop may be held up."""
    os.environ["FROZENLIST_NO_EXTENSIONS"] = "1"  # the runtime of C++, for lists of aiohttp's that stay empty
    mimetypes.knownfiles.clear()  # the machine's list of types, for files that aiohttp is not asked to serve
    await asyncio.to_thread(import_module, "syncd.mirror.client")
