import asyncio
import json
import os
import threading
import time
from email.utils import formatdate

import pytest
from aiohttp import web
from api import KEY, Api
from cli.command import command, write_config
from journal.filled import announce, banner
from origin import Origin
from proxy import Proxy
from running import running

from syncd import __version__
from syncd.cli.checks import Finding, within
from syncd.cli.checks.mounts import Mount, mount_of
from syncd.journal.sqlite import open_journal
from syncd.model import Arrival
from syncd.store.local import LocalTree

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")


@pytest.fixture
def config(tmp_path):
    return write_config(tmp_path)


@pytest.fixture
async def used(tmp_path, config):
    """A journal and a root that a daemon has used, and left."""
    async with open_journal(tmp_path / "state" / "journal.db") as journal:
        await journal.note("journal id", "ours")
        await journal.note("mirror root", str(tmp_path / "mirror"))
    tree = LocalTree(tmp_path / "mirror", "ours", file_mode=0o644, dir_mode=0o755)
    await tree.attach(make=True)
    await tree.close()
    return tmp_path


def tables(path, **more):
    """Rewrite a config with more lines in its tables."""
    text = path.read_text()
    for name, lines in more.items():
        head = f"[{name.replace('__', '.')}]\n"
        text = text.replace(head, head + lines + "\n") if head in text else f"{text}{head}{lines}\n"
    path.write_text(text)


async def doctor(config, *args, **environment):
    """Run it in a thread, as the servers that it asks need this one's loop."""
    ended = await asyncio.to_thread(command, "doctor", "--config", config, "--json", *args, **environment)
    said = json.loads(ended.out)
    assert ended.code == (1 if said["counts"]["failure"] else 0)
    assert ended.err == ""
    return said["findings"]


def of(findings, check, level=None):
    return [one for one in findings if one["check"] == check and level in (None, one["level"])]


def bad(findings):
    return [one for one in findings if one["level"] != "ok"]


async def test_a_daemon_that_is_well_has_no_failures_and_nothing_is_left_behind(tmp_path):
    async with running(tmp_path) as daemon:
        await daemon.send({"id": "b1", "status": "X"})
        findings = await doctor(daemon.config, TEST_SECRET="whsec_" + "5" * 64)
        assert [(one["level"], one["check"]) for one in bad(findings)] == [("warning", "hosts")]  # 127.0.0.1:443
        assert list((daemon.root / ".syncd" / "tmp").iterdir()) == []
    assert {one["check"] for one in findings} == {
        "config", "secrets", "journal", "clock", "mirror", "file system", "version", "daemon", "service", "hosts",
    }  # fmt: skip
    assert "agrees with the platform's, by 1 signatures" in of(findings, "clock")[0]["message"]


async def test_people_get_a_line_each_and_the_numbers(used, config):
    ended = await asyncio.to_thread(command, "doctor", "--offline", "--config", config)
    *lines, last = ended.out.splitlines()
    assert f"ok      config: {config}: is valid" in lines
    assert "warning daemon: 127.0.0.1:2: does not run; systemctl start syncd, or `syncd run`" in lines
    assert last.endswith("warnings: 1, failures: 0")
    assert ended.code == 0


async def test_before_the_first_start_nothing_is_wrong_and_nothing_is_made(tmp_path, config):
    before = sorted(tmp_path.rglob("*"))
    findings = await doctor(config)
    assert of(findings, "mirror", "ok")
    assert [one["check"] for one in bad(findings)] == ["journal", "daemon"]
    assert sorted(tmp_path.rglob("*")) == before


# ---- config and secrets ----


async def test_every_problem_of_a_config_is_a_failure_and_the_rest_is_looked_at(used, config):
    tables(config, download="concurency = 1\nper_host = 0")
    findings = await doctor(config)
    assert [one["on"].rpartition(":")[0] for one in of(findings, "config", "failure")] == [str(config)] * 2
    assert of(findings, "mirror", "ok")
    assert of(findings, "journal", "ok")


