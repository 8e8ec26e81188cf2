"""How the demo ends when it is not let to its end; that it comes to its end is a scenario, and part of every check."""

import asyncio
import signal
import sys

import pytest
from cli.command import ENVIRONMENT


@pytest.mark.parametrize("sign", ["daemon.log", "mirror"])  # the daemon is begun; it is up
async def test_an_interrupted_demo_takes_its_daemon_with_it(tmp_path, sign):
    demo = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "syncd", "demo", "--keep", "here",
        cwd=tmp_path, env=ENVIRONMENT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        while not (tmp_path / "here" / sign).exists():
            await asyncio.sleep(0.01)
        demo.send_signal(signal.SIGINT)
        _, err = await demo.communicate()  # the end of its output, which the daemon has, too
    assert (demo.returncode, err) == (130, b"")
