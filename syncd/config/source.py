"""The tables below `[sources]`: for each platform, how it is believed and which of its events are mirrored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import ValidationInfo, field_validator, model_validator

from syncd.config.references import SecretText, SecretTexts, surroundings
from syncd.config.section import Filled, Listing, Section, written
from syncd.config.units import HttpUrl, Layout, Network, Pattern, Silence, UrlPath, duration, identifier, number


class _Signed(Section):
    """How a platform is believed."""

    VARIABLE: ClassVar[str]
    """The usual name of the environment's variable with its secret."""

    require_signature: bool = True
    """False only where the platform has no secret to sign with: unsigned deliveries are believed then."""

    secret: SecretTexts = ()
    """What the platform signs with; a list while rotating."""

    allowed_ips: Listing[Network] = ()
    """Addresses and networks that may send; empty: any."""

    silent_after: Silence = written("0")
    """When nothing came for so long, those who are told of source.silent are; "0": never."""

    @field_validator("secret")
    @classmethod
    def _is_there_if_required(cls, secret: SecretTexts, info: ValidationInfo) -> SecretTexts:
        if not secret and info.data.get("require_signature"):
            raise ValueError(
                f'is missing: give the signing secret, as in {{ env = "{cls.VARIABLE}" }}; '
                "require_signature = false does without, where the workspace has none"
            )
        return secret


class AbyssaleSource(_Signed):
    """What Abyssale sends, and which of it is mirrored."""

    VARIABLE = "ABYSSALE_SIGNING_SECRET"

    path: UrlPath = "/webhooks/abyssale"
    """Where its webhooks are posted; also PATH/new_banner, PATH/new_export, ... for one event each."""

    tolerance: Annotated[float, duration("1s", "24h")] = written("5m")
    """How far the time in a signature may be from ours, into the past and the future."""

    api_key: SecretText | None = None
    """For the platform's API: `import`, `webhooks`, and the new URL of a file whose old one has gone."""

    events: Filled[Literal["NEW_BANNER", "NEW_BANNER_BATCH", "NEW_EXPORT", "TEMPLATE_STATUS"]] = written(
        ["NEW_BANNER", "NEW_BANNER_BATCH", "NEW_EXPORT", "TEMPLATE_STATUS"]
    )
    """The events that are acted on; others are stored and ignored."""

    templates: Filled[Pattern] = ("*",)
    """Globs on a template's id or name; a leading ! excludes."""

    formats: Filled[Pattern] = ("*",)
    """Globs on a format's id; a leading ! excludes."""

    types: Filled[Pattern] = ("*",)
    """Globs on a file's type; a leading ! excludes."""

    @field_validator("events")
    @classmethod
    def _are_noted(cls, events: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        surroundings(info).noted["sources.abyssale.events"] = events
        return events

    @field_validator("path")
    @classmethod
    def _is_noted(cls, path: str, info: ValidationInfo) -> str:
        surroundings(info).noted["sources.abyssale.path"] = path
        return path


class AbstractSource(_Signed):
    """What Abstract sends, and which of it is mirrored."""

    VARIABLE = "ABSTRACT_SIGNING_KEY"

    path: UrlPath = "/webhooks/abstract"
    """Where its webhooks are posted."""

    token: SecretText | None = None
    """For the platform's API: previews, and exported assets, of what was committed; without it events are recorded."""

    organization: Annotated[str, identifier()] = ""
    """Its id, to fetch with the token what the platform could not deliver to `path` by its own record; empty: off."""

    events: Filled[
        Literal[
            "project.created", "project.updated", "project.deleted",
            "branch.created", "branch.updated", "branch.statusUpdated", "commits.created",
            "comment.created", "comment.updated", "comment.deleted",
        ]
    ] = written(
        [
            "project.created", "project.updated", "project.deleted",
            "branch.created", "branch.updated", "branch.statusUpdated", "commits.created",
            "comment.created", "comment.updated", "comment.deleted",
        ]
    )  # fmt: skip
    """The events that are acted on; others are stored and ignored."""

    projects: Filled[Pattern] = ("*",)
    """Globs on a project's id or name; a leading ! excludes."""

    layout: Layout = "{project}/{branch}/{file}/{layer}.{ext}"
    """Where a preview or exported asset goes, below the mirror's root."""

    api_url: HttpUrl = "https://api.goabstract.com"
    """Where the platform's API is."""

    previews_url: HttpUrl = "https://previews.goabstract.com"
    """Where previews are fetched from, with the token."""

    objects_url: HttpUrl = "https://objects.goabstract.com"
    """Where exported assets are fetched from, with the token."""

    rate: Annotated[int, number(1, 100_000)] = 120
    """Requests a minute to the three of them together."""

    @field_validator("path")
    @classmethod
    def _is_another(cls, path: str, info: ValidationInfo) -> str:
        other = surroundings(info).noted.get("sources.abyssale.path")
        if other and (f"{path}/".startswith(f"{other}/") or f"{other}/".startswith(f"{path}/")):
            raise ValueError("must not be sources.abyssale.path, lie below it, or above")
        return path

    @property
    def tolerance(self) -> float:
        """Nothing in its signature says when."""
        return 0.0


Platform = AbyssaleSource | AbstractSource
"""The table of one platform."""


class Sources(Section):
    """The platforms that send; at least one."""

    abyssale: AbyssaleSource | None = None
    """Abyssale's webhooks."""

    abstract: AbstractSource | None = None
    """Abstract's webhooks."""

    @property
    def layouts(self) -> Mapping[str, str]:
        """The layouts of those that have one of their own; the others follow `mirror.layout`."""
        return {"abstract": self.abstract.layout} if self.abstract else {}

    @property
    def hosts(self) -> tuple[str, ...]:
        """URLs of the servers that the config sends a token to: they need not be among `download.allowed_hosts`."""
        source = self.abstract
        return (source.api_url, source.previews_url, source.objects_url) if source and source.token else ()

    @model_validator(mode="after")
    def _is_one_there(self) -> Self:
        if self.abyssale is None and self.abstract is None:
            raise ValueError(
                "no source is configured: add a [sources.abyssale] or [sources.abstract] table with its secret"
            )
        return self
