"""How the demo ends when it is not let to its end; that it comes to its end is a scenario, and part of every check."""

import asyncio
import signal
import sys

import pytest
from cli.command import ENVIRONMENT


@pytest.mark.parametrize("sign", ["daemon.log", "mirror"])  # the daemon is begun; it is up
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_demo_that_is_told_to_end_takes_its_daemon_with_it(tmp_path, sign, number, code):
    demo = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "syncd", "demo", "--keep", "here",
        cwd=tmp_path, env=ENVIRONMENT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        while not (tmp_path / "here" / sign).exists():
            await asyncio.sleep(0.01)
        demo.send_signal(number)
        _, err = await demo.communicate()  # the end of its output, which the daemon has, too
    assert (demo.returncode, err) == (code, b"")
