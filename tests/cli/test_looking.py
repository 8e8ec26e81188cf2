import asyncio
import json
import os
import signal
import socket
import sys
from contextlib import asynccontextmanager, closing
from types import SimpleNamespace

import pytest
from cli.command import ENVIRONMENT, command, process, write_config
from journal.filled import NOW, RULES, accept, filled
from nursery import born
from running import SECRET, running

from syncd import __version__
from syncd.config.units import parse_address
from syncd.demo.ports import free_port
from syncd.journal import Decision
from syncd.journal.reading import SqliteReader
from syncd.observe.admin import Admin
from syncd.observe.metrics import Metrics
from syncd.web.listen import bind
from syncd.web.server import Listener

HOSTILE = "[red]a[/red] [link=https://evil.example]b[/link] :warning: \x1b[2J\u202e\nc"
ERROR = {"message": "is not a known key", "file": "sync.toml", "line": 3, "key": "x.y"}


@pytest.fixture
async def journal(tmp_path):
    async with filled(tmp_path / "state" / "journal.db") as open_journal:
        yield open_journal


@pytest.fixture
async def at_rest(tmp_path):
    """A journal that nobody has open."""
    async with filled(tmp_path / "state" / "journal.db"):
        pass


@asynccontextmanager
async def admin_listener(folder, address="127.0.0.1:0", **changed):
    """An admin listener over the journal in `folder`, on TCP or a unix socket."""
    live = {
        "version": "9.9.9",
        "started_at": NOW,
        "config": {"path": "sync.toml", "generation": 7, "loaded_at": NOW, "error": ERROR},
        "disk": {"mirror_free": 5 << 30, "journal_free": 6 << 30},
    }
    with closing(SqliteReader(folder / "state" / "journal.db")) as reader:
        insight = SimpleNamespace(
            reader=reader, metrics=Metrics(), reasons=lambda: changed.get("reasons", []), live=lambda: live
        )
        admin = Admin(insight)
        listener = Listener(bind(parse_address(address)), admin, timeout=lambda: 5.0)
        listener.open()
        listening = listener.sock.getsockname()
        try:
            yield listening if isinstance(listening, str) else "127.0.0.1:{1}".format(*listening)
        finally:
            await listener.drain(1)
            await admin.close()


# ---- status ----


async def status(folder, *args):
    """Run `status` in a thread, as the listener that it asks needs this one's loop."""
    return await asyncio.to_thread(command, "status", *args, "--config", folder / "config" / "sync.toml")


async def test_status_is_what_the_daemon_says(journal, tmp_path):
    async with admin_listener(tmp_path) as address:
        write_config(tmp_path, admin=address)
        as_json, drawn = await process("status", "--json", cwd=tmp_path), await status(tmp_path)
    said = json.loads(as_json.out)
    assert (as_json.code, as_json.err) == (0, "")
    assert (said["version"], said["ready"], said["config"]["generation"]) == ("9.9.9", True, 7)
    assert (drawn.code, drawn.err) == (0, "")
    for word in (
        "9.9.9 is ready",
        "sync.toml:3: x.y: is not a known key",
        "3 waiting",
        "0.0 deliveries a minute",
        "404 from host.test",
        "d-unread",
    ):
        assert word in drawn.out


async def test_status_says_why_the_daemon_is_not_ready(journal, tmp_path):
    async with admin_listener(tmp_path, reasons=["the disk is full"]) as address:
        write_config(tmp_path, admin=address)
        drawn = await status(tmp_path)
    assert "is not ready: the disk is full" in drawn.out


async def test_status_is_asked_over_a_unix_socket_as_well(journal, tmp_path):
    async with admin_listener(tmp_path, f"unix:{tmp_path}/admin.sock"):
        write_config(tmp_path, admin=f"unix:{tmp_path}/admin.sock")
        said = json.loads((await status(tmp_path, "--json")).out)
    assert said["version"] == "9.9.9"


