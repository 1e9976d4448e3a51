"""The state machine's own invariants. Tests check them after every event; a replay does, too.

Pure, and slow with many runs: the service does not check them while it works.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from panoseti_zarr.daemon.state.records import (
    RUNNING,
    SETTLED,
    Root,
    Run,
    Stream,
    StreamStatus,
    VerifyStatus,
)

if TYPE_CHECKING:
    from panoseti_zarr.daemon.state.machine import ServiceStateMachine

_RETRYING = frozenset({StreamStatus.RETRYING, StreamStatus.L1_RETRYING})


def violations(machine: ServiceStateMachine) -> list[str]:
    """Return every invariant that does not hold, a line each.

    Parameters
    ----------
    machine : ServiceStateMachine
    """
    return [
        *_of_jobs(machine),
        *_of_queue(machine),
        *_of_verification(machine),
        *(line for root in machine.roots.values() for line in _of_root(machine, root)),
        *(line for run in machine.runs.values() for line in _of_run(run)),
    ]


def _of_jobs(machine: ServiceStateMachine) -> Iterator[str]:
    """Check that a stream has a running job exactly if its status says so."""
    statuses = {
        (run.name, stream.key): stream.status
        for run in machine.runs.values()
        for stream in run.streams.values()
    }
    for run, stream in machine.job_queue.running:
        status = statuses.get((run, stream))
        if status not in RUNNING:
            yield f"{run} {stream}: has a job, but its status is {status}"
    for (run, stream), status in statuses.items():
        if status in RUNNING and (run, stream) not in machine.job_queue.running:
            yield f"{run} {stream}: is {status}, but has no job"


def _of_queue(machine: ServiceStateMachine) -> Iterator[str]:
    """Check that the queue holds runs with work to do only, oldest first."""
    with_work = {
        run.name
        for run in machine.runs.values()
        if any(stream.status not in SETTLED for stream in run.streams.values())
    }
    queued = [run.name for run in machine.job_queue.in_order]
    if set(queued) != machine.job_queue.active or len(queued) != len(machine.job_queue.active):
        yield f"queue: {queued} in order, but {sorted(machine.job_queue.active)} are active"
    orders = [run.order for run in machine.job_queue.in_order]
    if orders != sorted(orders):
        yield "queue: not oldest first"
    # A run that the ledger remembers joins the queue when it is listed.
    for name in machine.job_queue.active - with_work:
        yield f"{name}: is in the queue, but has no work"


def _of_verification(machine: ServiceStateMachine) -> Iterator[str]:
    """Check that at most one comparison runs, and that every result is complete."""
    for run in machine.runs.values():
        for stream in run.streams.values():
            is_job = machine.verification.job == (run.name, stream.key)
            if stream.verify is VerifyStatus.RUNNING and not is_job:
                yield f"{run.name} {stream.key}: is being verified, but has no job"
            if (stream.verify is VerifyStatus.VERIFIED) != (stream.verified_ns is not None):
                yield f"{run.name} {stream.key}: is {stream.verify} at {stream.verified_ns}"
            if stream.verify is VerifyStatus.VERIFIED and not stream.is_closed:
                yield f"{run.name} {stream.key}: is verified, but not closed"
            if (stream.verify is VerifyStatus.FAILED) != bool(stream.verify_reason):
                yield f"{run.name} {stream.key}: is {stream.verify}: {stream.verify_reason!r}"


def _of_root(machine: ServiceStateMachine, root: Root) -> Iterator[str]:
    """Check that a root that hangs is paused, and that the run it rechecks is known."""
    if root.is_hung and not root.paused:
        yield f"{root.path}: hangs, but is not paused"
    if root.rechecking and root.rechecking not in machine.runs:
        yield f"{root.path}: rechecks an unknown run, {root.rechecking}"


def _of_run(run: Run) -> Iterator[str]:
    """Check that a complete run has no work, and that a removed one does not wait."""
    if run.is_complete and any(s.status not in SETTLED for s in run.streams.values()):
        yield f"{run.name}: is complete, but has work"
    if run.is_removed and run.is_settling:
        yield f"{run.name}: is removed, but waits to be finished"
    for key, stream in run.streams.items():
        if key != stream.key:
            yield f"{run.name} {key}: is stored as {stream.key}"
        for line in _of_stream(stream):
            yield f"{run.name} {key}: {line}"


def _of_stream(stream: Stream) -> Iterator[str]:
    if stream.status in _RETRYING and not (stream.due_s is not None and stream.n_attempts):
        yield f"is {stream.status}, but no attempt is due"
    if stream.status in {*_RETRYING, StreamStatus.QUARANTINED} and not stream.reason:
        yield f"is {stream.status} without a reason"
    if stream.status in SETTLED | RUNNING and stream.due_s is not None:
        yield f"is {stream.status}, but an attempt is due"
    if stream.status is StreamStatus.DONE and not stream.is_closed:
        yield "is done, but not closed"
    if min(stream.n_frames, stream.n_bytes, stream.size_bytes, stream.n_attempts) < 0:
        yield "has a negative count"
