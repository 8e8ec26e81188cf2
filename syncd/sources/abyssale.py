"""Abyssale: whether a delivery is the platform's, and what it announces.

Everything here is pure and total: any headers and any bytes give a value, never an exception.
Facts come from the platform's public documentation and its Python SDK 1.7.0 (API v2026-10-21).
What a visual is and where it lies is taken strictly; what only decorates it (names, sizes,
links) counts as absent where it makes no sense. The raw payload stays in the journal, so
fields that nobody asks for here are not lost.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import orjson

from syncd.model import Asset, Event, Format, Malformed, Template, TemplateStatus, Unknown
from syncd.sources import fields
from syncd.sources.fields import Fields, UnclearError
from syncd.sources.payload import parse
from syncd.sources.protocol import Rejected, Verified

EVENTS = ("NEW_BANNER", "NEW_BANNER_BATCH", "NEW_EXPORT", "TEMPLATE_STATUS")
BANNER, BATCH, EXPORT, STATUS = EVENTS

SIGNATURE_HEADER = "X-Abyssale-Signature"
DELIVERY_HEADER = "X-Abyssale-Delivery-Id"

_SOURCE = "abyssale"
_HINTS = {event.lower(): event for event in EVENTS}

_DELIVERY_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_SIGNED_AT = re.compile(r"[0-9]{1,12}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_HEADER_LENGTH = 2048  # of a signature header
_DIGESTS = 8  # the platform sends two while it rotates
_UNCLEAR = Rejected("the signature header is not a short list of key=value")

_REMARKS = 100  # in one event
_SHOWN = 64  # characters of an unknown event's name


# ---- is it the platform's? ----


def sign(body: bytes, secret: str, t: int | str) -> str:
    """Write the signature header as the platform does; `t` is the unix time in whole seconds."""
    return f"t={t},v1={_digest(body, secret, str(t))}"


def request_headers(body: bytes, secret: str | None, name: str | None, now: float) -> dict[str, str]:
    """Write the headers of a delivery as the platform does; `name` is the delivery's id."""
    headers = {"X-Referer": "api.abyssale.com"}
    if name is not None:
        headers[DELIVERY_HEADER] = name
    if secret is not None:
        headers[SIGNATURE_HEADER] = sign(body, secret, int(now))
    return headers


def verify(
    headers: Sequence[tuple[str, str]],
    body: bytes,
    secrets: Sequence[str],
    tolerance: float,
    now: float,
) -> Verified | Rejected:
    """Judge a request by its one signature header; any digest that fits any secret will do.

    `tolerance` is in seconds, its boundary included. Keys other than `t` and `v1` belong to
    schemes yet to come and are passed over.
    """
    values = _values(headers, SIGNATURE_HEADER)
    if len(values) != 1:
        return Rejected(f"{len(values)} signature headers, where one is needed")
    claim = _claim(values[0])
    if isinstance(claim, Rejected):
        return claim
    t, digests = claim
    # `t` counts whole seconds, so the clock is read in whole seconds too.
    if abs(int(now) - int(t)) > tolerance:
        return Rejected("the signature is stale, or from the future")
    expected = [_digest(body, secret, t) for secret in secrets if secret]
    for one in expected:
        for other in digests:
            if hmac.compare_digest(one, other):
                return Verified(t)
    return Rejected("the signature fits none of the secrets" if expected else "no secret is configured")


def _claim(header: str) -> tuple[str, list[str]] | Rejected:
    """Take a signature header apart: when it was signed, and the digests that may prove it."""
    times, digests = [], []
    for pair in header[:_HEADER_LENGTH].split(","):
        # A proxy that joins doubled headers puts white space after its comma: seen through, it is a doubled `t`.
        key, equals, value = pair.strip(" \t").partition("=")
        if not equals:
            return _UNCLEAR
        if key == "t":
            times.append(value)
        elif key == "v1":
            digests.append(value)
    if len(header) > _HEADER_LENGTH:
        return _UNCLEAR
    if len(times) != 1 or not _SIGNED_AT.fullmatch(times[0]):
        return Rejected("the signature header needs exactly one t, in digits")
    if not 1 <= len(digests) <= _DIGESTS:
        return Rejected(f"the signature header needs 1 to {_DIGESTS} values of v1")
    return times[0], [digest for digest in digests if _DIGEST.fullmatch(digest)]


