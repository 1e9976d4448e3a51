"""The frame files of a run that is being recorded, and what can be read of them.

A file that grows has no identity to rely on but its inode. That one process saw it grow, never
shorter and always the same inode, stands in for reading again what was committed of it; after a
restart it is read again once.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from panoseti_zarr.core.append_plan import CommittedSource
from panoseti_zarr.core.pff.framing import HEADER_END, find_layout, parse_header
from panoseti_zarr.core.pff.growth import Growth, count_certain_frames, count_readable_files
from panoseti_zarr.errors import CorruptDataError, SourceChangedError
from panoseti_zarr.io.pff.listing import FrameFile, RunListing
from panoseti_zarr.io.pff.source import (
    MeasuredStream,
    check_order,
    files_now,
    measure_file,
    open_source,
    pread,
)
from panoseti_zarr.model import PRODUCTS, FrameLayout, Identity, Product, SourceFile, StreamKey

_FIRST_HEADER_WITHIN = 16 << 20
"""Bytes at the start of a growing file in which its first readable header is looked for."""


@dataclass(frozen=True)
class _Seen:
    """A file's identity, and between which monotonic times it was seen to have it."""

    identity: Identity
    since_s: float
    until_s: float


@dataclass(frozen=True)
class _Compared:
    """A store's entry, and the file that has what was committed of it, as it was measured."""

    entry: CommittedSource
    source: SourceFile


class LiveRun:
    """What this process saw of a run's files. May be used by several threads.

    Parameters
    ----------
    settle_s : float
        Seconds after which a file that rests, and that another one follows, has its final size.
    """

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._lock = threading.Lock()
        self._seen: dict[str, _Seen] = {}
        self._measured: dict[StreamKey, dict[int, SourceFile]] = {}
        self._compared: dict[StreamKey, dict[int, _Compared]] = {}

    def observe(self, listing: RunListing, began_s: float, ended_s: float) -> tuple[Growth, ...]:
        """Take in a listing that was made between two monotonic times."""
        seen = {}
        with self._lock:
            for key in listing.keys:
                for file in listing.files(key):
                    name, identity = file.path.name, file.identity
                    before = self._seen.get(name)
                    if before is None or before.identity != identity:
                        seen[name] = _Seen(identity, ended_s, began_s)
                    else:
                        seen[name] = replace(before, until_s=began_s)
            for name, before in self._seen.items():
                if name not in seen or not seen[name].identity.may_have_grown_from(before.identity):
                    self._forget(name)
            self._seen = seen
        return tuple(self._growth(listing, key) for key in listing.keys)

    def measure(
        self, listing: RunListing, key: StreamKey, committed: Sequence[CommittedSource]
    ) -> MeasuredStream:
        """Measure the files of a stream that can be read now, of the last one its certain frames.

        Parameters
        ----------
        listing : RunListing
        key : StreamKey
        committed : sequence of CommittedSource
            Their frames are certain.

        Raises
        ------
        CorruptDataError
            Files that cannot be put in order.
        SourceChangedError, TransientIOError
            A file is gone, or cannot be read at present.
        """
        check_order(listing, key)
        n_known = {entry.seqno: entry.n_frames for entry in committed}
        files = listing.files(key)
        files = files[: self._n_readable(files)]
        sources: list[SourceFile] = []
        problem = None
        for place, file in enumerate(files):
            if file.identity.size_bytes == 0:
                continue
            if place == len(files) - 1:
                sources.append(_measure_growing(file, n_known.get(file.name.seqno, 0)))
                continue
            source = measure_file(file)
            if isinstance(source, CorruptDataError):
                problem = source
                break
            sources.append(source)
        with self._lock:
            self._measured[key] = {source.seqno: source for source in sources}
        return MeasuredStream(tuple(sources), problem)

    def mark_verified(self, key: StreamKey, committed: Sequence[CommittedSource]) -> None:
        """Note that a store has what was measured last, all that it says it has.

        Parameters
        ----------
        key : StreamKey
        committed : sequence of CommittedSource
            What the store says now.
        """
        with self._lock:
            measured = self._measured.get(key, {})
            self._compared[key] = {
                entry.seqno: _Compared(entry, measured[entry.seqno])
                for entry in committed
                if entry.seqno in measured
            }

    def grown(
        self,
        listing: RunListing,
        key: StreamKey,
        committed: Sequence[CommittedSource],
        *,
        is_final: bool,
    ) -> frozenset[int]:
        """Return the seqnos of files that only grew since they were found to be what was committed.

        Parameters
        ----------
        listing : RunListing
        key : StreamKey
        committed : sequence of CommittedSource
            What the store says. It must be what it said then: what came later was a finished file,
            and any change of one counts.
        is_final : bool
            The files are not written any more: one that has its old size and a new time, as it may
            have where space was reserved, did not grow for certain.
        """
        with self._lock:
            known = self._compared.get(key, {})
        now = {file.name.seqno: file.identity for file in listing.streams.get(key, ())}
        return frozenset(
            entry.seqno
            for entry in committed
            if entry.seqno in now
            and (before := known.get(entry.seqno)) is not None
            and before.entry == entry
            and before.source.is_still(now[entry.seqno])
            and (not is_final or now[entry.seqno].has_grown_from(before.source.identity))
        )

    def _forget(self, name: str) -> None:
        """Rely no more on a file that shrank, was replaced or is gone."""
        for key, sources in self._measured.items():
            self._measured[key] = {n: s for n, s in sources.items() if s.name != name}
        for key, known in self._compared.items():
            self._compared[key] = {n: c for n, c in known.items() if c.source.name != name}

    def _growth(self, listing: RunListing, key: StreamKey) -> Growth:
        files = listing.files(key)
        latest_ns = max((file.identity.ctime_ns for file in files), default=0)
        return Growth(str(key), listing.size_bytes(key), self._n_readable(files), latest_ns)

    def _n_readable(self, files: Sequence[FrameFile]) -> int:
        is_final = [self._rests(file) for file in files]
        return count_readable_files([file.name.seqno for file in files], is_final)

    def _rests(self, file: FrameFile) -> bool:
        with self._lock:
            seen = self._seen.get(file.path.name)
        return (
            seen is not None
            and seen.identity == file.identity
            and seen.until_s - seen.since_s >= self._settle_s
        )


