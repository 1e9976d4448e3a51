"""One writer per store: an advisory lock (``flock``) that dies with its process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from panoseti_zarr.errors import StoreLockedError, one_line


@contextlib.contextmanager
def store_lock(directory: Path, name: str) -> Iterator[None]:
    """Hold the writer's lock of the store ``directory/name``.

    The lock file is ``directory/.{name}.lock``; it names the holder's pid and host, and stays.

    Raises
    ------
    StoreLockedError
        Another process has it; the message says which.
    """
    path = directory / f".{name}.lock"
    fd = _lock_current(path, name)
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"pid {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


def lock_directory(fd: int, name: str) -> None:
    """Lock a store's own directory too, for the lock file can be deleted.

    Raises
    ------
    StoreLockedError
        Another process has it.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StoreLockedError(f"{name} is being written by another process") from None


def _lock_current(path: Path, name: str) -> int:
    """Open and lock the lock file that has the name once the lock is held."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False)):
                    return fd
        except BlockingIOError:
            holder = one_line(os.pread(fd, 200, 0).decode(errors="replace").strip())
            os.close(fd)
            raise StoreLockedError(
                f"{name} is being written by {holder or 'another process'}"
            ) from None
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
