"""Plays the life of the service on a real systemd: install, start, reload, restarts under load, crashes, upgrade.

Where no machine of its own can be had (see machine.py), it says so and ends well: what needs no PID 1 is
covered by the tests.
"""

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
from machine import Impossible, Machine, machine

from syncd.demo.send import deliver

ROOT = Path(__file__).parent.parent
SOURCE = "/srv/source"
"""Where the machine has a copy of it: it sees nothing of this one's /tmp, nor of other file systems."""
SECRET = "whsec_" + "7" * 64
SYNCD = "/usr/local/bin/syncd"
CONFIG = "etc/syncd/sync.toml"
RESTARTS = 20
MOST_EXPOSED = 1.3
LONGEST_STOP = 10.0
OK = 200
UNSIGNED = """
import http.client
connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=60)
connection.request("POST", "/webhooks/abyssale", b"{}", {"Content-Type": "application/json"})
print(connection.getresponse().status)
"""


def say(line: str) -> None:
    sys.stdout.write(f"  {line}\n")
    sys.stdout.flush()


def fetch_wheels(folder: Path) -> Path:
    """Get what `install` needs while there is a network; the machine has none. Raises Impossible."""
    python, pip, wheels = "/usr/bin/python3", str(folder / "venv/bin/pip"), folder / "wheels"
    usable = "import sys, ensurepip; sys.exit(sys.version_info < (3, 11))"
    if subprocess.run([python, "-c", usable], capture_output=True, check=False).returncode:
        raise Impossible(f"{python} is not Python 3.11 or newer with venv")
    quiet = ("--quiet", "--quiet", "--disable-pip-version-check")
    lock = ("--require-hashes", "--requirement", str(ROOT / "requirements.lock"))
    subprocess.run([python, "-m", "venv", str(folder / "venv")], check=True)
    subprocess.run([pip, "download", *quiet, *lock, "--dest", str(wheels)], check=True)
    return wheels


