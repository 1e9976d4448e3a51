"""The effect of a finished run's listing on each of its streams. Pure."""

from __future__ import annotations

from panoseti_zarr.daemon.state.events import ScannedStream, StoreComparison
from panoseti_zarr.daemon.state.instructions import Log
from panoseti_zarr.daemon.state.records import (
    L1_PENDING,
    RUNNING,
    Run,
    Stream,
    StreamStatus,
    VerifyStatus,
)

_REFUSED = "refused: "


def reconcile_streams(run: Run, seen_streams: tuple[ScannedStream, ...]) -> list[Stream]:
    """Bring a run's streams up to its listing.

    Returns
    -------
    list of Stream
        Those that are to be queued, in order.
    """
    queued = []
    for seen in seen_streams:
        stream = run.streams.get(seen.key)
        is_new = stream is None
        if stream is None:
            stream = run.streams[seen.key] = Stream(seen.key, StreamStatus.WAITING)
            stream.rebuild = run.rebuild
        is_changed = is_new or stream.digest != seen.digest
        stream.digest = seen.digest
        stream.size_bytes = seen.size_bytes
        if (seen.store_id, seen.commit) != (stream.verified_store_id, stream.verified_commit):
            _forget_verified(stream)
        if stream.status in RUNNING:
            stream.requeue_after_job = stream.requeue_after_job or is_changed
        elif _apply(stream, seen, is_changed=is_changed):
            queued.append(stream)
    run.rebuild = False
    listed = {seen.key for seen in seen_streams}
    for stream in run.streams.values():
        if stream.key not in listed:
            mark_source_gone(stream)
    return queued


def log_removed_streams(
    run: Run, before: set[str], seen_streams: tuple[ScannedStream, ...]
) -> list[Log]:
    """Say which streams a listing found removed; ``before`` are the keys of those known to be."""
    stores = {seen.key: seen.store for seen in seen_streams}
    lines = []
    for stream in run.streams.values():
        if stream.status is not StreamStatus.REMOVED or stream.key in before:
            continue
        what = (
            "its L0 store is"
            if stores.get(stream.key) is StoreComparison.ABSENT
            else "frame files are"
        )
        fields = {"reason": stream.reason or f"{what} gone"}
        lines.append(Log("stream.removed", "info", run.name, stream.key, fields))
    return lines


def record_rejected_files(run: Run, refused: tuple[str, ...]) -> list[Log]:
    """Keep the lines on files that belong to no stream among a run's warnings; say the new ones."""
    new = [line for line in refused if f"{_REFUSED}{line}" not in run.warnings]
    others = (line for line in run.warnings if not line.startswith(_REFUSED))
    run.warnings = (*others, *(f"{_REFUSED}{line}" for line in refused))
    return [Log("file.refused", "warning", run.name, None, {"reason": line}) for line in new]


def mark_source_gone(stream: Stream) -> None:
    """Note that all frame files of a stream are gone.

    A closed store is whole without them, and its L1 is still made; a job under way finds out.
    """
    if stream.status in RUNNING or stream.status in L1_PENDING:
        return
    if not stream.is_closed and stream.status is not StreamStatus.REMOVED:
        stream.reason = "its frame files were removed before it was closed"
    stream.status, stream.refresh_l1 = StreamStatus.REMOVED, False
    stream.digest = ""
    stream.due_s = None


def _forget_verified(stream: Stream) -> None:
    """Note that the store is not the one that was verified."""
    if stream.verify is VerifyStatus.VERIFIED:
        stream.unverify()


def _apply(stream: Stream, seen: ScannedStream, *, is_changed: bool) -> bool:
    """Move a stream without a job; True where it is to be queued."""
    is_asked_for = stream.status is StreamStatus.REMOVED and stream.refresh_l1
    is_wanted = stream.rebuild or not stream.is_closed or is_asked_for
    if seen.store is StoreComparison.ABSENT and not is_wanted:
        stream.status = StreamStatus.REMOVED
        return False
    match stream.status:
        case StreamStatus.QUARANTINED | StreamStatus.RETRYING:
            return is_changed
        case StreamStatus.L1_QUEUED | StreamStatus.L1_RETRYING:
            return is_changed and seen.store in {StoreComparison.OPEN, StoreComparison.DIFFERENT}
        case StreamStatus.DONE | StreamStatus.REMOVED:
            return _apply_to_done(stream, seen, is_changed=is_changed)
        case StreamStatus.QUEUED:
            return False
        case _:
            return True


def _apply_to_done(stream: Stream, seen: ScannedStream, *, is_changed: bool) -> bool:
    if seen.store is StoreComparison.SOURCE_GONE:
        stream.status, stream.refresh_l1 = StreamStatus.REMOVED, False
        return False
    if seen.store is StoreComparison.ABSENT:
        stream.is_closed = False
        return True
    if seen.store is StoreComparison.OPEN or (
        is_changed and seen.store is not StoreComparison.SAME
    ):
        return True
    # A retry may have asked for what the store shows to be done.
    stream.is_closed = stream.is_closed or seen.store is StoreComparison.SAME
    is_done = seen.has_l1 and not stream.refresh_l1
    stream.status = StreamStatus.DONE if is_done else StreamStatus.L1_QUEUED
    return False
