"""Abstract's API, as far as the daemon asks it: what a push has changed, and where that can be fetched.

Its questions and the downloads of previews and exported assets share one budget a minute, and the token goes to
the three hosts of the config and nowhere else. What fails is asked again by the pipeline. Facts: JavaScript SDK 8.1.5.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from syncd.config import AbstractSource
from syncd.door import Door, Pace
from syncd.model import Asset, Commit, Event, Failed, Missed, Retry, Template
from syncd.sources import fields
from syncd.sources.abstract import NAME, moment, url_part
from syncd.sources.abstract_ask import Asker, NoAnswerError, credentials
from syncd.sources.api import Api
from syncd.sources.fields import Fields, UnclearError

if TYPE_CHECKING:
    from syncd.sources.api import Client

MOST_ASSETS = 2500
"""Previews, and exported assets, of one push: they go into the journal in one transaction."""
_USUAL_OBJECTS = "https://objects.goabstract.com/"
_GONE = "deleted"  # the tree keeps what it has of such a layer
_NOT_IN_PLAN = {402, 403, 404}


class AbstractApi(Api):
    """The questions, at the pace that the platform takes."""

    def __init__(self) -> None:
        self._pace = Pace()

    def door(self, source: AbstractSource, url: str) -> Door | None:
        """Show the token where previews and exported assets are."""
        if source.token is None or not _is_below(url, (source.previews_url, source.objects_url)):
            return None
        return Door(credentials(source), source.rate, self._pace)

    async def expand(self, source: AbstractSource, event: Event, client: Client) -> Event | Retry | Failed:
        """Look up what the commits of a push have changed; only the newest state of each layer counts."""
        if source.token is None:
            return replace(event, commits=(), notes=(*event.notes, "no token: previews are not mirrored"))
        try:
            push = _Push(source, Asker(source, client, self._pace), event.commits)
            assets = await push.assets()
        except NoAnswerError as error:
            return error.why
        notes = (f"{push.left_out} files of the oldest commits left out",) if push.left_out else ()
        return replace(event, commits=(), assets=assets, notes=(*event.notes, *notes))

    async def missed(self, source: AbstractSource, client: Client) -> Sequence[Missed] | Retry | Failed:
        """Read the platform's record of the organization's webhooks to our path: what it calls an error."""
        if source.token is None or not source.organization:
            return ()
        ask, webhooks = Asker(source, client, self._pace), f"/organizations/{source.organization}/webhooks"
        found: list[Missed] = []
        try:
            for webhook in _tables((await ask(webhooks)).get("data")):
                if _has(webhook, "id") and urlsplit(fields.link(webhook, "url")).path.endswith(source.path):
                    listed = await ask(f"{webhooks}/{webhook['id']}/deliveries")
                    found += map(_missed, filter(_is_missed, _tables(listed.get("data"))))
        except NoAnswerError as error:
            return error.why
        return sorted(found, key=lambda one: one.at or 0.0)


class _Push:
    """The questions about one push, each asked once."""

    def __init__(self, source: AbstractSource, ask: Asker, commits: Sequence[Commit]) -> None:
        self._source = source
        self._ask = ask
        self._commits = sorted(commits, key=lambda commit: commit.version or 0)
        self.left_out = 0

    async def assets(self) -> tuple[Asset, ...]:
        """Every layer's newest preview, then the exported assets; `left_out` are more than MOST_ASSETS of either."""
        layers: dict[str, tuple[Commit, Fields]] = {}
        exported: dict[str, tuple[Commit, Fields]] = {}
        for commit in self._commits:
            changes = await self._ask(f"{_place(commit)}/changeset", "changeset")
            layers |= {_identity_of(change): (commit, change) for change in await asyncio.to_thread(_changes, changes)}
            exported |= {_identity_of(asset): (commit, asset) for asset in await self._exported(commit)}
        changed = self._newest([one for one in layers.values() if not _is_gone(one[1])])
        objects = self._newest(exported.values())
        if not changed and not objects:
            return ()
        project = await self._project()
        files = await self._file_names((commit, thing["fileId"]) for commit, thing in (*changed, *objects))
        previews = [await self._preview(commit, change, project, files) for commit, change in changed]
        return (*previews, *(self._object(commit, asset, project, files) for commit, asset in objects))

    def _newest(self, found: Collection[tuple[Commit, Fields]]) -> list[tuple[Commit, Fields]]:
        self.left_out += max(0, len(found) - MOST_ASSETS)
        return sorted(found, key=lambda one: one[0].version or 0)[-MOST_ASSETS:]

    async def _exported(self, commit: Commit) -> list[Fields]:
        """List a commit's exported assets; none where the plan has no such thing."""
        try:
            answer = await self._ask(f"/projects/{commit.project}/assets?sha={commit.id}")
        except NoAnswerError as error:
            if error.status in _NOT_IN_PLAN:
                return []
            raise
        return await asyncio.to_thread(_objects, answer)

    async def _project(self) -> Template:
        project = self._commits[-1].project
        answer = await self._ask(f"/projects/{project}", "project")
        return Template(project, fields.name(fields.table(answer, "data"), "name"))

    async def _file_names(self, wanted: Iterable[tuple[Commit, str]]) -> dict[str, str]:
        """Names of files by their id, as they are called last."""
        names: dict[str, str] = {}
        for commit, file in sorted(wanted, key=lambda one: one[0].version or 0, reverse=True):
            if file not in names:
                answer = await self._ask(f"{_place(commit)}/files")
                known = {str(one.get("id")): fields.name(one, "name") for one in _tables(answer.get("files"))}
                names = {file: "", **known, **names}
        return names

    async def _preview(self, commit: Commit, change: Fields, project: Template, files: dict[str, str]) -> Asset:
        file, layer = change["fileId"], change["layerId"]
        return Asset(
            source=NAME,
            kind="file",
            id=f"{commit.id}:{file}:{layer}",
            url=f"{self._source.previews_url}/projects/{project.id}/commits/{commit.id}/files/{file}/layers/{layer}",
            type="png",
            sharing_id=f"{project.id}/{commit.branch.id}/{file}/{layer}",
            version=commit.version,
            filename=f"{await self._layer_name(commit, change)}.png",
            template=Template(file, files.get(file, "")),
            project=project,
            branch=commit.branch,
            patient=True,
        )

    async def _layer_name(self, commit: Commit, change: Fields) -> str:
        """Say what a layer is called: as the change has it, which names what it was called and what it is."""
        names = fields.table(change, "meta").get("name")
        name = fields.name({"name": names[-1]}, "name") if isinstance(names, list) and names else ""
        if not name.strip():
            place = f"{_place(commit)}/files/{change['fileId']}/layers/{change['layerId']}"
            try:
                name = fields.name(fields.table(await self._ask(place), "layer"), "name")
            except NoAnswerError as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
        return name if name.strip() else str(change["layerId"])

    def _object(self, commit: Commit, asset: Fields, project: Template, files: dict[str, str]) -> Asset:
        """An exported asset; the same layer may have several, which differ in format."""
        file, type_ = asset["fileId"], fields.name(asset, "fileFormat").lower()
        name, format_ = fields.name(asset, "layerName") or asset["layerId"], fields.name(asset, "formatName")
        url = fields.url(asset, "url")
        if url.startswith(_USUAL_OBJECTS):
            url = f"{self._source.objects_url}/{url.removeprefix(_USUAL_OBJECTS)}"
        return Asset(
            source=NAME,
            kind="file",
            id=asset["id"],
            url=url,
            type=type_,
            sharing_id=f"{project.id}/{commit.branch.id}/{_identity_of(asset)}",
            version=commit.version,
            filename=f"{name}{f'@{format_}' if format_ else ''}.{type_ or 'bin'}",
            template=Template(file, files.get(file, "")),
            project=project,
            branch=commit.branch,
            patient=True,
        )


