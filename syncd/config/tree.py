"""The config as one frozen tree of values, with every key's default, bounds and meaning.

Only shapes and the rules between neighbouring values live here. Where the text comes from and
how problems are worded is the business of `load`; `sync.toml` beside this file says the same to people.
"""

from __future__ import annotations

import os.path
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ValidationInfo, field_validator

from syncd.config.references import (
    FolderPath,
    JournalUrl,
    ProxyUrl,
    Surroundings,
    WatchedPath,
    check_certificate,
    surroundings,
)
from syncd.config.section import Filled, Listing, Section, written
from syncd.config.source import Sources
from syncd.config.telling import Hook, Notify, Told
from syncd.config.units import (
    Address,
    ExportLayout,
    HostPattern,
    Layout,
    Listen,
    Network,
    PublicUrl,
    Status,
    duration,
    mode,
    number,
    size,
)

_PUBLISHED = "mirror.root, whose files are published"
COMES_AGAIN = 48 * 3600.0
"""Seconds in which a delivery can come again: a signature counts for the greatest `tolerance` before and after its
time, the platform tries for three hours, and one without an id is known again by its body for six."""


class Tls(Section):
    """The certificate that the public listener shows."""

    cert: WatchedPath
    """The certificate and its chain, in PEM."""

    key: WatchedPath
    """The certificate's private key, in PEM, without a passphrase."""

    @field_validator("cert", "key")
    @classmethod
    def _is_a_file(cls, path: Path) -> Path:
        if not path.is_file():
            raise ValueError(f"{path} is not a file")
        return path

    @field_validator("key")
    @classmethod
    def _is_a_pair(cls, key: Path, info: ValidationInfo) -> Path:
        if (cert := info.data.get("cert")) is not None:
            check_certificate(cert, key)
        return key


class Server(Section):
    """Where webhooks arrive."""

    listen: Listen = written("127.0.0.1:8080")
    """host:port, [::1]:port or unix:/path; a socket passed by systemd wins."""

    trusted_proxies: Listing[Network] = written(["127.0.0.1", "::1"])
    """Whose X-Forwarded-For is believed."""

    max_body: Annotated[int, size("1", "64MiB")] = written("1MiB")
    """The largest body of a request."""

    request_timeout: Annotated[float, duration("1ms", "10m")] = written("10s")
    """The time of a whole request, headers and body."""

    shutdown_grace: Annotated[float, duration("0s", "1h")] = written("30s")
    """How long SIGTERM waits for downloads in flight; what is cut off begins again after the start."""

    tls: Tls | None = None
    """The certificate and its key; without it the listener speaks plain HTTP."""

    @field_validator("listen")
    @classmethod
    def _is_noted(cls, listen: Address, info: ValidationInfo) -> Address:
        surroundings(info).noted["server.listen"] = listen
        return listen


class Admin(Section):
    """Health, metrics and the status page, which are never on the public listener."""

    listen: Listen = written("127.0.0.1:8081")
    """host:port, [::1]:port or unix:/path."""

    @field_validator("listen")
    @classmethod
    def _is_not_the_public_one(cls, listen: Address, info: ValidationInfo) -> Address:
        if listen == surroundings(info).noted.get("server.listen") and (listen.path or listen.port):
            raise ValueError("must differ from server.listen")
        return listen


class Mirror(Section):
    """The tree of published files."""

    root: FolderPath = written("../mirror")
    """Its root, relative to the config's folder; the config's own files lie elsewhere. A change needs a restart."""

    layout: Layout = "{template}/{format}/{filename}"
    """Where a visual goes, below the root."""

    exports: ExportLayout = "_exports/{date}_{export_id}"
    """The folder that an export is extracted into, below the root."""

    keep_versions: Annotated[int, number(1, 1000)] = 1
    """Versions of a visual that stay, the newest included; older ones as NAME.vN.EXT."""

    names: Literal["portable", "unicode"] = "portable"
    """"portable" is safe on SMB, NTFS, APFS and ext4; "unicode" keeps what ext4 can hold."""

    file_mode: Annotated[int, mode(needed=0o400, allowed=0o777)] = written("0644")
    """The permissions of published files; those that are there keep theirs, manifests are written anew."""

    dir_mode: Annotated[int, mode(needed=0o700, allowed=0o7777)] = written("0755")
    """The permissions of the tree's folders."""

    min_free: Annotated[int, size("0", "1024TiB")] = written("1GiB")
    """Below this much free space nothing is downloaded; where the journal lives: nothing accepted (503)."""

    public_url: PublicUrl = ""
    """The URL under which the tree is served, for links in notifications and in hooks; empty: it is not."""

    @field_validator("root", "public_url")
    @classmethod
    def _is_noted(cls, value: Path | str, info: ValidationInfo) -> Path | str:
        surroundings(info).noted[f"mirror.{info.field_name}"] = value
        return value


class Journal(Section):
    """The durable record of deliveries and assets."""

    url: JournalUrl = written("sqlite:///../state/journal.db")
    """sqlite:/// and a path from the config's folder; absolute with a fourth slash. A change needs a restart."""

    retention: Annotated[float, duration("1s", "36500d")] = written("90d")
    """Finished deliveries are forgotten after this; below two days one that comes again may count as new."""

    @property
    def path(self) -> Path:
        """The absolute path of the SQLite file."""
        return _journal_path(self.url)

    @field_validator("url")
    @classmethod
    def _is_outside_the_tree(cls, url: str, info: ValidationInfo) -> str:
        if _is_published(_journal_path(url), surroundings(info)):
            raise ValueError(f"must not lie in {_PUBLISHED}")
        return url


