"""Every command that the documentation shows is run here and prints what it says, or is known to need more."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import shlex
import shutil
import time
from contextlib import asynccontextmanager, suppress

import aiohttp
import orjson
import pytest
import typer
from cli.test_examples import TREE, parses, parts_of
from docs.pages import PATIENCE, REPOSITORY, Call, agrees, blocks, calls, pages, shell
from origin import Origin, ok, status
from running import SECRET, Running

from syncd.config import template
from syncd.demo import payloads
from syncd.demo.ports import free_port
from syncd.demo.send import deliver

PAGES = {page.name: page for page in pages()}
WALKED = ("operate.md", "logs.md", "metrics.md", "manifest.md", "security.md", "upgrade.md", "configure.md")
"""Run one after the other against a daemon that has some files, and one that it can't get."""
ELSEWHERE = {
    "install.md": ".ci/service.py installs and upgrades for real",
    "deploy.md": "needs systemd, a proxy and shares",
    "commands.md": "made of --help; tests/cli/test_examples.py reads every line",
    "design.md": "for those who change syncd",
    "reliability.md": "for those who change syncd",
    "performance.md": "for those who change syncd",
}
NEEDS_A_HOST = ("make ", "systemd-", "git ", "https://", "syncd import")

needs_tools = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("bash", "jq", "curl", "sqlite3")),
    reason="the pages use bash, jq, curl, sqlite3",
)


def every_call():
    return [(page.name, call.command) for page in PAGES.values() for block in blocks(page) for call in calls(block)]


@pytest.mark.parametrize(("page", "command"), every_call())
def test_every_call_of_syncd_is_understood(page, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("event.json", "ids.txt"):
        (tmp_path / name).write_text("{}")
    plain = re.sub(r"\$\((.*?)\)", r"; \1 ;", command).replace("||", ";")
    words = shlex.shlex(plain, posix=True, punctuation_chars=True)
    words.whitespace_split, words.commenters = True, "#"
    for call in parts_of([word for word in words if word != "sudo"]):
        with suppress(typer.Exit):  # of --version
            parses(TREE, call)


def test_what_differs_from_time_to_time_is_all_that_may_differ():
    assert agrees("ready, up since 12:00  \n", "ready, up since ...")
    assert agrees("a\nb\nc\nd", "a\n...\nd")
    assert not agrees("ready\nand more", "ready")
    assert not agrees("not ready", "ready...")
    assert not agrees("a\nb\nc", "a\n...\nd")
    assert not agrees("a.c", "abc")


@needs_tools
async def test_a_command_that_fails_or_prints_something_else_is_noticed(tmp_path):
    async with shell(tmp_path, {}) as there:
        walk = Walk(there, {})
        await walk.call(Call("export WORD=kept; true", None))
        await walk.call(Call("echo $WORD", "kept"))
        with pytest.raises(AssertionError):
            await walk.call(Call("false", None))
        with pytest.raises(AssertionError):
            await walk.call(Call("echo one", "two"))


@pytest.mark.parametrize("name", [name for name in PAGES if name in {"README.md", *WALKED}])
def test_only_what_needs_a_host_is_not_run(name):
    for block in blocks(PAGES[name]):
        assert not block.host or any(word in block.text for word in NEEDS_A_HOST), block.text


def test_every_page_is_run_or_it_is_said_why_not():
    with_commands = {name for name, page in PAGES.items() if blocks(page)}
    assert with_commands <= {"README.md", *WALKED, *ELSEWHERE}


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name):
    page = PAGES[name]
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", there.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}, (
                target
            )


class Walk:
    """One page, or several, gone through in one shell; `words` are replaced by what is so here."""

    def __init__(self, there, words):
        self.there = there
        self.words = words

    def fitted(self, text):
        for word, fitting in self.words.items():
            text = text.replace(word, fitting)
        return text

    async def follow(self, page):
        for block in blocks(page):
            if not block.host:
                for call in calls(block):
                    await self.call(call)

    async def call(self, call):
        command = self.fitted(call.command)
        if call.shown is None:
            code, printed = await self.act(command)
            assert code == 0, f"{command}\n{printed}"
            return
        shown, until = self.fitted(call.shown), time.monotonic() + (PATIENCE if call.only_looks else 0.0)
        while True:
            _, printed = await self.act(command)
            if agrees(printed, shown):
                return
            assert time.monotonic() < until, f"{command}\nprinted:\n{printed}\nshown:\n{shown}"
            await asyncio.sleep(0.1)

    async def act(self, command):
        return await self.there.run(command)


class Beginning(Walk):
    """The walk of who has nothing yet: daemon and file server are what the page starts."""

    def __init__(self, there, port, admin, origin):
        self.admin = admin
        self.origin = origin
        words = {
            "127.0.0.1:8000": f"127.0.0.1:{origin}", "http.server 8000": f"http.server {origin}",
            "127.0.0.1:8080": f"127.0.0.1:{port}", "127.0.0.1:8081": f"127.0.0.1:{admin}",
        }  # fmt: skip
        super().__init__(there, words)
        fit = f's/127.0.0.1:8080/127.0.0.1:{port}/; s/127.0.0.1:8081/127.0.0.1:{admin}/; s/"1GiB"/"0"/'
        self.fit = f"sed -i '{fit}' config/sync.toml"

    async def act(self, command):
        if command.startswith("syncd init"):
            command = f"{command.partition('#')[0]} && {self.fit}"
        elif command.startswith("syncd run"):
            return await self.start("syncd run", "daemon.log", f"http://127.0.0.1:{self.admin}/readyz")
        elif command.startswith("python3 -m http.server"):
            return await self.start(command.partition("#")[0], "server.log", f"http://127.0.0.1:{self.origin}/")
        return await super().act(command)

    async def start(self, command, output, answers):
        await self.there.run(f"{command.rstrip(' &')} > {output} 2>&1 &")
        return await self.there.run(f"for n in $(seq 400); do curl -fs {answers} && break; sleep 0.05; done")


