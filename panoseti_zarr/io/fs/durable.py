"""Durable writes: they are on the disk when the call returns."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from panoseti_zarr.io.fs.failpoints import reached

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_SYNC_FILE_RANGE_WRITE = 2
_SYNC_FILE_RANGE = getattr(ctypes.CDLL(None), "sync_file_range", None)
if _SYNC_FILE_RANGE is not None:
    _SYNC_FILE_RANGE.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


@contextlib.contextmanager
def open_directory(path: Path | str, *, dir_fd: int | None = None) -> Iterator[int]:
    """Open a directory, never through a link in its last name, and give its descriptor."""
    fd = os.open(path, _DIRECTORY, dir_fd=dir_fd)
    try:
        yield fd
    finally:
        os.close(fd)


def sync_directory(path: Path | str, *, dir_fd: int | None = None) -> None:
    """Make the entries of a directory durable."""
    with open_directory(path, dir_fd=dir_fd) as fd:
        os.fsync(fd)


def sync_file(path: Path | str) -> None:
    """Make the content of a written file durable; an earlier write error comes out here."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def walk_bottom_up(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield each directory at and below ``root`` with its files' names, the deepest first.

    One that cannot be listed is an error.
    """
    for directory, _, files in os.walk(root, topdown=False, onerror=_fail):
        yield directory, files


def sync_tree(root: Path) -> None:
    """Make every file and directory at and below ``root`` durable, files first."""
    for directory, files in walk_bottom_up(root):
        for name in files:
            sync_file(os.path.join(directory, name))
        sync_directory(directory)


def _fail(error: OSError) -> None:
    raise error


def start_writeback(fd: int, offset: int, n_bytes: int) -> None:
    """Have a part of an open file written to the disk from now on, while others work.

    So that the disk does not stand idle until `sync_file`, which alone makes the file durable, and
    alone says what went wrong. Where there is no ``sync_file_range`` (Linux) nothing happens.
    """
    if _SYNC_FILE_RANGE is not None:
        _SYNC_FILE_RANGE(fd, offset, n_bytes, _SYNC_FILE_RANGE_WRITE)


def write_file(path: Path | str, data: bytes, *, dir_fd: int | None = None) -> None:
    """Write a file, replacing what had its name; sync it and its directory to make it durable."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(path, flags, 0o666, dir_fd=dir_fd)
    try:
        write_all(fd, data)
    finally:
        os.close(fd)


def write_all(fd: int, *parts: bytes) -> None:
    """Write to an open file, one part after the other; a full disk may take some of them first."""
    views = [memoryview(part) for part in parts]
    while views:
        n_written = os.writev(fd, views)
        while views and n_written >= len(views[0]):
            n_written -= len(views.pop(0))
        if views:
            views[0] = views[0][n_written:]


def replace_file(path: Path, data: bytes) -> None:
    """Replace a small file in one durable step, through a hidden name beside it."""
    temporary = path.with_name(f".{path.name}.tmp")
    write_file(temporary, data)
    sync_file(temporary)
    temporary.rename(path)
    sync_directory(path.parent)


def make_directories(path: str, *, dir_fd: int) -> None:
    """Make a directory and those above it, below the directory that is open as ``dir_fd``."""
    made = ""
    for part in path.split("/"):
        made = f"{made}/{part}" if made else part
        with contextlib.suppress(FileExistsError):
            os.mkdir(made, dir_fd=dir_fd)


def ensure_directory(path: Path, mode: int = 0o777) -> None:
    """Make a directory and those above it where they are missing, durably."""
    path = path.resolve()
    missing = [directory for directory in (path, *path.parents) if not directory.exists()]
    path.mkdir(mode, parents=True, exist_ok=True)
    for directory in missing:
        sync_directory(directory.parent)


def remove_tree(path: Path) -> None:
    """Remove a directory and all below it; one that is not there is fine."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)


def replace_directory(new: Path, place: Path, aside: Path) -> None:
    """Put a finished directory in its place, in one step where another stands there.

    Parameters
    ----------
    new : Path
        The directory, whole and durable.
    place : Path
        Where it belongs. What is there is exchanged with it and removed, so that a reader meets
        the old one or the new one, never none.
    aside : Path
        A free name beside ``place``, used for a moment where the file system cannot exchange.
    """
    try:
        _exchange(new, place)
    except FileNotFoundError:
        new.rename(place)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
            raise
        place.rename(aside)
        reached("swap.put_aside")
        new.rename(place)
        new = aside
    reached("swap.in_place")
    sync_directory(place.parent)
    reached("swap.durable")
    # What cannot be removed now (NFS keeps what is open) is removed by `recover_replace`.
    with contextlib.suppress(OSError):
        remove_tree(new)


def recover_replace(place: Path, *leftovers: Path) -> None:
    """Finish what a `replace_directory` that was killed or failed left.

    Parameters
    ----------
    place : Path
        Where the finished directory belongs.
    leftovers : Path
        The hidden names that it used, ``aside`` first: what was set aside is put back where
        nothing took its place; all else is removed, once what is in place is there for good.
    """
    there = [path for path in leftovers if os.path.lexists(path)]
    if not there:
        return
    if there[0] == leftovers[0] and not os.path.lexists(place):
        there.pop(0).rename(place)
    sync_directory(place.parent)
    for path in there:
        remove_tree(path)


def _exchange(first: Path, second: Path) -> None:
    """Exchange two names (Linux ``renameat2`` with ``RENAME_EXCHANGE``)."""
    rename_exchange, at_fdcwd = 2, -100
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    names = os.fsencode(first), os.fsencode(second)
    if libc.renameat2(at_fdcwd, names[0], at_fdcwd, names[1], rename_exchange) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(second))
