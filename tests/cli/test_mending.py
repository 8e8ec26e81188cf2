import json
import re
import time

import pytest
from cli.command import command, write_config
from journal.filled import NOW, banner, filled
from journal.press import Press, rules

from syncd.journal.sqlite import open_journal


@pytest.fixture
async def journal(tmp_path):
    write_config(tmp_path)
    async with filled(tmp_path / "state" / "journal.db") as open_journal:
        yield open_journal


def syncd(folder, *args):
    return command(*args, "--config", folder / "config" / "sync.toml")


def states(journal):
    return dict(journal._db.execute("SELECT platform_id, state FROM assets").fetchall())


# ---- usage ----


@pytest.mark.parametrize(
    "args",
    [
        ("retry",),
        ("retry", "b4", "--failed"),
        ("retry", "../../outside"),
        ("retry", "/etc/passwd"),
        ("replay",),
        ("replay", "d-odd", "--outcome", "ignored"),
        ("replay", "--outcome", "accepted"),
        ("replay", "d-odd", "--since", "2h"),
        ("replay", "--outcome", "ignored", "--since", "yesterday"),
        ("replay", "--outcome", "ignored", "--since", "9999999-01-01"),
    ],
)
def test_what_is_not_meant_clearly_is_wrong_usage(journal, tmp_path, args):
    ended = syncd(tmp_path, *args)
    assert (ended.code, ended.out) == (2, "")
    assert states(journal)["b4"] == "failed"


def test_without_a_journal_both_say_so(tmp_path):
    write_config(tmp_path)
    for args in (("retry", "--failed"), ("replay", "d1"), ("replay", "--outcome", "ignored"), ("explain", "a.png")):
        ended = syncd(tmp_path, *args)
        assert (ended.code, ended.out) == (1, "")
        assert "there is no journal" in ended.err


def test_secrets_that_only_the_daemon_knows_are_not_asked_for(journal, tmp_path):
    config = write_config(tmp_path)
    config.write_text(
        re.sub("secret = .*", 'secret = { env = "NOT_HERE" }\napi_key = { env = "NOR_HERE" }', config.read_text())
    )
    assert syncd(tmp_path, "retry", "b4").code == 0
    assert syncd(tmp_path, "replay", "d-odd", "--dry-run").code == 0


def test_a_config_that_is_wrong_where_it_matters_is_said_at_its_line(journal, tmp_path):
    write_config(tmp_path, more='[retry]\ngive_up_after = "soon"')
    ended = syncd(tmp_path, "retry", "b4")
    assert ended.code == 2
    assert "sync.toml:2: retry.give_up_after" in ended.err


# ---- retry ----


def test_retry_says_of_each_what_becomes_of_it(journal, tmp_path):
    ended = syncd(tmp_path, "retry", "b4", "b1")
    assert ended.code == 1
    assert ended.out.splitlines() == [
        "Spring sale/square/4.png (version 1): is tried again",
        "Spring sale/square/1.png (version 1): is published",
        "the daemon does it now, or at its next start if it does not run",  # this process has the journal
    ]
    assert states(journal)["b4"] == "pending"


async def test_without_a_daemon_what_is_ordered_waits_for_its_start(tmp_path):
    write_config(tmp_path)
    async with filled(tmp_path / "state" / "journal.db"):
        pass
    assert syncd(tmp_path, "retry", "b4").out.endswith("the daemon does not run, and does it at its next start\n")


def test_retry_of_a_known_and_an_unknown_one_does_what_it_can(journal, tmp_path):
    ended = syncd(tmp_path, "retry", "nobody", "Spring sale/square/4.png", "--json")
    said = json.loads(ended.out)
    assert ended.code == 1
    assert [asset["id"] for asset in said["retried"]] == ["b4"]
    assert (said["left"], said["unknown"], said["running"]) == ([], ["nobody"], None)
    assert "no asset has the id or path nobody" in ended.err


def test_retry_of_an_ambiguous_id_changes_nothing(journal, tmp_path):
    ended = syncd(tmp_path, "retry", "b4", "b")
    assert (ended.code, ended.out) == (1, "")
    assert "b is the beginning of several ids: b1, b2, b3, b4" in ended.err
    assert states(journal)["b4"] == "failed"


def test_retry_takes_the_path_of_the_file_in_the_tree(journal, tmp_path):
    assert syncd(tmp_path, "retry", tmp_path / "mirror" / "Spring sale" / "square" / "4.png").code == 0
    assert states(journal)["b4"] == "pending"


def test_all_that_failed_is_retried_and_then_nothing_has(journal, tmp_path):
    said = json.loads(syncd(tmp_path, "retry", "--failed", "--json").out)
    assert [asset["id"] for asset in said["retried"]] == ["b3", "b4"]
    ended = syncd(tmp_path, "retry", "--failed")
    assert (ended.code, ended.out) == (0, "nothing has failed\n")


async def test_more_than_one_transaction_is_retried(tmp_path):
    config = write_config(tmp_path)
    async with open_journal(tmp_path / "state" / "journal.db") as journal:
        press = Press(journal, rules())
        await press.announce(*(banner(n) for n in range(600)))
        for job in await press.jobs():
            await press.give_up(job)
        press.now = time.time()  # as the command counts it
        said = json.loads(command("retry", "--failed", "--json", "--config", config).out)
        assert len(said["retried"]) == 600
        assert len(await press.jobs()) == 600


# ---- replay ----


async def test_a_replayed_delivery_waits_to_be_read(journal, tmp_path):
    ended = syncd(tmp_path, "replay", "d-o", "d-odd", "nobody")
    assert ended.code == 1
    assert ended.out.splitlines()[0] == "d-odd: was quarantined, is read again"
    assert ended.out.count("d-odd") == 1
    assert "no delivery has an id that begins with nobody" in ended.err
    assert [delivery.id for delivery in await journal.inbox(10)] == ["d-odd", "d-unread"]


async def test_all_that_ended_in_one_way_since_a_time_is_replayed(journal, tmp_path):
    said = json.loads(syncd(tmp_path, "replay", "--outcome", "processed", "--since", "2026-09-21", "--json").out)
    assert [one["id"] for one in said["replayed"]] == ["d-published", "d-failed", "d-export"]
    assert {one["was"] for one in said["replayed"]} == {"processed"}
    assert NOW > 1_789_948_800  # midnight of that day
    ended = syncd(tmp_path, "replay", "--outcome", "quarantined", "--since", "2030-01-01T00:00+02:00")
    assert (ended.code, ended.out) == (0, "no delivery ended like that\n")


async def test_a_dry_run_says_why_nothing_would_come_of_it(journal, tmp_path):
    ended = syncd(tmp_path, "replay", "d-odd", "--dry-run")
    assert ended.code == 0
    assert ended.out.startswith("d-odd: unknown event, would be quarantined (not JSON")
    said = json.loads(syncd(tmp_path, "replay", "d-odd", "--dry-run", "--json").out)
    (plan,) = said["deliveries"]
    assert (plan["id"], plan["outcome"], plan["assets"]) == ("d-odd", "quarantined", [])
    assert [delivery.id for delivery in await journal.inbox(10)] == ["d-unread"]
