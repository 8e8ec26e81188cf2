"""The numbers that syncd keeps of itself, and their Prometheus text (contract: "HTTP", metrics).

Whoever does something says so here, in the words of the glossary; nobody reads a number back
but the status page. Every label comes from a closed set, so that nothing a sender writes can
grow the number of series.
"""

from __future__ import annotations

import math
from typing import Literal

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)

from syncd import __version__
from syncd.observe.status import OUTCOMES
from syncd.sources.abyssale import EVENTS

CONTENT_TYPE = CONTENT_TYPE_LATEST
"""The media type of what `Metrics.expose` returns."""

_EVENT_LABELS = frozenset({"", *EVENTS})  # the empty one: counted before anybody read what it says
_DOWNLOAD_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_LAG_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 6 * 3600, 24 * 3600)


class Metrics:
    """The numbers since the start, in a registry of their own. For the event loop's thread."""

    def __init__(self) -> None:
        self.deliveries: dict[str, int] = dict.fromkeys(OUTCOMES, 0)
        self._registry = registry = CollectorRegistry()
        self._deliveries = Counter(
            "syncd_deliveries", "Deliveries by what became of them", ("source", "event", "outcome"), registry=registry
        )
        self._assets = Counter("syncd_assets", "Assets by how they ended", ("source", "outcome"), registry=registry)
        self._bytes = Counter("syncd_download_bytes", "Bytes of files downloaded", registry=registry)
        self._seconds = Histogram(
            "syncd_download_seconds", "Time of a download that worked", buckets=_DOWNLOAD_BUCKETS, registry=registry
        )
        self._lag = Histogram(
            "syncd_publish_lag_seconds", "From receipt to visible", buckets=_LAG_BUCKETS, registry=registry
        )
        self._depth = Gauge("syncd_queue_depth", "Jobs and unread deliveries that wait", registry=registry)
        self._oldest = Gauge("syncd_queue_oldest_seconds", "Age of the oldest that waits", registry=registry)
        self._reloads = Counter("syncd_reloads", "Config loads by result", ("result",), registry=registry)
        self._reloaded = Gauge(
            "syncd_config_last_reload_successful", "1 if the config on disk is in force", registry=registry
        )
        self._reloaded_at = Gauge(
            "syncd_config_last_reload_success_timestamp_seconds", "When one last came into force", registry=registry
        )
        self._free = Gauge("syncd_free_bytes", "Free space where it lives", ("of",), registry=registry)
        self._loop_lag = Gauge("syncd_loop_lag_seconds", "How late the event loop was last", registry=registry)
        Info("syncd_build", "What runs", registry=registry).info({"version": __version__})
        ProcessCollector(registry=registry)

    def delivery(self, source: str, event: str, outcome: str, count: int = 1) -> None:
        """Count what became of deliveries, one of OUTCOMES.

        `event` is empty before they are read; unknown ones are counted as one.
        """
        self.deliveries[outcome] += count
        self._deliveries.labels(source, event if event in _EVENT_LABELS else "other", outcome).inc(count)

    def asset(self, source: str, outcome: str) -> None:
        """Count how an asset's go ended."""
        self._assets.labels(source, outcome).inc()

    def downloaded(self, size: int, seconds: float) -> None:
        """Record a download that worked, in bytes and seconds."""
        self._bytes.inc(size)
        self._seconds.observe(seconds)

    def published(self, lag_seconds: float) -> None:
        """Record the time from receipt to visible."""
        self._lag.observe(max(0.0, lag_seconds))

    def reload(self, ok: bool, at: float) -> None:  # noqa: FBT001 - `ok` is what there is to say
        """Record the result of a config load at `at` (unix seconds), the one at the start included."""
        self._reloads.labels("success" if ok else "failure").inc()
        self._reloaded.set(ok)
        if ok:
            self._reloaded_at.set(at)

    def loop_lag(self, seconds: float) -> None:
        """Set how late the event loop came back to a timer."""
        self._loop_lag.set(seconds)

    def queue(self, depth: int, oldest_seconds: float) -> None:
        """Set what waits, as the journal has it."""
        self._depth.set(depth)
        self._oldest.set(oldest_seconds)

    def free(self, of: Literal["mirror", "journal"], size: int | None) -> None:
        """Set the free bytes of the file system that something lives on; None: unknown."""
        self._free.labels(of).set(math.nan if size is None else size)

    def expose(self) -> bytes:
        """Render everything for a scrape."""
        return generate_latest(self._registry)
