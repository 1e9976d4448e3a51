"""Small file systems that can be filled, broken and cut from power; root only."""

import contextlib
import fcntl
import os
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.needs import find, need

_SHUTDOWN = 0x8004587D
_LOSE_THE_LOG = 2
_LOOPS = Path("/sys/block")


def mount(*words):
    """Mount, or skip the test where that is not allowed."""
    done = subprocess.run(["mount", *map(str, words)], check=False, capture_output=True, text=True)
    if done.returncode:
        kind = words[words.index("-t") + 1] if "-t" in words else "ext4"
        pytest.skip(f"no {kind} can be mounted here")


def unmount(place):
    """Unmount; what keeps it busy for more than a moment must not keep it."""
    for _ in range(20):
        if not subprocess.run(["umount", place], check=False, capture_output=True).returncode:
            return
        time.sleep(0.1)  # a look at it, which nobody tells the end of
    subprocess.run(["umount", "--lazy", place], check=True)
    pytest.fail(f"{place} was busy")


def remount(place, options):
    """Change the options of a mount."""
    subprocess.run(["mount", "-o", f"remount,{options}", place], check=True)


@contextlib.contextmanager
def memory_disk(place: Path, options: str):
    """Mount a tmpfs with options (``size=1m``) and give its directory."""
    need(root=True)
    place.mkdir(exist_ok=True)
    mount("-t", "tmpfs", "-o", options, "tmpfs", place)
    try:
        yield place
    finally:
        unmount(place)


class Ext4Disk:
    """An ext4 in a file, which keeps after a power cut what was synced and little else.

    Its journal is committed on fsync alone (``commit=300``) and does not order data before names
    (``data=writeback``, ``noauto_da_alloc``): a missing fsync shows.
    """

    _OPTIONS = "loop,data=writeback,noauto_da_alloc,commit=300,errors=remount-ro"

    def __init__(self, place: Path, image: Path) -> None:
        need("mkfs.ext4", "fsfreeze", root=True)
        self.place = place
        self._image = image
        place.mkdir(exist_ok=True)
        with image.open("wb") as opened:
            opened.truncate(64 << 20)
        subprocess.run([find("mkfs.ext4"), "-q", "-F", image], check=True, capture_output=True)
        mount("-o", self._OPTIONS, image, place)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        unmount(self.place)

    def cut_power(self) -> None:
        """From now on every read and write fails, and what was not synced is lost."""
        fd = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, _SHUTDOWN, struct.pack("I", _LOSE_THE_LOG))
        finally:
            os.close(fd)

    def fail(self) -> None:
        """Make the file system find itself damaged: it makes itself read-only."""
        status = os.stat(self.place)
        device = Path(f"/sys/dev/block/{os.major(status.st_dev)}:{os.minor(status.st_dev)}")
        (Path("/sys/fs/ext4") / device.resolve().name / "trigger_fs_error").write_text("1")

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Let every write hang, as for a snapshot below the file system."""
        subprocess.run(["fsfreeze", "--freeze", self.place], check=True)
        try:
            yield
        finally:
            subprocess.run(["fsfreeze", "--unfreeze", self.place], check=True)

    def start_again(self) -> None:
        """Unmount and mount, as after the power is back."""
        unmount(self.place)
        self._wait_until_gone()
        subprocess.run(["mount", "-o", self._OPTIONS, self._image, self.place], check=True)

    def _wait_until_gone(self) -> None:
        """Wait until the kernel has let go: mounted before that, the old file system comes back.

        It may take a moment, and does while a container made meanwhile has a copy of the mount.
        """
        for _ in range(300):
            backing = [file.read_text().strip() for file in _LOOPS.glob("loop*/loop/backing_file")]
            if not any(name.startswith(str(self._image)) for name in backing):
                return
            time.sleep(0.1)  # nothing tells of it
        pytest.fail(f"{self._image} is still in use")
