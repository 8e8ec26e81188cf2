"""The config room: what `config/sync.toml` may say, and how it becomes one frozen value.

Everybody above borrows a `Config` for one unit of work; nobody but `live` and the command line loads one.
"""

from syncd.config.describe import schema, template
from syncd.config.load import Loaded, load
from syncd.config.references import Secret
from syncd.config.source import AbstractSource, AbyssaleSource, Platform, Sources
from syncd.config.tree import (
    Admin,
    Config,
    Download,
    Exports,
    Journal,
    Log,
    Manifest,
    Mirror,
    Retry,
    Server,
    Tls,
)
from syncd.config.units import Address

__all__ = [
    "AbstractSource",
    "AbyssaleSource",
    "Address",
    "Admin",
    "Config",
    "Download",
    "Exports",
    "Journal",
    "Loaded",
    "Log",
    "Manifest",
    "Mirror",
    "Platform",
    "Retry",
    "Secret",
    "Server",
    "Sources",
    "Tls",
    "load",
    "schema",
    "template",
]
