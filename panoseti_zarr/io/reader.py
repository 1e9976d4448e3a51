"""Read run directories: which frame files there are, how they are laid out, and their bytes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

from panoseti_zarr.core.names import (
    FrameFileName,
    check_run_name,
    missing_seqnos,
    parse_frame_file_name,
)
from panoseti_zarr.core.pff import find_layout
from panoseti_zarr.errors import (
    CorruptDataError,
    InputError,
    SourceChangedError,
    from_os_error,
    one_line,
)
from panoseti_zarr.model import PRODUCTS, Identity, SourceFile, StreamKey


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

    def files(self, key: StreamKey) -> tuple[FrameFile, ...]:
        """Return all files of a stream, empty ones too, by seqno."""
        empty = (file for file in self.empty_files if file.name.key == key)
        return tuple(sorted((*self.streams.get(key, ()), *empty), key=_order))


def identity_of(status: os.stat_result) -> Identity:
    """Take what identifies a file out of its status."""
    return Identity(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def list_run(path: Path, beside: tuple[Path, ...] = ()) -> RunListing:
    """List the frame files of a run directory; any directory will do.

    Parameters
    ----------
    path : Path
    beside : tuple of Path
        Directories whose frame files are the run's too. Of two files of one name, a file and its
        copy, the longer one counts, the run's own where they are alike.

    Raises
    ------
    InputError
        The directory is not there, is no directory, or may not be read.
    TransientIOError
        It cannot be read for now.
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
    streams: dict[StreamKey, list[FrameFile]] = {}
    empty: list[FrameFile] = []
    refused: list[tuple[str, StreamKey | None, str]] = []
    found = {name: _frame_file(resolved, name, refused) for name in names}
    for directory in beside:
        for name in _names_in(directory):
            file, other = found.get(name), _frame_file(directory, name, refused)
            if other and (not file or other.identity.size_bytes > file.identity.size_bytes):
                found[name] = other
    for file in found.values():
        if file is None:
            continue
        if file.identity.size_bytes == 0:
            empty.append(file)
        else:
            streams.setdefault(file.name.key, []).append(file)
    ordered = {key: tuple(sorted(files, key=_order)) for key, files in sorted(streams.items())}
    return RunListing(resolved, resolved.name, ordered, tuple(empty), tuple(refused), beside)


def _order(file: FrameFile) -> tuple[int, str]:
    return file.name.seqno, file.path.name


def _names_in(directory: Path) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise from_os_error(error, "cannot read the run") from None


def _frame_file(
    directory: Path, name: str, refused: list[tuple[str, StreamKey | None, str]]
) -> FrameFile | None:
    """Take the identity of a frame file; None where it is none, or is refused."""
    parsed = None
    try:
        parsed = parse_frame_file_name(name)
        return _look_at(directory, name, parsed) if parsed else None
    except CorruptDataError as error:
        refused.append((name, parsed.key if parsed else None, error.message))
        return None


def _look_at(run: Path, name: str, parsed: FrameFileName) -> FrameFile | None:
    """Take the identity of a frame file; None where it vanished meanwhile."""
    path = run / name
    try:
        if path.is_symlink() and not path.resolve().is_relative_to(run.parent):
            raise CorruptDataError("is a link that leads out of the data root")
        status = path.stat()
    except FileNotFoundError:
        if path.is_symlink():
            raise CorruptDataError("is a link that leads nowhere") from None
        return None
    except (OSError, RuntimeError) as error:
        raise CorruptDataError(f"cannot be looked at: {error}") from None
    if not stat.S_ISREG(status.st_mode):
        raise CorruptDataError("is not a regular file")
    return FrameFile(path, parsed, identity_of(status))


@dataclass(frozen=True)
class MeasuredStream:
    """The measured files of a stream, up to the first that cannot be read, and why it cannot."""

    sources: tuple[SourceFile, ...]
    problem: CorruptDataError | None


def measure_stream(listing: RunListing, key: StreamKey) -> MeasuredStream:
    """Measure the frame files of one stream.

    Raises
    ------
    CorruptDataError
        Files that cannot be put in order: two with one seqno, or one that was refused.
    SourceChangedError, TransientIOError
        A file is gone, or cannot be read for now.
    """
    check_order(listing, key)
    sources: list[SourceFile] = []
    for file in listing.streams.get(key, ()):
        source = measure_file(file)
        if isinstance(source, CorruptDataError):
            return MeasuredStream(tuple(sources), source)
        sources.append(source)
    return MeasuredStream(tuple(sources), None)


def check_order(listing: RunListing, key: StreamKey) -> None:
    """Check that the files of a stream can be put in order.

    Raises
    ------
    CorruptDataError
        Two have one seqno, or one was refused.
    """
    for name, refused_key, reason in listing.refused:
        if refused_key == key:
            raise CorruptDataError(reason, path=name)
    for file, after in pairwise(listing.streams.get(key, ())):
        if file.name.seqno == after.name.seqno:
            raise CorruptDataError(
                f"two files have seqno {file.name.seqno}: {file.path.name}, {after.path.name}"
            )


def measure_file(file: FrameFile) -> SourceFile | CorruptDataError:
    """Measure a file; the error where it has a frame's size and not one readable header."""
    product = PRODUCTS[file.name.key.product]
    size_bytes = file.identity.size_bytes
    with open_source(file.path) as fd:
        layout = find_layout(partial(pread, fd), size_bytes, product)
    if layout is None and size_bytes >= product.today_frame_bytes:
        return CorruptDataError(
            f"no readable {product.name} header in {size_bytes} bytes", path=file.path.name
        )
    n_frames = size_bytes // layout.frame_bytes if layout else 0
    return SourceFile(
        path=str(file.path),
        name=file.path.name,
        seqno=file.name.seqno,
        identity=file.identity,
        layout=layout if n_frames else None,
        n_frames=n_frames,
        trailing_bytes=size_bytes - (n_frames * layout.frame_bytes if layout else 0),
    )


def pread(fd: int, byte_offset: int, n_bytes: int) -> bytes:
    """Read bytes of a source file, fewer at its end."""
    return os.pread(fd, n_bytes, byte_offset)


@contextmanager
def open_source(path: Path | str) -> Iterator[int]:
    """Open a source file for reading and give its descriptor.

    Raises
    ------
    SourceChangedError
        It is gone.
    TransientIOError
        It cannot be opened or read for now, permission included.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            yield fd
        finally:
            os.close(fd)
    except FileNotFoundError:
        raise SourceChangedError("file is gone", path=os.path.basename(path)) from None
    except OSError as error:
        error.filename = os.path.basename(path)
        raise from_os_error(error, "cannot read") from error


def check_unchanged(listing: RunListing, key: StreamKey) -> None:
    """Check that a stream's files are still those of the listing, every one of them.

    Raises
    ------
    SourceChangedError
        One is gone, new, or differs in inode, size, mtime or ctime; or the run is gone.
    TransientIOError
        The run cannot be read for now.
    """
    before = listing.streams.get(key, ())
    try:
        now = list_run(listing.path, listing.beside).streams.get(key, ())
    except InputError as error:
        raise SourceChangedError(error.message, path=listing.name) from None
    if before != now:
        changed = min(set(before) ^ set(now), key=lambda file: file.name.seqno)
        raise SourceChangedError("file changed while the run was read", path=changed.path.name)


def describe_refused(listing: RunListing) -> list[str]:
    """Say in one line each which files of a run are not read, and why."""
    return [f"{one_line(name)}: {reason}" for name, _, reason in listing.refused]
