"""The values of the config that point outside it: secrets, files and folders.

A reference is resolved while the config is validated, against the surroundings that `load`
passes as pydantic's context. Every file a config depends on is noted there, found or not, so
that a repaired one is noticed. No problem ever carries the text of a secret.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote

from pydantic import BeforeValidator, Field, ValidationInfo

from syncd import courier
from syncd.config.units import Notation

_SECRET_BYTES = 64 << 10
_PROXY = re.compile(
    r"https?://(?:([A-Za-z0-9._~!$&'()*+,;=:%-]*)@)?(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})/?"
)
_PORTS = range(1, 65_536)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the references of a config start from, and what was met on the way.

    `files` are those they led to. `noted` are values that a rule of another table asks for, noted
    even where the rest of their own table is wrong, so that every problem is found at once. `knows`
    tells if a notification can go to a URL.
    """

    folder: Path
    environ: Mapping[str, str]
    files: set[Path] = field(default_factory=set)
    noted: dict[str, Any] = field(default_factory=dict)
    knows: Callable[[str], bool] = courier.knows


class Secret:
    """A secret's text, which shows itself to nobody by accident. `plain`: it stood in the config itself."""

    __slots__ = ("plain", "text")

    def __init__(self, text: str, *, plain: bool = False) -> None:
        self.text = text
        self.plain = plain

    def __repr__(self) -> str:
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


def read_file(path: Path, *, limit: int) -> tuple[bytes, int]:
    """Read a regular file of at most `limit` bytes; return its content and its permission bits.

    Raises ValueError in words that follow the file's name. A pipe in its place is refused rather than waited for.
    """
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ValueError("is not a regular file")
            content = file.read(limit + 1)
    except FileNotFoundError:
        raise ValueError("does not exist") from None
    except OSError as error:
        raise ValueError(f"can't be read: {error.strerror}") from None
    if len(content) > limit:
        raise ValueError(f"is larger than {limit} bytes")
    return content, status.st_mode


def surroundings(info: ValidationInfo) -> Surroundings:
    """Return what `load` passed; a part of a config that is made by hand starts from here and now."""
    return info.context or Surroundings(Path.cwd(), os.environ)


def _resolve_path(value: object, info: ValidationInfo) -> Path:
    """Make a path absolute, from the config's folder. Symlinks stay what they are."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("must be a path in quotes")
    if value.startswith("~"):
        raise ValueError("must be a path without `~`: it means nobody in particular to a daemon")
    return Path(os.path.normpath(surroundings(info).folder / value))


def _resolve_root(value: object, info: ValidationInfo) -> Path:
    root = _resolve_path(value, info)
    if root == Path(root.anchor):
        raise ValueError("must be a folder of its own, not the root of the file system")
    return root


def _resolve_file(value: object, info: ValidationInfo) -> Path:
    path = _resolve_path(value, info)
    surroundings(info).files.add(path)
    return path


def _resolve_journal(value: object, info: ValidationInfo) -> str:
    """Make a journal's URL absolute: `sqlite:///` and a path, which is relative without a fourth slash."""
    wanted = 'must be "sqlite:///" and the path of a file, such as "sqlite:////var/lib/syncd/journal.db"'
    if not isinstance(value, str) or "://" not in value:
        raise ValueError(wanted)
    scheme, _, path = value.partition("://")
    if scheme != "sqlite":
        raise ValueError(f"{wanted}; {scheme} is not yet supported")
    if not path.startswith("/") or path.endswith("/") or "?" in path or "#" in path:
        raise ValueError(wanted)
    return f"sqlite:///{_resolve_path(path[1:], info)}"


