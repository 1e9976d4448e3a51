"""The file system of a path: it distinguishes a bare mount point from a mounted one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_NETWORK = frozenset(
    {
        *("9p", "afs", "beegfs", "ceph", "cifs", "davfs", "fuse.glusterfs", "fuse.sshfs"),
        *("gpfs", "lustre", "nfs", "nfs4", "smb3", "smbfs"),
    }
)


@dataclass(frozen=True)
class Mount:
    """A mount: where it is, its file system's type, and what is mounted; empty if not known."""

    point: str = ""
    kind: str = ""
    source: str = ""

    @property
    def volume(self) -> str:
        """What is mounted, in words: stays the same over a reboot, unlike ``st_dev``."""
        return f"{self.source} ({self.kind})"

    @property
    def is_network(self) -> bool:
        """Whether other machines can change what is on it without this kernel noticing."""
        return self.kind in _NETWORK


def mount_of(path: Path, table: Path = Path("/proc/self/mountinfo")) -> Mount:
    """Return the mount that holds a path, or would hold it if it existed.

    Parameters
    ----------
    path : Path
    table : Path
        The kernel's list of mounts, see proc_pid_mountinfo(5).
    """
    resolved = os.path.realpath(path)
    found = Mount()
    try:
        # Not splitlines: a mount point's name may have a carriage return.
        lines = os.fsdecode(table.read_bytes()).rstrip("\n").split("\n")
    except OSError:
        return found
    for line in lines:
        before, _, after = line.partition(" - ")
        point = _unescaped(before.split(" ")[4])
        is_above = resolved == point or resolved.startswith(point.rstrip("/") + "/")
        # Of two mounts at one place the later one hides the earlier.
        if is_above and len(point) >= len(found.point):
            kind, source = after.split(" ")[:2]
            found = Mount(point, kind, _unescaped(source))
    return found


def _unescaped(text: str) -> str:
    """Undo the octal escapes of blanks and backslashes."""
    if "\\" not in text:
        return text
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text
