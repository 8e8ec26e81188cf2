"""Words for people: folded, clean of what platforms say, and on their way without a secret in any reason."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from audience import Audience

from syncd.config.references import Surroundings
from syncd.config.telling import Notify
from syncd.journal.happenings import Happening
from syncd.observe.log import configure
from syncd.observe.notify import NotifyTarget
from syncd.observe.telling import new_message

NOW = 1_790_000_000.0


def target(url="json://127.0.0.1:1/s3cret", **keys):
    table = Notify.model_validate({"url": url, "on": ["*"], **keys}, context=Surroundings(Path(), {}))
    return NotifyTarget(table, "https://cdn.example.com/m")


def line(event="asset.published", subject="a.png", **facts):
    known = {"path": subject, "bytes": 2048} if event.startswith(("asset", "export")) else {}
    return Happening(1, NOW, event, subject, {**known, **facts})


def test_one_published_file_is_told_with_its_size_and_link():
    title, text = target().compose([line()])
    assert title == "syncd: 1 file published"
    assert text == "a.png (2.0 KiB) https://cdn.example.com/m/a.png"


def test_two_hundred_are_counted_and_ten_are_named():
    title, text = target().compose([line(subject=f"{n}.png") for n in range(200)])
    assert title == "syncd: 200 files published"
    assert len(text.splitlines()) == 11
    assert text.endswith("… and 190 more")


def test_different_things_are_counted_apart():
    title, _ = target().compose([line(), line("export.published", "e", files=3), line("asset.failed"), line()])
    assert title == "syncd: 2 files published, Export published, 1 file failed"


def test_a_batch_is_told_with_its_errors():
    facts = {"batch": "r1", "published": 3, "failed": 1, "errors": ["leaderboard: too long"]}
    failures = [{"id": "b1", "path": "x/b.png", "reason": "HTTP 410"}]
    _, text = target().compose([line("batch.completed", "r1", **facts, failures=failures)])
    assert text == "Batch r1: 3 published, 1 failed; leaderboard: too long; x/b.png: HTTP 410"


def test_a_status_is_told_with_the_old_one_and_what_was_made_from_it():
    facts = {"template": "Spring", "old_status": None, "status": "APPROVED", "folders": ["Spring/a", "Spring/b"]}
    _, text = target().compose([line("template.status", "Spring", **facts)])
    assert text == "Spring: new -> APPROVED; made from it: Spring/a; Spring/b"


def test_an_event_of_a_platform_is_told_by_its_title():
    title, text = target().compose([line("abstract.comment.created", "c1", title="A comment on Home")])
    assert title == "syncd: A comment on Home"
    assert text == "abstract.comment.created: A comment on Home"


def test_an_event_of_a_platform_says_who_did_what_where():
    happened = line("abstract.comment.created", "c1", title="Too thin", by="Ola", layer="icon/cart", branch="@here")
    assert (
        target().compose([happened])[1] == "abstract.comment.created: Too thin (by Ola, branch @ here, layer icon/cart)"
    )
    merged = line("abstract.branch.statusUpdated", "b1", title="cart-icons", status="merged")
    assert target().compose([merged])[1] == "abstract.branch.statusUpdated: cart-icons (status merged)"
    assert target(text="{by}: {title} {layer}").compose([happened])[1] == "Ola: Too thin icon/cart"


def test_templates_have_the_fields_of_what_happened():
    one = target(title="{count} in {template}", text="{path}|{status}|{size}{nothing}".replace("{nothing}", ""))
    assert one.compose([line(template="Spring")]) == ("1 in Spring", "a.png||2.0 KiB")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("a\r\nb\x1b[31m", "a\\r\\nb\\x1b[31m"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("<!channel> <https://evil.test|click>", "(!channel) (https://evil.test/click)"),
        ("@everyone and @here", "@ everyone and @ here"),
        ("banner@2x.png", "banner@2x.png"),
        ("{secret} {url}", "{secret} {url}"),
        ("x" * 1000, "x" * 300 + "…"),
    ],
)
def test_what_a_platform_says_is_neither_markup_nor_mention_nor_endless(said, shown):
    _, text = target(text="{reason}").compose([line(reason=said)])
    assert text == shown


async def test_a_message_arrives():
    async with Audience().listening() as people:
        one = target(people.base.replace("http", "json") + "/people")
        assert await one.send(new_message(one, [line()], NOW)) is None
        (asked,) = people.heard
    assert (asked.said["title"], asked.said["message"]) == one.compose([line()])


async def test_one_that_is_refused_says_why_without_a_word_of_the_url():
    async with Audience(answer=lambda _: 403).listening() as people:
        one = target(people.base.replace("http", "json") + "/s3cret?token=hunter2hunter2")
        setback = await one.send(new_message(one, [line()], NOW))
    assert setback is not None
    assert "403" in setback.reason
    assert "s3cret" not in setback.reason
    assert (await target().send(new_message(target(), [line()], NOW))).reason


def test_a_url_is_never_shown_whole():
    one = target("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general")
    message = new_message(one, [line()], NOW)
    assert message.target == "slack://***"
    assert "T1JJ3T3L2" not in repr((one, message))


async def test_no_log_line_of_any_library_has_a_part_of_the_url(capfd):
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        configure("debug", "json")
        async with Audience().listening() as people:
            for base in (people.base, "http://127.0.0.1:1"):
                one = target(base.replace("http", "json") + "/s3cret?+X-Token=hunter2hunter2")
                await one.send(new_message(one, [line()], NOW))
    finally:
        configure("info", "json")
        root.handlers[:] = handlers
        root.setLevel(level)
    said = capfd.readouterr()
    assert "s3cret" not in said.out + said.err
    assert "hunter2" not in said.out + said.err
