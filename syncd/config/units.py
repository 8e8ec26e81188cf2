"""The notations of the config: durations, sizes, modes, addresses, patterns and layouts.

Each notation turns the text that people write into the value that the code uses, says what is
allowed when it can't, and knows its own JSON Schema. Nothing here reads a file or a variable.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit

from annotated_types import GroupedMetadata
from pydantic import PlainValidator, WithJsonSchema

_MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,3})?)(ms|s|m|h|d)")
_BYTES = {
    "": 1, "B": 1,
    "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
    "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
}  # fmt: skip
_SIZE = re.compile(r"([0-9]{1,15})(B|KiB|MiB|GiB|TiB|kB|MB|GB|TB)?")
_MODE = re.compile(r"[0-7]{3,4}")
_STATUS = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _-]{0,63}")
_URL_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")
_HOST = re.compile(r"[A-Za-z0-9._-]+")
_IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{0,128}")
_HTTP_URL = re.compile(r"https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~-]+)*/?")
_HOST_PATTERN = re.compile(r"[A-Za-z0-9*._-]+|[0-9A-Fa-f:.]+")

_FIELD = re.compile(r"\{([a-z][a-z0-9_]*)\}")

_PORTS = range(65_536)
_UNIX_PATH_BYTES = 107  # sun_path of unix(7), without its closing NUL
_PATTERN_LENGTH = 256
_LAYOUT_LENGTH = 512

LAYOUT_FIELDS = (
    "template", "template_id", "project", "format", "format_id", "width", "height", "type", "id",
    "sharing_id", "version", "date", "filename", "stem", "ext", "hash", "branch", "file", "layer",
)  # fmt: skip
EXPORT_FIELDS = ("date", "export_id")

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True, eq=False)
class Notation(GroupedMetadata):
    """How a field is written in the config; used as `Annotated[value's type, notation]`.

    `parse` raises ValueError with what is allowed. `textual` is false for what TOML writes without quotes.
    """

    parse: Callable[..., Any]
    schema: Mapping[str, Any]
    textual: bool = True

    def __iter__(self) -> Iterator[object]:
        """Unfold into what pydantic understands."""
        yield PlainValidator(self.parse)
        yield WithJsonSchema(dict(self.schema))


def _whole(pattern: re.Pattern[str]) -> dict[str, str]:
    return {"type": "string", "pattern": f"^(?:{pattern.pattern})$"}


def _match(pattern: re.Pattern[str], value: object, wanted: str) -> re.Match[str]:
    match = pattern.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(wanted)
    return match


def parse_duration(value: object) -> float:
    """Read `"250ms"`, `"10s"`, `"5m"`, `"24h"` or `"90d"` as seconds."""
    match = _match(_DURATION, value, 'must be a duration in quotes, such as "250ms", "10s", "5m", "24h" or "90d"')
    return float(match[1]) * _MILLISECONDS[match[2]] / 1000


def parse_size(value: object) -> int:
    """Read `"512KiB"`, `"2GiB"` or `"0"` as bytes."""
    match = _match(_SIZE, value, 'must be a size in quotes, such as "512KiB", "2GiB" or "0"')
    return int(match[1]) * _BYTES[match[2] or ""]


def parse_number(value: object) -> int:
    """Take a whole number as it is; true and false are none."""
    if type(value) is not int:
        raise ValueError("must be a whole number, without quotes")
    return value


def show_duration(seconds: float) -> str:
    """Write seconds in the largest unit that keeps them whole; below a millisecond they are rounded."""
    milliseconds = round(seconds * 1000)
    for unit, factor in reversed(_MILLISECONDS.items()):
        if milliseconds and milliseconds % factor == 0:
            return f"{milliseconds // factor}{unit}"
    return "0s"


def duration(low: str, high: str) -> Notation:
    """Write a time span in these bounds; the value is seconds."""
    return Notation(_between(parse_duration, low, high), {**_whole(_DURATION), "$comment": f"{low} to {high}"})


def size(low: str, high: str) -> Notation:
    """Write an amount of data in these bounds; the value is bytes."""
    return Notation(_between(parse_size, low, high), {**_whole(_SIZE), "$comment": f"{low} to {high}"})


def number(low: int, high: int) -> Notation:
    """Write a whole number in these bounds."""
    schema = {"type": "integer", "minimum": low, "maximum": high}
    return Notation(_between(parse_number, low, high), schema, textual=False)


def identifier() -> Notation:
    """Write an id that can stand in a URL as it is, or nothing."""

    def parse(value: object) -> str:
        return _match(_IDENTIFIER, value, "must be an id of letters, digits and dashes")[0]

    return Notation(parse, _whole(_IDENTIFIER))


def _between(parse: Callable[[object], Any], low: str | int, high: str | int) -> Callable[[object], Any]:
    least, most = parse(low), parse(high)

    def check(value: object) -> Any:
        parsed = parse(value)
        if not least <= parsed <= most:
            raise ValueError(f"must be from {json.dumps(low)} to {json.dumps(high)}")
        return parsed

    return check


def mode(*, needed: int, allowed: int) -> Notation:
    """Write permission bits in octal (`"0644"`), so that the owner keeps the `needed` ones."""

    def parse(value: object) -> int:
        bits = int(_match(_MODE, value, 'must be an octal mode in quotes, such as "0644" or "0755"')[0], 8)
        if bits & needed != needed or bits & ~allowed:
            raise ValueError(f"must include {needed:04o} and nothing beyond {allowed:04o}")
        return bits

    return Notation(parse, _whole(_MODE))


class Address(NamedTuple):
    """Where to listen: a TCP host and port (0: any free one), or the `path` of a unix socket."""

    host: str
    port: int
    path: str

    def __str__(self) -> str:
        """As it is written in the config."""
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(value: object) -> Address:
    """Read `"127.0.0.1:8080"`, `"[::1]:8080"`, `"name:8080"` or `"unix:/run/syncd/http.sock"`."""
    wanted = 'must be "host:port", "[::1]:port" or "unix:/path", with a port from 0 to 65535'
    if not isinstance(value, str):
        raise ValueError(wanted)  # noqa: TRY004 - pydantic collects ValueErrors only
    scheme, _, path = value.partition(":")
    if scheme == "unix":
        if not path.startswith("/") or "\0" in path or len(path.encode()) > _UNIX_PATH_BYTES:
            raise ValueError(f'must be "unix:" and an absolute path of at most {_UNIX_PATH_BYTES} bytes')
        return Address("", 0, path)
    host, _, port = value.rpartition(":")
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) not in _PORTS:
        raise ValueError(wanted)
    try:
        if host.startswith("[") and host.endswith("]"):
            host = str(ipaddress.IPv6Address(host[1:-1]))
        elif re.fullmatch(r"[0-9.]+", host):
            host = str(ipaddress.IPv4Address(host))
        else:
            _match(_HOST, host, wanted)
    except ValueError:
        raise ValueError(wanted) from None
    return Address(host, int(port), "")


def parse_network(value: object) -> IpNetwork:
    """Read an address, or a network in CIDR notation."""
    wanted = 'must be an address or a network in quotes, such as "203.0.113.7" or "10.0.0.0/8"'
    if not isinstance(value, str):
        raise ValueError(wanted)  # noqa: TRY004 - pydantic collects ValueErrors only
    try:
        return ipaddress.ip_network(value)
    except ValueError as error:
        raise ValueError(f"{wanted} ({error})") from None


def parse_status(value: object) -> str:
    """Read a design's status; upper and lower case are the same."""
    return _match(_STATUS, value, 'must be a status in quotes, such as "APPROVED" or "IN_REVIEW"')[0].upper()


