"""As a service of systemd: what it is told and when, and a socket of its own that outlives the daemon."""

import asyncio
import json
import os
import resource
import signal
import socket
from contextlib import asynccontextmanager

import aiohttp
import pytest
from cli.command import process
from nursery import born
from running import PATIENCE, SECRET, Running, running
from supervising import supervisor

from syncd.demo import artwork, payloads
from syncd.demo.send import deliver
from syncd.demo.stage import Fault, Stage
from syncd.journal.whereabouts import whereabouts


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    with supervisor(str(tmp_path / "notify")) as listening:
        monkeypatch.setenv("NOTIFY_SOCKET", listening.address)
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        yield listening


async def test_it_is_ready_once_it_answers_gives_signs_and_says_that_it_stops(tmp_path, systemd):
    daemon = Running(tmp_path)
    daemon.write_config(server='shutdown_grace = "7s"')
    async with aiohttp.ClientSession() as daemon.session:
        await daemon.start()
        await daemon.until(lambda: systemd.said("READY"), "READY")
        await daemon.until(lambda: systemd.said("STATUS") == ["ready", "ready: 0 waiting, 0 failed"], "the status")
        await daemon.until(lambda: len(systemd.said("WATCHDOG")) > 3, "signs of life")
        assert systemd.heard()[0] == {"EXTEND_TIMEOUT_USEC": "60000000"}  # a recovery may take its time
        assert await daemon.stop() == 0
    (stopping,) = (message for message in systemd.heard() if "STOPPING" in message)
    assert int(stopping["EXTEND_TIMEOUT_USEC"]) > 7_000_000


async def test_a_stopped_process_gives_no_sign(tmp_path, systemd):
    async with running(tmp_path) as daemon:
        await daemon.until(lambda: len(systemd.said("WATCHDOG")) > 1, "signs of life")
        daemon.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(0.05)  # it is stopped whenever the kernel comes to it
        systemd.forget()
        await asyncio.sleep(0.4)
        assert systemd.heard() == []
        daemon.process.send_signal(signal.SIGCONT)
        await daemon.until(lambda: systemd.said("WATCHDOG"), "a sign of life")


async def test_it_may_open_more_files_than_a_shell_has_given_it(tmp_path):
    usual, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(usual, 512), most))
    try:
        async with running(tmp_path, fresh=True) as daemon:
            allowed, _ = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (usual, most))
    assert allowed == min(most, 16_384)


@pytest.mark.parametrize("how", ["saved", "SIGHUP"])
async def test_a_reload_is_announced_and_ends_ready(tmp_path, systemd, how):
    async with running(tmp_path) as daemon:
        await daemon.until(lambda: systemd.said("READY"), "READY")
        systemd.forget()
        if how == "saved":
            daemon.write_config(daemon.config.read_text().replace("[server]", '[server]\nmax_body = "2KiB"'))
        else:
            daemon.process.send_signal(signal.SIGHUP)
        await daemon.until(lambda: systemd.said("READY"), "READY again")
        told = [message for message in systemd.heard() if not message.keys() & {"WATCHDOG", "STATUS"}]
        assert [*told[0]] == ["RELOADING", "MONOTONIC_USEC"]
        assert told[1] == {"READY": "1"}


async def test_a_refused_config_is_in_the_status(tmp_path, systemd):
    async with running(tmp_path) as daemon:
        daemon.write_config(daemon.config.read_text().replace("attempts = 3", "attempts = 0"))
        await daemon.until(lambda: any("retry.attempts" in said for said in systemd.said("STATUS")), "it is said")


# A passed socket


class Activated(Running):
    """A daemon whose socket is somebody else's."""

    passed: socket.socket

    async def start(self) -> None:
        path = self.folder / "passed-by"
        path.unlink(missing_ok=True)
        env = {**os.environ, "TEST_SECRET": SECRET, "PASSED_BY": str(path)}
        with self.log.open("ab") as log, socket.socket(socket.AF_UNIX) as way:
            way.bind(str(path))
            way.listen()
            way.setblocking(False)
            self.process = await born("activation:main", "run", "--config", str(self.config), env=env, stderr=log)
            taker, _ = await asyncio.get_running_loop().sock_accept(way)
            with taker:
                socket.send_fds(taker, [b"."], [self.passed.fileno()])
        await self.until(self.answers, "the daemon answers")


@asynccontextmanager
async def activated(folder, **sections):
    daemon = Activated(folder)
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as daemon.passed:
        daemon.write_config(**sections)
        daemon.port = daemon.passed.getsockname()[1]
        async with aiohttp.ClientSession() as daemon.session:
            await daemon.start()
            try:
                yield daemon
            finally:
                assert await daemon.stop() == 0


