"""Reads frame files: their layout, and whether they still are what was listed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

from panoseti_zarr.core.pff.framing import find_layout
from panoseti_zarr.errors import (
    CorruptDataError,
    DuplicateSeqnoError,
    InputError,
    NotPffError,
    SourceChangedError,
    from_os_error,
)
from panoseti_zarr.io.pff.listing import FrameFile, RunListing, list_run
from panoseti_zarr.model import PRODUCTS, SourceFile, StreamKey


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
        A file is gone, or cannot be read at present.
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
            raise DuplicateSeqnoError(
                f"two files have seqno {file.name.seqno}: {file.path.name}, {after.path.name}"
            )


def measure_file(file: FrameFile) -> SourceFile | CorruptDataError:
    """Measure a file; the error where it has a frame's size and not one readable header."""
    product = PRODUCTS[file.name.key.product]
    size_bytes = file.identity.size_bytes
    with open_source(file.path) as fd:
        layout = find_layout(partial(pread, fd), size_bytes, product)
    if layout is None and size_bytes >= product.today_frame_bytes:
        return NotPffError(
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
        It cannot be opened or read at present, permission included.
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


def files_now(listing: RunListing, key: StreamKey) -> tuple[FrameFile, ...]:
    """Return the files that a listed stream has now; errors as `check_unchanged`."""
    try:
        return list_run(listing.path, listing.beside, only=key).streams.get(key, ())
    except InputError as error:
        raise SourceChangedError(error.message, path=listing.name) from None


def check_unchanged(listing: RunListing, key: StreamKey) -> None:
    """Check that a stream's files are still those of the listing, every one of them.

    Raises
    ------
    SourceChangedError
        One is gone, new, or differs in inode, size, mtime or ctime; or the run is gone.
    TransientIOError
        The run cannot be read at present.
    """
    before, now = listing.streams.get(key, ()), files_now(listing, key)
    if before != now:
        changed = min(set(before) ^ set(now), key=lambda file: file.name.seqno)
        raise SourceChangedError("file changed while the run was read", path=changed.path.name)
