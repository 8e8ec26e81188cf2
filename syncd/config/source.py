"""The tables below `[sources]`: for each platform, how it is believed and which of its events are mirrored."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ValidationInfo, field_validator

from syncd.config.references import SecretText, SecretTexts
from syncd.config.section import Filled, Listing, Section, written
from syncd.config.units import Network, Pattern, UrlPath, duration


class AbyssaleSource(Section):
    """What Abyssale sends, and which of it is mirrored."""

    path: UrlPath = "/webhooks/abyssale"
    """Where its webhooks are posted; also PATH/new_banner, PATH/new_export, ... for one event each."""

    require_signature: bool = True
    """False only where the workspace has no signing secret: unsigned deliveries are believed then."""

    secret: SecretTexts = ()
    """The workspace's signing secret; a list while rotating."""

    tolerance: Annotated[float, duration("1s", "24h")] = written("5m")
    """How far the time in a signature may be from ours, into the past and the future."""

    allowed_ips: Listing[Network] = ()
    """Addresses and networks that may send; empty: any."""

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

    @field_validator("secret")
    @classmethod
    def _is_there_if_required(cls, secret: SecretTexts, info: ValidationInfo) -> SecretTexts:
        if not secret and info.data.get("require_signature"):
            raise ValueError(
                'is missing: give the signing secret, as in { env = "ABYSSALE_SIGNING_SECRET" }; '
                "require_signature = false does without, where the workspace has none"
            )
        return secret


class Sources(Section):
    """The platforms that send; at least one."""

    abyssale: AbyssaleSource | None = None
    """Abyssale's webhooks."""

    @field_validator("abyssale")
    @classmethod
    def _is_there(cls, abyssale: AbyssaleSource | None) -> AbyssaleSource:
        if abyssale is None:
            raise ValueError("no source is configured: add a [sources.abyssale] table with its secret")
        return abyssale