def install(inside: Machine, wheels: Path, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run it as an administrator would, with a umask that must not matter."""
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
    return inside.run("sh", "-c", f"umask 077; make --silent -C {SOURCE} install", check=check, **offline)


def is_ready(inside: Machine) -> None:
    assert inside.show("syncd", "ActiveState") == "active"
    status_is(inside, "ready")


def status_is(inside: Machine, *parts: str) -> None:
    """Wait until the status line has all of this."""
    ends = time.monotonic() + 20
    while any(part not in (line := inside.show("syncd", "StatusText")) for part in parts):
        assert time.monotonic() < ends, f"{line}\n{inside.log('syncd')}"
        time.sleep(0.1)


def edit(inside: Machine, old: str, new: str) -> None:
    path = inside.root / CONFIG
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


# ---- the story ----


def installs_and_says_what_is_left(inside: Machine, wheels: Path) -> None:
    said = install(inside, wheels).stdout
    assert "signing secret" in said
    assert "/etc/syncd/credentials/abyssale-signing-secret" in said
    assert inside.run("systemctl", "is-enabled", "syncd.service", "syncd.socket").stdout.split() == ["enabled"] * 2
    began = inside.run("systemctl", "start", "syncd", check=False)
    assert began.returncode != 0
    log = inside.log("syncd")
    assert "credential abyssale-signing-secret" in log, log
    assert "is empty" in log
    waiting = subprocess.Popen(inside.command("python3", "-c", UNSIGNED), stdout=subprocess.PIPE, text=True)
    time.sleep(5)  # in which it fails a few times more, and its socket must survive that
    secret = inside.root / "etc/syncd/credentials/abyssale-signing-secret"
    secret.write_text(f"{SECRET}\n")
    inside.until("syncd", "ActiveState", "active")  # without anybody's help
    assert waiting.communicate(timeout=30)[0].strip() == "401"


def starts(inside: Machine) -> None:
    inside.run("systemctl", "restart", "syncd")
    is_ready(inside)
    inside.run(SYNCD, "check")
    inside.run(SYNCD, "send", "NEW_BANNER")
    assert (inside.root / "srv/syncd/mirror/.syncd").is_dir()
    owner = inside.run("stat", "--format=%U:%G %a", "/srv/syncd/mirror", "/var/lib/syncd/journal.db").stdout.split("\n")
    assert owner[:2] == ["syncd:syncd 755", "syncd:syncd 640"], owner
    status = json.loads(inside.run(SYNCD, "status", "--json").stdout)
    assert status["ready"]
    assert status["config"]["error"] is None
    metrics = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:8081/metrics').read().decode())"
    assert "process_resident_memory_bytes" in inside.run("python3", "-c", metrics).stdout


def is_not_exposed(inside: Machine) -> None:
    said = inside.run("systemd-analyze", "security", "--no-pager", "syncd.service").stdout
    exposure = float(said.rsplit("syncd.service: ", 1)[1].split()[0])
    assert exposure <= MOST_EXPOSED, said
    say(f"systemd-analyze security: {exposure}")


def reloads(inside: Machine) -> None:
    before = inside.show("syncd", "MainPID")
    edit(inside, 'level = "info"', 'level = "debug"')
    inside.run("systemctl", "reload", "syncd")
    inside.until("syncd", "SubState", "running")
    edit(inside, 'level = "debug"', 'level = "loud"')
    refused = inside.run("systemctl", "reload", "syncd", check=False)
    assert refused.returncode != 0
    assert "log.level" in inside.log("syncd")
    inside.until("syncd", "SubState", "running")
    status_is(inside, "config refused", "log.level")
    edit(inside, 'level = "loud"', 'level = "info"')
    inside.run("systemctl", "reload", "syncd")
    assert inside.show("syncd", "MainPID") == before


def notices_a_share_that_comes_and_goes(inside: Machine) -> None:
    inside.run("mount", "-t", "tmpfs", "another", "/srv/syncd/mirror")
    status_is(inside, "ready", "the mirror")
    assert not list((inside.root / "srv/syncd/mirror").iterdir())
    inside.run("umount", "/srv/syncd/mirror")
    ends = time.monotonic() + 20
    while "the mirror" in inside.show("syncd", "StatusText"):
        assert time.monotonic() < ends, inside.log("syncd")
        time.sleep(0.1)


def loses_nothing_over_restarts(inside: Machine) -> None:
    posting = subprocess.Popen(
        ["nsenter", "--target", str(inside.pid), "--net", sys.executable, __file__, "post"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    took = []
    try:
        for _ in range(RESTARTS):
            began = time.monotonic()
            inside.run("systemctl", "restart", "syncd")
            took.append(time.monotonic() - began)
    finally:
        said = posting.communicate("stop")[0]
    result = json.loads(said)
    stored = inside.run(
        "python3", "-c",
        "import sqlite3; print(sqlite3.connect('/var/lib/syncd/journal.db').execute("
        "\"SELECT count(*) FROM deliveries WHERE CAST(body AS TEXT) LIKE '%restarts%'\").fetchone()[0])",
    ).stdout.strip()  # fmt: skip
    assert result["lost"] == [], result
    assert int(stored) == result["answered"] > RESTARTS, (stored, result)
    say(
        f"{RESTARTS} restarts, {result['answered']} requests answered, none lost; "
        f"a restart takes {sorted(took)[RESTARTS // 2]:.1f} s, the slowest answer took {result['slowest']:.1f} s"
    )


def comes_back_after_a_kill(inside: Machine) -> None:
    before = inside.show("syncd", "MainPID")
    inside.run("systemctl", "kill", "--signal=SIGKILL", "syncd")
    ends = time.monotonic() + 30
    while inside.show("syncd", "MainPID") in (before, "0") or inside.show("syncd", "ActiveState") != "active":
        assert time.monotonic() < ends, inside.log("syncd")
        time.sleep(0.05)
    is_ready(inside)


def is_ended_by_the_watchdog(inside: Machine) -> None:
    """With less patience than it is shipped with, so that this does not take minutes."""
    shipped = inside.show("syncd", "WatchdogUSec")
    assert shipped == "1min", shipped
    drop_in = inside.root / "etc/systemd/system/syncd.service.d/test.conf"
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text("[Service]\nWatchdogSec=3\n")
    inside.run("systemctl", "daemon-reload")
    inside.run("systemctl", "restart", "syncd")
    time.sleep(5)  # longer than that: it must live on by its signs of life
    before = inside.show("syncd", "MainPID")
    assert inside.show("syncd", "NRestarts") == "0", inside.log("syncd")
    inside.run("systemctl", "kill", "--signal=SIGSTOP", "syncd")
    ends = time.monotonic() + 30
    while inside.show("syncd", "MainPID") in (before, "0") or inside.show("syncd", "ActiveState") != "active":
        assert time.monotonic() < ends, inside.log("syncd")
        time.sleep(0.1)
    assert "Fatal Python error: Aborted" in inside.log("syncd"), inside.log("syncd")
    drop_in.unlink()
    inside.run("systemctl", "daemon-reload")


def upgrades(inside: Machine, wheels: Path) -> None:
    config = inside.root / CONFIG
    mine = config.read_text() + "# mine\n"
    config.write_text(mine)
    before, process = (inside.root / "opt/syncd/bin/syncd").readlink(), inside.show("syncd", "MainPID")
    config.write_text("[log]\nlevel = 'loud'\n")
    refused = install(inside, wheels, check=False)
    assert refused.returncode != 0
    assert "nothing was changed" in refused.stderr
    assert ((inside.root / "opt/syncd/bin/syncd").readlink(), inside.show("syncd", "MainPID")) == (before, process)
    config.write_text(mine)
    said = install(inside, wheels).stdout
    assert "upgraded" in said
    assert (inside.root / "opt/syncd/bin/syncd").readlink() != before
    assert config.read_text() == mine
    is_ready(inside)


def stops_in_time(inside: Machine) -> None:
    began = time.monotonic()
    inside.run("systemctl", "stop", "syncd.socket", "syncd")
    assert time.monotonic() - began < LONGEST_STOP
    assert inside.show("syncd", "Result") == "success"


def uninstalls(inside: Machine) -> None:
    inside.run("make", "--silent", "-C", SOURCE, "uninstall")
    assert not (inside.root / "opt/syncd").exists()
    assert (inside.root / CONFIG).exists()
    assert (inside.root / "var/lib/syncd/journal.db").exists()
    assert inside.run("systemctl", "cat", "syncd", check=False).returncode != 0


# ---- who posts meanwhile ----


async def post_until_told() -> None:
    """Post on kept and on fresh connections until a line comes; prints what became of it."""
    over, answered, lost, slowest = asyncio.Event(), 0, [], 0.0
    asyncio.get_running_loop().add_reader(sys.stdin, over.set)

    async def post(name: str, *, keep: bool) -> None:
        nonlocal answered, slowest
        connector = aiohttp.TCPConnector(force_close=not keep)
        patience = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(connector=connector, timeout=patience) as session:
            number = 0
            while not over.is_set():
                number += 1
                body = json.dumps({"restarts": name, "number": number}).encode()
                began = time.monotonic()
                try:
                    status, said = await deliver(
                        "http://127.0.0.1:8080/webhooks/abyssale",
                        body, secret=SECRET, delivery_id=f"{name}-{number}", session=session,
                    )  # fmt: skip
                except (aiohttp.ClientError, TimeoutError) as error:
                    lost.append(f"{name}-{number}: {error!r} after {time.monotonic() - began:.2f} s")
                    continue
                slowest = max(slowest, time.monotonic() - began)
                if status == OK:
                    answered += 1
                else:
                    lost.append(f"{name}-{number}: {status} {said}")
                await asyncio.sleep(0.01)

    await asyncio.gather(
        *(post(f"{'kept' if keep else 'fresh'}{n}", keep=keep) for keep in (True, False) for n in "ab")
    )
    sys.stdout.write(json.dumps({"answered": answered, "lost": lost[:10], "slowest": slowest}))


def main() -> None:
    if sys.argv[1:] == ["post"]:
        asyncio.run(post_until_told())
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            with machine() as inside:
                play(inside, fetch_wheels(Path(folder)))
        except Impossible as why:
            sys.stdout.write(f"the service was not played on a systemd: {why}\n")
            return
    sys.stdout.write("the service lives well under systemd\n")


def play(inside: Machine, wheels: Path) -> None:
    copied = shutil.ignore_patterns(".git", ".venv", ".*_cache", ".hypothesis", "__pycache__")
    shutil.copytree(ROOT, inside.root / SOURCE.lstrip("/"), ignore=copied)
    inner = Path("/srv/wheels")
    (inside.root / "srv/wheels").mkdir(parents=True)
    for wheel in wheels.iterdir():
        (inside.root / "srv/wheels" / wheel.name).write_bytes(wheel.read_bytes())
    for step, rest in (
        (installs_and_says_what_is_left, (inner,)),
        (starts, ()),
        (is_not_exposed, ()),
        (reloads, ()),
        (notices_a_share_that_comes_and_goes, ()),
        (loses_nothing_over_restarts, ()),
        (comes_back_after_a_kill, ()),
        (is_ended_by_the_watchdog, ()),
        (upgrades, (inner,)),
        (stops_in_time, ()),
        (uninstalls, ()),
    ):
        began = time.monotonic()
        step(inside, *rest)
        say(f"{step.__name__.replace('_', ' ')} ({time.monotonic() - began:.1f} s)")


if __name__ == "__main__":
    main()
