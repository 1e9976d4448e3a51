"""Appends everything that a stream has to its L0 store, and closes it.

The way of a stream: measure its files, hold them against what is committed, plan chunks, let the
executor stage them, commit them in order, close. Whatever stops it, the next call goes on from
the last commit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event

from panoseti_zarr.cluster.executor import Executor
from panoseti_zarr.config import PffToZarrConfig
from panoseti_zarr.core.pff.names import store_name
from panoseti_zarr.io.l0.writer import open_writer
from panoseti_zarr.io.pff.listing import RunListing
from panoseti_zarr.io.pff.live import LiveRun
from panoseti_zarr.io.pff.run_config import max_file_bytes
from panoseti_zarr.io.pff.source import check_unchanged, measure_stream
from panoseti_zarr.model import SourceFile, StreamKey
from panoseti_zarr.pipeline.appender import AppendRequest, Commit, StreamAppender


@dataclass(frozen=True)
class IngestResult:
    """The outcome of a stream.

    Attributes
    ----------
    store_path : Path
    n_frames : int
        In the store.
    n_new_frames, n_bytes : int
        Appended by this call; ``n_bytes`` of PFF.
    seconds : float
    changed : bool
        False when there was nothing to do.
    cut_short : tuple of str
        One line for each file whose end is missing, as far as can be determined.
    gaps : tuple of int
        Missing seqnos.
    """

    store_path: Path
    n_frames: int
    n_new_frames: int
    n_bytes: int
    seconds: float
    changed: bool
    cut_short: tuple[str, ...]
    gaps: tuple[int, ...]


def ingest_stream(
    listing: RunListing,
    key: StreamKey,
    l0_dir: Path,
    settings: PffToZarrConfig,
    executor: Executor,
    *,
    on_commit: Callable[[Commit], None] | None = None,
    stop: Event | None = None,
    rebuild: bool = False,
    growing: LiveRun | None = None,
) -> IngestResult:
    """Append everything that a stream has to its L0 store, and close it.

    Parameters
    ----------
    listing : RunListing
        The run as it stands.
    key : StreamKey
        The stream.
    l0_dir : Path
        Where the store is, or will be.
    settings : PffToZarrConfig
        For a new store; one that exists keeps its own.
    executor : Executor
        Runs the tasks.
    on_commit : callable, optional
        Called after each commit, in this thread.
    stop : threading.Event, optional
        When set, the work ends at the next moment that loses nothing.
    rebuild : bool
        Make the store again beside the old one, and swap them.
    growing : LiveRun, optional
        What this process saw of the run while it was recorded: of files that only grew since they
        were committed from, what is committed is not read again.

    Raises
    ------
    CorruptDataError
        The stream cannot go on as it is: quarantine it. Frames of files before the one that is
        wrong are committed, and the store stays open.
    TransientIOError
        A transient failure of disk or cluster: call again later.
    StopRequestedError
        ``stop`` was set.
    """
    started = time.monotonic()
    measured = measure_stream(listing, key)
    name = store_name(listing.name, key)
    order = AppendRequest(listing, key, settings, executor, on_commit or _ignore, stop or Event())
    with open_writer(l0_dir, name, beside=rebuild) as writer:
        check = partial(check_unchanged, listing, key)
        grown = (
            growing.grown(listing, key, writer.state.source_files, is_final=True)
            if growing and writer.state
            else ()
        )
        append = StreamAppender(order, writer, measured.sources, check, grown)
        changed = append.run(close=measured.problem is None)
        if measured.problem is not None:
            raise measured.problem
        if rebuild:
            writer.swap_into_place()
    return IngestResult(
        store_path=l0_dir / name,
        n_frames=writer.state.n_frames if writer.state else 0,
        n_new_frames=append.n_new_frames,
        n_bytes=append.n_bytes,
        seconds=time.monotonic() - started,
        changed=changed,
        cut_short=cut_short(measured.sources, max_file_bytes(append.run_config)),
        gaps=listing.gaps(key),
    )


def cut_short(sources: Sequence[SourceFile], file_bytes: int) -> tuple[str, ...]:
    """Say which files end too early.

    Parameters
    ----------
    sources : sequence of SourceFile
        By seqno.
    file_bytes : int
        Size at which the DAQ opens the next file; 0 if it does not.
    """
    lines = []
    for place, source in enumerate(sources):
        size_bytes = source.identity.size_bytes
        if source.trailing_bytes:
            lines.append(
                f"{source.name}: its last frame is cut, {source.trailing_bytes} bytes of it"
            )
        elif place + 1 < len(sources) and size_bytes < file_bytes:
            lines.append(
                f"{source.name}: {size_bytes} bytes, under the {file_bytes} of max_file_size_mb, "
                "though a file follows it"
            )
    return tuple(lines)


def _ignore(_: Commit) -> None:
    """Ignore a commit."""
