"""The platforms that syncd hears: one module each, found here by the name it has in the config.

Nothing else in the house names a platform.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from syncd.sources import abyssale
from syncd.sources.protocol import Rejected, Source, Verified

__all__ = ["SOURCES", "Rejected", "Source", "Verified"]

SOURCES: Mapping[str, Source] = MappingProxyType({"abyssale": abyssale})
