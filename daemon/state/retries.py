"""What a job that failed means for its stream: another attempt later, or quarantine. Pure."""

from __future__ import annotations

from typing import Any

from panoseti_zarr.daemon.state.events import AppendEnded, IngestEnded, L1Ended
from panoseti_zarr.daemon.state.instructions import Instruction, Log
from panoseti_zarr.daemon.state.records import Stream, StreamStatus
from panoseti_zarr.daemon.state.settings import Settings


def quarantine(stream: Stream, event: IngestEnded | AppendEnded | L1Ended) -> list[Instruction]:
    """Leave a stream alone until its reason is gone, or somebody retries it."""
    stream.status = StreamStatus.QUARANTINED
    stream.reason = event.reason
    stream.n_attempts = 0
    fields = {"reason": event.reason}
    return [Log("stream.quarantined", "error", event.run, event.stream, fields)]


def postpone(
    stream: Stream,
    event: IngestEnded | AppendEnded | L1Ended,
    status: StreamStatus,
    name: str,
    settings: Settings,
) -> list[Instruction]:
    """Let a stream wait, each time longer, for its next attempt.

    Parameters
    ----------
    stream : Stream
    event : IngestEnded, AppendEnded or L1Ended
        How the last one ended.
    status : StreamStatus
        In which it waits.
    name : str
        Of the log event that says so.
    settings : Settings
    """
    stream.n_attempts += 1
    delay_s = settings.delay_s(stream.n_attempts)
    stream.status = status
    stream.due_s = event.now_s + delay_s
    stream.reason = event.reason
    fields: dict[str, Any] = {
        "reason": event.reason,
        "n_attempts": stream.n_attempts,
        "retry_in_s": delay_s,
    }
    return [Log(name, "warning", event.run, event.stream, fields)]
