"""`reload` waits for the daemon's answer and passes it on, in words and as an exit code."""

import asyncio
import json
import socket

import pytest
from cli.command import process, write_config
from running import SECRET, running

from syncd.demo.ports import free_port


@pytest.fixture
async def daemon(tmp_path):
    async with running(tmp_path) as started:
        yield started


async def reload(daemon, *more):
    return await process("reload", "--config", str(daemon.config), *more, cwd=daemon.folder, TEST_SECRET=SECRET)


async def test_a_valid_config_is_in_force_when_it_returns(daemon):
    daemon.write_config(daemon.config.read_text().replace("[server]", '[server]\nmax_body = "2KiB"'))
    ended = await reload(daemon)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith(f"{daemon.config} is in force, generation ")
    assert (await daemon.send({"fill": "x" * 3000}))[0] == 413


async def test_a_refused_one_prints_its_problems_as_check_does_and_fails(daemon):
    daemon.write_config(daemon.config.read_text().replace("attempts = 3", "attempts = 3000\nfrist = 1"))
    ended = await reload(daemon)
    checked = await process("check", "--config", str(daemon.config), cwd=daemon.folder, TEST_SECRET=SECRET)
    assert ended.code == 1
    assert ended.out == checked.out
    assert len(ended.out.splitlines()) == 2
    assert json.loads((await reload(daemon, "--json")).out)["problems"][0]["key"] == "retry.attempts"


async def test_a_daemon_that_moves_its_admin_listener_is_found(daemon):
    old, daemon.admin = daemon.admin, free_port()
    daemon.write_config(daemon.config.read_text().replace(f":{old}", f":{daemon.admin}"))
    assert (await reload(daemon)).code == 0


async def test_a_refused_move_is_told_by_the_daemon_where_it_still_is(daemon):
    nowhere = free_port()
    text = daemon.config.read_text().replace(f":{daemon.admin}", f":{nowhere}").replace("attempts = 3", "attempts = 0")
    daemon.write_config(text)
    ended = await reload(daemon)
    assert ended.code == 1
    assert "retry.attempts" in ended.out


async def test_without_a_daemon_it_fails(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and never listening: nobody else gets this port
        port = unused.getsockname()[1]
        path = write_config(tmp_path, admin=f"127.0.0.1:{port}")
        ended = await process("reload", "--config", str(path), cwd=tmp_path)
    assert (ended.code, ended.out) == (1, "")
    assert f"no daemon answers at 127.0.0.1:{port}" in ended.err


async def test_another_program_on_the_admin_port_is_a_failure(tmp_path):
    async def answering(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnull")
        writer.close()

    async with await asyncio.start_server(answering, "127.0.0.1", 0) as server:
        path = write_config(tmp_path, admin="127.0.0.1:{1}".format(*server.sockets[0].getsockname()))
        ended = await process("reload", "--config", str(path), cwd=tmp_path)
    assert (ended.code, ended.out) == (1, "")
    assert "404" in ended.err
