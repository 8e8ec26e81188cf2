"""Servers that ask for something: a token that no other sees, and not to be asked too often."""

import pytest
from mirror.desk import Desk, settings
from origin import Origin, ok, status

from syncd.door import Door, Pace
from syncd.mirror.client import open_client
from syncd.mirror.fetch import fetch
from syncd.model import Asset, Failed, Fetched, Retry

SHOWN = {"Authorization": "Bearer the-token"}


@pytest.fixture
async def origin():
    async with Origin().running() as running:
        yield running


@pytest.fixture
async def desk(tmp_path):
    async with open_client(allow_private=True) as client:
        yield Desk(client, tmp_path)


async def fetched(desk, url, door, *, patient=False, only=None):
    """Fetch where a door is at one URL, or at all of them."""
    return await fetch(
        Asset(source="abstract", kind="file", id="1", url=url, type="png", patient=patient),
        {},
        desk.means(doors=lambda _, asked: door if only in (None, asked) else None),
    )


def door(rate=100):
    return Door(SHOWN, rate, Pace())


async def test_what_a_server_asks_for_is_shown_there(desk, origin):
    assert isinstance(await fetched(desk, origin.url("/a.png", ok()), door()), Fetched)
    assert "Authorization: Bearer the-token" in origin.head


async def test_it_is_shown_to_nobody_whom_a_redirect_leads_to_the_same_server_included(desk, origin):
    url = origin.url("/a.png", status(302, Location="/b.png"))
    origin.url("/b.png", ok())
    assert isinstance(await fetched(desk, url, door()), Fetched)
    assert origin.targets == ["/a.png", "/b.png"]
    assert "the-token" not in origin.head


async def test_without_a_door_nothing_is_shown(desk, origin):
    await fetched(desk, origin.url("/a.png", ok()), None)
    assert "Authorization" not in origin.head


async def test_a_server_with_a_door_is_allowed_but_not_whom_it_leads_to(desk, origin):
    desk.config = settings({"allowed_hosts": ["files.example.com"]})
    assert isinstance(await fetched(desk, origin.url("/a.png", ok()), door()), Fetched)
    answer = await fetched(desk, origin.url("/b.png", status(302, Location="/a.png")), door())
    assert isinstance(answer, Failed)
    assert "not in download.allowed_hosts" in answer.reason


async def test_whose_turn_is_far_off_goes_back_without_having_asked_or_failed(desk, origin):
    url, entrance = origin.url("/a.png", ok()), door(rate=1)
    assert isinstance(await fetched(desk, url, entrance), Fetched)
    answer = await fetched(desk, url, entrance)
    assert (answer.reason, answer.attempts, answer.parked) == ("", 0, True)
    assert answer.after > 50
    assert origin.asked["/a.png"] == 1


@pytest.mark.parametrize("header", [{"RateLimit_Reset": 40}, {"Retry_After": 40}])
async def test_a_flood_is_everyones_rest(desk, origin, header):
    entrance = door()
    answer = await fetched(desk, origin.url("/a.png", status(429, **header)), entrance)
    assert (answer.after, answer.parked) == (40.0, False)
    assert 39 < entrance.wait(5.0) <= 40


@pytest.mark.parametrize("code", [403, 404, 410])
async def test_a_file_that_may_not_be_there_yet_is_asked_for_later(desk, origin, code):
    url = origin.url("/a.png", status(code))
    assert isinstance(await fetched(desk, url, door(), patient=True), Retry)
    assert isinstance(await fetched(desk, url, door()), Failed)


async def test_a_file_that_appears_within_the_go_is_fetched(desk, origin):
    url = origin.url("/a.png", status(404), ok())
    assert isinstance(await fetched(desk, url, door(), patient=True), Fetched)
