"""Read run directories: which frame files there are, how they are laid out, and their bytes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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

    @property
    def keys(self) -> tuple[StreamKey, ...]:
        """The streams of the run, those included whose only files are refused."""
        refused = {key for _, key, _ in self.refused if key is not None}
        return tuple(sorted(refused | self.streams.keys()))

    def gaps(self, key: StreamKey) -> tuple[int, ...]:
        """Return the missing seqnos of a stream."""
        files = (*self.streams.get(key, ()), *self.empty_files)
        return missing_seqnos({file.name.seqno for file in files if file.name.key == key})


def identity_of(status: os.stat_result) -> Identity:
    """Take what identifies a file out of its status."""
    return Identity(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def list_run(path: Path) -> RunListing:
    """List the frame files of a run directory; any directory will do.

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
    for name in names:
        parsed = None
        try:
            parsed = parse_frame_file_name(name)
            file = _look_at(resolved, name, parsed) if parsed else None
        except CorruptDataError as error:
            refused.append((name, parsed.key if parsed else None, error.message))
            continue
        if file is None:
            continue
        if file.identity.size_bytes == 0:
            empty.append(file)
        else:
            streams.setdefault(file.name.key, []).append(file)
    ordered = {
        key: tuple(sorted(files, key=lambda file: (file.name.seqno, file.path.name)))
        for key, files in sorted(streams.items())
    }
    return RunListing(resolved, resolved.name, ordered, tuple(empty), tuple(refused))


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
    for name, refused_key, reason in listing.refused:
        if refused_key == key:
            raise CorruptDataError(reason, path=name)
    files = listing.streams.get(key, ())
    for file, after in pairwise(files):
        if file.name.seqno == after.name.seqno:
            raise CorruptDataError(
                f"two files have seqno {file.name.seqno}: {file.path.name}, {after.path.name}"
            )
    sources: list[SourceFile] = []
    for file in files:
        source = _measure(file)
        if isinstance(source, CorruptDataError):
            return MeasuredStream(tuple(sources), source)
        sources.append(source)
    return MeasuredStream(tuple(sources), None)


def _measure(file: FrameFile) -> SourceFile | CorruptDataError:
    """Measure a file; the error where it has a frame's size and not one readable header."""
    product = PRODUCTS[file.name.key.product]
    size_bytes = file.identity.size_bytes
    with open_source(file.path) as fd:

        def read(byte_offset: int, n_bytes: int) -> bytes:
            return os.pread(fd, n_bytes, byte_offset)

        layout = find_layout(read, size_bytes, product)
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
        now = list_run(listing.path).streams.get(key, ())
    except InputError as error:
        raise SourceChangedError(error.message, path=listing.name) from None
    if before != now:
        changed = min(set(before) ^ set(now), key=lambda file: file.name.seqno)
        raise SourceChangedError("file changed while the run was read", path=changed.path.name)


def describe_refused(listing: RunListing) -> list[str]:
    """Say in one line each which files of a run are not read, and why."""
    return [f"{one_line(name)}: {reason}" for name, _, reason in listing.refused]
