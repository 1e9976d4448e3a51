"""The L0 jobs: a stream to its L0 store, whole or as far as it is recorded; each in a thread."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from panoseti_zarr.daemon.jobs.context import (
    JobContext,
    Tell,
    check_device,
    classify_error,
    parse_stream,
)
from panoseti_zarr.daemon.state.events import AppendEnded, Committed, Event, IngestEnded, Outcome
from panoseti_zarr.daemon.state.instructions import StartAppend, StartIngest
from panoseti_zarr.daemon.watch.live_runs import LiveRuns
from panoseti_zarr.daemon.watch.paths import is_inside
from panoseti_zarr.daemon.watch.run_scan import stream_digest
from panoseti_zarr.errors import CorruptDataError, TransientIOError
from panoseti_zarr.io.pff.listing import RunListing, list_run
from panoseti_zarr.model import TIME_MISSING_NS, StreamKey
from panoseti_zarr.pipeline.appender import Commit, Order
from panoseti_zarr.pipeline.follow import follow_stream
from panoseti_zarr.pipeline.ingest import ingest_stream


class _StreamGoneError(Exception):
    """There is no stream any more to make a store of."""


def run_ingest(job: StartIngest, workshop: JobContext) -> None:
    """Append a stream to its L0 store and close it; tell how it ended."""
    started_s = time.monotonic()

    def ingest(listing: RunListing, key: StreamKey) -> IngestEnded:
        if stream_digest(listing, key) != job.digest:
            return IngestEnded(time.monotonic(), job.run, job.stream, Outcome.CHANGED)
        result = ingest_stream(
            listing,
            key,
            workshop.l0_dir,
            workshop.config.pff_to_zarr,
            workshop.executor,
            on_commit=partial(_tell_commit, workshop.tell, job),
            stop=workshop.stop,
            rebuild=job.rebuild,
            growing=workshop.recordings.of(job.run),
        )
        return IngestEnded(
            time.monotonic(),
            job.run,
            job.stream,
            Outcome.DONE,
            is_changed=result.changed,
            n_frames=result.n_frames,
            n_new_frames=result.n_new_frames,
            n_bytes=result.n_bytes,
            seconds=time.monotonic() - started_s,
            cut_short=result.cut_short,
            gaps=result.gaps,
        )

    _work_on_stream(job, workshop, ingest, IngestEnded)


def run_append(job: StartAppend, workshop: JobContext) -> None:
    """Append what an open stream has; tell how it ended."""

    def follow(listing: RunListing, key: StreamKey) -> AppendEnded:
        order = Order(
            listing,
            key,
            workshop.config.pff_to_zarr,
            workshop.executor,
            partial(_tell_commit, workshop.tell, job),
            workshop.stop,
        )
        growing = workshop.recordings.of(job.run)
        result = follow_stream(order, workshop.l0_dir, growing, with_tail=job.with_tail)
        return AppendEnded(
            time.monotonic(),
            job.run,
            job.stream,
            Outcome.DONE,
            n_rest=result.n_rest,
            next_chunk_bytes=result.next_chunk_bytes,
        )

    _work_on_stream(job, workshop, follow, AppendEnded)


def _work_on_stream(
    job: StartIngest | StartAppend,
    workshop: JobContext,
    work: Callable[[RunListing, StreamKey], Event],
    ended: type[IngestEnded] | type[AppendEnded],
) -> None:
    """Do an L0 job's work on the files of its stream as they are, and tell how it ended.

    Parameters
    ----------
    job : StartIngest or StartAppend
    workshop : JobContext
    work : callable
        Takes the listing and the stream, and returns the event that tells its end.
    ended : type
        Of that event, for where the work did not come to its end.
    """
    key = parse_stream(job.stream)
    try:
        check_device(workshop.l0_dir, job.l0_device, "l0_dir")
        event = work(_list_inside(Path(job.root), job.run, key, workshop.recordings), key)
    except _StreamGoneError:
        event = ended(time.monotonic(), job.run, job.stream, Outcome.MISSING)
    except BaseException as error:  # noqa: BLE001 - the task boundary: it must be reported
        outcome, reason = classify_error(error, workshop.stop)
        if outcome is Outcome.CORRUPT:
            outcome, reason = _reclassify_if_unmounted(job, reason)
        event = ended(time.monotonic(), job.run, job.stream, outcome, reason)
    workshop.tell(event)


def _tell_commit(tell: Tell, job: StartIngest | StartAppend, commit: Commit) -> None:
    """Tell of a commit, and how long after its last frame it came."""
    is_timed = commit.last_time_ns != TIME_MISSING_NS
    tell(
        Committed(
            time.monotonic(),
            job.run,
            job.stream,
            commit.n_frames,
            commit.n_new_frames,
            commit.n_bytes,
            commit.seconds,
            (time.time_ns() - commit.last_time_ns) / 1e9 if is_timed else None,
        )
    )


def _list_inside(root: Path, run: str, key: StreamKey, recordings: LiveRuns) -> RunListing:
    """List a run, wherever its frame files lie in its data root.

    Raises
    ------
    _StreamGoneError
        The run, or the stream in it, is gone.
    """
    path = root / run
    if not path.is_dir():
        raise _StreamGoneError
    if not is_inside(path, root):
        raise CorruptDataError("leads out of the data root", path=str(path))
    listing = list_run(path, recordings.directories(root, run), only=key)
    if key not in listing.keys:
        raise _StreamGoneError
    return listing


def _reclassify_if_unmounted(job: StartIngest | StartAppend, reason: str) -> tuple[Outcome, str]:
    """Do not blame the data for a root that was unmounted, or a run that was removed."""
    try:
        check_device(Path(job.root), job.root_device, "the data root")
        is_there = _has_files(Path(job.root) / job.run)
    except (OSError, TransientIOError) as error:
        return Outcome.FAILED, f"the data root is not as it was: {error}"
    return (Outcome.CORRUPT, reason) if is_there else (Outcome.MISSING, reason)


def _has_files(path: Path) -> bool:
    try:
        return bool(os.listdir(path))
    except FileNotFoundError:
        return False
