"""Payloads as the platform sends them, with invented values.

Every function takes the fields that a caller wants otherwise; a field replaces the whole value
of that name. Numbers make things distinct: the same `visual` is the same visual.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

Payload = dict[str, Any]

TEMPLATE = {
    "id": "d1e2f3a4-b5c6-4d7e-8f90-a1b2c3d4e5f6",
    "name": "Spring sale",
    "created_at": 1780000000,
    "updated_at": 1785000000,
}
FORMAT = {"id": "medium-rectangle", "unit": "px", "width": 300, "height": 250}
PROJECT = {"id": "0f1e2d3c-4b5a-4697-8879-6a5b4c3d2e1f", "name": "Retail", "created_at_ts": 1770000000}


def file(url: str, **fields: Any) -> Payload:
    """Describe the file behind a URL, its type and name taken from the URL's last part."""
    name = PurePosixPath(urlsplit(url).path)
    return {"type": name.suffix.removeprefix("."), "url": url, "filename": name.name, **fields}


def new_banner(url: str, *, visual: int = 1, version: int = 1, **fields: Any) -> Payload:
    """Announce one version of one visual."""
    return {
        "id": f"3c9d2f10-8a4b-4e6c-{version:04x}-{visual:012x}",
        "version": version,
        "sharing_id": f"a80f6c3e-2d5b-4f71-8c9e-{visual:012x}",
        "file": file(url),
        "format": FORMAT,
        "template": TEMPLATE,
        "project": PROJECT,
        **fields,
    }


def batch(banners: Sequence[Payload], *, request: int = 1, **fields: Any) -> Payload:
    """Announce a finished generation request to a subscription."""
    return {
        "generation_request_id": f"77aa88bb-99cc-4dde-8eff-{request:012x}",
        "banners": list(banners),
        "errors": [],
        **fields,
    }


def callback(banners: Sequence[Payload], *, request: int = 1, **fields: Any) -> Payload:
    """Announce a finished generation request to its own callback URL; `version` is the API's."""
    return {
        "id": f"77aa88bb-99cc-4dde-8eff-{request:012x}",
        "is_finalized": True,
        "banners": list(banners),
        "errors": [],
        "version": "v2026-08-21",
        **fields,
    }


def export(url: str, *, export: int = 1, **fields: Any) -> Payload:
    """Announce a finished export."""
    return {
        "export_id": f"0b7e2c61-6c0e-4f2f-9a51-{export:012x}",
        "archive_url": url,
        "requested_at": 1789999900,
        "generated_at": 1789999984,
        **fields,
    }


def template_status(status: str, **fields: Any) -> Payload:
    """Announce a design's new place in the review."""
    return {**TEMPLATE, "status": status, "status_updated_at": 1789000000, **fields}


def abstract(event: str, n: int) -> Payload:
    """Tell an event of Abstract's; another `n` is about another thing."""
    name, subject = f"{n:012x}", event.partition(".")[0]
    project, user = f"c2d4e6f8-0a1b-4c2d-8e3f-{name}", {"name": "Mia Lindt", "objectType": "user"}
    branch = {"id": "master", "name": "Master", "projectId": project, "status": "active", "objectType": "branch"}
    commit = {"sha": f"{n:040x}", "time": "2021-03-04T09:15:00.000Z", "title": f"Test {n}", "userName": "Mia Lindt"}
    things: dict[str, Payload] = {
        "project": {"id": project, "name": f"Test {n}", "visibility": "specific", "createdByUser": user},
        "branch": {**branch, "id": f"71aa20b4-93c1-4d0e-8f6b-{name}", "name": f"test-{n}", "user": user},
        "commits": {"branch": branch, "commits": [{**commit, "fileIds": [], "objectType": "commit"}]},
        "comment": {
            "id": f"e0e1e2e3-4455-4667-8899-{name}",
            "body": f"Test {n}",
            "commenter": user,
            "projectId": project,
        },
    }
    return {
        "createdAt": "2021-03-04T09:15:02Z",
        "event": event,
        "data": {"object": {**things[subject], "objectType": subject}},
    }
