import time

import aiohttp
import orjson
import pytest
from aiohttp import web

from syncd.demo.send import deliver, sample
from syncd.errors import SyncdError
from syncd.model import Event
from syncd.sources import abstract
from syncd.sources.abyssale import EVENTS, decode, delivery_id, verify
from syncd.sources.protocol import Verified

URL = "https://files.example.test/acme/a.png"
SECRET = "whsec_test"


@pytest.fixture
async def session():
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def receiver():
    """A receiver that answers what it is told to, and the URL, headers and body it got."""
    got, answer = [], {"body": b'{"status":"accepted"}', "status": 200}

    async def receive(request):
        got.append((list(request.headers.items()), await request.read()))
        return web.Response(**answer)

    runner = web.ServerRunner(web.Server(receive))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    yield f"http://127.0.0.1:{port}/webhooks/abyssale", got, answer
    await runner.cleanup()


async def test_a_delivery_arrives_as_the_platform_sends_it(receiver, session):
    url, got, _ = receiver
    before = int(time.time())
    sent = await deliver(url, b'{"a": 1}', secret=SECRET, delivery_id="f" * 64, session=session)
    ((headers, body),) = got
    assert sent == (200, {"status": "accepted"})
    assert body == b'{"a": 1}'
    assert delivery_id(headers) == "f" * 64
    verdict = verify(headers, body, [SECRET], 300, time.time())
    assert isinstance(verdict, Verified)
    assert before <= int(verdict.signed_at) <= time.time()
    assert dict(headers)["Content-Type"] == "application/json"
    assert dict(headers)["X-Referer"] == "api.abyssale.com"
    assert "User-Agent" not in dict(headers)


async def test_a_delivery_can_be_signed_at_another_time(receiver, session):
    url, got, _ = receiver
    await deliver(url, b"{}", secret=SECRET, delivery_id=None, session=session, t=1790000000)
    assert verify(*got[0], [SECRET], 0, 1790000000) == Verified("1790000000")


async def test_without_secret_and_id_their_headers_are_not_sent(receiver, session):
    url, got, _ = receiver
    await deliver(url, b"{}", secret=None, delivery_id=None, session=session)
    assert not [name for name, _ in got[0][0] if name.startswith("X-Abyssale")]


async def test_an_answer_that_is_not_json_is_given_as_text_and_only_so_much_of_it(receiver, session):
    url, _, answer = receiver
    answer.update(status=502, body=b"<p>" + b"x" * 200_000)
    status, text = await deliver(url, b"{}", secret=None, delivery_id=None, session=session)
    assert status == 502
    assert text == "<p>" + "x" * 65533


async def test_a_redirect_is_an_answer_and_not_followed(receiver, session):
    url, got, answer = receiver
    answer.update(status=307, headers={"Location": url}, body=b"")
    assert await deliver(url, b"{}", secret=None, delivery_id=None, session=session) == (307, "")
    assert len(got) == 1


async def test_nobody_at_home_is_the_callers_to_handle(unused_tcp_port, session):
    with pytest.raises(aiohttp.ClientConnectorError):
        await deliver(f"http://127.0.0.1:{unused_tcp_port}/", b"{}", secret=None, delivery_id=None, session=session)


@pytest.mark.parametrize("event", EVENTS)
def test_a_sample_is_understood_as_its_event_and_each_is_another(event):
    first, again, second = (decode(orjson.dumps(sample(event.lower(), URL, n)), None) for n in (1, 1, 2))
    assert isinstance(first, Event)
    assert isinstance(second, Event)
    assert first.name == event
    assert first.unclear == ()
    assert first == again
    if event == "TEMPLATE_STATUS":
        assert first.status.template.id != second.status.template.id
    else:
        assert first.assets[0].url == URL
        assert not set(first.assets[0].identities) & set(second.assets[0].identities)


@pytest.mark.parametrize("event", abstract.EVENTS)
def test_a_sample_of_abstracts_is_understood_as_its_event(event):
    first, second = (abstract.decode(orjson.dumps(sample(event, URL, n)), None) for n in (1, 2))
    assert isinstance(first, Event)
    assert (first.name, first.unclear) == (event, ())
    assert first.news[0].subject != second.news[0].subject


async def test_a_delivery_of_abstracts_is_signed_as_theirs_and_has_no_id(receiver, session):
    url, got, _ = receiver
    await deliver(url, b"{}", secret=SECRET, delivery_id="x", session=session, source="abstract")
    ((headers, body),) = got
    assert abstract.verify(headers, body, [SECRET], 0.0, 0.0) == Verified(None)
    assert dict(headers)["User-Agent"] == "Abstract-Webhooks"
    assert "x" not in dict(headers).values()


def test_a_sample_of_no_event_says_which_there_are():
    with pytest.raises(SyncdError, match="no such event: new_thing") as error:
        sample("new_thing", URL, 1)
    assert "NEW_BANNER_BATCH" in error.value.hint
