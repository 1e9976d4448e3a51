"""What some tests need beyond Python and its packages.

A test that lacks it is skipped, and the summary counts the skipped tests by reason. Run as a
program, this module prints the Debian packages: `make test-deps` installs them.
"""

import functools
import os
import shutil
import subprocess
import sys

PACKAGES = {
    "chromedriver": "chromium-driver",
    "chromium": "chromium",
    "dbus-daemon": "dbus",
    "fsfreeze": "util-linux",
    "ip": "iproute2",
    "jq": "jq",
    "mkfs.ext4": "e2fsprogs",
    "mount": "mount",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
    "strace": "strace",
    "systemctl": "systemd",
    "systemd-analyze": "systemd",
    "systemd-nspawn": "systemd-container",
    "unshare": "util-linux",
}
"""The Debian package of each command that a test uses."""

_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def lack(*commands: str, root: bool = False) -> str:
    """Return why a test cannot run here; an empty text if it can.

    Parameters
    ----------
    *commands : str
        Names of `PACKAGES` that must be installed.
    root : bool
        Whether the test mounts, makes namespaces or starts containers.
    """
    if root and os.geteuid() != 0:
        return "only root can mount file systems, make namespaces and start containers"
    missing = {PACKAGES[command] for command in commands if not find(command)}
    if missing:
        return f"not installed: {', '.join(sorted(missing))} (Debian packages: make test-deps)"
    if root and not _can_mount():
        return "mounting is not allowed here, even for root"
    return ""


def find(command: str) -> str | None:
    """Return the path of a command, also of one for administrators; None if it is missing."""
    return shutil.which(command, path=_PATH)


def need(*commands: str, root: bool = False) -> None:
    """Skip the test where it lacks something."""
    import pytest

    if reason := lack(*commands, root=root):
        pytest.skip(reason)


@functools.cache
def _can_mount() -> bool:
    """Whether root may mount here: in some containers it may not."""
    words = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return not subprocess.run(words, capture_output=True, check=False).returncode


if __name__ == "__main__":
    sys.stdout.write("\n".join(sorted(set(PACKAGES.values()))) + "\n")
