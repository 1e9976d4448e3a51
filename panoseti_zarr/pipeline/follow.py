"""Appends what a stream has so far to its L0 store while it is recorded.

One round of it: measure what can be read for certain, then append as an ingest does. Rounds come
one after another, some for whole chunks alone, some for the tail too, until the run is finished
and `panoseti_zarr.pipeline.ingest` closes the stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from panoseti_zarr.core.pff.growth import visible_stop
from panoseti_zarr.core.pff.names import store_name
from panoseti_zarr.io.l0.writer import open_writer
from panoseti_zarr.io.pff.listing import RunListing
from panoseti_zarr.io.pff.live import LiveRun, check_grown
from panoseti_zarr.model import SourceFile, StreamKey
from panoseti_zarr.pipeline.appender import AppendRequest, StreamAppender


@dataclass(frozen=True)
class FollowResult:
    """The outcome of one append to a stream.

    Attributes
    ----------
    n_frames : int
        In the store.
    n_pending_frames : int
        Frames that are certain, and not in the store yet.
    next_chunk_bytes : int or None
        Size of the stream's files at which the next whole chunk can be committed; None where it
        cannot be told yet.
    """

    n_frames: int
    n_pending_frames: int
    next_chunk_bytes: int | None


def follow_stream(
    order: AppendRequest, l0_dir: Path, growing: LiveRun, *, with_tail: bool
) -> FollowResult:
    """Append what a stream that is being recorded has so far.

    Parameters
    ----------
    order : AppendRequest
    l0_dir : Path
        Where the store is, or will be.
    growing : LiveRun
        What this process saw of the run.
    with_tail : bool
        Show the frames after the last whole chunk too.

    Raises
    ------
    CorruptDataError, TransientIOError, StopRequestedError
        As `panoseti_zarr.pipeline.ingest.ingest_stream`.
    """
    listing, key = order.listing, order.key
    with open_writer(l0_dir, store_name(listing.name, key)) as writer:
        committed = writer.state.source_files if writer.state else ()
        measured = growing.measure(listing, key, committed)
        sources = measured.sources
        check = partial(check_grown, listing, key, sources)
        grown = growing.grown(listing, key, committed, is_final=False)
        append = StreamAppender(order, writer, sources, check, grown)
        layout = append.layout
        inner_frames = layout.piece_frames if layout.is_sharded else 0
        append.run(
            close=False,
            stop_at=lambda n_committed, n_available: visible_stop(
                n_committed, n_available, layout.chunk_frames, inner_frames, with_tail=with_tail
            ),
        )
        if writer.state is not None and append.has_compared:
            growing.mark_verified(key, writer.state.source_files)
        if measured.problem is not None:
            raise measured.problem
        n_frames = writer.state.n_frames if writer.state else 0
    n_wanted = layout.chunk_frames - append.n_available % layout.chunk_frames
    n_pending_frames = max(0, append.n_available - n_frames)
    return FollowResult(n_frames, n_pending_frames, _size_with(n_wanted, listing, key, sources))


def _size_with(
    n_more: int, listing: RunListing, key: StreamKey, sources: Sequence[SourceFile]
) -> int | None:
    """Return the size at which a stream's files hold this many frames more, and a header behind."""
    if not sources or sources[-1].layout is None:
        return None
    last, layout = sources[-1], sources[-1].layout
    n_uncounted = last.identity.size_bytes - last.n_frames * layout.frame_bytes
    n_wanted = n_more * layout.frame_bytes + layout.header_bytes + 1
    return listing.size_bytes(key) - n_uncounted + n_wanted
