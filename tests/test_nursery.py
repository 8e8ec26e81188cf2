"""The nursery: its children are processes like any other, and none outlives who asked for it."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest
from nursery import born

ENVIRONMENT = {**os.environ, "FROM_THE_TEST": "yes"}


async def ended(entry, *args, folder, env=ENVIRONMENT):
    """Let a child live to its end; returns its exit code and what it said on stderr."""
    with (folder / "said").open("wb") as said:
        child = await born(entry, *args, env=env, stderr=said)
    async with asyncio.timeout(30):
        code = await child.wait()
    return code, (folder / "said").read_text()


async def one_that_stays():
    return await born("nursling:stay", env=ENVIRONMENT, stderr=sys.__stderr__)


def parent(pid):
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("PPid:")]
    return int(line.split()[1])


def threads(pid):
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


async def test_a_child_has_its_own_arguments_environment_and_folder_and_no_socket_of_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = await one_that_stays()
    code, said = await ended("nursling:tell", "one", "two words", folder=tmp_path)
    told = {"argv": ["one", "two words"], "env": ENVIRONMENT, "cwd": str(tmp_path), "sockets": []}
    assert (code, json.loads(said)) == (0, told)
    other.kill()
    await other.wait()


async def test_nothing_that_the_nursery_had_open_is_closed_late_in_a_child(tmp_path):
    other = await one_that_stays()
    assert await ended("nursling:collect", folder=tmp_path) == (0, "")
    other.kill()
    await other.wait()


async def test_the_nursery_has_one_thread_so_that_a_fork_is_safe():
    child = await one_that_stays()
    assert threads(parent(child.pid)) == 1
    child.kill()
    await child.wait()


async def test_a_child_ends_as_a_script_does(tmp_path):
    assert await ended("nursling:leave", folder=tmp_path) == (7, "")
    code, said = await ended("nursling:fail", folder=tmp_path)
    assert code == 1
    assert said.startswith("Traceback")
    assert said.endswith("LookupError: as a script does\n")


async def test_each_death_by_a_signal_is_told_as_such():
    children = [await one_that_stays() for _ in range(4)]
    assert {child.returncode for child in children} == {None}
    for child, how in zip(children, [signal.SIGTERM, signal.SIGKILL] * 2, strict=True):
        child.send_signal(how)
    assert [await child.wait() for child in children] == [-15, -9, -15, -9]
    assert [child.returncode for child in children] == [-15, -9, -15, -9]


async def test_a_signal_to_the_dead_means_nothing():
    child = await one_that_stays()
    child.kill()
    await child.wait()
    child.kill()


async def test_a_start_that_is_given_up_does_not_hurt_the_next(tmp_path):
    given_up = 0
    while given_up < 5:
        try:
            async with asyncio.timeout(0):
                child = await one_that_stays()
        except TimeoutError:
            given_up += 1
        else:  # it was quicker than the giving up
            child.kill()
            await child.wait()
    assert await ended("nursling:leave", folder=tmp_path) == (7, "")


async def test_what_is_read_at_import_is_not_promised(tmp_path):
    with pytest.raises(AssertionError, match="fresh"):
        await ended("nursling:leave", folder=tmp_path, env=ENVIRONMENT | {"SSL_CERT_FILE": "x"})


ASK_AND_WAIT = """
import asyncio, os, sys
from nursery import born

async def main():
    child = await born("nursling:stay", env=os.environ, stderr=sys.stderr)
    print(child.pid, flush=True)
    await child.wait()

asyncio.run(main())
"""


async def test_neither_child_nor_nursery_outlives_who_asked():
    env = ENVIRONMENT | {"PYTHONPATH": str(Path(__file__).parent)}
    asks = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ASK_AND_WAIT, stdout=asyncio.subprocess.PIPE, env=env
    )
    child = int(await asks.stdout.readline())
    watched = [os.pidfd_open(pid) for pid in (child, parent(child))]
    asks.kill()
    assert await asks.wait() == -signal.SIGKILL
    for process in watched:
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(process, ended.set)
        async with asyncio.timeout(30):
            await ended.wait()
        asyncio.get_running_loop().remove_reader(process)
        os.close(process)
