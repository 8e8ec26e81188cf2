"""A machine of its own: a real systemd as PID 1, in namespaces over a copy-on-write view of this one's files.

Nothing that happens in there reaches the outside: processes, mounts, network, cgroups and every written file are
the machine's own and go with it. It takes root, and a kernel with overlayfs and cgroup v2.
"""

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

SYSTEMD = "/lib/systemd/systemd"
BOOT_SECONDS = 60

# $1: an empty folder to work in, $2: a cgroup of its own. Runs as the first process of new namespaces.
BOOT = f"""
set -e
echo 0 > "$2/cgroup.procs"
exec unshare --cgroup sh -ec '
mount -t tmpfs tmpfs "$1"
mkdir "$1/files" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/files,workdir=$1/work" "$1/root"
cd "$1/root"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,ro,bind proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts dev/pts
mount -t tmpfs tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
rm -rf etc/systemd/system/*.wants etc/machine-id opt/syncd etc/syncd var/lib/syncd srv/syncd
: > etc/machine-id
hostname machine
ip link set lo up
mkdir outside
pivot_root . outside
umount -l /outside
mount --make-rshared /
exec env -i container=syncd PATH=/usr/sbin:/usr/bin:/sbin:/bin \\
    setpriv --bounding-set=-sys_module,-sys_time,-sys_rawio,-sys_boot,-syslog,-wake_alarm \\
    {SYSTEMD} --system --unit=basic.target --log-target=null --show-status=no' sh "$1"
"""


class Impossible(Exception):
    """No such machine can be had here; the text says why."""


class Machine:
    """One that runs. `pid` is its PID 1, as seen from outside."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.root = Path(f"/proc/{pid}/root")

    def command(self, *command: str, **environment: str) -> list[str]:
        """What runs a command inside, from outside."""
        names = {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"}
        assignments = [f"{name}={value}" for name, value in (names | environment).items()]
        return ["nsenter", "--target", str(self.pid), "--all", "env", "-i", *assignments, *command]

    def run(self, *command: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside and return what it said; one that fails is an error."""
        done = subprocess.run(self.command(*command, **environment), capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def show(self, unit: str, name: str) -> str:
        """Return one property of a unit."""
        return self.run("systemctl", "show", unit, f"--property={name}", "--value").stdout.strip()

    def until(self, unit: str, name: str, value: str, seconds: float = 30) -> None:
        """Wait until a unit's property has this value."""
        ends = time.monotonic() + seconds
        while (found := self.show(unit, name)) != value:
            assert time.monotonic() < ends, f"{unit} {name} is {found}, not {value}\n{self.log(unit)}"
            time.sleep(0.05)

    def log(self, unit: str) -> str:
        """The last lines that a unit has logged."""
        return self.run("journalctl", "--no-pager", "--lines=300", "--output=cat", f"--unit={unit}").stdout


@contextlib.contextmanager
def machine() -> Iterator[Machine]:
    """Boot one, and power it off at the end. Raises Impossible."""
    groups = _cgroup_v2()
    for needed in (SYSTEMD, "unshare", "nsenter", "setpriv", "ip", "pivot_root"):
        if not shutil.which(needed):
            raise Impossible(f"{needed} is missing")
    folder = Path(tempfile.mkdtemp(prefix="machine-"))
    group = groups / folder.name
    spaces = ("--pid", "--mount", "--uts", "--ipc", "--net", "--fork", "--kill-child", "--propagation=private")
    try:
        try:
            group.mkdir()
        except OSError as error:
            raise Impossible(f"no cgroup can be made: {error.strerror}") from error
        booting = subprocess.Popen(
            ["unshare", *spaces, "sh", "-c", BOOT, "boot", str(folder), str(group)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            yield Machine(_booted(booting, group))
        finally:
            booting.kill()  # and with it, by --kill-child, everything inside
            booting.communicate()
    finally:
        _remove(group)
        folder.rmdir()


def _cgroup_v2() -> Path:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup2" and options.startswith("rw"):
            return Path(place)
    raise Impossible("there is no cgroup v2 that could be written")


def _booted(booting: subprocess.Popen[str], group: Path) -> int:
    """Wait until systemd says that it is up; returns its pid."""
    ends = time.monotonic() + BOOT_SECONDS
    while time.monotonic() < ends:
        if booting.poll() is not None:
            raise Impossible(f"systemd does not boot: {booting.communicate()[0].strip()[-300:]}")
        with contextlib.suppress(OSError, ValueError, IndexError):  # not there yet, or still empty
            pid = int((group / "init.scope" / "cgroup.procs").read_text().split()[0])
            state = Machine(pid).run("systemctl", "is-system-running", check=False).stdout.strip()
            if state in {"running", "degraded"}:
                return pid
        time.sleep(0.1)
    raise Impossible(f"systemd is not up after {BOOT_SECONDS} s")


def _remove(group: Path) -> None:
    """Remove a cgroup with all below it, whose processes are ending."""
    ends = time.monotonic() + BOOT_SECONDS
    while group.exists() and time.monotonic() < ends:
        for folder in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
            with contextlib.suppress(OSError):
                folder.rmdir()
        with contextlib.suppress(OSError):
            group.rmdir()
        time.sleep(0.05)
