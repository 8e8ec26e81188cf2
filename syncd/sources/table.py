"""The table of sources, by the name that each has in the config. Nothing else in the house names a platform."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from syncd.sources import abstract, abyssale
from syncd.sources.abstract_api import AbstractApi
from syncd.sources.abyssale_api import AbyssaleApi
from syncd.sources.api import Api
from syncd.sources.protocol import Source

SOURCES: Mapping[str, Source] = MappingProxyType({"abyssale": abyssale, "abstract": abstract})


REVIEWED = frozenset({"abyssale"})
"""Those that tell the status of designs, so that one may be waited for."""


def open_apis() -> Mapping[str, Api]:
    """The platforms' APIs; the caller closes them. Nothing is asked, or loaded, before the first question."""
    return {"abyssale": AbyssaleApi(), "abstract": AbstractApi()}