async def test_restarts_under_load_lose_no_request_on_a_passed_socket(tmp_path):
    answered, over = [], asyncio.Event()

    async def post_on_and_on(daemon, name, *, keep):
        url = f"http://127.0.0.1:{daemon.port}/webhooks/abyssale"
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=not keep)) as session:
            number = 0
            while not over.is_set():
                number += 1
                body, name_of = json.dumps({name: number}).encode(), f"{name}-{number}"
                status, said = await deliver(url, body, secret=SECRET, delivery_id=name_of, session=session)
                assert (status, said["status"]) == (200, "accepted"), said
                answered.append(name_of)

    async with activated(tmp_path) as daemon:
        async with asyncio.TaskGroup() as posters:
            for name, keep in (("kept", True), ("fresh", False)):
                posters.create_task(post_on_and_on(daemon, name, keep=keep))
            for _ in range(3):
                enough = len(answered) + 10
                await daemon.until(lambda enough=enough: len(answered) > enough, "requests are coming")
                assert await daemon.stop() == 0
                await daemon.start()
            over.set()
        listed = (await daemon.api("/api/deliveries?limit=1000"))["deliveries"]
        assert {delivery["id"] for delivery in listed} >= set(answered[-900:])


async def test_deliveries_are_taken_on_a_passed_socket_while_a_download_holds_up_the_stop(tmp_path):
    """Until the next process is there, they would wait; meanwhile this one is well able to keep them."""
    async with Stage() as stage, activated(tmp_path) as daemon:
        hold = asyncio.Event()
        stage.script("/a.png", Fault(hold=hold))
        await daemon.send(payloads.new_banner(stage.put("/a.png", artwork.artwork("png"))))
        await stage.asked("/a.png")
        daemon.process.send_signal(signal.SIGTERM)
        await daemon.until(lambda: '"stopping' in daemon.log.read_text(), "the signal is heard")
        async with aiohttp.ClientSession() as fresh:
            url = f"http://127.0.0.1:{daemon.port}/webhooks/abyssale"
            body = b'{"while":"stopping"}'
            assert (await deliver(url, body, secret=SECRET, delivery_id="late", session=fresh))[0] == 200
        hold.set()
        async with asyncio.timeout(PATIENCE):
            assert await daemon.process.wait() == 0
        await daemon.start()
        assert (await daemon.idle())["totals"]["assets"] == 1


async def test_what_comes_after_the_stop_is_answered_by_the_next_process(tmp_path):
    async with activated(tmp_path) as daemon:
        assert await daemon.stop() == 0
        sending = asyncio.create_task(daemon.send({"between": "two"}))
        await daemon.start()
        assert (await sending)[0] == 200


async def test_a_listen_that_does_not_count_is_said(tmp_path):
    async with activated(tmp_path) as daemon:
        assert "server.listen is not used" in daemon.log.read_text()


async def test_commands_find_the_passed_socket(tmp_path):
    async with activated(tmp_path) as daemon:
        args = "--config", str(daemon.config)
        await daemon.until(lambda: whereabouts(tmp_path / "state" / "journal.db"), "it is noted where it listens")
        sent = await process("send", "NEW_BANNER", *args, cwd=tmp_path, TEST_SECRET=SECRET)
        assert (sent.code, sent.out.split()[0]) == (0, "200")
        looked = await process("doctor", "--offline", "--json", *args, cwd=tmp_path, TEST_SECRET=SECRET)
        assert f"127.0.0.1:{daemon.port}" in {
            one["on"] for one in json.loads(looked.out)["findings"] if one["message"] == "the public listener answers"
        }


async def test_a_reload_that_is_asked_for_while_stopping_is_refused(tmp_path):
    async with Stage() as stage, running(tmp_path) as daemon:
        hold = asyncio.Event()
        stage.script("/a.png", Fault(hold=hold))
        await daemon.send(payloads.new_banner(stage.put("/a.png", artwork.artwork("png"))))
        await stage.asked("/a.png")
        daemon.process.send_signal(signal.SIGTERM)
        await daemon.until(lambda: '"stopping' in daemon.log.read_text(), "the signal is heard")
        async with daemon.session.post(f"http://127.0.0.1:{daemon.admin}/-/reload") as answer:
            assert answer.status == 422
            assert "stopping" in (await answer.json())["problems"][0]["message"]
        hold.set()
