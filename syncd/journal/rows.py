"""How values lie in the journal's rows, and how they are read back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import Any

import orjson

from syncd.model import (
    Asset,
    Delivery,
    ExportContents,
    ExportFile,
    Fetched,
    FolderContents,
    FolderLine,
    Format,
    Job,
    Listed,
    Template,
    TemplateStatus,
)

_ASSET = tuple(Asset.__dataclass_fields__)
_values_of = attrgetter(*_ASSET)

# Announcements repeat the templates and formats of those before them.
_template = lru_cache(maxsize=256)(Template)
_format = lru_cache(maxsize=256)(Format)


def asset_text(asset: Asset) -> str:
    """Write an asset as JSON."""
    fields = dict(zip(_ASSET, _values_of(asset), strict=True))
    return orjson.dumps(fields, default=_part, option=orjson.OPT_PASSTHROUGH_DATACLASS).decode()


def _part(part: Template | Format) -> dict[str, Any]:
    """What orjson would make of it by itself, in a tenth of the time."""
    if isinstance(part, Template):
        return {"id": part.id, "name": part.name}
    return {"id": part.id, "width": part.width, "height": part.height, "unit": part.unit}


def asset_of(text: str) -> Asset:
    """Read an asset back."""
    fields = orjson.loads(text)
    fields["template"] = _template(**fields["template"])
    fields["project"] = _template(**fields["project"])
    fields["branch"] = _template(**fields.get("branch", {}))
    fields["format"] = _format(**fields["format"])
    return Asset(**fields)


DELIVERY = "seq, id, source, hint, headers, body, received_at, replayed_at"
"""The columns of a stored request."""


def delivery_of(row: sqlite3.Row) -> Delivery:
    """Read a stored request back."""
    return Delivery(
        seq=row["seq"],
        id=row["id"],
        source=row["source"],
        hint=row["hint"],
        headers=tuple(map(tuple, orjson.loads(row["headers"]))),
        body=row["body"],
        received_at=row["received_at"],
        replayed_at=row["replayed_at"],
    )


JOB = "asset, visual, detail, key, delivery, received_at, attempts, goes, give_up_at, held"
"""The columns of a job."""


def job_of(row: sqlite3.Row) -> Job:
    """Read a waiting asset as a job."""
    return Job(
        row=row["asset"],
        visual=row["visual"],
        asset=asset_of(row["detail"]),
        key=row["key"],
        delivery=row["delivery"],
        received_at=row["received_at"],
        attempts=row["attempts"],
        goes=row["goes"],
        give_up_at=row["give_up_at"],
        held=row["held"] == 1,
    )


_LISTED = "key, detail, type, bytes, sha256, source_url, received_at, published_at, delivery, state"


def _listed_of(row: sqlite3.Row) -> Listed:
    """Read a visible file with what its manifest says of it."""
    key, detail, type_, size, sha256, source_url, received_at, published_at, delivery, state = row
    asset = orjson.loads(detail)
    template, format_ = asset["template"], asset["format"]
    return Listed(
        key, asset["id"], asset["sharing_id"], asset["version"], asset["kind"], type_, size, sha256,
        _template(template["id"], template["name"]),
        _format(format_["id"], format_["width"], format_["height"], format_["unit"]),
        source_url, received_at, published_at, asset["view_url"], asset["edit_url"], delivery, state == "superseded",
    )  # fmt: skip


def files_text(files: tuple[ExportFile, ...]) -> str:
    """Write an export's listing as JSON rows."""
    return orjson.dumps([(file.path, file.bytes, file.sha256) for file in files]).decode()


def files_of(text: str) -> tuple[ExportFile, ...]:
    """Read an export's listing back."""
    return tuple(ExportFile(*fields) for fields in orjson.loads(text))


def fetched_text(fetched: Fetched) -> str:
    """Write what is known of a download as JSON."""
    fields = {name: getattr(fetched, name) for name in Fetched.__dataclass_fields__}
    return orjson.dumps({**fields, "path": str(fetched.path)}).decode()


def fetched_of(text: str) -> Fetched:
    """Read a download back. Its temp file is gone."""
    fields = orjson.loads(text)
    return Fetched(**{**fields, "path": Path(fields["path"])})


def index_of(db: sqlite3.Connection) -> tuple[Iterator[FolderLine], Iterator[dict[str, Any]]]:
    """What the index names, read as asked for: folders in order of path, exports in order of publication.

    A folder without a manifest on disk, its first or the one that has just gone, is not among them. One whose
    files have gone is, with what its manifest says, until that is written anew.
    """
    folders = db.execute(
        "SELECT * FROM folders WHERE sequence > 0 AND written > 0"
        " AND (assets > 0 OR EXISTS (SELECT 1 FROM assets WHERE assets.folder = folders.folder)) ORDER BY folder"
    )
    exports = db.execute("SELECT line FROM exports WHERE line IS NOT NULL ORDER BY asset")
    return map(_folder_line_of, folders), (json.loads(line) for (line,) in exports)


def _folder_line_of(row: sqlite3.Row) -> FolderLine:
    """A folder as the index names it."""
    template = Template(row["template_id"], row["template_name"])
    return FolderLine(row["folder"], template, row["format_id"], row["assets"], row["bytes"], row["sequence"])


def stale_folder_of(db: sqlite3.Connection, row: sqlite3.Row) -> FolderContents:
    """A folder with everything that its manifest lists."""
    listed = db.execute(f"SELECT {_LISTED} FROM assets WHERE folder = ? ORDER BY key", (row["folder"],))  # noqa: S608 - from above
    template = db.execute("SELECT * FROM templates WHERE id = ?", (row["template_id"],)).fetchone()
    status = None
    if template is not None:
        named = Template(template["id"], template["name"])
        status = TemplateStatus(named, template["status"], template["status_updated_at"])
    return FolderContents(row["folder"], row["change"], row["sequence"], tuple(map(_listed_of, listed)), status)


def stale_export_of(row: sqlite3.Row) -> ExportContents:
    """An export with its listing."""
    return ExportContents(
        row=row["asset"],
        key=row["export_key"],
        asset=asset_of(row["detail"]),
        bytes=row["total"],
        sha256=row["sha256"],
        source_url=row["source_url"],
        files=files_of(row["files"]),
        archive_key=row["archive_key"],
        received_at=row["received_at"],
        published_at=row["published_at"],
        delivery=row["delivery"],
    )


def failure_of(row: sqlite3.Row) -> dict[str, Any]:
    """The fields by which an asset without a file is shown; times are unix seconds."""
    return {
        "id": row["platform_id"],
        "path": row["key"],
        "url": without_query(asset_of(row["detail"]).url),
        "attempts": row["attempts"],
        "reason": row["reason"],
        "since": row["failing_since"],
        "next_attempt_at": row["next_at"] if row["state"] == "pending" else None,
    }


def without_query(url: str) -> str:
    """A URL as it may be shown: presigned URLs carry their secret in the query."""
    return url.partition("?")[0].partition("#")[0]
