"""The notations: what they take, what they refuse, and that writing and reading agree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.config import Address
from syncd.config.units import (
    LAYOUT_FIELDS,
    layout_fields,
    parse_address,
    parse_duration,
    parse_export_layout,
    parse_host_pattern,
    parse_layout,
    parse_network,
    parse_number,
    parse_pattern,
    parse_size,
    parse_url_path,
    show_duration,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("10s", 10), ("1.5s", 1.5), ("5m", 300), ("24h", 86_400), ("90d", 7_776_000), ("0s", 0)],
)
def test_a_duration_is_seconds(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "value", ["10", "s", "-1s", "+1s", "1 s", "1S", "1e3s", ".5s", "\u0661s", "1s\n", "", 10, 1.5, None]
)
def test_what_is_no_duration_is_refused(value):
    with pytest.raises(ValueError, match="duration in quotes"):
        parse_duration(value)


@given(st.integers(0, 10**12))
def test_a_duration_that_is_shown_reads_as_the_same(milliseconds):
    seconds = milliseconds / 1000
    assert show_duration(seconds) == "0s" or parse_duration(show_duration(seconds)) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (0.25, "250ms"), (90, "90s"), (120, "2m"), (86_400, "1d"), (5400, "90m")]
)
def test_a_duration_is_shown_in_its_largest_whole_unit(seconds, text):
    assert show_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1", 1),
        ("512KiB", 524_288),
        ("1MiB", 1 << 20),
        ("2GiB", 2 << 30),
        ("1TiB", 1 << 40),
        ("5MB", 5_000_000),
    ],
)
def test_a_size_is_bytes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "value", ["-1", "1.5GiB", "1 MiB", "1mib", "1K", "KiB", "1_000", "٣", "0\n", "", 0, True, None]
)
def test_what_is_no_size_is_refused(value):
    with pytest.raises(ValueError, match="size in quotes"):
        parse_size(value)


@pytest.mark.parametrize("value", ["8", 8.0, True, None])
def test_only_a_whole_number_is_one(value):
    with pytest.raises(ValueError, match="whole number"):
        parse_number(value)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", Address("127.0.0.1", 8080, "")),
        ("localhost:0", Address("localhost", 0, "")),
        ("[::1]:65535", Address("::1", 65535, "")),
        ("unix:/run/syncd/http.sock", Address("", 0, "/run/syncd/http.sock")),
    ],
)
def test_an_address_reads_and_shows_the_same(text, address):
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "value",
    ["8080", ":8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:٨", "::1:8080",
     "[::1:8080", "[nope]:1", "999.0.0.1:80", "a b:80", "http://a:80", "unix:run.sock", "unix:/" + "x" * 107, "", 8080],
)  # fmt: skip
def test_what_is_no_address_is_refused(value):
    with pytest.raises(ValueError, match="must be "):
        parse_address(value)


@pytest.mark.parametrize("value", ["10.0.0.1/8", "nope", "", 1, None, "1.2.3.4/33"])
def test_what_is_no_network_is_refused(value):
    with pytest.raises(ValueError, match="an address or a network"):
        parse_network(value)


@pytest.mark.parametrize("value", ["", "/", "hooks", "/a/", "//a", "/a//b", "/a?b", "/a#b", "/a b", "/../a", "/a/.", 1])
def test_what_is_no_path_of_a_url_is_refused(value):
    with pytest.raises(ValueError, match="must be a path"):
        parse_url_path(value)


@pytest.mark.parametrize("value", ["", "!", "! ", "x" * 257, 1])
def test_what_is_no_pattern_is_refused(value):
    with pytest.raises(ValueError, match="must be a glob"):
        parse_pattern(value)


def test_a_host_pattern_is_kept_in_lower_case():
    assert [parse_host_pattern(text) for text in ("*", "*.Example.COM", "::1")] == ["*", "*.example.com", "::1"]


@pytest.mark.parametrize("value", ["", "https://a.com", "a.com/", "a.com:443", "a b", "[::1]", 1])
def test_what_is_no_host_pattern_is_refused(value):
    with pytest.raises(ValueError, match="must be a host name"):
        parse_host_pattern(value)


def test_every_field_may_stand_in_a_layout():
    layout = "/".join(f"{{{name}}}" for name in LAYOUT_FIELDS)
    assert layout_fields(parse_layout(layout)) == set(LAYOUT_FIELDS)


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("{filename}", "at least one folder"),
        ("{template}/{nope}/{id}", "unknown field {nope}"),
        ("{template!r}/{id}", "unknown field"),
        ("{template:>9}/{id}", "unknown field"),
        ("{template.id}/{id}", "unknown field"),
        ("{}/{id}", "unknown field"),
        ("{template/{id}", "unknown field|unbalanced"),
        ("template}/{id}", "unbalanced"),
        ("/{template}/{id}", "relative"),
        ("{template}//{id}", "relative"),
        ("{template}/../{id}", "relative"),
        ("_x/{id}", "kept for syncd"),
        ("{template}/.{id}", "kept for syncd"),
        ("{template}\\{format}/{id}", "portable"),
        ("a\u202eb/{id}", "portable"),
        ("", "with fields"),
        ("{template}/{id}" + "x" * 512, "with fields"),
        (7, "with fields"),
    ],
)
def test_a_layout_that_can_not_work_is_refused(layout, message):
    with pytest.raises(ValueError, match=message):
        parse_layout(layout)


@pytest.mark.parametrize(
    "layout", ["{export_id}", ".x/{export_id}", "_x/{date}", "_x/{template}_{export_id}", "_x/../{export_id}"]
)
def test_an_export_layout_that_can_not_work_is_refused(layout):
    with pytest.raises(ValueError, match=r"must|needs|unknown"):
        parse_export_layout(layout)


@given(
    st.text(alphabet="{}abt/._!:[]0 ", max_size=30)
    | st.from_regex(r"(\{(template|id|nope)\}|[/._x]){1,9}", fullmatch=True)
)
def test_a_layout_that_is_taken_can_only_lead_below_the_root(text):
    try:
        layout = parse_layout(text)
    except ValueError:
        return
    parts = layout.format_map(dict.fromkeys(LAYOUT_FIELDS, "x")).split("/")
    assert len(parts) > 1
    assert not [part for part in parts if part == "" or part.startswith((".", "_"))]