@pytest.mark.parametrize("admin", ["127.0.0.1:{port}", "unix:{folder}/admin.sock"])
def test_without_a_daemon_status_is_read_from_the_journal(at_rest, tmp_path, admin):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and never listening: nobody else gets this port
        path = write_config(tmp_path, admin=admin.format(port=unused.getsockname()[1], folder=tmp_path))
        ended = command("status", "--json", "--config", path)
        drawn = command("status", "--config", path)
    said = json.loads(ended.out)
    assert (ended.code, ended.err) == (0, "")
    assert (said["version"], said["ready"], said["reasons"]) == (__version__, False, ["not running"])
    assert (said["started_at"], said["config"]["path"]) == (None, str(path))
    assert said["assets"] == {"pending": 2, "published": 2, "superseded": 0, "failed": 1}
    assert said["disk"]["journal_free"] > 0
    assert said["disk"]["mirror_free"] is None  # there is no tree yet
    assert "syncd does not run" in drawn.out
    assert "since the start" not in drawn.out
    assert drawn.out.splitlines()[1].rstrip() == f"config {path}"  # which nobody has loaded


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", b"SSH-2.0-OpenSSH\r\n", b""])
async def test_something_else_on_the_admin_port_is_a_failure(journal, tmp_path, answer):
    async def answering(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(answering, "127.0.0.1", 0) as server:
        write_config(tmp_path, admin="127.0.0.1:{1}".format(*server.sockets[0].getsockname()))
        ended = await status(tmp_path)
    assert (ended.code, ended.out) == (1, "")
    assert "no status from 127.0.0.1:" in ended.err


@pytest.mark.parametrize(
    "broken", ["[download]\nconcurency = 1\n", "[download]\nconcurrency = \n", '[log]\nlevel = "loud"\n', "!\n"]
)
def test_a_config_with_a_mistake_does_not_hide_the_daemon(journal, tmp_path, broken):
    path = write_config(tmp_path, more=broken)
    assert command("check", "--config", path).code == 2
    assert json.loads(command("status", "--json", "--config", path).out)["assets"]["published"] == 2
    assert command("deliveries", "--config", path).code == 0


def test_secrets_that_only_the_daemon_has_are_not_needed_to_look(journal, tmp_path):
    path = write_config(tmp_path)
    path.write_text(path.read_text().replace("secret =", 'api_key = { env = "NOT_SET_HERE" }\nsecret ='))
    assert command("check", "--config", path).code == 2
    assert command("deliveries", "--json", "--config", path).code == 0


def test_a_mistake_where_it_has_to_look_is_an_invalid_config(tmp_path):
    path = write_config(tmp_path, admin="nowhere")
    ended = command("status", "--config", path)
    assert (ended.code, ended.out) == (2, "")
    assert "admin.listen" in ended.err


def test_the_environment_overrides_where_it_looks(journal, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    path = write_config(tmp_path / "elsewhere")
    url = f"sqlite:///{tmp_path}/state/journal.db"
    assert command("deliveries", "--config", path).code == 1
    assert command("deliveries", "--config", path, SYNCD_JOURNAL__URL=url).code == 0


async def test_watching_goes_on_until_it_is_interrupted(at_rest, tmp_path):
    write_config(tmp_path, admin=f"unix:{tmp_path}/admin.sock")
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "syncd", "status", "--watch",
        cwd=tmp_path, env=ENVIRONMENT | {"COLUMNS": "200"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(30):
        await child.stdout.readuntil(b"does not run")
        child.send_signal(signal.SIGINT)
        _, err = await child.communicate()
    assert (child.returncode, err) == (130, b"")


def test_watching_is_for_people():
    assert command("status", "--watch", "--json").code == 2


# ---- deliveries ----


def test_deliveries_are_listed_for_programs_and_for_people(journal, tmp_path):
    path = write_config(tmp_path)
    said = json.loads(command("deliveries", "--config", path, "--json").out)
    assert [one["id"] for one in said["deliveries"]][:2] == ["d-unread", "d-odd"]
    drawn = command("deliveries", "--config", path).out.splitlines()
    assert len(drawn) == 1 + 7
    assert "d-unread" in drawn[1]


def test_deliveries_are_chosen(journal, tmp_path):
    path = write_config(tmp_path)

    def ids(*args):
        listed = json.loads(command("deliveries", "--config", path, "--json", *args).out)["deliveries"]
        return [one["id"] for one in listed]

    assert ids("--limit", "1") == ["d-unread"]
    assert ids("--outcome", "quarantined", "--source", "abyssale") == ["d-odd"]
    for wrong in (["--limit", "0"], ["--limit", "1001"], ["--outcome", "lost"], ["--source", "\udcff"]):
        assert command("deliveries", "--config", path, *wrong).code == 2


def test_one_delivery_is_shown_with_its_payload(journal, tmp_path):
    path = write_config(tmp_path)
    said = json.loads(command("deliveries", "show", "d-pub", "--config", path, "--json").out)
    assert json.loads(command("deliveries", "--json", "show", "d-pub", "--config", path).out) == said
    assert (said["id"], said["payload"]) == ("d-published", "{d-published}")
    drawn = command("deliveries", "show", "d-pub", "--config", path).out
    for word in ("d-published", "Spring sale/square/1.png", "X-Secret", "***", "{d-published}"):
        assert word in drawn


def test_an_id_that_is_unknown_or_ambiguous_exits_1(journal, tmp_path):
    path = write_config(tmp_path)
    for given, word in (("nothing", "begins with nothing"), ("d-", "d-export, d-failed"), ("\udcff", "\\udcff")):
        ended = command("deliveries", "show", given, "--config", path)
        assert (ended.code, ended.out) == (1, "")
        assert word in ended.err


@pytest.fixture
async def hostile(journal):
    """A delivery that tries everything on whoever looks at it."""
    await accept(journal, "d-hostile", body=HOSTILE.encode())
    unread = await journal.inbox(10)
    await journal.decide([Decision(delivery, HOSTILE, "quarantined", HOSTILE) for delivery in unread], RULES, NOW)


@pytest.mark.parametrize("args", [["status"], ["deliveries"], ["deliveries", "show", "d-hostile"]])
def test_hostile_text_is_shown_as_it_is_and_does_nothing(hostile, tmp_path, args):
    path = write_config(tmp_path, admin=f"unix:{tmp_path}/admin.sock")
    drawn = command(*args, "--config", path, FORCE_COLOR="1", COLUMNS="500").out
    assert "[red]a[/red] [link=https://evil.example]b[/link] :warning: \\x1b[2J\\u202e" in drawn
    assert "\x1b[2J" not in drawn
    assert "\u202e" not in drawn
    assert "\x1b[31m" not in drawn


@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_tables_keep_to_the_width_of_the_terminal(journal, tmp_path, columns):
    path = write_config(tmp_path)
    drawn = command("deliveries", "--config", path, COLUMNS=columns).out
    assert max(map(len, drawn.splitlines())) <= int(columns)


def test_nothing_is_coloured_where_there_is_no_terminal(journal, tmp_path):
    path = write_config(tmp_path, admin=f"unix:{tmp_path}/admin.sock")
    assert "\x1b" not in command("status", "--config", path).out


# ---- beside a daemon whose config has been edited, and refused ----


@asynccontextmanager
async def refusing(folder, changed):
    """A daemon, and an edit of its config that it has refused."""
    async with running(folder) as daemon:
        daemon.write_config(changed(daemon.config.read_text(), daemon))

        async def refused():
            return (await daemon.api("/api/status"))["config"]["error"]

        await daemon.until(refused, "the edit is refused")
        yield daemon


async def beside(daemon, *args):
    return await process(*args, "--config", str(daemon.config), cwd=daemon.folder, TEST_SECRET=SECRET)


def moved(text, daemon):
    return text.replace(f":{daemon.admin}", f":{free_port()}")


async def test_a_daemon_that_refused_to_move_its_admin_listener_is_found(tmp_path):
    async with refusing(
        tmp_path, lambda text, daemon: moved(text, daemon).replace("attempts = 3", "attempts = 0")
    ) as daemon:
        ended = await beside(daemon, "status", "--json")
        said = json.loads(ended.out)
        assert (ended.code, ended.err) == (0, "")
        assert said["started_at"]
        assert said["config"]["error"]["key"] == "retry.attempts"
        await daemon.send({"event": "ODD"}, delivery_id="d-odd")
        assert json.loads((await beside(daemon, "replay", "d-odd", "--json")).out)["running"] is True


async def test_an_admin_listener_that_is_taken_by_another_program_does_not_hide_the_daemon(tmp_path):
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) as taken:
        port = taken.sockets[0].getsockname()[1]
        async with refusing(tmp_path, lambda text, daemon: text.replace(f":{daemon.admin}", f":{port}")) as daemon:
            assert "admin.listen: can't listen" in (await beside(daemon, "status")).out
            assert "admin.listen: can't listen" in (await beside(daemon, "reload")).out


@pytest.mark.parametrize("args", [["deliveries"], ["retry", "--failed"], ["explain", "a.png"], ["verify"]])
async def test_a_journal_that_may_not_move_is_what_commands_say_is_wrong(tmp_path, args):
    async with refusing(tmp_path, lambda text, _: text.replace("state/journal.db", "elsewhere/journal.db")) as daemon:
        ended = await beside(daemon, *args)
    assert ended.code == 2
    assert "journal.url: needs a restart" in ended.err


@pytest.mark.parametrize("args", [["retry", "--failed"], ["verify"]])
async def test_a_tree_that_may_not_move_is_looked_at_where_it_is(tmp_path, args):
    async with refusing(tmp_path, lambda text, _: text.replace("../mirror", "../elsewhere")) as daemon:
        ended = await beside(daemon, *args)
    assert (ended.code, ended.err) == (0, "")


async def test_a_daemon_on_any_free_port_is_found(tmp_path):
    args = "--config", str(write_config(tmp_path, listen="127.0.0.1:0", admin="127.0.0.1:0"))
    with (tmp_path / "log").open("wb") as log:
        daemon = await born("syncd.cli:main", "run", *args, env=ENVIRONMENT, stderr=log)
    async with asyncio.timeout(30):
        while not (await process("status", *args, cwd=tmp_path)).out.startswith(f"syncd {__version__} is ready"):
            await asyncio.sleep(0.1)
        daemon.send_signal(signal.SIGTERM)
        assert await daemon.wait() == 0


def test_who_has_the_journal_and_does_not_answer_is_named(journal, tmp_path):
    path = write_config(tmp_path, admin=f"unix:{tmp_path}/admin.sock")
    silent = f"process {os.getpid()} has the journal, but nobody answers at unix:{tmp_path}/admin.sock"
    ended = command("status", "--json", "--config", path)
    assert (ended.code, json.loads(ended.out)["reasons"]) == (1, [silent])
    drawn = command("status", "--config", path)
    assert (drawn.code, drawn.out.splitlines()[0].rstrip()) == (1, f"{silent}; this is from its journal")
    assert json.loads(command("replay", "d-odd", "--json", "--config", path).out)["running"] is None


def test_without_a_daemon_status_says_what_is_wrong_with_the_config(at_rest, tmp_path):
    path = write_config(tmp_path, more="[retry]\nattempts = 0")
    ended, drawn = command("status", "--json", "--config", path), command("status", "--config", path)
    assert json.loads(ended.out)["config"]["error"] == {
        "file": str(path), "line": 2, "key": "retry.attempts", "message": "must be from 1 to 100",
    }  # fmt: skip
    assert f"the file on disk is not valid: {path}:2: retry.attempts: must be from 1 to 100" in drawn.out
