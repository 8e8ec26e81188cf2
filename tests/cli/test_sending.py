import asyncio
import json
import socket

import pytest
from cli.command import SECRET, command, process, write_config
from intake.receiver import config, receiving

from syncd.config import Address, load
from syncd.demo import payloads
from syncd.sources.table import SOURCES
from syncd.web.listen import bind

URL = "https://host.test/a.png"


async def send(folder, *args):
    """Run `send` in a thread, as the receiver needs this one's loop."""
    return await asyncio.to_thread(command, "send", *args, "--config", folder / "config" / "sync.toml")


@pytest.fixture
async def receiver(tmp_path):
    async with receiving(config(tmp_path)) as running:
        running.config_path = write_config(tmp_path, listen=f"127.0.0.1:{running.listener.port}")
        yield running


async def test_an_event_goes_where_the_config_listens_signed_with_its_secret(receiver, tmp_path):
    ended = await process("send", "new_banner", "--asset-url", URL, cwd=tmp_path)
    (arrival,) = receiver.book.arrivals
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == f"200 accepted {arrival.platform_id}\n"
    assert arrival.signed_at is not None
    event = SOURCES["abyssale"].decode(arrival.body, arrival.hint)
    assert (event.name, [asset.url for asset in event.assets]) == ("NEW_BANNER", [URL])


async def test_many_are_about_different_visuals(receiver, tmp_path):
    ended = await send(tmp_path, "NEW_BANNER", "--count", "3")
    assert ended.out.count("200 accepted") == 3
    assert len({json.loads(arrival.body)["sharing_id"] for arrival in receiver.book.arrivals}) == 3
    assert len({arrival.platform_id for arrival in receiver.book.arrivals}) == 3


async def test_a_refusal_is_printed_and_exits_1(receiver, tmp_path):
    ended = await send(tmp_path, "NEW_EXPORT", "--secret", "wrong")
    assert (ended.code, ended.out, ended.err) == (1, "401 signature\n", "")


async def test_a_file_is_sent_as_it_is_to_the_path_of_its_event(receiver, tmp_path):
    body = json.dumps(payloads.template_status("APPROVED"), indent=3).encode()
    (tmp_path / "body.json").write_bytes(body)
    ended = await send(tmp_path, "TEMPLATE_STATUS", "--payload", tmp_path / "body.json")
    (arrival,) = receiver.book.arrivals
    assert ended.code == 0
    assert (arrival.body, arrival.hint) == (body, "TEMPLATE_STATUS")


async def test_with_target_and_secret_no_config_is_needed(receiver, tmp_path):
    receiver.config_path.unlink()
    url = f"http://127.0.0.1:{receiver.listener.port}/webhooks/abyssale"
    ended = await asyncio.to_thread(command, "send", "NEW_BANNER_BATCH", "--to", url, "--secret", SECRET)
    assert (ended.code, ended.err) == (0, "")


@pytest.mark.parametrize(
    "url", ["http://[::1", "127.0.0.1:28080", "ftp://host.test", "/webhooks", "http://host:x", "http://a..b", ""]
)
def test_where_nothing_can_be_sent_to_is_wrong_usage(tmp_path, url):
    write_config(tmp_path)
    for more in (["--secret", SECRET], ["--config", tmp_path / "config" / "sync.toml"]):
        ended = command("send", "NEW_BANNER", "--to", url, *more)
        assert (ended.code, ended.out) == (2, "")
        assert "--to" in ended.err


async def test_a_unix_socket_is_reached_as_well(tmp_path):
    path = str(tmp_path / "http.sock")
    async with receiving(config(tmp_path), sock=bind(Address("", 0, path))) as running:
        write_config(tmp_path, listen=f"unix:{path}")
        ended = await send(tmp_path, "NEW_BANNER")
    assert (ended.code, len(running.book.arrivals)) == (0, 1)


async def test_without_a_daemon_it_says_so(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and never listening: nobody else gets this port
        write_config(tmp_path, listen=f"127.0.0.1:{unused.getsockname()[1]}")
        ended = await send(tmp_path, "NEW_BANNER")
    assert (ended.code, ended.out) == (1, "")
    assert "no answer from http://127.0.0.1:" in ended.err
    assert "/webhooks/abyssale: Connection refused\n" in ended.err
    assert "is the daemon running?" in ended.err


async def test_a_port_that_only_the_daemon_knows_has_to_be_named(tmp_path):
    write_config(tmp_path, listen="127.0.0.1:0")
    ended = await send(tmp_path, "NEW_BANNER")
    assert ended.code == 1
    assert "any free port" in ended.err


async def test_an_event_of_abstracts_goes_to_the_path_of_that_source(receiver, tmp_path):
    text = receiver.config_path.read_text() + '\n[sources.abstract]\nsecret = "key"\n'
    receiver.config_path.write_text(text)
    receiver.config = load(receiver.config_path).config
    ended = await send(tmp_path, "COMMITS.created", "--count", "2")
    assert (ended.code, ended.out.count("200 accepted")) == (0, 2)
    assert {arrival.source for arrival in receiver.book.arrivals} == {"abstract"}


async def test_a_platform_that_the_config_does_not_hear_is_not_spoken_for(receiver, tmp_path):
    ended = await send(tmp_path, "project.created")
    assert ended.code == 2
    assert "sources.abstract: is missing" in ended.err
