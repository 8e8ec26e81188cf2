"""The tables `[[notify]]` and `[[hooks]]`: who is told of what happens, people and programs.

Only shapes and rules; what is said is in `observe`. The URL of a notification is a secret, and so
may be that of a hook, so that neither is ever shown whole: `shown` is what people see.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator

from syncd.config.references import (
    SECRET_FORMS,
    ProxyUrl,
    Secret,
    SecretText,
    SecretTexts,
    resolve_secret,
    surroundings,
)
from syncd.config.section import Filled, Section, written
from syncd.config.source import Sources
from syncd.config.units import Notation, duration, number, text_fields

EVENTS = (
    "asset.published", "asset.removed", "asset.failed", "export.published", "batch.completed", "template.status",
    "config.rejected", "disk.low", "disk.usable", "mirror.lost", "source.silent",
)  # fmt: skip
"""What may happen, but for what a platform tells under its own name, as in abstract.comment.created."""

LINE_FIELDS = (
    "event", "subject", "at", "title", "path", "url", "size", "files", "sha256", "type", "template", "format", "id",
    "version", "status", "old_status", "folders", "reason", "attempts", "batch", "published", "failed", "errors",
    "by", "branch", "file", "layer", "commits", "source", "delivery",
)  # fmt: skip
"""What a notification may say of one thing that happened; empty where it does not have that."""

ONE, ALL = ("url", "path", "location", "event", "sha256"), ("urls", "paths", "changes", "timestamp")
"""What a hook's body may say: of its only change, and of all of them."""
_PUBLIC = {"url", "urls", "location"}