def _journal_path(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def misplaced(around: Surroundings) -> Iterator[str]:
    """Say what is wrong with `mirror.root` where files that the config is made from lie in it, once all are known."""
    for file in sorted(around.files):
        if _is_published(file, around):
            yield f"{file} must not lie in {_PUBLISHED}"


def _is_published(path: Path, around: Surroundings) -> bool:
    root = around.noted.get("mirror.root")
    return root is not None and Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


class Download(Section):
    """How files are fetched, and from where."""

    prefer: Literal["origin", "cdn"] = "origin"
    """"origin" for file.url, "cdn" for file.cdn_url; the other is the fallback."""

    concurrency: Annotated[int, number(1, 1000)] = 32
    """Downloads at once."""

    per_host: Annotated[int, number(1, 1000)] = 16
    """Downloads at once from one host."""

    max_size: Annotated[int, size("1", "1024TiB")] = written("2GiB")
    """The largest file."""

    connect_timeout: Annotated[float, duration("1ms", "10m")] = written("10s")
    """The time until a connection stands, TLS included."""

    stall_timeout: Annotated[float, duration("1ms", "1h")] = written("30s")
    """No byte for this long ends an attempt."""

    bandwidth: Annotated[int, size("0", "1TiB")] = written("0")
    """Bytes per second over all downloads; 0: no limit."""

    allowed_hosts: Filled[HostPattern] = written(["*.abyssale.com", "*.amazonaws.com"])
    """Globs on host names, redirects included; ["*"]: any public host."""

    allow_http: bool = False
    """Also fetch without TLS."""

    allow_private: bool = False
    """Also fetch from loopback, private, link-local, ... addresses."""

    proxy: ProxyUrl | None = None
    """All downloads go through this HTTP proxy, https by CONNECT; http_proxy and the like are ignored.

    It may have a private address itself. It is the proxy that resolves names then, so that it has to refuse those that
    lead to private addresses; numeric ones are refused here as ever.
    """


class Retry(Section):
    """How often and how patiently a download is tried again."""

    attempts: Annotated[int, number(1, 100)] = 5
    """Requests in one go."""

    first: Annotated[float, duration("0s", "1h")] = written("1s")
    """The wait after the first attempt at most; it doubles with each, with full jitter."""

    longest: Annotated[float, duration("0s", "24h")] = written("60s")
    """The longest wait within a go; a longer Retry-After waits in the journal."""

    pause: Annotated[float, duration("1ms", "1h")] = written("2m")
    """The wait in the journal before the next go; it doubles up to 1 h."""

    give_up_after: Annotated[float, duration("0s", "3650d")] = written("24h")
    """Since receipt, or since `retry`; then the asset is failed, visibly."""

    @field_validator("longest")
    @classmethod
    def _is_not_below_first(cls, longest: float, info: ValidationInfo) -> float:
        if longest < info.data.get("first", 0):
            raise ValueError("must not be shorter than retry.first")
        return longest


class Exports(Section):
    """What becomes of an export's archive."""

    extract: bool = True
    """Publish the archive's files as one folder."""

    keep_archive: bool = False
    """Publish the archive itself, too."""

    max_files: Annotated[int, number(1, 10_000_000)] = 20_000
    """The most files in an archive."""

    max_expanded: Annotated[int, size("1", "1024TiB")] = written("8GiB")
    """The most bytes in all files of an archive."""


class Manifest(Section):
    """The record of what is published."""

    delay: Annotated[float, duration("0s", "1h")] = written("1s")
    """Written at most this long after the last change; bursts are written once."""

    checksums: bool = False
    """True: a SHA256SUMS beside each manifest, for sha256sum -c."""

    atomic_batches: bool = False
    """True: the assets of a batch become visible in one step, once all are fetched or given up."""


class Approval(Section):
    """The gate for designs in review."""

    publish: Listing[Status] = ()
    """The statuses of designs whose assets may be visible; empty: no gate.

    All others are held, out of sight, those included that were published before; a design without a status is one of
    them. What has no template id, exports, and what comes from platforms without statuses is not held.
    """

    @field_validator("publish")
    @classmethod
    def _is_told(cls, publish: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        events = surroundings(info).noted.get("sources.abyssale.events", ("TEMPLATE_STATUS",))
        if publish and "TEMPLATE_STATUS" not in events:
            raise ValueError("needs TEMPLATE_STATUS among sources.abyssale.events: else no design would be approved")
        return publish


class Log(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severity that is logged."""

    format: Literal["auto", "console", "json"] = "auto"
    """"auto" is console on a terminal and JSON otherwise (journald)."""


class Config(Section):
    """The config of syncd, `config/sync.toml`."""

    server: Server = written({})
    admin: Admin = written({})
    sources: Sources = written({})
    mirror: Mirror = written({})
    journal: Journal = written({})
    download: Download = written({})
    retry: Retry = written({})
    exports: Exports = written({})
    approval: Approval = written({})
    manifest: Manifest = written({})
    notify: Listing[Notify] = ()
    """People who are told of what happens."""
    hooks: Listing[Hook] = ()
    """Programs that are told of what happens."""
    log: Log = written({})

    @property
    def wanted(self) -> frozenset[str]:
        """Globs on the events that somebody is told of."""
        return frozenset(pattern for told in (*self.notify, *self.hooks) for pattern in told.on)

    @field_validator("notify", "hooks")
    @classmethod
    def _are_told_apart(cls, targets: tuple[Told, ...]) -> tuple[Told, ...]:
        known = set[str]()
        for target in targets:
            if target.id in known:
                raise ValueError(
                    f"two of them have the same {'name' if target.name else 'url'}: give each its own name"
                )
            known.add(target.id)
        return targets
