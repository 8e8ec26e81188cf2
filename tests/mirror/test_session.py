import asyncio
import subprocess
import sys

from syncd.mirror.session import Session

FIRST_USE = """
import asyncio, sys, threading
from syncd.mirror.session import Session

class Witness:
    def find_spec(self, name, *_):
        if name in ("aiohttp", "syncd.mirror.client"):
            print(name, threading.current_thread() is threading.main_thread())

async def main():
    session = Session(allow_private=False, proxy=None)
    print("aiohttp" in sys.modules)
    await asyncio.gather(*(session() for _ in range(10)))
    await session.close()

sys.meta_path.insert(0, Witness())
asyncio.run(main())
"""


def test_what_downloads_take_is_loaded_once_and_beside_the_loop():
    said = subprocess.run([sys.executable, "-c", FIRST_USE], capture_output=True, text=True, check=True)
    assert said.stdout.split("\n") == ["False", "syncd.mirror.client False", "aiohttp False", ""]


async def test_all_who_ask_get_the_same_one_until_it_is_closed():
    session = Session(allow_private=False, proxy=None)
    opened = await asyncio.gather(*(session() for _ in range(10)))
    assert len(set(opened)) == 1
    assert await session() is opened[0]
    assert not opened[0].closed
    await session.close()
    assert opened[0].closed


async def test_one_that_nobody_asked_for_is_closed_as_well():
    await Session(allow_private=False, proxy=None).close()