def parse_url_path(value: object) -> str:
    """Read a path that webhooks are posted to; it has no trailing slash, as events follow it."""
    path = _match(_URL_PATH, value, 'must be a path such as "/webhooks/abyssale", without an empty part or a query')
    if {".", ".."} & set(path[0].split("/")):
        raise ValueError("must be a path without `.` and `..` parts")
    return path[0]


def parse_http_url(value: object) -> str:
    """Read where a service is; its paths follow, so that it has no slash at the end."""
    wanted = 'must be a URL such as "https://api.example.com", without user and query'
    url = _match(_HTTP_URL, value, wanted)[0].rstrip("/")
    try:
        _ = urlsplit(url).port
    except ValueError:
        raise ValueError(wanted) from None
    return url


def parse_public_url(value: object) -> str:
    """Read where the tree is served, if it is."""
    return "" if value == "" else parse_http_url(value)


def parse_silence(value: object) -> float:
    """Read how long a source may be silent: a duration, or 0 for as long as it likes."""
    return 0.0 if value == "0" else duration("0s", "3650d").parse(value)


def text_fields(text: str) -> list[str]:
    """Name the `{fields}` of a text that may have other braces, as JSON has."""
    return _FIELD.findall(text)


def fill(text: str, values: Mapping[str, str]) -> str:
    """Put values in the place of a text's fields; what they hold is no field again."""
    return _FIELD.sub(lambda field: values[field[1]], text)


