import asyncio

import pytest
from mirror.desk import Desk, settings
from origin import HTML, PNG, Origin, head, ok, raw, status

from syncd.mirror import outages
from syncd.mirror.client import open_client
from syncd.mirror.guard import server_of
from syncd.mirror.outages import ASSETS, EACH, FAILURES, FIRST_PAUSE, LONGEST_PAUSE, MOST, SOONEST, Outages
from syncd.mirror.setback import Lasting, Setback
from syncd.model import Fetched
from syncd.model import Retry as Later

DOWN = Setback("HTTP 503", troubled="host")
MISSING = Setback("HTTP 404", Lasting.MISSING)


class Watch:
    """Attempts at servers, on a clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.outages = Outages(lambda: self.now)

    def attempt(self, outcome=None, *, asset="a", server="host"):
        """Make one attempt with this outcome; returns what is raised."""
        try:
            with self.outages.attempt(server, asset):
                if outcome is not None:
                    raise outcome
        except Setback as raised:
            return raised
        return None

    def bring_down(self, server="host"):
        for n in range(FAILURES):
            last = self.attempt(Setback("HTTP 503", troubled=server), asset=f"{n}", server=server)
        return last

    def is_open(self, server="host"):
        try:
            self.outages.check(server)
        except Setback:
            return False
        return True


@pytest.fixture
def watch():
    return Watch()


@pytest.fixture(autouse=True)
def _without_jitter(monkeypatch):
    monkeypatch.setattr(outages.random, "uniform", lambda least, most: most)  # noqa: ARG005 - as the real one


def test_who_asks_for_it_may_probe_a_host_at_once(watch):
    watch.bring_down()
    assert not watch.is_open()
    watch.outages.hurry()
    assert watch.is_open()
    assert watch.attempt(DOWN).parked
    assert not watch.is_open()
    watch.outages.hurry()
    assert watch.attempt() is None
    assert watch.is_open()


def test_several_failures_of_several_assets_in_a_row_bring_a_host_down(watch):
    for n in range(FAILURES - 1):
        assert watch.attempt(DOWN, asset=f"{n}") is DOWN
    assert watch.is_open()
    last = watch.attempt(DOWN, asset="last")
    assert last.parked
    assert last.reason == "host host is down (HTTP 503), next probe in 1 s"
    assert last.after == FIRST_PAUSE
    assert not watch.is_open()


def test_one_or_two_assets_alone_never_do(watch):
    for n in range(10 * FAILURES):
        assert watch.attempt(DOWN, asset=f"{n % (ASSETS - 1)}") is DOWN


@pytest.mark.parametrize("answer", [None, MISSING, Setback("an HTML page instead of png"), Setback("a body cut short")])
def test_an_answer_in_between_starts_the_count_anew(watch, answer):
    for _ in range(10):
        for n in range(FAILURES - 1):
            watch.attempt(DOWN, asset=f"{n}")
        watch.attempt(answer)
    assert watch.is_open()


def test_a_refusal_of_our_own_says_nothing_about_the_host(watch):
    for n in range(FAILURES):
        watch.attempt(Setback("a refused URL", Lasting.FINAL))
        watch.attempt(DOWN, asset=f"{n}")
    assert not watch.is_open()


def test_one_attempt_at_a_time_probes(watch):
    watch.bring_down()
    watch.now += FIRST_PAUSE
    with watch.outages.attempt("host", "a"):
        assert watch.attempt(None).parked
    assert watch.is_open()
    assert watch.attempt(None) is None


def test_pauses_double_up_to_the_longest(watch):
    pauses = [watch.bring_down().after]
    for _ in range(8):
        watch.now += pauses[-1]
        pauses.append(watch.attempt(DOWN).after)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert max(pauses) == LONGEST_PAUSE


def test_who_was_under_way_when_it_went_down_does_not_lengthen_the_pause(watch):
    late = watch.outages.attempt("host", "late")
    late.__enter__()
    watch.bring_down()
    with pytest.raises(Setback, match="is down"):
        late.__exit__(Setback, DOWN, None)
    watch.now += FIRST_PAUSE
    assert watch.is_open()


def test_a_probe_that_is_given_up_leaves_the_turn_to_another(watch):
    watch.bring_down()
    watch.now += FIRST_PAUSE
    with pytest.raises(asyncio.CancelledError), watch.outages.attempt("host", "a"):
        raise asyncio.CancelledError
    assert watch.is_open()
    assert watch.attempt(DOWN).after == 2 * FIRST_PAUSE


def test_retry_after_is_obeyed(watch):
    wish = Setback("HTTP 429", after=300.0, troubled="host")
    watch.bring_down()
    watch.now += FIRST_PAUSE
    assert watch.attempt(wish).after == 300
    watch.now += 299
    assert not watch.is_open()
    watch.now += 1
    assert watch.is_open()


def test_those_put_off_come_back_as_a_trickle_after_the_probe(watch):
    watch.bring_down()
    waits = [watch.attempt().after for _ in range(1000)]
    assert waits == pytest.approx([FIRST_PAUSE + EACH * n for n in range(1, 1001)])
    watch.now += FIRST_PAUSE
    assert watch.attempt(DOWN).after == 2 * FIRST_PAUSE, "who probed is the first to probe again"


def test_who_comes_during_a_probe_is_put_off_for_a_moment(watch):
    watch.bring_down()
    watch.now += 10
    with watch.outages.attempt("host", "a"):
        assert SOONEST <= watch.attempt().after < 2 * SOONEST


def test_a_good_answer_opens_the_host_at_once(watch):
    watch.bring_down()
    watch.now += FIRST_PAUSE
    assert watch.attempt(None) is None
    assert watch.is_open()
    assert watch.bring_down().after == FIRST_PAUSE, "and the next outage begins anew"


def test_other_hosts_are_left_alone(watch):
    watch.bring_down()
    assert watch.is_open("other")
    assert watch.attempt(None, server="other") is None
    assert not watch.is_open()


def test_what_troubles_the_proxy_is_no_trouble_of_the_host_nor_an_answer(watch):
    silent = Setback("no connection to the proxy", troubled="proxy")
    for n in range(FAILURES - 1):
        watch.attempt(DOWN, asset=f"{n}")
    for n in range(2 * FAILURES):
        with pytest.raises(Setback), watch.outages.attempt("host", f"{n}"), watch.outages.attempt("proxy", f"{n}"):
            raise silent
    assert (watch.is_open(), watch.is_open("proxy")) == (True, False)
    watch.attempt(DOWN)
    assert not watch.is_open(), "the count went on"


def test_without_a_proxy_nobody_is_troubled(watch):
    for n in range(FAILURES):
        watch.attempt(Setback("a body cut short"), asset=f"{n}", server="")
        watch.attempt(DOWN, asset=f"{n}", server="")
    assert not watch.outages._known


def test_a_bounded_number_of_hosts_is_remembered(watch):
    for n in range(MOST + 10):
        watch.attempt(Setback("HTTP 503", troubled=f"{n}"), server=f"{n}")
    assert len(watch.outages._known) == MOST
    for n in range(MOST + 10):
        watch.attempt(None, server=f"{n}")
    assert not watch.outages._known


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("https://Example.org:443/a", "example.org"),
        ("https://example.org:8443/a", "example.org:8443"),
        ("http://[::1]:8080/", "[::1]:8080"),
        ("https://user@example.org/", "example.org"),
        ("nothing", ""),
        ("http://[half", ""),
    ],
)
def test_a_server_is_a_host_with_its_port(url, server):
    assert server_of(url) == server


# With downloads


@pytest.fixture
async def origin():
    async with Origin().running() as running:
        yield running


@pytest.fixture
async def desk(tmp_path, watch):
    folder = tmp_path / "temp"
    folder.mkdir()
    async with open_client(allow_private=True) as client:
        yield Desk(client, folder, outages=watch.outages)


async def crowd(desk, origin, answer, size=40):
    """Fetch so many different assets from one server at once."""
    urls = [origin.url(f"/{n}.png", answer) for n in range(size)]
    return await asyncio.gather(*(desk.fetch(url, id=url) for url in urls))


async def close(writer):
    writer.close()


@pytest.mark.parametrize("answer", [status(503), status(500), status(429), close, raw(b"SSH-2.0-x\r\n\r\n")])
async def test_a_dead_host_is_asked_a_handful_of_times(origin, desk, answer):
    results = await crowd(desk, origin, answer)
    assert all(isinstance(result, Later) and result.parked and result.after for result in results)
    assert all("is down" in result.reason for result in results)
    attempts = sum(result.attempts for result in results)
    assert FAILURES <= attempts < FAILURES + 8, "those under way, at most, beyond the threshold"
    # Where a connection ends without a word, aiohttp makes another one of its own accord.
    assert sum(origin.asked.values()) == (2 if answer is close else 1) * attempts
    assert desk.leftovers() == []


async def test_a_host_that_accepts_and_stays_silent_is_down(origin, desk):
    async def silence(writer):
        await asyncio.Event().wait()

    desk.config = settings({"connect_timeout": "50ms", "stall_timeout": "50ms"})
    assert all(result.parked for result in await crowd(desk, origin, silence))


@pytest.mark.parametrize(
    "answer", [status(404), status(401), ok(HTML), status(302), raw(head(Content_Length=len(PNG) + 1) + PNG)]
)
async def test_a_host_that_answers_is_not_down(origin, desk, answer):
    assert not any(getattr(result, "parked", False) for result in await crowd(desk, origin, answer))


async def test_a_host_that_is_down_is_not_asked(origin, desk, watch):
    url = origin.url("/a.png", ok())
    watch.bring_down(server_of(url))
    result = await desk.fetch(url)
    assert (result.parked, result.attempts) == (True, 0)
    assert origin.targets == []
    watch.now += FIRST_PAUSE
    assert isinstance(await desk.fetch(url), Fetched)


async def test_the_other_url_stands_in_for_a_host_that_is_down(origin, desk, watch):
    async with Origin().running() as cdn:
        url = origin.url("/a.png", ok())
        watch.bring_down(server_of(url))
        result = await desk.fetch(url, cdn.url("/a.png", ok()))
        assert (result.url, result.attempts) == (cdn.url("/a.png"), 1)
        watch.bring_down(server_of(cdn.base))
        result = await desk.fetch(url, cdn.url("/a.png"))
        assert (result.parked, result.attempts) == (True, 0)
        assert result.reason.count("is down") == 2


async def test_a_go_continues_at_the_url_whose_host_is_up(origin, desk, watch):
    async with Origin().running() as cdn:
        url = origin.url("/a.png", ok())
        watch.bring_down(server_of(url))
        assert (await desk.fetch(url, cdn.url("/a.png", status(503), ok()))).attempts == 2
        result = await desk.fetch(url, cdn.url("/b.png", status(404)))
        assert (result.parked, result.attempts) == (True, 1), "the one that is down may have it"


async def test_two_hiccups_and_then_the_file_is_plain_retrying(origin, desk):
    urls = [origin.url(f"/{n}.png", status(503), status(503), ok()) for n in range(3)]
    results = await asyncio.gather(*(desk.fetch(url, id=url) for url in urls))
    assert [result.attempts for result in results] == [3, 3, 3]
