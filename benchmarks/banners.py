"""Thousands of banners, as a campaign makes them: fetched when they are due, and from the first POST on.

`queued`: all are announced and read while the mirror's folder is away, as a share that is not mounted. Then it
comes back, and the clock runs from the daemon's notice of that until the last file was visible for good
(`seconds`) and until the manifests name all (`named`). Peers get the list of the same files and end with `sync -f`.

`posted`: the clock runs from the first POST. The peer is what one would write: `webhook` that runs a script for
every event, with curl, mv, and a line in a list. It syncs nothing; its time is until the list names all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import load
from benchmarks.contest import BenchmarkError, Contender, Contest, Figures, Goal, Setting, until
from benchmarks.corpus import Banner, banners, make_banners
from benchmarks.daemon import syncd, unix
from benchmarks.deliveries import announcement, signed, signed_for_webhook
from benchmarks.origin import nginx
from benchmarks.peers import webhook
from benchmarks.processes import Cost, cpu_seconds, run_and_sync

ABOUT = "banners: queued until all are visible, against rclone, aria2c and curl; posted until named, against webhook"
PEERS = ("nginx", "webhook", "rclone", "aria2c", "curl")

_SCRIPT = """\
#!/bin/sh
# One event: URL NAME, run in the folder of the tree.
t=.tmp.$$
curl -sf -o "$t" "$1" && mv "$t" "$2" && echo "$2" >>manifest
"""


@contextmanager
def stage(setting: Setting) -> Iterator[Contest]:
    """Make the files and serve them."""
    wanted = banners(setting.size(5000, 600), setting.seed)
    some = wanted[: setting.size(1000, 200)]
    files = setting.folder / "origin"
    make_banners(files, wanted, setting.seed)
    total = sum(banner.size for banner in wanted)
    with nginx(setting.folder / "nginx", files) as port:
        url = f"http://127.0.0.1:{port}"
        requests = setting.folder / "requests"
        yield Contest(
            {
                "syncd, queued": _queued(wanted, url, requests),
                **_fetchers(wanted, url, setting.folder),
                "syncd, posted": _posted(wanted, url, requests),
                "webhook + curl": _scripted(some, url, requests),
            },
            {"seconds": "s", "named": "s", "rate": "files/s", "cpu": "s", "rss": "MB"},
            [
                _goal("queued until visible, times rclone's speed", 1.0, "rclone"),
                _goal("queued until visible, times aria2c's speed", 2.5, "aria2c"),
                Goal(
                    "posted until named, files a second", "rate", "syncd, posted", "at least", 10, to="webhook + curl"
                ),
            ],
            [
                f"{len(wanted)} files, {total / 1e6:.0f} MB; webhook: the first {len(some)} of them, compared by rate",
                "rclone, aria2c and curl are told the list, and their time includes `sync -f`; webhook's includes none",
            ],
        )


def _goal(text: str, limit: float, to: str) -> Goal:
    return Goal(text, "seconds", "syncd, queued", "at least", limit, to=to, inverted=True)


def _queued(wanted: list[Banner], url: str, requests: Path) -> Contender:
    def queued(folder: Path) -> Figures:
        load.write(requests, signed(announcement(banner, url) for banner in wanted))
        with syncd(folder) as daemon:
            away = daemon.root.with_name("unmounted")
            daemon.root.rename(away)
            daemon.logged("the mirror is unusable")
            load.post(daemon.port, requests)
            daemon.until_read()
            cpu = daemon.cpu
            away.rename(daemon.root)
            began = unix(daemon.logged("the mirror is usable again")["time"])
            named = daemon.until_indexed(assets=len(wanted)) - began
            seconds = daemon.published_at(_sizes(wanted)) - began
            figures = {"cpu": daemon.cpu - cpu, "rss": daemon.peak}
        return {"seconds": seconds, "named": named, "rate": len(wanted) / seconds, **figures}

    return queued


def _posted(wanted: list[Banner], url: str, requests: Path) -> Contender:
    def posted(folder: Path) -> Figures:
        load.write(requests, signed(announcement(banner, url) for banner in wanted))
        with syncd(folder) as daemon:
            cpu = daemon.cpu
            said = load.post(daemon.port, requests)
            named = daemon.until_indexed(assets=len(wanted)) - said.began
            seconds = daemon.published_at(_sizes(wanted)) - said.began
            figures = {"cpu": daemon.cpu - cpu, "rss": daemon.peak}
        return {"seconds": seconds, "named": named, "rate": len(wanted) / named, **figures}

    return posted


def _scripted(wanted: list[Banner], url: str, requests: Path) -> Contender:
    def scripted(folder: Path) -> Figures:
        script, tree = folder / "script", folder / "tree"
        script.write_text(_SCRIPT)
        script.chmod(0o755)
        tree.mkdir()
        names = [{"source": "payload", "name": f"file.{name}"} for name in ("url", "filename")]
        hook = {"pass-arguments-to-command": names, "command-working-directory": str(tree)}
        load.write(requests, signed_for_webhook(announcement(banner, url) for banner in wanted))
        length, listed = sum(len(banner.filename) + 1 for banner in wanted), tree / "manifest"
        with webhook(folder, script, **hook) as (port, pid):
            cpu = cpu_seconds(pid)
            said = load.post(port, requests)
            until(lambda: listed.exists() and listed.stat().st_size >= length, "webhook has run all", within=300)
            named = listed.stat().st_mtime - said.began
            used = cpu_seconds(pid) - cpu
        if sum((tree / banner.filename).stat().st_size for banner in wanted) != sum(banner.size for banner in wanted):
            raise BenchmarkError("webhook's script has lost something")
        return {"named": named, "rate": len(wanted) / named, "cpu": used}

    return scripted


def _fetchers(wanted: list[Banner], url: str, folder: Path) -> dict[str, Contender]:
    names = folder / "names"
    names.write_text("".join(f"{banner.path}\n" for banner in wanted))
    for_aria2 = folder / "for-aria2"
    for_aria2.write_text("".join(f"{url}/{banner.path}\n  out={banner.path}\n" for banner in wanted))
    for_curl = folder / "for-curl"

    def fetched(tree: Path, cost: Cost) -> Figures:
        for banner in wanted:
            if (tree / banner.path).stat().st_size != banner.size:
                raise BenchmarkError(f"{banner.path} is not whole")
        return {"seconds": cost.seconds, "rate": len(wanted) / cost.seconds, "cpu": cost.cpu, "rss": cost.rss}

    def rclone(tree: Path) -> Figures:
        words = ("rclone", "copy", "--config", "/dev/null", "--http-url", url, ":http:", tree)
        options = ("--files-from", names, "--transfers", "16", "--no-traverse")
        return fetched(tree, run_and_sync(tree, (*words, *options)))

    def aria2c(tree: Path) -> Figures:
        words = ("aria2c", "--no-conf", "--quiet", "-i", for_aria2, "-j16", "-x1", "-d", tree)
        return fetched(tree, run_and_sync(tree, words))

    def curl(tree: Path) -> Figures:
        lines = "".join(f'url = "{url}/{banner.path}"\noutput = "{tree / banner.path}"\n' for banner in wanted)
        for_curl.write_text(lines)
        words = ("curl", "-q", "-sS", "-Z", "--parallel-max", "32", "--create-dirs", "-K", for_curl)
        return fetched(tree, run_and_sync(tree, words))

    return {"rclone": rclone, "aria2c": aria2c, "curl": curl}


def _sizes(wanted: list[Banner]) -> dict[str, int]:
    return {banner.filename: banner.size for banner in wanted}
