"""L0 jobs: append a stream that is recorded, or append and close one. Each runs in a thread."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from panoseti_zarr.daemon.jobs.context import (
    Failure,
    JobContext,
    Post,
    check_device,
    classify_error,
    run_path,
)
from panoseti_zarr.daemon.state.events import AppendEnded, Committed, Event, IngestEnded, Outcome
from panoseti_zarr.daemon.state.instructions import JobTarget, StartAppend, StartIngest
from panoseti_zarr.daemon.watch.live_runs import LiveRuns
from panoseti_zarr.daemon.watch.paths import is_inside
from panoseti_zarr.daemon.watch.run_scan import stream_digest
from panoseti_zarr.errors import CorruptDataError, TransientIOError
from panoseti_zarr.io.pff.listing import RunListing, list_run
from panoseti_zarr.model import TIME_MISSING_NS, StreamKey
from panoseti_zarr.pipeline.appender import AppendRequest, Commit
from panoseti_zarr.pipeline.follow import follow_stream
from panoseti_zarr.pipeline.ingest import ingest_stream


class _StreamGoneError(Exception):
    """The frame files of the stream are gone."""


def run_ingest(job: StartIngest, context: JobContext) -> None:
    """Append a stream to its L0 store and close it, and post how the job ended."""
    started_s = time.monotonic()
    target = job.target

    def ingest(listing: RunListing, key: StreamKey) -> IngestEnded:
        if stream_digest(listing, key) != job.digest:
            return IngestEnded(time.monotonic(), target.run, target.stream, Outcome.CHANGED)
        result = ingest_stream(
            listing,
            key,
            context.l0_dir,
            context.config.pff_to_zarr,
            context.executor,
            on_commit=partial(_post_commit, context.post, target),
            stop=context.stop,
            rebuild=job.rebuild,
            growing=context.live_runs.get(target.run),
        )
        return IngestEnded(
            time.monotonic(),
            target.run,
            target.stream,
            Outcome.DONE,
            is_changed=result.changed,
            n_frames=result.n_frames,
            n_new_frames=result.n_new_frames,
            n_bytes=result.n_bytes,
            seconds=time.monotonic() - started_s,
            cut_short=result.cut_short,
            gaps=result.gaps,
        )

    _work_on_stream(target, context, ingest, IngestEnded)


def run_append(job: StartAppend, context: JobContext) -> None:
    """Append what an open stream has so far, and post how the job ended."""
    target = job.target

    def follow(listing: RunListing, key: StreamKey) -> AppendEnded:
        order = AppendRequest(
            listing,
            key,
            context.config.pff_to_zarr,
            context.executor,
            partial(_post_commit, context.post, target),
            context.stop,
        )
        growing = context.live_runs.get(target.run)
        result = follow_stream(order, context.l0_dir, growing, with_tail=job.with_tail)
        return AppendEnded(
            time.monotonic(),
            target.run,
            target.stream,
            Outcome.DONE,
            n_pending_frames=result.n_pending_frames,
            next_chunk_bytes=result.next_chunk_bytes,
        )

    _work_on_stream(target, context, follow, AppendEnded)


def _work_on_stream(
    target: JobTarget,
    context: JobContext,
    work: Callable[[RunListing, StreamKey], Event],
    ended: type[IngestEnded] | type[AppendEnded],
) -> None:
    """Do an L0 job's work on the current files of its stream, and post how the job ended.

    Parameters
    ----------
    target : JobTarget
    context : JobContext
    work : callable
        Takes the listing and the stream, and returns the event that reports its end.
    ended : type
        The type of that event, for jobs that fail.
    """
    try:
        check_device(context.l0_dir, target.output_device, "l0_dir")
        event = work(_list_inside(target, context.live_runs), target.key)
    except _StreamGoneError:
        event = ended(time.monotonic(), target.run, target.stream, Outcome.MISSING)
    except BaseException as error:  # noqa: BLE001 - a job's boundary: every end is reported
        failure = classify_error(error, context.stop)
        if failure.blames_data:
            failure = _reclassify_if_unmounted(target, failure)
        event = ended(time.monotonic(), target.run, target.stream, *failure)
    context.post(event)


def _post_commit(post: Post, target: JobTarget, commit: Commit) -> None:
    """Post a commit, with the time since its last frame was recorded."""
    is_timed = commit.last_time_ns != TIME_MISSING_NS
    post(
        Committed(
            time.monotonic(),
            target.run,
            target.stream,
            commit.n_frames,
            commit.n_new_frames,
            commit.n_bytes,
            commit.seconds,
            (time.time_ns() - commit.last_time_ns) / 1e9 if is_timed else None,
        )
    )


def _list_inside(target: JobTarget, live_runs: LiveRuns) -> RunListing:
    """List a stream's frame files, wherever they are in its data root.

    Raises
    ------
    _StreamGoneError
        The run, or the stream in it, is gone.
    """
    root, path = Path(target.root), run_path(target)
    if not path.is_dir():
        raise _StreamGoneError
    if not is_inside(path, root):
        raise CorruptDataError("leads out of the data root", path=str(path))
    listing = list_run(path, live_runs.directories(root, target.run), only=target.key)
    if target.key not in listing.keys:
        raise _StreamGoneError
    return listing


def _reclassify_if_unmounted(target: JobTarget, failure: Failure) -> Failure:
    """Do not blame the data where a root was unmounted, or a run was removed."""
    try:
        check_device(Path(target.root), target.root_device, "the data root")
        is_there = _has_files(run_path(target))
    except (OSError, TransientIOError) as error:
        return Failure(Outcome.FAILED, f"the data root is not as it was: {error}")
    return failure if is_there else failure._replace(outcome=Outcome.MISSING)


def _has_files(path: Path) -> bool:
    try:
        return bool(os.listdir(path))
    except FileNotFoundError:
        return False
