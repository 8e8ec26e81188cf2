"""Deliveries as the platform sends them, down to the bytes on the wire, made before any clock starts."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterable, Iterator

import orjson

from benchmarks.corpus import Banner
from syncd.demo.payloads import Payload, export, new_banner
from syncd.sources.abyssale import request_headers

SECRET = "whsec_" + "5" * 64
PATH = "/webhooks/abyssale"
HOOK_PATH = "/hooks/banner"
"""Where `webhook` is told of a banner."""


def announcement(banner: Banner, origin: str, *, version: int = 1) -> Payload:
    """Announce a banner: about 900 bytes, with every usual field."""
    return new_banner(
        f"{origin}/{banner.path}",
        visual=banner.number,
        version=version,
        file={
            "type": banner.type,
            "url": f"{origin}/{banner.path}",
            "cdn_url": f"{origin}/{banner.path}",
            "filename": banner.filename,
        },
        format={"id": banner.format, "unit": "px", "width": 300, "height": 250},
        template={
            "id": f"d1e2f3a4-b5c6-4d7e-8f90-{banner.template:012x}",
            "name": banner.template_name,
            "created_at": 1780000000,
            "updated_at": 1785000000,
        },
        view_url=f"https://app.example.test/view/{banner.number:012x}",
        edit_url=f"https://app.example.test/edit/{banner.number:012x}",
    )


def archive_announcement(url: str, number: int) -> Payload:
    """Announce an export."""
    return export(url, export=number)


def signed(payloads: Iterable[Payload | bytes], *, secret: str | None = SECRET, salt: str = "") -> Iterator[bytes]:
    """Requests for syncd, signed now, which is good for `tolerance`. Another `salt` gives other delivery ids."""
    now = time.time()
    for number, payload in enumerate(payloads):
        body = payload if isinstance(payload, bytes) else orjson.dumps(payload)
        name = hashlib.sha256(f"{salt}{number}".encode()).hexdigest()
        yield _request(PATH, body, request_headers(body, secret, name, now))


def signed_for_webhook(payloads: Iterable[Payload]) -> Iterator[bytes]:
    """Requests for `webhook`, whose signature is over the body alone; all other headers are the platform's."""
    for number, payload in enumerate(payloads):
        body = orjson.dumps(payload)
        digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        name = hashlib.sha256(str(number).encode()).hexdigest()
        headers = request_headers(body, None, name, 0)
        yield _request(HOOK_PATH, body, {**headers, "X-Signature": f"sha256={digest}"})


def _request(path: str, body: bytes, headers: Iterable[str] | dict[str, str]) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    lines += [f"Content-Length: {len(body)}", *(f"{name}: {value}" for name, value in dict(headers).items())]
    return "\r\n".join((*lines, "", "")).encode() + body
