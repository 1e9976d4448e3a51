"""The plan of an append: which frames may follow, and in which chunks. Pure functions.

A stream's frames are those of its files, in the order of their seqnos. A store takes them in
whole chunks; the last, partial one is written when the stream closes and replaced when the
stream opens again. `reconcile` decides whether the files still are what was committed;
`plan_chunks` lists the chunks to write.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from panoseti_zarr.errors import LateFileError, SourceChangedError
from panoseti_zarr.model import SourceFile


@dataclass(frozen=True)
class CommittedSource:
    """A source file as the store's ``source_files`` attribute records it."""

    name: str
    seqno: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    n_frames: int
    first_frame: int
    trailing_bytes: int


@dataclass(frozen=True)
class Segment:
    """A run of frames of one file: ``[first_frame, first_frame + n_frames)`` of that file."""

    source: SourceFile
    first_frame: int
    n_frames: int


@dataclass(frozen=True)
class ChunkPlan:
    """One chunk along time.

    Attributes
    ----------
    index : int
        Of the chunk in the store.
    start, stop : int
        Frames of the store, half open; ``start`` is a chunk boundary.
    n_compare : int
        The first frames of the chunk that are committed: what is written must equal them.
    segments : tuple of Segment
        Where the frames come from, in order.
    """

    index: int
    start: int
    stop: int
    n_compare: int
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class Reconciled:
    """What `reconcile` found.

    Attributes
    ----------
    n_available : int
        Frames that the files hold in all.
    removed : str
        Name of the first committed source that is gone, where nothing new has come; else empty.
    reread : tuple of (int, int)
        Ranges of committed frames whose file differs in name, size or time: they must be read
        again and compared before anything is appended.
    """

    n_available: int
    removed: str
    reread: tuple[tuple[int, int], ...]


def first_frames(sources: Sequence[SourceFile]) -> tuple[int, ...]:
    """Return the store's index of each file's first frame."""
    positions, position = [], 0
    for source in sources:
        positions.append(position)
        position += source.n_frames
    return tuple(positions)


def reconcile(
    committed: Sequence[CommittedSource],
    n_committed: int,
    sources: Sequence[SourceFile],
    grown: Collection[int] = (),
) -> Reconciled:
    """Hold the files that are there against those whose frames are committed.

    Parameters
    ----------
    committed : sequence of CommittedSource
        The store's ``source_files``, by seqno.
    n_committed : int
        The store's ``n_frames``.
    sources : sequence of SourceFile
        The files that are there, by seqno, each seqno once.
    grown : collection of int
        Seqnos of files that this process saw grow since the commit, the same inode all the time:
        they are not read again.

    Raises
    ------
    SourceChangedError
        When a frame could not keep its place: a committed file is gone though new ones came, it
        shrank, it grew though later frames are committed, or a file arrived below them.
    """
    found = {source.seqno: source for source in sources}
    n_available = sum(source.n_frames for source in sources)
    # A file without a whole frame holds nothing that could be misplaced or missed.
    last_seqno = max((entry.seqno for entry in committed if entry.n_frames), default=-1)
    gone = [entry for entry in committed if entry.n_frames and entry.seqno not in found]
    if gone:
        if all(source.seqno <= last_seqno for source in sources):
            return Reconciled(n_committed, removed=gone[0].name, reread=())
        raise source_gone(gone[0].name)
    known = {entry.seqno for entry in committed}
    for source in sources:
        if source.seqno < last_seqno and source.seqno not in known:
            raise LateFileError(f"{source.name} arrived after seqno {last_seqno} was committed")
    reread = []
    for entry in committed:
        if entry.seqno not in found:
            continue
        source = found[entry.seqno]
        stop = min(entry.first_frame + entry.n_frames, n_committed)
        _check_length(entry, source, is_last=entry.seqno >= last_seqno)
        is_other = _differs(entry, source) and entry.seqno not in grown
        if is_other and stop > entry.first_frame:
            reread.append((entry.first_frame, stop))
    return Reconciled(n_available, removed="", reread=tuple(reread))


def source_gone(name: str) -> SourceChangedError:
    """Return the error that a committed source is gone, and the stream cannot go on without it."""
    return SourceChangedError(f"{name}, whose frames are committed, is gone")


def _check_length(entry: CommittedSource, source: SourceFile, *, is_last: bool) -> None:
    if source.identity.size_bytes < entry.size_bytes:
        raise SourceChangedError(
            f"{source.name} shrank from {entry.size_bytes} to {source.identity.size_bytes} bytes"
            " after its frames were committed"
        )
    if source.n_frames < entry.n_frames or (source.n_frames > entry.n_frames and not is_last):
        raise SourceChangedError(
            f"{source.name} had {entry.n_frames} frames when it was committed, now it has "
            f"{source.n_frames}"
        )


def _differs(entry: CommittedSource, source: SourceFile) -> bool:
    identity = source.identity
    return (entry.name, entry.size_bytes, entry.mtime_ns, entry.ctime_ns) != (
        source.name,
        identity.size_bytes,
        identity.mtime_ns,
        identity.ctime_ns,
    )


def plan_chunks(
    sources: Sequence[SourceFile], n_committed: int, time_chunk: int, n_stop: int
) -> tuple[ChunkPlan, ...]:
    """List the chunks to write, from the last whole chunk boundary at or below the commit.

    Parameters
    ----------
    sources : sequence of SourceFile
        The whole stream, by seqno.
    n_committed : int
        Frames that the store has; must not exceed those of the sources.
    time_chunk : int
        Frames per chunk of this store.
    n_stop : int
        Frames that the store is to have then, not more than the sources have. Where it is no
        boundary the last, partial chunk is written too, even where none of its frames is new:
        after a crash it may hold more frames than were committed.

    Returns
    -------
    tuple of ChunkPlan
        In the order in which they must be committed.
    """
    return tuple(
        _chunk(sources, index, time_chunk, n_stop, n_committed)
        for index in range(n_committed // time_chunk, -(-n_stop // time_chunk))
    )


def plan_reread(
    sources: Sequence[SourceFile], ranges: Sequence[tuple[int, int]], time_chunk: int
) -> tuple[ChunkPlan, ...]:
    """List the committed ranges, cut at chunk boundaries, as chunks that are only compared.

    Each plan's ``start`` may be inside its chunk; all its frames are to be compared.
    """
    plans = []
    for range_start, range_stop in ranges:
        for index in range(range_start // time_chunk, -(-range_stop // time_chunk)):
            start = max(range_start, index * time_chunk)
            stop = min(range_stop, (index + 1) * time_chunk)
            segments = _segments(sources, start, stop)
            plans.append(ChunkPlan(index, start, stop, stop - start, segments))
    return tuple(plans)


def _chunk(
    sources: Sequence[SourceFile], index: int, time_chunk: int, n_stop: int, n_committed: int
) -> ChunkPlan:
    start = index * time_chunk
    stop = min(start + time_chunk, n_stop)
    n_compare = max(0, n_committed - start)
    return ChunkPlan(index, start, stop, n_compare, _segments(sources, start, stop))


def _segments(sources: Sequence[SourceFile], start: int, stop: int) -> tuple[Segment, ...]:
    """Cut the store's frames [start, stop) into runs of frames of single files."""
    segments = []
    for first, source in zip(first_frames(sources), sources, strict=True):
        begin, end = max(start, first), min(stop, first + source.n_frames)
        if begin < end:
            segments.append(Segment(source, begin - first, end - begin))
    return tuple(segments)
