"""What `panoseti-zarr status` reads: a file that the service replaces in one step.

A file, not a socket: it can be read by whoever may read the results, with the service up or
down, and is then the last that is known. docs/logs.md describes it.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from panoseti_zarr.core.redact import redact_urls
from panoseti_zarr.daemon.state.machine import ServiceStateMachine
from panoseti_zarr.daemon.state.records import Root, Run, Stream, StreamStatus, VerifyStatus
from panoseti_zarr.errors import InputError
from panoseti_zarr.io.fs.failpoints import reached

SNAPSHOT_NAME = "status.json"
SCHEMA_VERSION = 1

MAX_SETTLED_STREAMS = 2000
"""Streams of completed runs that are listed one by one; older runs have their sums alone."""


_TOTALS = (
    "n_runs",
    "n_streams",
    "n_done",
    "n_quarantined",
    "n_frames",
    "n_verified",
    "n_verify_failed",
)


@dataclass(frozen=True)
class ServiceInfo:
    """What a snapshot says of the service itself.

    Attributes
    ----------
    pid : int
    version, host : str
    config : str or None
        The file used.
    started_ns : int
        Unix time.
    phase : str
        starting, running, stopping or stopped.
    cluster : str
        In words.
    waits_for : str
        Why the cluster is not there; empty where it is.
    """

    pid: int
    version: str
    host: str
    config: str | None
    started_ns: int
    phase: str
    cluster: str
    waits_for: str = ""


def describe(
    state: ServiceStateMachine, facts: ServiceInfo, now_ns: int, offset_ns: int
) -> dict[str, Any]:
    """Put what the service knows into a document of schema version 1.

    Parameters
    ----------
    state : ServiceStateMachine
    facts : ServiceInfo
    now_ns : int
        Unix time.
    offset_ns : int
        Unix time minus the monotonic time of the records.
    """
    n_waiting, n_running = state.backlog.counts()
    active = [state.runs[name].streams.values() for name in state.backlog.active]
    statuses = [stream.status for streams in active for stream in streams]
    left = MAX_SETTLED_STREAMS
    runs = []
    for run in sorted(state.runs.values(), key=lambda run: run.order, reverse=True):
        is_settled = run.is_complete or run.is_removed
        has_errors = run.n_quarantined > 0 or run.n_verify_failed > 0
        with_streams = not is_settled or has_errors or left > 0
        left -= len(run.streams) if is_settled else 0
        runs.append(_run(run, offset_ns, with_streams=with_streams))
    return {
        "schema_version": SCHEMA_VERSION,
        "written_at": iso(now_ns),
        "service": {
            "pid": facts.pid,
            "host": facts.host,
            "version": facts.version,
            "config": facts.config,
            "phase": facts.phase,
            "started_at": iso(facts.started_ns),
            "cluster": facts.cluster,
            "waits_for": facts.waits_for or None,
        },
        "queue": {
            "n_waiting": n_waiting,
            "n_running": n_running,
            "running": {
                "l0": statuses.count(StreamStatus.INGESTING)
                + statuses.count(StreamStatus.FOLLOWING),
                "l1": statuses.count(StreamStatus.L1_RUNNING),
            },
            "n_behind_bytes": sum(s.n_behind_bytes for streams in active for s in streams),
            "paused": state.backlog.paused or None,
        },
        "roots": [_root(root) for root in state.roots.values()],
        "disks": [
            {"key": seen.label, "path": seen.path, "free_bytes": seen.free_bytes}
            for seen in state.outputs
            if not seen.problem
        ],
        "totals": _totals(state),
        "runs": runs[::-1],
    }


def write_snapshot(state_dir: Path, document: dict[str, Any]) -> None:
    """Replace the snapshot in one step; durable it need not be."""
    temporary = state_dir / f".{SNAPSHOT_NAME}.tmp"
    temporary.write_text(json.dumps(redact_urls(document), separators=(",", ":")))
    reached("snapshot.written")
    temporary.replace(state_dir / SNAPSHOT_NAME)
    reached("snapshot.replaced")


def touch_status_file(state_dir: Path) -> None:
    """Show that nothing has changed since the snapshot was written, and that somebody looked."""
    with contextlib.suppress(OSError):
        os.utime(state_dir / SNAPSHOT_NAME)


def read_snapshot(state_dir: Path) -> dict[str, Any] | None:
    """Read the snapshot; None if it is missing or has another schema.

    Its ``written_at`` is that of the file, which `touch_status_file` renews.

    Raises
    ------
    InputError
        It cannot be read.
    """
    try:
        with open(state_dir / SNAPSHOT_NAME, "rb") as file:
            written_ns = os.fstat(file.fileno()).st_mtime_ns
            document = json.loads(file.read())
    except (FileNotFoundError, ValueError):
        return None
    except OSError as error:
        path = str(state_dir / SNAPSHOT_NAME)
        raise InputError(f"cannot read the status: {error.strerror}", path=path) from None
    if not isinstance(document, dict) or document.get("schema_version") != SCHEMA_VERSION:
        return None
    return {**document, "written_at": iso(written_ns)}


def empty_snapshot() -> dict[str, Any]:
    """Return the document of a service that has not written one."""
    return {
        "schema_version": SCHEMA_VERSION,
        "written_at": None,
        "service": {},
        "queue": {
            "n_waiting": 0,
            "n_running": 0,
            "running": {"l0": 0, "l1": 0},
            "n_behind_bytes": 0,
            "paused": None,
        },
        "roots": [],
        "disks": [],
        "totals": dict.fromkeys(_TOTALS, 0),
        "runs": [],
    }


def iso(time_ns: int) -> str:
    """Return a Unix time as ISO 8601 UTC, to the second."""
    text = datetime.fromtimestamp(time_ns // 10**9, UTC).isoformat()
    return text.replace("+00:00", "Z")


def _totals(state: ServiceStateMachine) -> dict[str, int]:
    streams = [stream for run in state.runs.values() for stream in run.streams.values()]
    counts = (
        len(state.runs),
        len(streams),
        sum(s.status is StreamStatus.DONE for s in streams),
        sum(s.status is StreamStatus.QUARANTINED for s in streams),
        sum(s.n_frames for s in streams),
        sum(run.n_verified for run in state.runs.values()),
        sum(run.n_verify_failed for run in state.runs.values()),
    )
    return dict(zip(_TOTALS, counts, strict=True))


def _root(root: Root) -> dict[str, Any]:
    return {
        "path": root.path,
        "paused": root.paused or None,
        "n_ignored": root.n_ignored,
        "refused": [{"name": n, "reason": r} for n, r in sorted(root.refused.items())],
    }


def _run(run: Run, offset_ns: int, *, with_streams: bool) -> dict[str, Any]:
    def at(time_s: float | None) -> str | None:
        return None if time_s is None else iso(int(time_s * 1e9) + offset_ns)

    streams = run.streams.values()
    return {
        "name": run.name,
        "root": run.root,
        "state": run.state,
        "reason": run.reason or None,
        "discovered_at": at(run.discovered_s),
        "finished_at": at(run.finished_s),
        "completed_at": at(run.completed_s),
        "n_streams": len(streams),
        "n_quarantined": run.n_quarantined,
        "n_frames": sum(stream.n_frames for stream in streams),
        "n_bytes": sum(stream.n_bytes for stream in streams),
        "n_verified": run.n_verified,
        "warnings": list(run.warnings),
        "streams": [_stream(run, s, at(s.due_s)) for s in streams] if with_streams else None,
    }


def _stream(run: Run, stream: Stream, retry_at: str | None) -> dict[str, Any]:
    # While files of the run change, nobody shall be told that they are all in the store.
    is_known = not (run.is_settling and stream.verify is VerifyStatus.VERIFIED)
    verified_ns = stream.verified_ns if is_known else None
    return {
        "stream": stream.key,
        "state": stream.status.value,
        "n_frames": stream.n_frames,
        "n_bytes": stream.n_bytes,
        "n_behind_bytes": stream.n_behind_bytes,
        "lag_s": None if stream.lag_s is None else round(stream.lag_s, 1),
        "last_error": stream.reason or stream.verify_reason or None,
        "retry_at": retry_at,
        "verify": (stream.verify if is_known else VerifyStatus.UNVERIFIED).value,
        "verified_at": None if verified_ns is None else iso(verified_ns),
        "verified_store_id": stream.verified_store_id if verified_ns is not None else None,
        "verified_commit": stream.verified_commit if verified_ns is not None else None,
    }