def parse_pattern(value: object) -> str:
    """Read a glob on an id or a name; a leading `!` excludes."""
    if not isinstance(value, str) or not value.removeprefix("!").strip() or len(value) > _PATTERN_LENGTH:
        raise ValueError('must be a glob in quotes, such as "*", "summer-*" or "!draft-*"')
    return value


def parse_host_pattern(value: object) -> str:
    """Read a glob on a host name, in lower case: no scheme, no port, no path."""
    wanted = 'must be a host name or a glob on one in quotes, such as "cdn.example.com" or "*.example.com"'
    return _match(_HOST_PATTERN, value, wanted)[0].lower()


def layout_fields(layout: str) -> frozenset[str]:
    """Name the `{fields}` that a layout uses."""
    return frozenset(name for _, name, _, _ in Formatter().parse(layout) if name is not None)


def parse_layout(value: object) -> str:
    """Read where a visual goes, in at least one folder. Visuals of one name are told apart by an id."""
    layout = _path_of_fields(value, LAYOUT_FIELDS)
    parts = layout.split("/")
    if len(parts) == 1:
        raise ValueError("needs at least one folder before the file, such as {template}/{filename}")
    if any(part.startswith((".", "_")) for part in parts):
        raise ValueError("must have no part that begins with `.` or `_`: these are kept for syncd itself")
    return layout


def parse_export_layout(value: object) -> str:
    """Read where an export's folder goes, in a folder of exports, which may not be hidden."""
    layout = _path_of_fields(value, EXPORT_FIELDS)
    if "/" not in layout:
        raise ValueError("needs at least one folder before the export's own, such as _exports/{export_id}")
    if any(part.startswith(".") for part in layout.split("/")):
        raise ValueError("must have no part that begins with `.`: these are kept for syncd itself")
    if "export_id" not in layout_fields(layout.rpartition("/")[2]):
        raise ValueError("the last part needs {export_id}")
    return layout


def _path_of_fields(value: object, allowed: tuple[str, ...]) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _LAYOUT_LENGTH:
        raise ValueError(
            "must be a path with fields in quotes, such as " + "/".join(f"{{{name}}}" for name in allowed[:2])
        )
    try:
        pieces = list(Formatter().parse(value))
    except ValueError:
        raise ValueError("has unbalanced braces") from None
    for _, name, form, conversion in pieces:
        if name is not None and (name not in allowed or form or conversion):
            known = " ".join(f"{{{field}}}" for field in allowed)
            raise ValueError(f"has an unknown field {{{name}}}; the fields are {known}")
    if {"", ".", ".."} & set(value.split("/")):
        raise ValueError("must be a relative path without empty, `.` and `..` parts")
    if not value.isprintable() or any(char in value for char in '\\:*?"<>|'):
        raise ValueError('must do without \\ : * ? " < > | and control characters, which are not portable')
    return value


_TEXT = {"type": "string", "minLength": 1}
Listen = Annotated[Address, Notation(parse_address, _TEXT)]
Network = Annotated[IpNetwork, Notation(parse_network, _TEXT)]
HttpUrl = Annotated[str, Notation(parse_http_url, _whole(_HTTP_URL))]
PublicUrl = Annotated[str, Notation(parse_public_url, {"type": "string", "pattern": f"^(?:|{_HTTP_URL.pattern})$"})]
Silence = Annotated[float, Notation(parse_silence, {"type": "string", "pattern": f"^(?:0|{_DURATION.pattern})$"})]
UrlPath = Annotated[str, Notation(parse_url_path, _whole(_URL_PATH))]
Status = Annotated[str, Notation(parse_status, _whole(_STATUS))]
Pattern = Annotated[str, Notation(parse_pattern, _TEXT)]
HostPattern = Annotated[str, Notation(parse_host_pattern, _whole(_HOST_PATTERN))]
Layout = Annotated[str, Notation(parse_layout, _TEXT)]
ExportLayout = Annotated[str, Notation(parse_export_layout, _TEXT)]