@pytest.mark.parametrize(("mistake", "least", "left"), [("download", "1.0 MiB", 1), ("manifest", "1.0 GiB", 2)])
async def test_an_invalid_config_is_judged_by_what_can_be_read_of_it(used, config, mistake, least, left):
    tables(config, mirror='min_free = "1MiB"', **{mistake: "nothing = 1"})
    findings = await doctor(config, "--offline")
    assert f"mirror.min_free is {least}" in " ".join(one["message"] for one in of(findings, "mirror"))
    assert [one["level"] for one in of(findings, "config")] == ["failure", "warning"][:left]


async def test_a_variable_of_the_services_own_is_what_a_hint_is_about(used, config):
    config.write_text(config.read_text().replace('secret = "whsec_' + "1" * 64 + '"', 'secret = { env = "NOT_HERE" }'))
    (problem,) = of(await doctor(config), "config")
    assert "NOT_HERE is not set" in problem["message"]
    assert "the variables and credentials of the service" in problem["hint"]


async def test_what_does_not_look_like_a_signing_secret_is_a_warning_without_its_text(used, config):
    config.write_text(config.read_text().replace("whsec_", "sk_live_"))
    tables(config, sources__abyssale="require_signature = false")
    findings = of(await doctor(config, "--offline"), "secrets", "warning")
    assert [one["on"] for one in findings] == ["sources.abyssale.require_signature", "sources.abyssale.secret"]
    assert "sk_live_" not in json.dumps(findings)


async def test_a_signing_secret_in_the_place_of_the_api_key_is_a_failure(used, config):
    tables(config, sources__abyssale='api_key = "whsec_abc"')
    (failure,) = of(await doctor(config, "--offline"), "secrets", "failure")
    assert failure["on"] == "sources.abyssale.api_key"


@pytest.mark.parametrize(("mode", "warned"), [(0o644, True), (0o640, False), (0o600, False)])
async def test_a_secret_file_that_everybody_can_read_is_a_warning(used, config, mode, warned):
    (config.parent / "secret").write_text("whsec_" + "1" * 64)
    (config.parent / "secret").chmod(mode)
    config.write_text(config.read_text().replace('secret = "whsec_' + "1" * 64 + '"', 'secret = { file = "secret" }'))
    found = of(await doctor(config, "--offline"), "secrets", "warning")
    assert [one["on"] for one in found] == [str(config.parent / "secret")] * warned


# ---- journal and clock ----


@pytest.mark.parametrize(
    ("late", "level", "words"),
    [(0, "ok", "agrees"), (3, "ok", "agrees"), (100, "warning", "100 s ahead of"), (-290, "failure", "290 s behind")],
)
async def test_the_clock_is_compared_with_what_was_signed(used, config, late, level, words):
    now = 1_790_000_000
    async with open_journal(used / "state" / "journal.db") as journal:
        for n in range(3):
            await journal.accept(Arrival("abyssale", f"d{n}", str(now - late), None, (), b"{%d}" % n, now + 0.4))
    (found,) = of(await doctor(config, "--offline"), "clock")
    assert (found["level"], words in found["message"]) == (level, True), found


async def test_a_damaged_journal_is_a_failure(used, config):
    path = used / "state" / "journal.db"
    async with open_journal(path) as journal:
        for n in range(200):
            await journal.accept(Arrival("abyssale", f"d{n}", None, None, (), os.urandom(500), n))
    with path.open("r+b") as file:
        file.seek(4096 * 10)
        file.write(b"\xff" * 4096 * 20)
    assert any(
        "damaged" in one["message"] or "can't be" in one["message"]
        for one in of(await doctor(config), "journal", "failure")
    )


