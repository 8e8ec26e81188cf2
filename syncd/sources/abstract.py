"""Abstract: whether a delivery is the platform's, and what it tells.

Everything here is pure and total: any headers and any bytes give a value, never an exception.
A push names commits, not files: what they changed is asked of the platform's API (`abstract_api`).
All other events are news for people. Facts come from the platform's documentation of its webhooks and
from its JavaScript SDK 8.1.5.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from datetime import UTC, datetime

import orjson

from syncd.model import Commit, Event, Malformed, News, Template, Unknown
from syncd.sources import fields
from syncd.sources.fields import Fields, UnclearError
from syncd.sources.payload import parse
from syncd.sources.protocol import Rejected, Verified

COMMITS = "commits.created"
EVENTS = (
    "project.created", "project.updated", "project.deleted",
    "branch.created", "branch.updated", "branch.statusUpdated", COMMITS,
    "comment.created", "comment.updated", "comment.deleted",
)  # fmt: skip

SIGNATURE_HEADER = "Abstract-Webhooks-Signature"

NAME = "abstract"
MOST_COMMITS = 500
"""Commits of one push that are looked up, the newest; each costs questions of a limited budget."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_ID = re.compile(
    r"[A-Za-z0-9_][A-Za-z0-9_.~-]{0,127}"
)  # it becomes a part of URLs, which "." and ".." would lead astray
_SHOWN = 64  # characters of an unknown event's name
_REMARKS = 100  # in one event
_BODY = 300  # characters of a comment
_MILLISECONDS = 100_000_000_000  # as a time, larger numbers are milliseconds


# ---- is it the platform's? ----


def sign(body: bytes, secret: str) -> str:
    """Write the signature header as the platform does."""
    # A variable of the environment may hold bytes that are not UTF-8; they are the key as they are.
    return hmac.digest(secret.encode(errors="surrogateescape"), body, "sha256").hex()


def request_headers(body: bytes, secret: str | None, name: str | None, now: float) -> dict[str, str]:  # noqa: ARG001 - it has neither
    """Write the headers of a delivery as the platform does, which gives it neither an id nor a time."""
    signature = {} if secret is None else {SIGNATURE_HEADER: sign(body, secret)}
    return {"User-Agent": "Abstract-Webhooks", **signature}


def verify(
    headers: Sequence[tuple[str, str]],
    body: bytes,
    secrets: Sequence[str],
    tolerance: float,  # noqa: ARG001 - nothing in the signature says when
    now: float,  # noqa: ARG001 - same
) -> Verified | Rejected:
    """Judge a request by its one signature header; any secret will do.

    The body alone is signed, so that a captured request stays good: the journal knows the same body for some
    hours, and after that it says what was known already.
    """
    values = [value for name, value in headers if name.lower() == SIGNATURE_HEADER.lower()]
    if len(values) != 1:
        return Rejected(f"{len(values)} signature headers, where one is needed")
    if not _DIGEST.fullmatch(values[0]):
        return Rejected("the signature is not 64 lower-case hexadecimal digits")
    expected = [sign(body, secret) for secret in secrets if secret]
    if any(hmac.compare_digest(one, values[0]) for one in expected):
        return Verified(None)
    return Rejected("the signature fits none of the secrets" if expected else "no secret is configured")


def delivery_id(headers: Sequence[tuple[str, str]]) -> str | None:  # noqa: ARG001 - as every source's
    """Return None: the platform gives its deliveries no id."""
    return None


def hint_of(tail: str) -> str | None:  # noqa: ARG001 - as every source's
    """Return None: there is one URL for all events."""
    return None


# ---- what does it tell? ----


