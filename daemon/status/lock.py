"""One service per state directory: a ``flock`` that dies with its process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from panoseti_zarr.errors import InputError, one_line

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
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"pid {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
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
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _lock(fd: int, path: Path) -> None:
    """Take the lock; several tries, for whoever asks `is_locked` holds it for a moment."""
    for _ in range(_N_TRIES):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_TRY_S)
        else:
            return
    holder = one_line(os.pread(fd, 200, 0).decode(errors="replace").strip())
    raise InputError(
        f"another service ({holder or 'pid unknown'}) uses the state directory",
        path=str(path.parent),
    )
