"""Requests to programs: signed as the reference library expects them, worded for APIs, judged by their answers."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from audience import SECRET, Audience
from origin import Origin

from syncd.config.references import Surroundings
from syncd.config.telling import Hook
from syncd.journal.happenings import Happening
from syncd.observe.hooks import HookTarget
from syncd.observe.target import Setback
from syncd.observe.telling import new_message

NOW = 1_790_000_000.0
PUBLIC = "https://cdn.example.com/m"
DOCS = Path(__file__).parents[2] / "docs" / "hooks.md"
ENVIRON = dict.fromkeys(("HOOK_SECRET",), SECRET) | dict.fromkeys(
    ("CLOUDFLARE_BEARER", "FASTLY_KEY", "BUNNY_KEY"), "Bearer k3y"
)


def target(url, **keys):
    around = Surroundings(Path(), ENVIRON, noted={"mirror.public_url": PUBLIC})
    said = {"url": url, **keys}
    if not {"secret", "body"} & said.keys():
        said["secret"] = SECRET
    return HookTarget(Hook.model_validate(said, context=around), PUBLIC)


def change(path="Spring sale/a&b.png", event="asset.published", **detail):
    return Happening(1, NOW, event, path, {"path": path, "sha256": "ab" * 32, **detail})


async def send(one, *changes):
    return await one.send(new_message(one, changes or [change()], NOW))


async def test_a_request_is_signed_as_the_reference_library_verifies_it():
    async with Audience().listening() as programs:
        assert await send(target(programs.base + "/hook"), change(), change("b.png", "asset.removed")) is None
        (asked,) = programs.heard
    assert [(one["event"], one["path"]) for one in asked.said["data"]["changes"]] == [
        ("asset.published", "Spring sale/a&b.png"), ("asset.removed", "b.png"),
    ]  # fmt: skip
    assert asked.said["data"]["changes"][0]["url"] == f"{PUBLIC}/Spring%20sale/a%26b.png"
    assert asked.said["data"]["changes"][0]["at"] == "2026-09-21T14:13:20.000Z"


async def test_each_secret_of_a_rotation_signs():
    async with Audience().listening() as programs:
        assert await send(target(programs.base, secret=["whsec_" + "A" * 32, SECRET])) is None
        (asked,) = programs.heard
        assert len(asked.headers["webhook-signature"].split(" ")) == 2


async def test_another_secret_is_told_apart():
    async with Audience().listening() as programs:
        assert (await send(target(programs.base, secret="whsec_" + "A" * 32))).reason == "HTTP 500"
        assert not programs.heard


async def test_a_message_keeps_its_id_and_content_over_attempts_and_only_its_time_is_new():
    async with Audience(answer=lambda nth: 503 if nth == 1 else 200).listening() as programs:
        one = target(programs.base)
        message = new_message(one, [change()], NOW)
        assert await one.send(message) == Setback("HTTP 503")
        assert await one.send(message) is None
        first, second = programs.asked
        assert (first.said, first.headers["webhook-id"]) == (second.said, second.headers["webhook-id"])


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (302, {"Location": "/elsewhere"}, Setback("HTTP 302")),
        (429, {"Retry-After": "120"}, Setback("HTTP 429", 120.0)),
        (404, {}, Setback("HTTP 404")),
        (410, {}, Setback("HTTP 410", final=True)),
    ],
)
async def test_any_answer_but_a_2xx_is_a_setback(status, headers, expected):
    async with Audience(answer=lambda _: status, headers=headers).listening() as programs:
        assert await send(target(programs.base)) == expected
        assert len(programs.asked) == 1


async def test_an_answer_that_breaks_off_says_so_without_the_url():
    async def nothing(writer):
        writer.close()

    async with Origin().running() as origin:
        setback = await send(target(origin.url("/s3cret", nothing)))
    assert setback is not None
    assert "s3cret" not in setback.reason
    assert (await send(target("http://127.0.0.1:1/s3cret"))).reason.startswith("no connection (")


async def test_a_body_of_its_own_has_each_path_once_as_json():
    body = '{"files": {urls}, "keys": {paths}, "literal": {"a": "{}"}}'
    async with Audience().listening() as programs:
        one = target(programs.base, body=body)
        await send(one, change('a"b.png'), change('a"b.png'), change("{urls}.png"))
        (asked,) = programs.heard
    assert asked.said == {
        "files": [f"{PUBLIC}/a%22b.png", f"{PUBLIC}/%7Burls%7D.png"],
        "keys": ['a"b.png', "{urls}.png"],
        "literal": {"a": "{}"},
    }
    assert "webhook-signature" not in asked.headers


async def test_fields_of_a_url_are_percent_encoded():
    async with Audience().listening() as programs:
        for url in ("/purge/{location}", "/purge?url={url}", "/tree/{path}"):
            one = target(programs.base + url, body="", max_items=1, method="PURGE", headers={"X-Key": "k"})
            assert await send(one) is None
        assert [(asked.method, asked.target) for asked in programs.heard] == [
            ("PURGE", "/purge/cdn.example.com/m/Spring%20sale/a%26b.png"),
            ("PURGE", "/purge?url=https%3A%2F%2Fcdn.example.com%2Fm%2FSpring%2520sale%2Fa%2526b.png"),
            ("PURGE", "/tree/Spring%20sale/a%26b.png"),
        ]
        assert programs.heard[0].headers["X-Key"] == "k"
        assert programs.heard[0].said is None


async def test_what_has_no_path_has_no_url():
    async with Audience().listening() as programs:
        await send(target(programs.base), Happening(1, NOW, "batch.completed", "r1", {"published": 3}))
        (said,) = programs.heard[0].said["data"]["changes"]
        assert (said["path"], said["url"], said["published"]) == (None, None, 3)


def examples():
    return re.findall(r"```toml\n(.*?)```", DOCS.read_text(), re.DOTALL)


@pytest.mark.parametrize("example", examples(), ids=range(len(examples())))
def test_the_examples_of_the_documentation_load_and_word_a_request(example):
    for table in tomllib.loads(example)["hooks"]:
        one = target(**table) if "secret" in table else target(**{"body": None, **table})
        _, body = one.compose([change()])
        assert body == "" or json.loads(body)