def _is_missed(delivery: Fields) -> bool:
    return delivery.get("error") is True and isinstance(fields.table(delivery, "request").get("body"), dict)


def _missed(delivery: Fields) -> Missed:
    """Take a delivery as it would have come: compact JSON."""
    return Missed(orjson.dumps(delivery["request"]["body"]), moment(delivery, "pushedAt"))


def _is_below(url: str, bases: Iterable[str]) -> bool:
    """Tell if a URL, as this module writes them, is one of these services'."""
    return any(url.startswith(f"{base}/") for base in bases)


def _place(commit: Commit) -> str:
    return f"/projects/{commit.project}/branches/{commit.branch.id}/commits/{commit.id}"


def _tables(value: Any) -> Iterator[Fields]:
    return (item for item in value if isinstance(item, dict)) if isinstance(value, list) else iter(())


def _objects(answer: Fields) -> list[Fields]:
    """What a list of exported assets says of those that can be fetched."""
    listed = _tables(fields.table(answer, "data").get("assets"))
    return [asset for asset in listed if _has(asset, "id", "fileId", "layerId") and fields.link(asset, "url")]


def _changes(answer: Fields) -> list[Fields]:
    """What a changeset says of layers that are gone or have a new preview.

    Those that are gone come first: a layer that has moved may be gone from one page and new on another.
    """
    changes = [
        change
        for change in _tables(fields.table(answer, "changeset").get("changes"))
        if _has(change, "fileId", "layerId")
        and (_is_gone(change) or (fields.name(change, "status") != "none" and change.get("hasPreview") is True))
    ]
    return sorted(changes, key=_is_gone, reverse=True)


def _is_gone(change: Fields) -> bool:
    return fields.name(change, "status") == _GONE


def _has(thing: Fields, *keys: str) -> bool:
    """Tell if all of these are ids that can be used; a change of what has no layer lacks them."""
    try:
        return all(url_part(thing, key) for key in keys)
    except UnclearError:
        return False


def _identity_of(asset: Fields) -> str:
    """What the exported asset of one commit and that of the next have in common."""
    known = ("fileId", "layerId", "nestedLayerId", "formatName", "fileFormat", "namingScheme")
    return "/".join(fields.name(asset, key) for key in known)
