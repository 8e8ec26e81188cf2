"""What the manifests say, from published assets to bytes (contract: "The manifest").

Pure: rows come in, JSON goes out. A folder's manifest names the files of that folder, an
export's lists the files inside it, and the `index` names both without naming single files, so
that the cost of an event does not grow with the tree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from operator import attrgetter
from typing import Any

import orjson

from syncd.model import ExportContents, FolderContents, FolderLine, Format, Listed, Template, rfc3339

INDEX = "manifest.json"
CHECKSUMS = "SHA256SUMS"
LAYOUT = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE


def entry(listed: Listed) -> dict[str, Any]:
    """One file as its folder's manifest names it."""
    said: dict[str, Any] = {
        "path": listed.key,
        "id": listed.id,
        "sharing_id": listed.sharing_id or None,
        "version": listed.version,
        "kind": listed.kind,
        "type": listed.type,
        "bytes": listed.bytes,
        "sha256": listed.sha256,
        "width": _side(listed.format.width),
        "height": _side(listed.format.height),
        "source_url": listed.source_url,
        "received_at": rfc3339(listed.received_at),
        "published_at": rfc3339(listed.published_at),
        "view_url": listed.view_url or None,
        "edit_url": listed.edit_url or None,
        "delivery": listed.delivery,
    }
    if listed.superseded:
        said["superseded"] = True
    return said


def _side(length: float | None) -> float | None:
    """A whole number without a decimal point: 300, but 297.5."""
    return int(length) if length is not None and length == int(length) else length


def line_of(folder: FolderContents) -> FolderLine:
    """A folder as the index names it, with the sequence that its next manifest has."""
    current = [listed for listed in folder.listed if not listed.superseded]
    return FolderLine(
        folder=folder.folder,
        template=_shared_template(folder) or Template(),
        format_id=(_shared_format(folder) or Format()).id,
        assets=len(current),
        bytes=sum(listed.bytes for listed in current),
        sequence=folder.sequence + 1,
    )


def folder_manifest(folder: FolderContents) -> bytes:
    """A folder's manifest. `template` and `format` are null where its files don't share one."""
    template, format_ = _shared_template(folder), _shared_format(folder)
    said = {
        "version": 1,
        "sequence": folder.sequence + 1,
        "template": template and _template(template, folder),
        "format": format_ and {
            "id": format_.id or None,
            "width": _side(format_.width),
            "height": _side(format_.height),
            "unit": format_.unit or None,
        },
        "assets": [entry(listed) for listed in folder.listed],
    }  # fmt: skip
    return orjson.dumps(said, option=LAYOUT)


def _template(template: Template, folder: FolderContents) -> dict[str, Any]:
    status = folder.status
    return {
        "id": template.id or None,
        "name": template.name or None,
        "status": (status.status if status else "") or None,
        "status_updated_at": rfc3339(status.updated_at) if status else None,
    }


def _shared_template(folder: FolderContents) -> Template | None:
    """The template of every file here, by id where it has one, under its latest name."""
    if len({listed.template.id or listed.template.name for listed in folder.listed}) != 1:
        return None
    template = _latest(folder).template
    renamed = folder.status.template.name if folder.status else ""
    return replace(template, name=renamed or template.name)


def _shared_format(folder: FolderContents) -> Format | None:
    return _latest(folder).format if len({listed.format.id for listed in folder.listed}) == 1 else None


def _latest(folder: FolderContents) -> Listed:
    return max(reversed(folder.listed), key=attrgetter("received_at"))


def export_line(export: ExportContents) -> dict[str, Any]:
    """An export as the index names it: `bytes` of its files, `sha256` of its archive."""
    return {
        "export_id": export.asset.id,
        "path": export.key,
        "files": len(export.files),
        "bytes": export.bytes,
        "sha256": export.sha256,
        "requested_at": rfc3339(export.asset.requested_at),
        "generated_at": rfc3339(export.asset.generated_at),
        "published_at": rfc3339(export.published_at),
        "manifest": export.manifest_key,
    }


def export_manifest(export: ExportContents) -> bytes:
    """An export's own manifest, which lists its files by their paths below the root."""
    said = {
        "version": 1,
        **export_line(export),
        "archive": export.archive_key,
        "source_url": export.source_url,
        "received_at": rfc3339(export.received_at),
        "delivery": export.delivery,
        "files": [{"path": export.path_of(file), "bytes": file.bytes, "sha256": file.sha256} for file in export.files],
    }
    return orjson.dumps(said, option=LAYOUT)


def folder_checksums(folder: FolderContents) -> bytes:
    """What `sha256sum -c` reads inside the folder."""
    return _checksums((listed.key.rpartition("/")[2], listed.sha256) for listed in folder.listed)


def export_checksums(export: ExportContents) -> bytes:
    """What `sha256sum -c` reads inside the folder that holds the export."""
    above = len(export.key.rpartition("/")[0]) + 1
    return _checksums((export.path_of(file)[above:], file.sha256) for file in export.files)


def _checksums(files: Iterable[tuple[str, str]]) -> bytes:
    return "".join(f"{sha256}  {name}\n" for name, sha256 in files).encode()


def flat(folders: Iterable[FolderContents], exports: Iterable[ExportContents]) -> Iterator[dict[str, Any]]:
    """Every published file as one row, for `manifest export`."""
    for folder in folders:
        for listed in folder.listed:
            yield {
                **entry(listed),
                "template_id": listed.template.id or None,
                "template": listed.template.name or None,
                "format": listed.format.id or None,
                "superseded": listed.superseded,
                "export_id": None,
            }
    for export in exports:
        line = export_line(export)
        for file in export.files:
            yield {
                "path": export.path_of(file),
                "id": export.asset.id,
                "kind": "export",
                "bytes": file.bytes,
                "sha256": file.sha256,
                "source_url": export.source_url,
                "received_at": rfc3339(export.received_at),
                "published_at": line["published_at"],
                "delivery": export.delivery,
                "superseded": False,
                "export_id": export.asset.id,
            }
