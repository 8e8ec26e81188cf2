"""The naming that a config asks for, as one value that the journal works with.

A thin seam: the rules are in `naming` and `portable`, the uniqueness is the journal's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from syncd.config import Mirror
from syncd.mirror import naming, portable
from syncd.mirror.naming import Reserve
from syncd.model import Asset


@dataclass(frozen=True, slots=True)
class Names:
    """How assets are called under one `[mirror]` section. `layouts` are those of the sources that have their own."""

    mirror: Mirror
    layouts: Mapping[str, str] = field(default_factory=dict)

    def per_version(self, asset: Asset) -> bool:
        """Tell if each version has a key of its own instead of following its visual."""
        return naming.is_per_version(self._layout(asset))

    def wanted(self, asset: Asset, received_at: float, reserve: Reserve, sha256: str | None) -> str | None:
        """The key an asset would have if it were alone; None while its content must be known first."""
        if asset.kind == "export":
            return naming.export_key(asset, self.mirror.exports, self.mirror.names, received_at)
        return naming.key_for(asset, self._layout(asset), self.mirror.names, received_at, reserve, sha256=sha256)

    def candidates(self, key: str, owner: str, *, folder: bool) -> Iterator[str]:
        """The key itself, then ever longer distinctions of it; those of a folder come at its end."""
        return portable.candidates(key, owner, folder=folder)

    def retyped(self, key: str, asset: Asset) -> str:
        """A visual's key with the extension of this version's type; an export is called the same whatever it is."""
        return key if asset.kind == "export" else naming.with_extension(key, asset.type)

    def versioned(self, key: str, label: str) -> str:
        """The key under which an older version is kept beside the newest."""
        return naming.version_key(key, label)

    def _layout(self, asset: Asset) -> str:
        return self.layouts.get(asset.source, self.mirror.layout)
