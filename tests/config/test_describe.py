"""The shipped file and the schema say the same as the tree."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from syncd.config import Config, load, schema, template
from syncd.config.section import keys

HERE = Path(__file__).parent
ENVIRON = {"ABYSSALE_SIGNING_SECRET": "whsec_x", "ABYSSALE_API_KEY": "key"}


def with_optional_keys() -> dict[str, Any]:
    """The shipped file, with what is commented out switched on."""
    return tomllib.loads(re.sub(r"(?m)^# (?=\w+ = |\[)", "", template()))


def leaves(section: dict[str, Any], above: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    tables = {tuple[str, ...]((*above, name)) for name in section}
    below = ((name, child) for name, some in section.items() for child in (some if isinstance(some, list) else [some]))
    return tables.union(*(leaves(child, (*above, name)) for name, child in below if isinstance(child, dict)))


def test_the_shipped_file_is_what_init_writes():
    assert (HERE.parents[1] / "config" / "sync.toml").read_bytes() == template().encode()
    assert template().startswith("#:schema sync.schema.json\n")


def test_the_shipped_file_has_every_key_and_no_other():
    assert leaves(with_optional_keys()) - {
        ("sources", "abyssale", "secret", "env"),
        ("sources", "abyssale", "api_key", "env"),
        ("sources", "abstract", "secret", "env"),
        ("sources", "abstract", "token", "env"),
        ("notify", "url", "env"),
        ("hooks", "secret", "env"),
    } == {key for key, _ in keys(Config)}


def test_the_shipped_values_are_the_defaults(tmp_path):
    shipped, least = tmp_path / "sync.toml", tmp_path / "least.toml"
    shipped.write_text(template())
    least.write_text('sources.abyssale.secret = { env = "ABYSSALE_SIGNING_SECRET" }')
    assert load(shipped, ENVIRON).config == load(least, ENVIRON).config


def test_the_schema_is_one():
    Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("path", sorted(HERE.glob("*.good.toml")), ids=lambda path: path.name)
def test_the_schema_takes_what_loads(path):
    Draft202012Validator(schema()).validate(tomllib.loads(path.read_text()))


def test_the_schema_takes_the_shipped_file_with_all_options():
    Draft202012Validator(schema()).validate(with_optional_keys())


@pytest.mark.parametrize(
    "text",
    [
        "colour = 1",
        "download.concurency = 1",
        "download.concurrency = 0",
        'download.concurrency = "8"',
        "server.request_timeout = 10",
        'server.max_body = "1 MiB"',
        "sources.abyssale.secret = { env = 'A', file = 'b' }",
        "sources.abyssale.templates = []",
        'log.level = "loud"',
        'server.tls = { cert = "a" }',
    ],
)
def test_the_schema_refuses_what_does_not_load(text):
    assert not Draft202012Validator(schema()).is_valid(tomllib.loads(text))


def test_the_schema_explains_every_key_and_gives_defaults_as_people_write_them():
    definitions = schema()["$defs"]
    for definition in definitions.values():
        assert all(value["description"] for value in definition["properties"].values())
    assert definitions["Server"]["properties"]["request_timeout"]["default"] == "10s"
    assert definitions["Mirror"]["properties"]["root"]["default"] == "../mirror"
