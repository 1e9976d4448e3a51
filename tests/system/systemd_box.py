"""A machine of its own with a real systemd: a container over a throw-away overlay of this root.

Root only. All mounts are in a mount namespace of the container and all processes in a PID
namespace, so that nothing is left when its first process ends; that dies with this one.
"""

import contextlib
import os
import secrets
import socket
import subprocess
import threading
import time
import uuid
from pathlib import Path

import psutil
import pytest
from support.needs import lack
from support.waiting import PATIENCE_S

NEEDED = ("systemd-nspawn", "systemctl", "dbus-daemon", "nsenter", "unshare", "setpriv")
_CONTAINER = "systemd-nspawn"

# Joins a control group of its own, sees that as the root of all, and starts systemd over an
# overlay; nspawn exits with 133 where the machine asks for a reboot.
_BOOT = r"""
set -eu
echo 0 >"$GROUP/cgroup.procs"
exec unshare --cgroup sh -euc '
mount -t tmpfs -o mode=755,size=3g overlay "$PLACE"
mkdir "$PLACE/upper" "$PLACE/work" "$PLACE/root"
mount -t overlay -o "lowerdir=/,upperdir=$PLACE/upper,workdir=$PLACE/work" overlay "$PLACE/root"
: >"$PLACE/root/etc/fstab"
rm -rf "$PLACE/root/etc/systemd/system/"*.wants
mount -t tmpfs -o mode=755 run /run
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
while :; do
  code=0
  systemd-nspawn --directory="$PLACE/root" --boot --register=no --keep-unit --notify-ready=yes \
    --private-network --link-journal=no --console=pipe --machine=box --uuid="$MACHINE" "$@" \
    || code=$?
  [ "$code" = 133 ] || exit "$code"
done' sh "$@"
"""


def reason_for_none() -> str:
    """Say why there can be no such machine here; an empty text where there can."""
    if reason := lack(*NEEDED, root=True):
        return reason
    return "" if _cgroup_root() else "no control groups (cgroup2) can be made here"


def _cgroup_root() -> Path | None:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup2" and "rw" in options.split(","):
            return Path(place)
    return None


class Box:
    """The machine, booted; leave its context and it is gone.

    Parameters
    ----------
    base : Path
        Scratch.
    bind : dict of str to Path
        Directories of this machine that it sees, read-only, by their path in it.
    """

    def __init__(self, base: Path, bind: dict[str, Path]) -> None:
        self._place = base / "box"
        self._console = base / "console.log"
        self._bind = bind
        self._stack = contextlib.ExitStack()
        self._is_ready = threading.Event()
        self.pid = 0
        """Of its first process, as seen from here."""

    def __enter__(self) -> "Box":
        with contextlib.ExitStack() as stack:
            self._boot(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _boot(self, stack: contextlib.ExitStack) -> None:
        root = _cgroup_root()
        assert root is not None
        group = root / f"box-{os.getpid()}-{secrets.token_hex(4)}"
        group.mkdir()
        stack.callback(_remove_group, group)
        self._place.mkdir()
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        address = f"box-{secrets.token_hex(8)}"
        listener.bind(f"\0{address}")
        reader = threading.Thread(target=self._read_notices, args=(listener,), daemon=True)
        reader.start()
        stack.callback(reader.join, PATIENCE_S)
        stack.callback(listener.shutdown, socket.SHUT_RDWR)
        console = stack.enter_context(self._console.open("wb"))
        binds = [f"--bind-ro={path}:{inside}" for inside, path in self._bind.items()]
        namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *namespaces, "sh", "-euc", _BOOT, "sh", *binds],
            env={
                "PATH": os.environ["PATH"],
                "GROUP": str(group),
                "PLACE": str(self._place),
                "MACHINE": uuid.uuid4().hex,
                "NOTIFY_SOCKET": f"@{address}",
            },
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
        )
        stack.callback(self._kill)
        self._await_boot()

    def _await_boot(self) -> None:
        """Wait until everything was started."""
        if not self._is_ready.wait(PATIENCE_S):
            pytest.fail(f"the container did not boot: {self._console.read_text()}")
        processes = psutil.Process(self._process.pid).children(recursive=True)
        (self.pid,) = (process.pid for process in processes if _is_first(process))

    def _read_notices(self, listener: socket.socket) -> None:
        """Read what nspawn reports, at all times: with its queue full, nspawn would hang."""
        while notice := listener.recv(4096):
            if b"READY=1" in notice.split(b"\n"):
                self._is_ready.set()

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait(PATIENCE_S)

    def reboot(self) -> None:
        """Let it shut down in order and boot again."""
        first_process = psutil.Process(self.pid)
        self._is_ready.clear()
        self.run("systemctl", "--no-block", "reboot")
        first_process.wait(PATIENCE_S)
        self._await_boot()

    def command(self, *words: str) -> list[str]:
        """Return the words that run a command in it."""
        # nsenter waits for a child of its own, which must not outlive it.
        inside = ("setpriv", "--pdeathsig", "KILL", "--")
        return ["nsenter", "--target", str(self.pid), "--all", "--", *inside, *words]

    def run(
        self, *words: str, check: bool = True, timeout_s: float = PATIENCE_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in it as root."""
        done = subprocess.run(
            self.command(*words),
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0 or not check, (words, done.stdout, done.stderr)
        return done

    def path(self, inside: str | Path) -> Path:
        """Return where one of its files is from here."""
        return Path(f"/proc/{self.pid}/root") / str(inside).lstrip("/")


def _is_first(process: psutil.Process) -> bool:
    """Whether this is a container's first process; one that has ended meanwhile is not."""
    try:
        parent = process.parent()
        return process.name() == "systemd" and parent is not None and parent.name() == _CONTAINER
    except psutil.NoSuchProcess:
        return False


def _remove_group(group: Path) -> None:
    """Remove a control group and those in it, once the kernel has taken the last process out."""
    deadline_s = time.monotonic() + PATIENCE_S
    while "populated 1" in (group / "cgroup.events").read_text():
        assert time.monotonic() < deadline_s, f"processes are left in {group}"
        time.sleep(0.01)
    for directory, _, _ in os.walk(group, topdown=False):
        os.rmdir(directory)
