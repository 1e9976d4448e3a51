"""One writer per store: an advisory lock (``flock``) that dies with its process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from panoseti_zarr.errors import StoreLockedError, TransientIOError, one_line
from panoseti_zarr.io.fs.durable import open_directory


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
    """Lock a store's own directory too, because the lock file can be deleted.

    Raises
    ------
    StoreLockedError
        Another process has it.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StoreLockedError(f"{name} is being written by another process") from None


@contextlib.contextmanager
def staging_lock(staging: Path) -> Iterator[None]:
    """Make and lock the directory in which one store's chunks are staged.

    Parameters
    ----------
    staging : Path
        Of the store's name, below the ``.staging`` of its directory, which must be there.

    Raises
    ------
    StoreLockedError
        Another process has it.
    TransientIOError
        It cannot be made.
    """
    with contextlib.ExitStack() as stack:
        try:
            _make_staging(staging)
            lock_directory(stack.enter_context(open_directory(staging)), staging.name)
        except OSError as error:
            raise TransientIOError(
                f"cannot stage: {error.strerror}", path=str(staging.parent)
            ) from None
        yield


def _make_staging(staging: Path) -> None:
    while not os.path.lexists(staging):
        with contextlib.suppress(FileExistsError):
            os.mkdir(staging.parent)
        try:
            os.mkdir(staging)
        except FileNotFoundError:
            # A writer that ended this moment has removed a `.staging` that was empty.
            if staging.parent.is_symlink():
                raise


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