def check_grown(listing: RunListing, key: StreamKey, sources: Sequence[SourceFile]) -> None:
    """Check that a stream's files still are what was measured, one of which may have grown.

    Raises
    ------
    SourceChangedError
        One is gone, shrank or changed, or a new one is not behind them; or the run is gone.
    TransientIOError
        The run cannot be read at present.
    """
    now = {file.name.seqno: file for file in files_now(listing, key)}
    for source in sources:
        file = now.pop(source.seqno, None)
        if file is None or not source.is_still(file.identity):
            raise SourceChangedError("file changed while the run was read", path=source.name)
    last_seqno = max((source.seqno for source in sources), default=-1)
    for file in now.values():
        if file.name.seqno < last_seqno:
            raise SourceChangedError("file came while later ones were read", path=file.path.name)


def _measure_growing(file: FrameFile, n_known: int) -> SourceFile:
    """Count the certain frames of a file that is being written."""
    product = PRODUCTS[file.name.key.product]
    size_bytes = file.identity.size_bytes
    with open_source(file.path) as fd:
        read = partial(pread, fd)
        layout = find_layout(read, min(size_bytes, _FIRST_HEADER_WITHIN), product)
        n_frames = 0
        if layout is not None:
            beyond_header = size_bytes - layout.header_bytes - 1
            n_frames = count_certain_frames(
                partial(_has_good_header, fd, layout, product),
                beyond_header // layout.frame_bytes + 1,
                n_known,
            )
    return SourceFile(
        path=str(file.path),
        name=file.path.name,
        seqno=file.name.seqno,
        identity=file.identity,
        layout=layout,
        n_frames=n_frames,
        trailing_bytes=size_bytes - (n_frames * layout.frame_bytes if layout else 0),
        may_grow=True,
    )


def _has_good_header(fd: int, layout: FrameLayout, product: Product, frame_index: int) -> bool:
    """Whether a frame of a file has a readable header, and pixels begin behind it."""
    header = pread(fd, frame_index * layout.frame_bytes, layout.header_bytes + 1)
    return header.endswith(HEADER_END) and parse_header(header[:-3], product) is not None
