"""The table of sources, by the name that each has in the config. Nothing else in the house names a platform."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from syncd.sources import abyssale
from syncd.sources.protocol import Source

SOURCES: Mapping[str, Source] = MappingProxyType({"abyssale": abyssale})
