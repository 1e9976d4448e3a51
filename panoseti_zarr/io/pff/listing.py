"""Lists run directories: their frame files, and the identity of each."""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from panoseti_zarr.core.pff.names import (
    FrameFileName,
    check_run_name,
    missing_seqnos,
    parse_frame_file_name,
)
from panoseti_zarr.errors import (
    CorruptDataError,
    InputError,
    TransientIOError,
    from_os_error,
    one_line,
)
from panoseti_zarr.model import Identity, StreamKey

Refused = tuple[str, StreamKey | None, str]

_parse = functools.lru_cache(maxsize=1 << 14)(parse_frame_file_name)
"""A long recording has thousands of files, whose names each listing asks for again."""


@dataclass(frozen=True)
class FrameFile:
    """A frame file of a run, as a directory listing shows it."""

    path: Path
    name: FrameFileName
    identity: Identity


@dataclass(frozen=True)
class RunListing:
    """The frame files of a run directory.

    Attributes
    ----------
    path : Path
        Of the run directory, links resolved.
    name : str
        Its whole last name.
    beside : tuple of Path
        Other directories whose frame files are the run's too: on a DAQ node they grow there.
    streams : dict of StreamKey to tuple of FrameFile
        The non-empty files of each stream, by seqno.
    empty_files : tuple of FrameFile
        Zero bytes long: normal, the DAQ opens one file for every product.
    refused : tuple of (str, StreamKey or None, str)
        Files that are not read: name, the stream they would belong to, and why.
    """

    path: Path
    name: str
    streams: dict[StreamKey, tuple[FrameFile, ...]]
    empty_files: tuple[FrameFile, ...]
    refused: tuple[tuple[str, StreamKey | None, str], ...]
    beside: tuple[Path, ...] = ()

    @property
    def keys(self) -> tuple[StreamKey, ...]:
        """The streams of the run, those included whose only files are refused."""
        refused = {key for _, key, _ in self.refused if key is not None}
        return tuple(sorted(refused | self.streams.keys()))

    def gaps(self, key: StreamKey) -> tuple[int, ...]:
        """Return the missing seqnos of a stream."""
        return missing_seqnos({file.name.seqno for file in self.files(key)})

    def size_bytes(self, key: StreamKey) -> int:
        """Return the size of a stream's files."""
        return sum(file.identity.size_bytes for file in self.streams.get(key, ()))

    def files(self, key: StreamKey) -> tuple[FrameFile, ...]:
        """Return all files of a stream, empty ones too, by seqno."""
        empty = (file for file in self.empty_files if file.name.key == key)
        return _by_seqno((*self.streams.get(key, ()), *empty))


def identity_of(status: os.stat_result) -> Identity:
    """Take what identifies a file out of its status."""
    return Identity(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def list_run(
    path: Path, beside: tuple[Path, ...] = (), only: StreamKey | None = None
) -> RunListing:
    """List the frame files of a run directory; any directory will do.

    Parameters
    ----------
    path : Path
    beside : tuple of Path
        Directories whose frame files are the run's too. Of two files of one name, a file and its
        copy, the longer one counts, the run's own where they are alike.
    only : StreamKey, optional
        Look at the files of this stream alone; one that cannot be looked at at present is an error
        then, and refused else.

    Raises
    ------
    InputError
        The directory is not there, is no directory, or may not be read.
    TransientIOError
        It, or a file of ``only``, cannot be read at present.
    CorruptDataError
        Its name cannot safely become part of other names.
    """
    try:
        resolved = path.resolve(strict=True)
        names = sorted(os.listdir(resolved))
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise InputError(f"cannot read the run: {error.strerror}", path=str(path)) from None
    except OSError as error:
        raise from_os_error(error, "cannot read the run") from None
    check_run_name(resolved.name)
    refused: list[Refused] = []
    found = {name: _frame_file(resolved, name, only, refused) for name in names}
    for directory in beside:
        for name in _names_in(directory):
            file, other = found.get(name), _frame_file(directory, name, only, refused)
            if other and (not file or other.identity.size_bytes > file.identity.size_bytes):
                found[name] = other
    files = [file for file in found.values() if file is not None]
    streams: dict[StreamKey, list[FrameFile]] = {}
    for file in files:
        if file.identity.size_bytes:
            streams.setdefault(file.name.key, []).append(file)
    ordered = {key: _by_seqno(files) for key, files in sorted(streams.items())}
    empty = tuple(file for file in files if file.identity.size_bytes == 0)
    return RunListing(resolved, resolved.name, ordered, empty, tuple(refused), beside)


def _by_seqno(files: Sequence[FrameFile]) -> tuple[FrameFile, ...]:
    return tuple(sorted(files, key=lambda file: (file.name.seqno, file.path.name)))


def _names_in(directory: Path) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise from_os_error(error, "cannot read the run") from None


def _frame_file(
    directory: Path, name: str, only: StreamKey | None, refused: list[Refused]
) -> FrameFile | None:
    """Take the identity of a frame file; None if it is not wanted, or rejected."""
    parsed = None
    try:
        parsed = _parse(name)
        if parsed is None or (only is not None and parsed.key != only):
            return None
        return _look_at(directory, name, parsed)
    except (CorruptDataError, TransientIOError) as error:
        if only is not None and isinstance(error, TransientIOError):
            raise
        refused.append((name, parsed.key if parsed else None, error.message))
        return None


def _look_at(run: Path, name: str, parsed: FrameFileName) -> FrameFile | None:
    """Take the identity of a frame file; None where it vanished meanwhile."""
    path = run / name
    try:
        status = os.stat(path, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            if not path.resolve().is_relative_to(run.parent):
                raise CorruptDataError("is a link that leads out of the data root")
            status = os.stat(path)
    except FileNotFoundError:
        if os.path.islink(path):
            raise CorruptDataError("is a link that leads nowhere") from None
        return None
    except (PermissionError, RuntimeError) as error:
        raise CorruptDataError(f"cannot be looked at: {error}") from None
    except OSError as error:
        raise from_os_error(error, "cannot be looked at") from None
    if not stat.S_ISREG(status.st_mode):
        raise CorruptDataError("is not a regular file")
    return FrameFile(path, parsed, identity_of(status))


def describe_refused(listing: RunListing) -> list[str]:
    """Say in one line each which files of a run are not read, and why."""
    return [f"{one_line(name)}: {reason}" for name, _, reason in listing.refused]
