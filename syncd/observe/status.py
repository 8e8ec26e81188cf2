"""The one picture of how things are, for `/api/status`, the status page and `syncd status`.

Part of it only the daemon knows, the rest is in the journal; here they are put together in the
contract's shape. Who asks, and how it is shown, is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from syncd.journal.reading import SqliteReader
from syncd.model import rfc3339

OUTCOMES = ("accepted", "duplicate", "processed", "ignored", "quarantined", "rejected")
"""What may become of a delivery, as counted since the start."""


def status(
    live: Mapping[str, Any],
    *,
    reasons: Sequence[str],
    deliveries: Mapping[str, int],
    reader: SqliteReader,
    now: float,
) -> dict[str, Any]:
    """Put the status together; reads the journal.

    `live` is {version, started_at, config {path, generation, loaded_at, error}, disk
    {mirror_free, journal_free}}, its times in unix seconds or None, and `waiting`, where
    something keeps accepted deliveries from being published: what. `reasons` say why nothing
    can be accepted. `deliveries` counts since the start.
    """
    with reader.snapshot():
        depth, oldest_seconds = reader.queue(now)
        counted = {
            "assets": reader.counts(),
            "queue": {"depth": depth, "oldest_seconds": round(oldest_seconds, 3)},
            "last_delivery_at": rfc3339(reader.newest()),
            "failures": reader.failures(),
            "messages": dict(zip(("pending", "failed"), reader.telling(), strict=True)),
        }
    return {
        "version": live["version"],
        "started_at": rfc3339(live["started_at"]),
        "ready": not reasons,
        "reasons": [*reasons, *live.get("waiting", ())],
        "config": {**live["config"], "loaded_at": rfc3339(live["config"]["loaded_at"])},
        "deliveries": dict(deliveries),
        "disk": dict(live["disk"]),
        **counted,
    }
