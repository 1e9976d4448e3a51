"""After a failed job: retry its stream later, or put the stream in quarantine. Pure."""

from __future__ import annotations

from typing import Any

from panoseti_zarr.daemon.state.events import JobEnded, Outcome
from panoseti_zarr.daemon.state.instructions import Instruction, Log
from panoseti_zarr.daemon.state.records import Stream, StreamStatus
from panoseti_zarr.daemon.state.settings import Settings

MAX_UNEXPECTED = 3
"""Attempts that end in an unexpected error before the stream is put in quarantine."""


def retry_or_quarantine(
    stream: Stream, event: JobEnded, status: StreamStatus, name: str, settings: Settings
) -> list[Instruction]:
    """Quarantine a stream whose data are at fault; retry after any other failure.

    Parameters as for `schedule_retry`. After `MAX_UNEXPECTED` unexpected errors in a row the
    stream is put in quarantine, too.
    """
    is_last = event.outcome is Outcome.UNEXPECTED and stream.n_attempts + 1 >= MAX_UNEXPECTED
    if event.outcome is Outcome.CORRUPT or is_last:
        return quarantine(stream, event)
    return schedule_retry(stream, event, status, name, settings)


def quarantine(stream: Stream, event: JobEnded) -> list[Instruction]:
    """Stop working on a stream until its files change or an operator retries it."""
    stream.status = StreamStatus.QUARANTINED
    stream.fail(event.reason, event.code)
    stream.n_attempts = 0
    fields = {"reason": event.reason}
    return [Log("stream.quarantined", "error", event.run, event.stream, fields)]


def schedule_retry(
    stream: Stream,
    event: JobEnded,
    status: StreamStatus,
    name: str,
    settings: Settings,
) -> list[Instruction]:
    """Retry a stream later, after a delay that doubles with each failure.

    Parameters
    ----------
    stream : Stream
    event : JobEnded
        The failure.
    status : StreamStatus
        The status until the next attempt.
    name : str
        The log event.
    settings : Settings
    """
    stream.n_attempts += 1
    delay_s = settings.backoff_s(stream.n_attempts)
    stream.status = status
    stream.due_s = event.now_s + delay_s
    stream.fail(event.reason, event.code)
    fields: dict[str, Any] = {
        "reason": event.reason,
        "n_attempts": stream.n_attempts,
        "retry_in_s": delay_s,
    }
    return [Log(name, "warning", event.run, event.stream, fields)]