@as_root
async def test_files_that_the_service_may_not_write_are_named_with_what_to_do(used, config):
    for path in [used / "state", *(used / "state").iterdir(), used / "mirror"]:
        os.chown(path, 12_345, 12_345)
    wal = used / "state" / "journal.db-wal"
    wal.touch()
    (failure,) = of(await doctor(config, "--offline"), "journal", "failure")
    assert (failure["on"], failure["hint"]) == (str(wal), f"chown 12345 {wal}")


@as_root
async def test_a_root_that_the_service_may_not_write_is_a_failure(used, config):
    os.chown(used / "state" / "journal.db", 12_345, 12_345)
    findings = await doctor(config, "--offline")
    assert [one["message"] for one in of(findings, "mirror", "failure")] == ["12345 may not write it"]


async def test_too_little_room_is_a_failure_for_mirror_and_journal(used, config):
    tables(config, mirror='min_free = "1024TiB"')
    findings = await doctor(config, "--offline")
    assert [one["check"] for one in of(findings, "journal", "failure") + of(findings, "mirror", "failure")] == [
        "journal", "mirror",
    ]  # fmt: skip


# ---- the root ----


async def test_without_the_marker_nothing_is_written(used, config):
    (used / "mirror" / ".syncd" / "root.json").unlink()
    before = sorted((used / "mirror").rglob("*"))
    findings = await doctor(config, "--offline")
    assert "has lost its marker" in of(findings, "mirror", "failure")[0]["message"]
    assert of(findings, "file system") == []
    assert sorted((used / "mirror").rglob("*")) == before


async def test_a_root_of_another_journal_is_a_failure(used, config):
    (used / "mirror" / ".syncd" / "root.json").write_text('{"journal": "theirs"}')
    assert "belongs to another journal" in of(await doctor(config, "--offline"), "mirror", "failure")[0]["message"]


async def test_what_the_file_system_can_do_is_tried_out_and_cleaned_up(used, config):
    tables(config, mirror='names = "unicode"')
    said = [one["message"] for one in of(await doctor(config, "--offline"), "file system")]
    for words in (
        "rename",
        "synced",
        "bytes",
        "case",
        "NFC",
        "hard links",
        "modes",
        "clock",
        "names that mirror.names",
    ):
        assert any(words in message for message in said), words
    assert list((used / "mirror" / ".syncd" / "tmp").iterdir()) == []


def test_the_last_and_deepest_mount_is_the_one_that_holds_a_path(tmp_path):
    outer, inner, over = (
        Mount("/", "ext4", False),
        Mount(str(tmp_path), "ext4", False),
        Mount(str(tmp_path), "nfs4", True),
    )
    assert mount_of(tmp_path / "a", [outer, inner, over]) is over
    assert mount_of(tmp_path.parent, [outer, inner, over]) is outer
    assert mount_of(tmp_path, []) is None
    assert (over.is_network, outer.is_network) == (True, False)


# ---- what is outside ----


