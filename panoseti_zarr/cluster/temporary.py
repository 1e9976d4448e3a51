"""The directory in which a cluster's processes keep their temporary files."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from panoseti_zarr.io.fs.locks import try_lock

PREFIX = "panoseti-zarr-cluster-"


@contextlib.contextmanager
def scratch_directory() -> Iterator[Path]:
    """Make a directory of this process's own, and remove it at the end.

    A process that is killed leaves its directory behind: those of this user that no process
    holds any more are removed first.
    """
    base = Path(tempfile.gettempdir())
    _sweep(base)
    with contextlib.ExitStack() as stack:
        made, fd = _make(base)
        stack.callback(os.close, fd)
        stack.callback(shutil.rmtree, made, ignore_errors=True)
        yield made


def _make(base: Path) -> tuple[Path, int]:
    """Make and lock a directory; the lock dies with this process."""
    while True:
        made = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        fd = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        # Another process may have swept it before it was locked.
        if try_lock(fd) and made.is_dir():
            return made, fd
        os.close(fd)


def _sweep(base: Path) -> None:
    for path in base.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if os.fstat(fd).st_uid == os.getuid() and try_lock(fd):
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(fd)
