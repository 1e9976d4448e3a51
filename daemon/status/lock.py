"""One service per state directory: a lock that dies with its process."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from panoseti_zarr.errors import InputError
from panoseti_zarr.io.fs.locks import read_holder, try_lock, write_holder

LOCK_NAME = "service.lock"

_N_TRIES = 10
_TRY_S = 0.1


@contextlib.contextmanager
def service_lock(state_dir: Path) -> Iterator[None]:
    """Hold the lock of a state directory; its file names the holder's pid and host, and stays.

    Raises
    ------
    InputError
        Another service has it; the message says which.
    """
    path = state_dir / LOCK_NAME
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, 0o640)
    except OSError as error:
        raise InputError(f"cannot open the lock file: {error.strerror}", path=str(path)) from None
    try:
        _lock(fd, path)
        # A full disk must not keep the service from its start: the note is for people.
        with contextlib.suppress(OSError):
            write_holder(fd)
        yield
    finally:
        os.close(fd)


def is_locked(state_dir: Path) -> bool:
    """Say whether a service runs on a state directory.

    Raises
    ------
    InputError
        The lock file cannot be read.
    """
    path = state_dir / LOCK_NAME
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise InputError(f"cannot read the lock file: {error.strerror}", path=str(path)) from None
    try:
        return not try_lock(fd, shared=True)
    finally:
        os.close(fd)


def _lock(fd: int, path: Path) -> None:
    """Take the lock; try several times, as `is_locked` holds it for a moment."""
    for _ in range(_N_TRIES):
        if try_lock(fd):
            return
        time.sleep(_TRY_S)
    raise InputError(
        f"another service ({read_holder(fd) or 'pid unknown'}) uses the state directory",
        path=str(path.parent),
    )