async def test_hosts_are_asked_as_a_download_would(used, config):
    async def say_no(_):
        return web.Response(status=302, headers={"Location": "https://elsewhere.test/welcome"})

    runner = web.ServerRunner(web.Server(say_no), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    async with open_journal(used / "state" / "journal.db") as journal:
        await announce(journal, "d1", banner(1, url=f"http://127.0.0.1:{port}/x.png?secret"))
        await announce(journal, "d2", banner(2, url="http://127.0.0.1:1/x.png"))
        await announce(journal, "d3", banner(3, url="https://elsewhere.test/x.png"))
    tables(config, download='allow_http = true\nallow_private = true\nallowed_hosts = ["127.0.0.1"]')
    try:
        found = {one["on"]: one for one in of(await doctor(config), "hosts")}
        assert found[f"127.0.0.1:{port}"]["level"] == "ok"
        assert found["127.0.0.1:1"]["level"] == "failure"
        assert found["elsewhere.test"]["level"] == "warning"
        assert "not in download.allowed_hosts" in found["elsewhere.test"]["message"]
        config.write_text(config.read_text().replace("allow_private = true", "allow_private = false"))
        found = {one["on"]: one for one in of(await doctor(config), "hosts")}
        assert "not a public address" in found[f"127.0.0.1:{port}"]["message"]
    finally:
        await runner.cleanup()


async def test_hosts_behind_a_proxy_are_asked_through_it(used, config):
    async with open_journal(used / "state" / "journal.db") as journal:
        await announce(journal, "d1", banner(1, url="http://files.test/x.png"))
        await announce(journal, "d2", banner(2, url="http://gone.test/x.png"))
    async with Origin().running() as origin, Proxy().running() as proxy:
        proxy.where["files.test"] = origin.port
        tables(config, download=f'allow_http = true\nallowed_hosts = ["*"]\nproxy = "http://127.0.0.1:{proxy.port}"')
        found = {one["on"]: one for one in of(await doctor(config), "hosts")}
    assert found["files.test"]["message"] == "answers through download.proxy"
    assert (found["gone.test"]["level"], found["gone.test"]["message"]) == (
        "warning",
        "HTTP 502 through download.proxy",
    )
    assert sorted(target for _, target in proxy.asked) == ["http://files.test/", "http://gone.test/"]


async def test_offline_asks_nobody(used, config):
    async with Api().running() as api:
        tables(config, sources__abyssale=f'api_key = "{KEY}"')
        findings = await doctor(config, "--offline", ABYSSALE_BASE_URL=api.base)
        assert api.asked == []
    assert not of(findings, "hosts") + of(findings, "API")


@pytest.mark.parametrize(
    ("key", "ahead", "check", "level"),
    [(KEY, 0, "API", "ok"), ("no-such-key", 0, "API", "failure"), (KEY, 120, "clock", "warning")],
)
async def test_the_api_is_asked_if_the_key_is_good_and_what_time_it_is(used, config, key, ahead, check, level):
    async with Api().running() as api:
        api.headers = {"Date": formatdate(time.time() + ahead, usegmt=True)}
        tables(config, sources__abyssale=f'api_key = "{key}"')
        findings = await doctor(config, ABYSSALE_BASE_URL=api.base)
        assert api.asked == [("/auth", key)]
    assert [one["level"] for one in of(findings, check) if one["on"] == "api.abyssale.com"] == [level]
    assert key not in json.dumps(findings)


async def test_a_daemon_of_another_version_and_one_with_reasons_are_told(used, config):
    async def status(_):
        error = {"message": "is wrong", "file": "sync.toml", "line": 3, "key": "x.y"}
        return web.json_response(
            {"version": "9.9.9", "started_at": "then", "reasons": ["the disk is full"], "config": {"error": error}}
        )

    runner = web.ServerRunner(web.Server(status), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    config.write_text(config.read_text().replace("127.0.0.1:2", f"127.0.0.1:{runner.addresses[0][1]}"))
    try:
        said = [one["message"] for one in bad(of(await doctor(config, "--offline"), "daemon"))]
    finally:
        await runner.cleanup()
    assert said == [
        f"runs 9.9.9, while {__version__} is installed",
        "the disk is full",
        "has not taken the config: sync.toml:3: x.y: is wrong",
        "the public listener does not answer (Connection refused)",
    ]


# ---- time ----


def test_a_look_that_hangs_ends_with_a_failure_after_what_it_found():
    never = threading.Event()

    def look():
        yield Finding("ok", "x", "y", "first")
        never.wait()

    first, second = within(0.05, "x", look)
    assert first.message == "first"
    assert (second.level, second.message) == ("failure", "no answer within 0.05 s")
    never.set()


def test_a_look_that_breaks_is_a_failure_in_words():
    def look():
        yield Finding("ok", "x", "y", "first")
        raise OSError(5, "Input/output error")

    *_, last = within(5, "x", look)
    assert (last.level, last.message) == ("failure", "can't be told: [Errno 5] Input/output error")
