"""The numbers that syncd keeps of itself, and their Prometheus text (contract: "HTTP", metrics).

Whoever does something says so here, in the words of the glossary; nobody reads a number back
but the status page. Every label comes from a closed set, so that nothing a sender writes can
grow the number of series, and every series is there from the start, so that an alert need not ask
if it is. docs/metrics.md tells what each is for; a test holds the two together.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from functools import cache
from itertools import product
from typing import Literal, get_args

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from syncd import __version__
from syncd.model import AssetState
from syncd.observe.loop import Recent
from syncd.observe.status import OUTCOMES
from syncd.sources.table import SOURCES

# They are a second series beside each that counts, and nobody asks for them.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it so

Of = Literal["mirror", "journal"]

CONTENT_TYPE = CONTENT_TYPE_LATEST
"""The media type of what `Metrics.expose` returns."""

REFUSALS = (
    "address", "content_type", "flood", "internal", "malformed", "method", "not_found", "signature", "timeout",
    "too_large", "unavailable",
)  # fmt: skip
"""The words that a refused request is answered with."""
ENDINGS = ("published", "held", "superseded", "failed", "retried")
"""How a go at an asset may end; after the last one there will be another, and a held one is published without."""

_READ = ("processed", "ignored", "quarantined")  # outcomes that are known once a delivery is read
_OTHER = "other"  # for all events that nobody knows
_EVENTS = {name: ("", *source.EVENTS) for name, source in SOURCES.items()}  # "": nobody has read what it says, or could
_COMMIT_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30)
_DOWNLOAD_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_STALL_BUCKETS = (0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_LATELY = 60.0  # seconds, so that no scrape at the usual distances misses a hold-up
_LAG_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 6 * 3600, 24 * 3600)


class Metrics:
    """The numbers since the start, in a registry of their own. For the event loop's thread."""

    def __init__(self) -> None:
        self.deliveries: dict[str, int] = dict.fromkeys(OUTCOMES, 0)
        self._registry = registry = CollectorRegistry()
        self._deliveries = Counter(
            "syncd_deliveries", "Deliveries by what became of them", ("source", "event", "outcome"), registry=registry
        )
        self._delivery = cache(self._deliveries.labels)  # to find one of the closed set costs more than to count
        self._refused = Counter(
            "syncd_requests_refused", "Requests that were answered with an error", ("error",), registry=registry
        )
        self._received_at = Gauge(
            "syncd_last_delivery_timestamp_seconds", "When the newest delivery was received; 0: none", registry=registry
        )
        self._assets = Counter(
            "syncd_assets", "Goes at assets by how they ended", ("source", "outcome"), registry=registry
        )
        self._standing = Gauge("syncd_journal_assets", "Assets that the journal knows", ("state",), registry=registry)
        self._failures = Gauge(
            "syncd_failures", "Assets that could not be fetched so far", ("kind",), registry=registry
        )
        self._hosts = Gauge("syncd_hosts_paused", "Hosts that are down, and only probed", registry=registry)
        self._bytes = Counter("syncd_download_bytes", "Bytes of files downloaded", registry=registry)
        self._seconds = Histogram(
            "syncd_download_seconds", "Time of a download that worked", buckets=_DOWNLOAD_BUCKETS, registry=registry
        )
        self._lag = Histogram(
            "syncd_publish_lag_seconds", "From receipt to visible", buckets=_LAG_BUCKETS, registry=registry
        )
        self._depth = Gauge("syncd_queue_depth", "Jobs and unread deliveries that wait", registry=registry)
        self._oldest = Gauge("syncd_queue_oldest_seconds", "Age of the oldest that waits", registry=registry)
        self._messages = Counter(
            "syncd_messages", "Attempts to tell somebody by how they ended", ("kind", "outcome"), registry=registry
        )
        self._told = Gauge("syncd_journal_messages", "Messages that the journal has", ("state",), registry=registry)
        self._reloads = Counter("syncd_reloads", "Config loads by result", ("result",), registry=registry)
        self._reloaded = Gauge(
            "syncd_config_last_reload_successful", "1 if the config on disk is in force", registry=registry
        )
        self._reloaded_at = Gauge(
            "syncd_config_last_reload_success_timestamp_seconds", "When one last came into force", registry=registry
        )
        self._ready = Gauge("syncd_ready", "1 if deliveries can be accepted", registry=registry)
        self._usable = Gauge("syncd_mirror_usable", "1 if files can be fetched and published", registry=registry)
        self._free = Gauge("syncd_free_bytes", "Free space where it lives", ("of",), registry=registry)
        self._least = Gauge("syncd_min_free_bytes", "mirror.min_free of the config in force", registry=registry)
        self._commits = Histogram(
            "syncd_journal_commit_seconds", "Time of a commit", buckets=_COMMIT_BUCKETS, registry=registry
        )
        self._held, self._starved = Recent(_LATELY), Recent(_LATELY)
        lag = Gauge("syncd_loop_lag_seconds", "Longest hold-up of the event loop by syncd, of late", registry=registry)
        lag.set_function(lambda: self._held.largest(time.monotonic()))
        starved = Gauge("syncd_loop_starved_seconds", "Longest wait of the loop for a CPU, of late", registry=registry)
        starved.set_function(lambda: self._starved.largest(time.monotonic()))
        self._stalls = Histogram(
            "syncd_loop_stall_seconds", "Hold-ups worth counting", buckets=_STALL_BUCKETS, registry=registry
        )
        Info("syncd_build", "What runs", registry=registry).info({"version": __version__})
        ProcessCollector(registry=registry)
        self._begin()

    def _begin(self) -> None:
        """Have every series there from the start: a rate can't tell the first of a kind from nothing."""
        for source in SOURCES:
            for outcome in OUTCOMES:
                for event in (*_EVENTS[source], _OTHER) if outcome in _READ else ("",):
                    self._deliveries.labels(source, event, outcome)
            for ending in ENDINGS:
                self._assets.labels(source, ending)
        self._deliveries.labels("", "", "rejected")  # where the path names no source
        for word in REFUSALS:
            self._refused.labels(word)
        for kind, outcome in product(("notify", "hook"), ("sent", "retried", "failed")):
            self._messages.labels(kind, outcome)
        self.messages(0, 0)
        for result in ("success", "failure"):
            self._reloads.labels(result)
        for of in get_args(Of):
            self._free.labels(of).set(math.nan)
        self.failures(0, 0)
        self.standing(dict.fromkeys(get_args(AssetState), 0))

    def delivery(self, source: str, event: str, outcome: str, count: int = 1) -> None:
        """Count what became of deliveries, one of OUTCOMES.

        `event` is empty before they are read; unknown ones are counted as one.
        """
        self.deliveries[outcome] += count
        self._delivery(source, event if event in _EVENTS.get(source, ("",)) else _OTHER, outcome).inc(count)

    def refused(self, error: str) -> None:
        """Count a request that was answered with one of REFUSALS."""
        self._refused.labels(error).inc()

    def received(self, newest: float | None) -> None:
        """Set when the newest delivery was received (unix seconds), as the journal has it."""
        self._received_at.set(newest or 0.0)

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

    def message(self, kind: str, outcome: str) -> None:
        """Count an attempt to tell a target ("notify" or "hook"), which is sent, retried or failed for good."""
        self._messages.labels(kind, outcome).inc()

    def messages(self, pending: int, failed: int) -> None:
        """Set how many messages are under way, and how many were given up, as the journal has it."""
        self._told.labels("pending").set(pending)
        self._told.labels("failed").set(failed)

    def reload(self, ok: bool, at: float) -> None:  # noqa: FBT001 - `ok` is what there is to say
        """Record the result of a config load at `at` (unix seconds), the one at the start included."""
        self._reloads.labels("success" if ok else "failure").inc()
        self._reloaded.set(ok)
        if ok:
            self._reloaded_at.set(at)

    def stalled(self, held: float, starved: float) -> None:
        """Record a hold-up of the event loop, as `LoopWatch` tells it."""
        now = time.monotonic()
        self._held.note(held, now)
        self._starved.note(starved, now)
        self._stalls.observe(held)

    def queue(self, depth: int, oldest_seconds: float) -> None:
        """Set what waits, as the journal has it."""
        self._depth.set(depth)
        self._oldest.set(oldest_seconds)

    def standing(self, assets: Mapping[AssetState, int]) -> None:
        """Set how many assets are in each state, as the journal has it."""
        for state, count in assets.items():
            self._standing.labels(state).set(count)

    def failures(self, retrying: int, given_up: int) -> None:
        """Set how many assets wait after a failed go, and how many were given up, as the journal has it."""
        self._failures.labels("retrying").set(retrying)
        self._failures.labels("given_up").set(given_up)

    def committed(self, seconds: float) -> None:
        """Record a commit of the journal."""
        self._commits.observe(seconds)

    def able(self, *, ready: bool, mirror_usable: bool, hosts_paused: int) -> None:
        """Set what can be done now."""
        self._ready.set(ready)
        self._usable.set(mirror_usable)
        self._hosts.set(hosts_paused)

    def least_free(self, size: int) -> None:
        """Set the bytes below which a file system is too full to work on."""
        self._least.set(size)

    def free(self, of: Of, size: int | None) -> None:
        """Set the free bytes of the file system that something lives on; None: unknown."""
        self._free.labels(of).set(math.nan if size is None else size)

    def expose(self) -> bytes:
        """Render everything for a scrape."""
        return generate_latest(self._registry)