def _digest(body: bytes, secret: str, t: str) -> str:
    keyed = _keyed(secret).copy()
    keyed.update(b"%b.%b" % (t.encode(), body))
    return keyed.hexdigest()


@lru_cache(maxsize=8)
def _keyed(secret: str) -> hmac.HMAC:
    """Take in a secret, and what is signed before anything else; that is half of the work for a usual body."""
    # The key is the whole text of the secret, its `whsec_` included. A variable of the
    # environment may hold bytes that are not UTF-8; they are the key as they are.
    return hmac.new(secret.encode(errors="surrogateescape"), b"v1:webhook:", "sha256")


def delivery_id(headers: Sequence[tuple[str, str]]) -> str | None:
    """Return the delivery's id, the same over all attempts, if there is exactly one and it is well-formed.

    The signature does not cover it: it tells retries apart, it proves nothing.
    """
    values = _values(headers, DELIVERY_HEADER)
    return values[0] if len(values) == 1 and _DELIVERY_ID.fullmatch(values[0]) else None


def _values(headers: Sequence[tuple[str, str]], wanted: str) -> list[str]:
    wanted = wanted.lower()
    return [value for name, value in headers if name.lower() == wanted]


def hint_of(tail: str) -> str | None:
    """Return the event that a URL was made for, by its last part (`new_export`), or None."""
    return _HINTS.get(tail)


# ---- which event is it? ----


def decode(body: bytes, hint: str | None) -> Event | Unknown | Malformed:
    """Say what a body announces; `hint` is the event that its URL was made for.

    No documented example names its event. The URL decides, else a name in the payload, else
    its shape.
    """
    try:
        payload = parse(body)
    except orjson.JSONDecodeError as error:
        return Malformed(hint or "", f"not JSON: {error.msg}")
    if not isinstance(payload, dict):
        return Malformed(hint or "", "not a JSON object")
    envelope, data = payload, payload.get("data")
    if isinstance(data, dict) and _shape(envelope) is None:
        payload = data
    name = hint or _named(envelope) or _named(payload) or _shape(payload)
    if name is None:
        return Unknown("", "neither its name nor its shape is known")
    if name not in _READERS:
        shown = "".join(filter(str.isprintable, name[:_SHOWN]))
        return Unknown(shown, f"no event that syncd knows: {shown}")
    try:
        return _READERS[name](payload)
    except UnclearError as error:
        return Malformed(name, str(error))


def _named(payload: Fields) -> str | None:
    """Return the event's name as the payload gives it, in capitals.

    `event_type` and `event` can't mean anything else, so that an unknown name there is an
    unknown event, whatever its shape. A design or a file may have a `type` of its own: that
    one is only believed when it is an event's name.
    """
    name, kind = payload.get("event_type") or payload.get("event"), payload.get("type")
    if isinstance(name, str):
        return name.upper()
    return kind.upper() if isinstance(kind, str) and kind.upper() in EVENTS else None


def _shape(payload: Fields) -> str | None:
    if payload.get("export_id") and payload.get("archive_url"):
        return EXPORT
    if isinstance(payload.get("banners"), list):
        return BATCH
    if isinstance(payload.get("file"), dict):
        return BANNER
    if payload.get("status") and payload.get("id"):
        return STATUS
    return BANNER if isinstance(payload.get("image"), dict) else None


# ---- the four payloads ----


def _new_banner(payload: Fields) -> Event:
    return _visuals(BANNER, [("", payload)])