def decode(body: bytes, hint: str | None) -> Event | Unknown | Malformed:  # noqa: ARG001 - as every source's
    """Say what a body tells. The test event that the platform offers is unknown, as its body is documented nowhere."""
    try:
        payload = parse(body)
    except orjson.JSONDecodeError as error:
        return Malformed("", f"not JSON: {error.msg}")
    if not isinstance(payload, dict):
        return Malformed("", "not a JSON object")
    name = fields.name(payload, "event")
    if name not in EVENTS:
        shown = "".join(filter(str.isprintable, name[:_SHOWN]))
        return Unknown(shown, f"no event that syncd knows: {shown}" if shown else "it names no event")
    thing = fields.table(payload, "data").get("object")
    if not isinstance(thing, dict):
        return Malformed(name, "data.object: missing")
    try:
        return _pushed(thing, moment(payload, "createdAt")) if name == COMMITS else _told(name, thing)
    except UnclearError as error:
        return Malformed(name, str(error))


def _told(name: str, thing: Fields) -> Event:
    """Read an event that has no files."""
    facts = {
        "by": fields.name(fields.table(thing, "commenter" if "commenter" in thing else "user"), "name")
        or fields.name(fields.table(thing, "createdByUser"), "name"),
        "status": fields.name(thing, "status"),
        "branch": fields.name(thing, "branchName"),
        "file": fields.name(thing, "fileName"),
        "layer": fields.name(thing, "layerName"),
    }
    title = fields.name(thing, "name") or fields.name(thing, "body")[:_BODY]
    return Event(name, news=(_news(name, fields.name(thing, "id"), title, facts),))


def _pushed(thing: Fields, sent_at: float | None) -> Event:
    """Read a push: its branch strictly, each commit under its place in the payload."""
    branch, entries = fields.table(thing, "branch"), thing.get("commits")
    where = "data.object.branch."
    project = url_part(branch, "projectId", where)
    within = Template(url_part(branch, "id", where), fields.name(branch, "name"))
    if not isinstance(entries, list):
        raise UnclearError(f"data.object.commits: {'missing' if entries is None else 'not a list'}")
    commits: list[Commit] = []
    unclear: list[str] = []
    for index, entry in enumerate(entries):
        commit = entry if isinstance(entry, dict) else {}
        try:
            sha = url_part(commit, "sha", f"data.object.commits[{index}].")
        except UnclearError as error:
            unclear.append(str(error))
            continue
        at = moment(commit, "time")
        at = sent_at if at is None else at
        commits.append(Commit(sha, project, within, None if at is None else round(at * 1000)))
    if unclear and not commits:
        raise UnclearError("; ".join(unclear[:_REMARKS]))
    newest = sorted(commits, key=lambda commit: commit.version or 0)[-MOST_COMMITS:]
    notes = (f"only the newest {MOST_COMMITS} of {len(commits)} commits",) if len(commits) > MOST_COMMITS else ()
    last = next((entry for entry in reversed(entries) if isinstance(entry, dict)), {})
    facts = {"by": fields.name(last, "userName"), "branch": within.name or within.id, "commits": str(len(entries))}
    news = _news(COMMITS, fields.name(last, "sha"), fields.name(last, "title"), facts)
    return Event(COMMITS, notes=notes, unclear=tuple(unclear[:_REMARKS]), news=(news,), commits=tuple(newest))


def _news(name: str, subject: str, title: str, facts: dict[str, str]) -> News:
    return News(f"{NAME}.{name}", subject, title, tuple((label, text) for label, text in facts.items() if text))


def url_part(thing: Fields, key: str, where: str = "") -> str:
    """Read an id that can stand in a URL as it is."""
    value = fields.identity(thing, key, where)
    if not _ID.fullmatch(value):
        raise UnclearError(f"{where}{key}: not an id")
    return value


def moment(thing: Fields, key: str) -> float | None:
    """Read a time in unix seconds, from ISO 8601 or a number; None where there is none."""
    value = thing.get(key)
    if isinstance(value, str):
        try:
            at = datetime.fromisoformat(value)
            value = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            return None
    elif isinstance(value, int | float) and not isinstance(value, bool) and value > _MILLISECONDS:
        value = value / 1000
    return fields.time({key: value}, key)
