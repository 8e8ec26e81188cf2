import asyncio
import os
import time
import uuid

import pytest
from supervising import supervisor

from syncd.supervisor import patience, reloading, starting, tell, tell_of_stopping


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    with supervisor(str(tmp_path / "notify")) as listening:
        monkeypatch.setenv("NOTIFY_SOCKET", listening.address)
        yield listening


def test_facts_are_one_message(systemd):
    tell(READY=1, STATUS="ready")
    assert systemd.heard() == [{"READY": "1", "STATUS": "ready"}]


def test_an_abstract_socket_is_reached():
    with supervisor(f"@syncd-{uuid.uuid4()}") as listening:
        tell({"NOTIFY_SOCKET": listening.address}, WATCHDOG=1)
        assert listening.heard() == [{"WATCHDOG": "1"}]


def test_a_value_can_not_become_a_second_fact(systemd):
    tell(STATUS="a\nREADY=1 \udcff")
    assert systemd.heard() == [{"STATUS": "a READY=1 \\udcff"}]


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "relative", "/no/such/socket"])
def test_where_nobody_listens_nothing_happens(address):
    tell({"NOTIFY_SOCKET": address}, READY=1)
    tell({}, READY=1)


def test_a_supervisor_that_does_not_listen_holds_nobody_up(systemd):
    began = time.monotonic()
    for _ in range(2000):  # more than a socket's buffer takes
        tell(STATUS="x" * 1000)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 60.0),
        ({"WATCHDOG_USEC": "1500000"}, 1.5),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "x"}, None),
        ({}, None),
    ],
)
def test_patience_is_what_systemd_has_with_this_process(environ, seconds):
    assert patience(environ) == seconds


async def test_a_reload_is_announced_with_its_time_and_ends_ready_even_if_it_fails(systemd):
    async def fail():
        async with reloading():
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    begun, ended = systemd.heard()
    assert begun["RELOADING"] == "1"
    assert abs(int(begun["MONOTONIC_USEC"]) - time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000) < 10_000_000
    assert ended == {"READY": "1"}


async def test_a_long_start_asks_for_time_and_its_end_asks_no_more(systemd, monkeypatch):
    monkeypatch.setattr("syncd.supervisor._ASK_EVERY", 0.001)
    async with starting():
        while len(systemd.said("EXTEND_TIMEOUT_USEC")) < 3:
            await asyncio.sleep(0.001)
    assert set(systemd.said("EXTEND_TIMEOUT_USEC")) == {"60000000"}


def test_a_stop_says_how_long_it_may_take(systemd):
    tell_of_stopping(90.5)
    assert systemd.heard() == [{"STOPPING": "1", "STATUS": "stopping", "EXTEND_TIMEOUT_USEC": "90500000"}]