def resolve_secret(value: object, info: ValidationInfo) -> Secret:
    """Read one secret: the text itself, or where it is."""
    around = surroundings(info)
    text: str | None
    match value:
        case str():
            text, origin = value, "the text"
        case {"env": str(name), **rest} if not rest:
            text, origin = around.environ.get(name), f"the variable {name}"
        case {"file": str(name), **rest} if not rest:
            path = _resolve_file(name, info)
            text, origin = _read_secret(path), str(path)
        case {"credential": str(name), **rest} if not rest:
            path = _resolve_file(_credential(name, around.environ), info)
            text, origin = _read_secret(path), f"the credential {name}, whose file LoadCredential= in the unit names,"
        case _:
            raise ValueError('must be { env = "NAME" }, { file = "path" }, { credential = "name" } or text in quotes')
    if not text:
        raise ValueError(f"{origin} is {'not set' if text is None else 'empty'}")
    if not text.isprintable():  # a line end would break a header, bytes that are no text every use
        raise ValueError(f"{origin} has characters that can't be printed, such as a line end")
    return Secret(text, plain=origin == "the text")


def _resolve_proxy(value: object, info: ValidationInfo) -> Secret:
    """Read the URL of an HTTP proxy. One without a user is no secret, so that nobody is warned of it."""
    secret = resolve_secret(value, info)
    match = _PROXY.fullmatch(secret.text)
    if match is None or int(match[2]) not in _PORTS:
        raise ValueError(
            "must be http://host:port or http://user:password@host:port, also with https://; "
            "what is not a letter, a digit or one of -._~ in user and password as %XX"
        )
    try:
        unquote(match[1] or "", errors="strict").encode("latin-1")
    except UnicodeError:
        raise ValueError("must have a user and a password in Latin-1: a proxy is told no others") from None
    return Secret(secret.text, plain=secret.plain and match[1] is not None)


def _credential(name: str, environ: Mapping[str, str]) -> str:
    """Name the file where systemd puts a credential (LoadCredential= in systemd.exec(5))."""
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if "/" in name or name in ("", ".", ".."):
        raise ValueError("a credential's name must be one plain part of a path")
    if not folder:
        raise ValueError(f"the credential {name} needs systemd: $CREDENTIALS_DIRECTORY is not set")
    return f"{folder}/{name}"


def _read_secret(path: Path) -> str:
    try:
        content, _ = read_file(path, limit=_SECRET_BYTES)
        return content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None
    except ValueError as error:
        raise ValueError(f"{path} {error}") from None


def check_certificate(cert: Path, key: Path) -> None:
    """Load both as a listener would. An encrypted key fails here instead of asking on a terminal."""
    import ssl  # noqa: PLC0415 - most configs, and most commands, do without its weight

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except OSError as error:
        reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        detail = f" ({reason.replace('_', ' ').lower()})" if reason else ""
        wanted = "must be a certificate and its private key in PEM, without a passphrase"
        raise ValueError(f"{cert} and {key} {wanted}{detail}") from None


_TEXT = {"type": "string", "minLength": 1}
SECRET_FORMS = [
    {"type": "object", "properties": {form: _TEXT}, "required": [form], "additionalProperties": False}
    for form in ("env", "file", "credential")
]

FolderPath = Annotated[Path, Notation(_resolve_root, _TEXT)]
"""A folder of syncd's own, made absolute."""

WatchedPath = Annotated[Path, Notation(_resolve_file, _TEXT)]
"""A file that the config depends on, made absolute."""

JournalUrl = Annotated[str, Notation(_resolve_journal, {"type": "string", "pattern": "^sqlite:///"})]
"""Where the journal lives, made absolute."""

SecretText = Annotated[Secret, Notation(resolve_secret, {"anyOf": [_TEXT, *SECRET_FORMS]})]
"""One secret, resolved."""

ProxyUrl = Annotated[Secret, Notation(_resolve_proxy, {"anyOf": [_TEXT, *SECRET_FORMS]})]
"""The URL of an HTTP proxy, which may hold a password: resolved like any secret."""

SecretTexts = Annotated[
    tuple[SecretText, ...],
    Field(strict=False),
    BeforeValidator(
        lambda value: value if isinstance(value, list | tuple) else [value],
        json_schema_input_type=SecretText | list[SecretText],
    ),
]
"""One secret, or a list of them while they are rotated."""
