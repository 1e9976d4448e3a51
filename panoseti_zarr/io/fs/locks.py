"""Advisory locks (``flock``) that die with their process: of files, directories and stores."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from panoseti_zarr.errors import StoreLockedError, TransientIOError, one_line
from panoseti_zarr.io.fs.durable import open_directory

_HOLDER_BYTES = 200


def try_lock(fd: int, *, shared: bool = False) -> bool:
    """Lock an open file or directory at once; return False where another process has it."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_holder(fd: int) -> None:
    """Write this process's pid and host into a lock file that it holds."""
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"pid {os.getpid()} on {socket.gethostname()}\n".encode(), 0)


def read_holder(fd: int) -> str:
    """Return the pid and host that a lock file names; empty if it names none."""
    return one_line(os.pread(fd, _HOLDER_BYTES, 0).decode(errors="replace").strip())


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
        write_holder(fd)
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
    if not try_lock(fd):
        raise StoreLockedError(f"{name} is being written by another process")


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
            if not try_lock(fd):
                holder = read_holder(fd) or "another process"
                raise StoreLockedError(f"{name} is being written by {holder}")
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False)):
                    return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
