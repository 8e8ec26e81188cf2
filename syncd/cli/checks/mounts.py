"""What is mounted where, as the kernel tells it; see proc_pid_mountinfo(5)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Mount:
    """Where a path's file system is mounted, of which type, and if it may be written."""

    point: str
    type: str
    read_only: bool

    @property
    def is_network(self) -> bool:
        """Tell if its files are another machine's."""
        return self.type in _NETWORK


_NETWORK = frozenset(
    {
        "nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "9p", "ceph", "glusterfs", "lustre", "gpfs", "beegfs",
        "fuse.sshfs", "fuse.rclone", "fuse.s3fs", "fuse.glusterfs", "fuse.ceph", "fuse.gcsfuse", "fuse.mount-s3",
        "fuse.davfs2", "davfs", "virtiofs",
    }
)  # fmt: skip


def mounts() -> list[Mount]:
    """List what is mounted, in the order of mounting. Empty where the system can't say."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, rest = before.split(" "), after.split(" ")
        if len(fields) > 5 and len(rest) > 2:  # noqa: PLR2004 - the fields that are read below
            point = fields[4].replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
            options = {*fields[5].split(","), *rest[2].split(",")}
            found.append(Mount(point, rest[0], "ro" in options))
    return found


def mount_of(path: Path, among: list[Mount]) -> Mount | None:
    """Find the mount that holds a path; of several at one point, the last covers the others."""
    real = path.resolve()
    holding = [mount for mount in among if real.is_relative_to(mount.point)]
    return max(enumerate(holding), key=lambda one: (len(one[1].point), one[0]))[1] if holding else None
