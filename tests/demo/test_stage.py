import asyncio
import hashlib

import aiohttp
import pytest

from syncd.demo.artwork import TYPES, artwork
from syncd.demo.stage import CONTENT_TYPES, Fault, Stage


@pytest.fixture
async def stage():
    async with Stage() as stage:
        yield stage


@pytest.fixture
async def session():
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.mark.parametrize("kind", TYPES)
async def test_a_file_is_served_as_an_object_store_does(stage, session, kind):
    content = artwork(kind)
    async with session.get(stage.put(f"/acme/banner.{kind}", content)) as response:
        assert await response.read() == content
    assert response.status == 200
    assert response.headers["Content-Type"] == CONTENT_TYPES[f".{kind}"]
    assert response.headers["Content-Length"] == str(len(content))
    assert response.headers["ETag"] == f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


async def test_new_content_is_served_from_the_next_request_on(stage, session):
    seen = []
    for content in (b"one", b"two"):
        async with session.get(stage.put("/a.bin", content)) as response:
            seen.append((await response.read(), response.headers["ETag"]))
    assert [body for body, _ in seen] == [b"one", b"two"]
    assert seen[0][1] != seen[1][1]


async def test_headers_replace_the_usual_ones(stage, session):
    async with session.get(stage.put("/a.png", b"x", ETag='"f00-2"')) as response:
        assert response.headers["ETag"] == '"f00-2"'


async def test_scripted_faults_happen_once_each_and_in_order(stage, session):
    url = stage.put("/a.png", artwork("png"))
    stage.script("/a.png", 503, Fault(429, headers={"Retry-After": "7"}))
    seen = []
    for _ in range(3):
        async with session.get(url) as response:
            seen.append((response.status, response.headers.get("Retry-After")))
    assert seen == [(503, None), (429, "7"), (200, None)]
    assert stage.requests["/a.png"] == 3


async def test_what_is_not_there_or_removed_is_404_and_counted(stage, session):
    stage.put("/gone.png", b"x")
    stage.remove("/gone.png")
    for path in ("/gone.png", "/never.png"):
        async with session.get(stage.url(path)) as response:
            assert response.status == 404
    assert stage.requests == {"/gone.png": 1, "/never.png": 1}


async def test_a_cut_file_ends_before_the_length_it_promised(stage, session):
    url = stage.put("/a.png", b"0123456789")
    stage.script("/a.png", Fault(cut=4))
    async with session.get(url) as response:
        assert response.headers["Content-Length"] == "10"
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
    async with session.get(url) as response:
        assert await response.read() == b"0123456789"


async def test_a_held_request_waits_until_it_is_let_go(stage, session):
    held = asyncio.Event()
    url = stage.put("/a.png", b"x")
    stage.script("/a.png", Fault(hold=held))

    async def get():
        async with session.get(url) as response:
            return await response.read()

    first = asyncio.create_task(get())
    await stage.asked("/a.png")
    assert await get() == b"x"
    assert not first.done()
    held.set()
    assert await first == b"x"


async def test_the_stage_closes_over_a_request_that_is_still_held(session):
    async with Stage() as stage:
        stage.script("/a.png", Fault(hold=asyncio.Event()))
        request = asyncio.create_task(session.get(stage.url("/a.png")))
        await stage.asked("/a.png")
    with pytest.raises(aiohttp.ClientError):
        await request


async def test_names_with_spaces_and_accents_are_found(stage, session):
    async with session.get(stage.put("/Été 1/a b.png", b"x")) as response:
        assert await response.read() == b"x"
    assert stage.requests["/Été 1/a b.png"] == 1