_URL = re.compile(r"https?://[^\s/?#]+(?:[/?#]\S*)?")
_METHOD = re.compile(r"[A-Z]{1,16}")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_OURS = re.compile(r"webhook-.*|host|content-length|transfer-encoding|connection", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PREFIX = "whsec_"
_KEY_BYTES = range(16, 129)  # the specification asks for 24 to 64; what other senders have made is fine, too
_TEMPLATE_LENGTH = 4096
_HEADERS = 32
_TEXT = {"type": "string", "minLength": 1}
_SECRET = {"anyOf": [_TEXT, *SECRET_FORMS]}


def _resolve_apprise(value: object, info: ValidationInfo) -> Secret:
    secret = resolve_secret(value, info)
    if not surroundings(info).knows(secret.text):
        raise ValueError("is no URL that Apprise knows, such as slack://..., mailto://... or json://...")
    return secret


def _resolve_url(value: object, info: ValidationInfo) -> Secret:
    """Read where a hook goes. One that stands in the config is no secret, unless it holds a password."""
    secret = resolve_secret(value, info)
    wanted = "must be an http:// or https:// URL"
    try:
        parts = urlsplit(secret.text)
        _ = parts.port
    except ValueError:
        raise ValueError(wanted) from None
    if not _URL.fullmatch(secret.text) or not parts.hostname or text_fields(parts.netloc):
        raise ValueError(wanted)
    return Secret(secret.text, plain=secret.plain and parts.password is not None)


def _parse_event(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _TEMPLATE_LENGTH:
        raise ValueError('must be the name of an event in quotes, or a glob such as "asset.*"')
    ours = {event.partition(".")[0] for event in EVENTS}
    if value.partition(".")[0] in ours and not any(fnmatchcase(event, value) for event in EVENTS):
        near = get_close_matches(value, EVENTS, n=1, cutoff=0.0)[0]
        raise ValueError(f"is no event that happens; the nearest is {near}")
    first = value.partition(".")[0]
    if first not in {*ours, *Sources.model_fields} and not set(value) & set("*?["):
        raise ValueError(f"is no event; they are {', '.join(EVENTS)}, and those of the platforms, such as abstract.*")
    return value


def _check_fields(text: str, known: Sequence[str]) -> str:
    if len(text) > _TEMPLATE_LENGTH:
        raise ValueError(f"must have at most {_TEMPLATE_LENGTH} characters")
    if unknown := set(text_fields(text)) - set(known):
        fields = " ".join(f"{{{name}}}" for name in known)
        raise ValueError(f"has an unknown field {{{min(unknown)}}}; the fields are {fields}")
    return text


AppriseUrl = Annotated[Secret, Notation(_resolve_apprise, _SECRET)]
HookUrl = Annotated[Secret, Notation(_resolve_url, _SECRET)]
EventPattern = Annotated[str, Notation(_parse_event, _TEXT)]


class Told(Section):
    """What notifications and hooks have in common."""

    KIND: ClassVar[str]

    name: str = ""
    """What it is called in lists; with it, the URL may change and the target stays the same."""

    url: SecretText
    """Where to."""

    on: Filled[EventPattern]
    """Events, or globs on them."""

    max_delay: Annotated[float, duration("0s", "24h")]
    """How long the first event waits for others, to be told with them in one message."""

    max_items: Annotated[int, number(1, 1000)]
    """The most events in one message."""

    @property
    def id(self) -> str:
        """By which the journal knows it: over restarts, and whatever else of it changes."""
        return hashlib.sha256(f"{self.KIND}\n{self.name or self.url.text}".encode()).hexdigest()[:16]

    @property
    def shown(self) -> str:
        """What people see of it: its name, or as much of the URL as can't be secret."""
        raise NotImplementedError

    @field_validator("name")
    @classmethod
    def _is_short(cls, name: str) -> str:
        if name and not _NAME.fullmatch(name):
            raise ValueError("must be 1 to 64 letters, digits and . _ -")
        return name


class Notify(Told):
    """One Apprise URL, and what is sent there."""

    KIND = "notify"

    url: AppriseUrl
    """Where to: any URL that Apprise knows. It is a secret."""

    on: Filled[EventPattern] = written(["export.published", "batch.completed", "template.status", "asset.failed"])
    """Events, or globs on them."""

    title: str = ""
    """The title, with {fields} of what happened first, and {count}; empty: a usual one."""

    text: str = ""
    """A line for each thing that happened, with its {fields}; empty: a usual one."""

    max_delay: Annotated[float, duration("0s", "24h")] = written("10s")
    """How long the first event waits for others, to be told with them in one message."""

    max_items: Annotated[int, number(1, 1000)] = 500
    """The most events in one message."""

    @property
    def shown(self) -> str:
        """Its name, or the kind of service."""
        return self.name or f"{self.url.text.partition(':')[0]}://***"

    @field_validator("title", "text")
    @classmethod
    def _has_known_fields(cls, text: str) -> str:
        return _check_fields(text, (*LINE_FIELDS, "count"))


class Hook(Told):
    """One URL that is asked whenever something has changed."""

    KIND = "hook"

    url: HookUrl
    """Where to; with {path}, {url} or {location}, the url without its scheme, where max_items is 1."""

    method: Annotated[str, Field(pattern=f"^{_METHOD.pattern}$")] = "POST"
    """The request's method."""

    on: Filled[EventPattern] = written(["asset.published", "asset.removed"])
    """Events, or globs on them."""

    max_delay: Annotated[float, duration("0s", "24h")] = written("2s")
    """How long the first change waits for others, to be told with them in one request."""

    max_items: Annotated[int, number(1, 1000)] = 100
    """The most changes in one request."""

    headers: dict[str, SecretText] = Field(default_factory=dict)
    """Headers of the request, such as the key of an API."""

    body: str | None = None
    """The request's body, with {urls}, {paths}, {changes}, ... as JSON; absent: the signed JSON of docs/hooks.md."""

    secret: SecretTexts = ()
    """What requests are signed with: whsec_ and base64; a list while rotating."""

    proxy: ProxyUrl | None = None
    """The HTTP proxy on the way there; http_proxy and the like are ignored."""

    @property
    def shown(self) -> str:
        """Its name, or whom it asks."""
        parts = urlsplit(self.url.text)
        return self.name or f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/***"

    @field_validator("headers")
    @classmethod
    def _are_headers(cls, headers: dict[str, Secret]) -> dict[str, Secret]:
        for name, value in headers.items():
            if not _HEADER.fullmatch(name) or _OURS.fullmatch(name):
                raise ValueError(f"{name[:64]!r} can't be set")
            if not value.text.isascii():
                raise ValueError(f"{name} must be ASCII")
        if len(headers) > _HEADERS:
            raise ValueError(f"must be at most {_HEADERS}")
        return {name: Secret(value.text) for name, value in headers.items()}  # mostly none; a warning would be noise

    @field_validator("body")
    @classmethod
    def _has_known_fields(cls, body: str | None, info: ValidationInfo) -> str | None:
        url, most = info.data.get("url"), info.data.get("max_items")
        in_url = set(text_fields(url.text)) if url else set()
        if unknown := in_url - set(ONE):
            known = " ".join(f"{{{name}}}" for name in ONE)
            raise ValueError(f"url has an unknown field {{{min(unknown)}}}; the fields are {known}")
        used = in_url | set(text_fields(_check_fields(body or "", (*ALL, *ONE))))
        if most != 1 and (one := used & set(ONE)):
            raise ValueError(f"{{{min(one)}}} is of one change only: it needs max_items = 1")
        if used & _PUBLIC and not surroundings(info).noted.get("mirror.public_url"):
            raise ValueError(f"{{{min(used & _PUBLIC)}}} needs mirror.public_url, where the tree is served")
        return body

    @field_validator("secret")
    @classmethod
    def _is_a_key(cls, secrets: SecretTexts, info: ValidationInfo) -> SecretTexts:
        if secrets:
            from standardwebhooks import Webhook  # noqa: PLC0415 - most installations do without its weight
        for secret in secrets:
            text = secret.text.removeprefix(_PREFIX)
            try:
                key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
                Webhook(secret.text)
            except (binascii.Error, ValueError):
                key = b""
            if len(key) not in _KEY_BYTES:
                raise ValueError(
                    "must be whsec_ and the base64 of 24 to 64 random bytes, as from: openssl rand -base64 32"
                )
        url = info.data.get("url")
        if not secrets and info.data.get("body") is None and not (url and text_fields(url.text)):
            raise ValueError(
                'is missing: requests are signed, as with { env = "HOOK_SECRET" }; those of an API need a body'
            )
        return secrets
