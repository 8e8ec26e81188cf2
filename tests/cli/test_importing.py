import asyncio
import json
import signal
import sys
from contextlib import closing

import pytest
from api import FORGOTTEN, KEY, PENDING, Api, says
from cli.command import ENVIRONMENT, command, process, write_config
from journal.filled import RULES, filled

from syncd.journal import Decision
from syncd.journal.reading import SqliteReader
from syncd.journal.sqlite import open_journal
from syncd.sources import abyssale

FILE = {"type": "png", "url": "https://host.test/x.png?Signature=a%2Fb"}


def banner(name, **fields):
    return {"id": name, "version": 1, "sharing_id": f"s-{name}", "file": FILE, "unknown": {"kept": 1.50}, **fields}


@pytest.fixture
async def api():
    async with Api().running() as running:
        yield running


@pytest.fixture
async def config(tmp_path):
    async with open_journal(tmp_path / "state" / "journal.db"):
        pass
    path = write_config(tmp_path)
    path.write_text(path.read_text() + f'api_key = "{KEY}"\n')
    return path


async def run(api, config, *args, key=KEY):
    """Run `import` in a thread, as the stand-in that it asks needs this one's loop."""
    text = config.read_text()
    config.write_text(text.replace(KEY, key))
    ended = await asyncio.to_thread(
        command, "import", *args, "--config", config, ABYSSALE_BASE_URL=api.base, ABYSSALE_MAX_RETRIES="0"
    )
    assert key not in ended.out + ended.err
    return ended


def inbox(config):
    with closing(SqliteReader(config.parent.parent / "state" / "journal.db")) as reader:
        return [reader.delivery(one["id"]) for one in reversed(reader.deliveries(limit=100))]


async def test_a_banner_becomes_a_delivery_like_any_other(api, config):
    api.banners["b1"] = banner("b1")
    ended = await run(api, config, "b1")
    (delivery,) = inbox(config)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == f"b1: banner, 1 file, stored as {delivery['id']}\n"
    assert delivery["id"].startswith("import-b1-")
    assert (delivery["source"], delivery["outcome"]) == ("abyssale", "accepted")
    assert delivery["headers"]["X-Syncd-Imported"] == "banner b1"
    assert json.loads(delivery["payload"]) == api.banners["b1"]
    assert FILE["url"] in delivery["payload"]  # to the byte: a presigned URL is void once an escape in it has changed
    assert api.asked == [("/banners/b1", KEY)]


async def test_what_is_no_banner_is_asked_for_as_a_generation_request(api, config):
    api.requests["r1"] = {"banners": [banner("b1"), banner("b2")], "errors": []}
    ended = await run(api, config, "r1", "--json")
    (delivery,) = inbox(config)
    assert json.loads(ended.out) == {
        "imported": [
            {
                "id": "r1", "outcome": "stored", "kind": "generation request", "delivery": delivery["id"],
                "files": 2, "reason": None,
            }
        ]
    }  # fmt: skip
    assert [path for path, _ in api.asked] == ["/banners/r1", "/generation-request/r1"]
    async with open_journal(config.parent.parent / "state" / "journal.db") as journal:
        (stored,) = await journal.inbox(10)
    assert stored.hint == "NEW_BANNER_BATCH"
    assert [asset.id for asset in abyssale.decode(stored.body, stored.hint).assets] == ["b1", "b2"]


@pytest.mark.parametrize(("flag", "path"), [("--banner", "/banners/x"), ("--request", "/generation-request/x")])
async def test_who_says_which_it_is_saves_a_question(api, config, flag, path):
    ended = await run(api, config, "x", flag)
    assert (ended.code, [asked for asked, _ in api.asked]) == (1, [path])
    assert ended.out.startswith("x: the platform knows no ")


async def test_what_is_pending_gone_or_unknown_is_said_and_the_others_go_on(api, config):
    api.requests |= {"later": PENDING, "old": FORGOTTEN}
    api.banners["b1"] = banner("b1")
    ended = await run(api, config, "later", "old", "never", "b1")
    later, old, never, found = ended.out.splitlines()
    assert ended.code == 1
    assert later == "later: the generation request is not finished: import it again later"
    assert old == "old: the platform has forgotten this generation request: it keeps them for 7 days"
    assert never == "never: the platform knows no banner or generation request of this id"
    assert found.startswith("b1: banner, 1 file, stored as import-b1-")
    assert len(inbox(config)) == 1


async def test_what_is_here_or_on_its_way_is_not_stored_again(api, config):
    api.banners["b1"] = banner("b1")
    await run(api, config, "b1")
    async with open_journal(config.parent.parent / "state" / "journal.db") as journal:
        (stored,) = await journal.inbox(10)
        event = abyssale.decode(stored.body, stored.hint)
        await journal.decide([Decision(stored, event.name, "accepted", assets=event.assets)], RULES, 0)
    ended = await run(api, config, "b1")
    assert (ended.code, ended.out) == (0, f"b1: banner, 1 file, here already by {stored.id}\n")
    assert len(inbox(config)) == 1
    api.banners["b1"] = banner("b1", version=2)
    assert "stored as" in (await run(api, config, "b1")).out
    assert len(inbox(config)) == 2