def _new_banner_batch(payload: Fields) -> Event:
    """Read a generation, as a subscription or a job's own callback tells it.

    A callback's `version` is the API's. It can tell of a generation that goes on: these banners are no batch yet.
    """
    banners, errors = payload.get("banners"), payload.get("errors")
    if not isinstance(banners, list) and not (banners is None and isinstance(errors, list)):
        raise UnclearError("banners: missing" if banners is None else "banners: not a list")
    notes = [_note(error) for error in errors] if isinstance(errors, list) else []
    named = [
        (f"banners[{index}].", banner if isinstance(banner, dict) else {}) for index, banner in enumerate(banners or ())
    ]
    request = fields.name(payload, "generation_request_id") or fields.name(payload, "id")
    batch = "" if payload.get("is_finalized") is False else request or "without an id"
    return replace(_visuals(BATCH, named, list(filter(None, notes))), batch=batch)


def _note(error: Any) -> str:
    if not isinstance(error, dict):
        return error[: fields.NAME_LENGTH] if isinstance(error, str) else ""
    return ": ".join(filter(None, (fields.name(error, "template_format_name"), fields.name(error, "reason"))))


def _new_export(payload: Fields) -> Event:
    archive = Asset(
        source=_SOURCE,
        kind="export",
        id=fields.identity(payload, "export_id"),
        url=fields.url(payload, "archive_url"),
        requested_at=fields.time(payload, "requested_at"),
        generated_at=fields.time(payload, "generated_at"),
    )
    return Event(EXPORT, (archive,))


def _template_status(payload: Fields) -> Event:
    template = Template(fields.identity(payload, "id"), fields.name(payload, "name"))
    status = TemplateStatus(template, fields.identity(payload, "status"), fields.time(payload, "status_updated_at"))
    return Event(STATUS, status=status)


_READERS = {
    BANNER: _new_banner,
    BATCH: _new_banner_batch,
    EXPORT: _new_export,
    STATUS: _template_status,
}


def _visuals(name: str, banners: Iterable[tuple[str, Fields]], notes: Sequence[str] = ()) -> Event:
    """Read banners, each under its place in the payload; one that is unclear doesn't hold up the others."""
    assets: list[Asset] = []
    unclear: list[str] = []
    for where, banner in banners:
        try:
            visual = _visual(banner, where)
            assets.append(visual)
            file = fields.table(banner, "file")
            if visual.kind == "html5" and file.get("fallback_image_url"):
                url = fields.url(file, "fallback_image_url", f"{where}file.")
                assets.append(replace(visual, kind="fallback", type="jpeg", url=url, fallback_url=""))
        except UnclearError as error:
            unclear.append(str(error))
    if unclear and not assets:
        raise UnclearError("; ".join(_few(unclear)))
    return Event(name, tuple(assets), notes=_few(notes), unclear=_few(unclear))


def _few(remarks: Sequence[str]) -> tuple[str, ...]:
    more = len(remarks) - _REMARKS
    return (*remarks[:_REMARKS], f"and {more} more") if more > 0 else tuple(remarks)


def _visual(banner: Fields, where: str) -> Asset:
    # `image` is the deprecated form of `file`, with a type and a url alone.
    key = "image" if banner.get("file") is None and "image" in banner else "file"
    file, format_ = fields.table(banner, key), fields.table(banner, "format")
    type_ = fields.name(file, "type").lower()
    return Asset(
        source=_SOURCE,
        kind="html5" if type_ == "zip" else "file",
        id=fields.identity(banner, "id", where),
        url=fields.url(file, "url", f"{where}{key}."),
        type=type_,
        fallback_url=fields.link(file, "cdn_url"),
        sharing_id=fields.identity(banner, "sharing_id", where) if banner.get("sharing_id") else "",
        version=fields.version(banner, "version", where),
        filename=fields.name(file, "filename"),
        template=_template(banner, "template"),
        format=Format(
            id=fields.name(format_, "id"),
            width=fields.side(format_, "width"),
            height=fields.side(format_, "height"),
            unit=fields.name(format_, "unit"),
        ),
        project=_template(banner, "project"),
        view_url=fields.link(banner, "view_url"),
        edit_url=fields.link(banner, "edit_url"),
    )


def _template(owner: Fields, key: str) -> Template:
    table = fields.table(owner, key)
    return Template(fields.name(table, "id"), fields.name(table, "name"))
