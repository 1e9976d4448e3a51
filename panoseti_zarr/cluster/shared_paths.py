"""Checks that a host sees the directories of the tasks as this process does."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from panoseti_zarr.errors import TransientIOError, declared_errors

_TOKEN_PREFIX = ".panoseti-zarr-token-"  # noqa: S105 - a file's name
_REST_S = 60.0
"""A file that changed since may still grow: its size is not compared."""

_OLD_S = 600.0
"""A token this old has no owner."""

_MAX_NAMES = 200
_MAX_FILES = 50
_PATIENCE_S = 3.0
"""How long a new file may take to be seen through a network file system."""


@dataclass(frozen=True)
class SharedPaths:
    """The directories of a cluster's tasks.

    Attributes
    ----------
    outputs : tuple of Path
        Where stores are written, or will be.
    inputs : tuple of Path
        What is only read: data roots, a run, a store.
    """

    outputs: tuple[Path, ...] = ()
    inputs: tuple[Path, ...] = ()


@dataclass(frozen=True)
class PathProbe:
    """What a host must see, as plain data.

    Attributes
    ----------
    tokens : dict of str to str
        Content of files, by path.
    names : dict of str to list of str
        Names that must be in a directory, by its path.
    sizes : dict of str to int
        Sizes of files in bytes, by path.
    """

    tokens: dict[str, str] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)


@contextlib.contextmanager
def write_probe_files(places: SharedPaths) -> Iterator[PathProbe]:
    """Write a token into each output directory, look at the inputs, and give what is to be seen.

    The tokens are removed at the end. For a directory that is not there yet the nearest one above
    it counts.

    Raises
    ------
    TransientIOError
        A directory cannot be looked at or written here.
    """
    with contextlib.ExitStack() as stack:
        tokens: dict[str, str] = {}
        with declared_errors("looking at the output directories"):
            directories = list(dict.fromkeys(map(_nearest, places.outputs)))
            for directory in directories:
                _sweep(directory)
        for directory in directories:
            content = uuid.uuid4().hex
            path = directory / f"{_TOKEN_PREFIX}{uuid.uuid4().hex}"
            stack.callback(path.unlink, missing_ok=True)
            try:
                _write_new(path, content)
            except OSError as error:
                raise TransientIOError(
                    f"cannot write here: {error.strerror}", path=str(directory)
                ) from None
            tokens[str(path)] = content
        sight = PathProbe(tokens)
        for directory in places.inputs:
            # One that cannot be read here (unmounted: the others go on) cannot be compared.
            with contextlib.suppress(OSError):
                _look(directory, sight)
        yield sight


def differences(sight: PathProbe) -> str:
    """Return what this host sees otherwise, in one line; empty where nothing is."""
    deadline_s = time.monotonic() + _PATIENCE_S
    while (difference := next(_differences(sight), "")) and time.monotonic() < deadline_s:
        time.sleep(0.2)
    return difference


def _differences(sight: PathProbe) -> Iterator[str]:
    for path, content in sight.tokens.items():
        directory = os.path.dirname(path)
        try:
            with open(path) as file:
                if file.read() != content:
                    yield f"{directory} is another directory there: its token has other content"
        except OSError as error:
            yield f"{directory} is not the same directory there: its token: {error.strerror}"
    for directory, names in sight.names.items():
        if not os.path.isdir(directory):
            yield f"{directory} is no directory there"
            continue
        # Looked up one by one: a network file system may give a listing that is a minute old.
        if missing := [name for name in names if not os.path.lexists(f"{directory}/{name}")]:
            yield f"{directory} lacks {len(missing)} of {len(names)} entries there: {missing[0]}"
    for path, size_bytes in sight.sizes.items():
        try:
            there = os.stat(path).st_size
        except OSError as error:
            yield f"{path} cannot be read there: {error.strerror}"
            continue
        if there != size_bytes:
            yield f"{path} has {there} bytes there, {size_bytes} here"


def _nearest(directory: Path) -> Path:
    """Return the directory, or the nearest one above it that is there."""
    return next(path for path in (directory, *directory.parents) if path.is_dir())


def _sweep(directory: Path) -> None:
    """Remove tokens of processes that were killed."""
    for path in directory.glob(f"{_TOKEN_PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _OLD_S:
                path.unlink()


def _write_new(path: Path, content: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, 0o640), "w") as file:
        file.write(content)


def _look(directory: Path, sight: PathProbe) -> None:
    """Note names of a directory, and sizes of files that rest in it and just below."""
    names = sorted(os.listdir(directory), reverse=True)[:_MAX_NAMES]
    sight.names[str(directory)] = names
    files = (path for name in names for path in _files(directory / name))
    for path in itertools.islice(files, _MAX_FILES):
        status = os.stat(path, follow_symlinks=False)
        if time.time() - status.st_mtime > _REST_S:
            sight.sizes[str(path)] = status.st_size


def _files(path: Path) -> Sequence[Path]:
    if path.is_symlink():
        return ()
    if path.is_dir():
        return [p for p in sorted(path.iterdir()) if p.is_file() and not p.is_symlink()]
    return (path,) if path.is_file() else ()
