"""`python -m benchmarks.bare PORT FOLDER`: the least that a daemon of this kind could be.

aiohttp with one route and watchfiles over a folder, and nothing else: the limit for start and idleness of anything
that is built on these.
"""

from __future__ import annotations

import asyncio
import sys

from aiohttp import web
from watchfiles import awatch


async def main(port: int, folder: str) -> None:
    """Serve and watch until the process is told to stop."""
    app = web.Application()
    app.router.add_get("/", lambda _: _answer())
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    async for _ in awatch(folder, step=100, rust_timeout=600_000):
        pass


async def _answer() -> web.Response:
    return web.Response()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