class Service(Walk):
    """The walk of who runs the service; what asks systemd is done by this test."""

    def __init__(self, there, daemon):
        self.daemon = daemon
        words = {
            "sudo chown -R syncd: ": "test -d ", "sudo chown syncd: ": "test -e ",  # there is no such user here
            "sudo ": "", "/etc/syncd": str(daemon.config.parent), "/srv/syncd": str(daemon.folder),
            "/var/lib/syncd": str(daemon.folder / "state"), "127.0.0.1:8080": f"127.0.0.1:{daemon.port}",
            "127.0.0.1:8081": f"127.0.0.1:{daemon.admin}",
            "/var/backups": str(daemon.folder / "backups"),
        }  # fmt: skip
        super().__init__(there, words)

    async def act(self, command):
        if command.startswith("systemctl stop "):
            return await self.daemon.stop(), ""
        if command.startswith("systemctl start "):
            await self.daemon.start()
            return 0, ""
        return await super().act(command)


@needs_tools
async def test_the_readme_leads_to_a_first_event(tmp_path):
    async with shell(tmp_path, {}) as there:
        await Beginning(there, free_port(), free_port(), free_port()).follow(PAGES["README.md"])


CONFIG = {
    'listen = "127.0.0.1:8080"': 'listen = "127.0.0.1:{port}"',
    'listen = "127.0.0.1:8081"': 'listen = "127.0.0.1:{admin}"',
    'env = "ABYSSALE_SIGNING_SECRET"': 'env = "TEST_SECRET"',
    'min_free = "1GiB"': 'min_free = "0"',
    'allowed_hosts = ["*.abyssale.com", "*.amazonaws.com"]': 'allowed_hosts = ["127.0.0.1"]',
    "allow_http = false": "allow_http = true",
    "allow_private = false": "allow_private = true",
    'first = "1s"': 'first = "10ms"',
    'delay = "1s"': 'delay = "100ms"',
    "checksums = false": "checksums = true",
    'format = "auto"': 'format = "json"',
}


@asynccontextmanager
async def service(folder, origin):
    """A daemon with the config that `init` writes, as far as ports and this machine let it; it has had some events."""
    daemon, text = Running(folder), template()
    for line, other in CONFIG.items():
        assert line in text
        text = text.replace(line, other.format(port=daemon.port, admin=daemon.admin))
    async with aiohttp.ClientSession() as daemon.session:
        daemon.write_config(text)
        await daemon.start()
        url = f"http://127.0.0.1:{daemon.port}/webhooks/abyssale"
        for number, name in enumerate(("spring.png", "summer.png"), start=1):
            body = payloads.new_banner(origin.url(f"/{name}"), visual=number)
            await deliver(
                url, orjson.dumps(body), secret=SECRET, delivery_id=f"d{number}-{name[:-4]}", session=daemon.session
            )
        await deliver(url, b'{"odd": 1}', secret=SECRET, delivery_id="d3-odd", session=daemon.session)
        await deliver(url, b"{}", secret="whsec_forged", delivery_id=None, session=daemon.session)
        try:
            yield daemon
        finally:
            await daemon.session.close()
            if daemon.process.returncode is None:
                await daemon.stop()


def logged():
    """What docs/logs.md says of each message: the levels, and the fields that it may have."""
    rows = re.findall(r"^\| (`.*?) \| (.*?) \|(.*)\|$", PAGES["logs.md"].read_text(), re.MULTILINE)
    return {
        message: (levels, set(re.findall(r"`(\w+)`", fields)))
        for messages, levels, fields in rows
        for message in re.findall(r"`(.*?)`", messages)
    }


LOGGED = logged()


def test_every_message_that_is_documented_is_one_of_the_code():
    nodes = (node for path in (REPOSITORY / "syncd").rglob("*.py") for node in ast.walk(ast.parse(path.read_text())))
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    patterns = [re.compile(re.escape(text).replace("%s", ".+")) for text in texts if "%s" in text and text.strip("%s ")]
    for message in LOGGED:
        assert message in texts or any(pattern.fullmatch(message) for pattern in patterns), message


@needs_tools
@pytest.mark.parametrize("name", [name for name in WALKED if name in PAGES])
async def test_a_page_does_what_it_shows(tmp_path, name):
    async with Origin().running() as origin:
        origin.url("/spring.png", ok())
        origin.url("/summer.png", *[status(404)] * 5, ok())
        async with service(tmp_path, origin) as daemon:
            environment = {"SYNCD_CONFIG": str(daemon.config), "TEST_SECRET": SECRET}
            async with shell(tmp_path, environment) as there:
                await there.run(f"journalctl() {{ cat '{daemon.log}'; }}")
                await Service(there, daemon).follow(PAGES[name])
        lines = [json.loads(line) for line in daemon.log.read_text().splitlines()]
    assert lines
    for line in lines:
        level, fields = LOGGED[line.pop("message")]
        assert line.pop("level") in level
        assert line.keys() - {"time", "logger"} <= fields