async def test_what_was_given_up_may_be_imported_again(api, config):
    (config.parent.parent / "state" / "journal.db").unlink()
    async with filled(config.parent.parent / "state" / "journal.db"):
        pass
    api.banners |= {f"b{n}": banner(f"b{n}", sharing_id=f"s{n}") for n in (1, 4)}
    ended = await run(api, config, "b1", "b4")
    published, failed = ended.out.splitlines()
    assert "here already by d-published" in published
    assert "stored as import-b4-" in failed


async def test_ids_come_from_a_file_or_stdin_each_once(api, config, tmp_path):
    api.banners["b1"] = banner("b1")
    file = tmp_path / "ids"
    file.write_text("# missed on Sunday\n\nb1\r\nb2  # no such thing\nb1\n")
    ended = await run(api, config, "b1", "--banner", "--file", file)
    assert [line.partition(":")[0] for line in ended.out.splitlines()] == ["b1", "b2"]
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "syncd", "import", "-", "--banner", "--config", str(config),
        env={**ENVIRONMENT, "ABYSSALE_BASE_URL": api.base},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await child.communicate(b"b3\nb4\n")
    assert [line.partition(b":")[0] for line in out.splitlines()] == [b"b3", b"b4"]


@pytest.mark.parametrize("args", [[], ["../designs"], ["a b"], ["-" * 3], ["x" * 200], ["b1", "--banner", "--request"]])
async def test_what_is_no_id_is_wrong_usage_before_anything_is_asked(api, config, args):
    ended = await run(api, config, *args)
    assert (ended.code, ended.out, api.asked) == (2, "", [])


async def test_without_an_api_key_it_says_where_it_belongs(tmp_path):
    path = write_config(tmp_path)
    ended = command("import", "b1", "--config", path)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"{path}:")
    assert "sources.abyssale.api_key: is missing: `syncd import` asks the platform's API" in ended.err


async def test_without_a_journal_the_platform_is_not_asked(api, config):
    (config.parent.parent / "state" / "journal.db").unlink()
    ended = await run(api, config, "b1")
    assert (ended.code, api.asked) == (1, [])
    assert "there is no journal" in ended.err


async def test_a_key_that_is_refused_is_asked_with_only_once(api, config):
    ended = await run(api, config, "b1", "b2", "b3", "--json", key="another-key")
    results = json.loads(ended.out)["imported"]
    assert (ended.code, len(api.asked)) == (1, 1)
    assert "does not take the API key (HTTP 401)" in results[0]["reason"]
    assert [result["reason"][:9] for result in results[1:]] == ["not asked"] * 2


async def test_nobody_there_is_asked_for_only_once(config):
    nowhere = Api()
    nowhere.base = "http://127.0.0.1:1"
    ended = await run(nowhere, config, "b1", "b2")
    assert ended.code == 1
    assert ended.out.splitlines() == [
        "b1: Abyssale's API can't be reached (no connection)",
        "b2: not asked: Abyssale's API can't be reached (no connection)",
    ]


async def test_a_pause_that_the_platform_asks_for_is_kept_and_said(api, config):
    api.banners["b1"] = banner("b1")
    api.budget, api.wait = 0, 1
    began = asyncio.get_running_loop().time()
    ended = await run(api, config, "b1")
    assert (ended.code, len(api.asked)) == (0, 2)
    assert asyncio.get_running_loop().time() - began >= 1
    assert ended.err == "the platform asks to wait for 1 s\n"


async def test_a_plan_without_the_feature_is_not_asked_twice(api, config):
    async def refused():
        return says(429, {"id": "feature_not_in_plan", "message": "no"}, **{"Retry-After": "1"})

    api.answer = refused
    ended = await run(api, config, "b1")
    assert (ended.code, len(api.asked)) == (1, 1)
    assert ended.out == "b1: Abyssale's API says HTTP 429 feature_not_in_plan\n"


async def test_a_budget_that_is_used_up_is_waited_out(api, config):
    api.headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"}
    began = asyncio.get_running_loop().time()
    await run(api, config, "b1", "b2", "--banner")
    assert asyncio.get_running_loop().time() - began >= 1


@pytest.mark.parametrize("answer", [[], "text", {}, {"id": "b1", "file": {"url": "file:///etc/passwd"}}])
async def test_an_answer_that_makes_no_sense_is_not_stored(api, config, answer):
    api.banners["b1"] = answer
    ended = await run(api, config, "b1")
    assert ended.code == 1
    assert "b1: the API's answer can't be understood" in ended.out
    assert inbox(config) == []


async def test_an_interrupt_leaves_what_is_stored(api, config):
    api.banners["b1"] = banner("b1")
    asked_twice = asyncio.Event()
    plain = api._serve

    async def slow(request):
        if request.path == "/banners/b2":
            asked_twice.set()
            await asyncio.Event().wait()
        return await plain(request)

    api._serve = slow
    async with Api.running(api):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "syncd", "import", "b1", "b2", "b3", "--config", str(config),
            env={**ENVIRONMENT, "ABYSSALE_BASE_URL": api.base},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        await asked_twice.wait()
        child.send_signal(signal.SIGINT)
        out, err = await child.communicate()
    assert child.returncode == 130
    assert out.startswith(b"b1: banner, 1 file, stored as")
    assert err == b"stopped after 1 of 3 ids; what is stored stays\n"
    assert len(inbox(config)) == 1


async def test_help_does_not_need_the_client_of_the_api(tmp_path):
    ended = await process("import", "--help", cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
