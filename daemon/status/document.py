"""The status document: its models, and its making from the state machine's records.

``status.json`` and ``panoseti-zarr status --json`` are this document. docs/logs.md and
docs/status.schema.json are generated from the models.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from panoseti_zarr.config import wrap_markdown
from panoseti_zarr.core.redact import redact_urls
from panoseti_zarr.daemon.state.machine import ServiceStateMachine
from panoseti_zarr.daemon.state.records import (
    Root,
    Run,
    RunState,
    ServicePhase,
    Stream,
    StreamStatus,
    VerifyStatus,
)
from panoseti_zarr.errors import ErrorCode

MAX_SETTLED_STREAMS = 2000
"""Streams of completed runs that are listed one by one; older runs have their sums alone."""

Count = Annotated[int, Field(ge=0)]


def _escape(value: object) -> object:
    r"""Escape what is not Unicode, as ``\udcff``: names of files may hold any bytes."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_escape)]
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class _Model(BaseModel):
    """A part of the document. Unknown keys, of a later version, are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_enum_values=True)


class ServiceInfo(_Model):
    """The service itself; only `up` where no service ever wrote a status."""

    up: bool = Field(default=False, description="whether its process is running")
    pid: Count = 0
    host: Text = ""
    version: Text = ""
    config: Text | None = Field(default=None, description="the configuration file")
    phase: ServicePhase = ServicePhase.STARTING
    started_at: Time = Field(default="", description="UTC")
    cluster: Text = Field(default="", description="its type, or `in process`")
    waits_for: Text | None = Field(default=None, description="why there is no cluster, or null")


class RunningJobs(_Model):
    """Running jobs."""

    l0: Count = 0
    l1: Count = 0


class QueueInfo(_Model):
    """The queue of jobs."""

    n_waiting: Count = Field(default=0, description="streams that wait for a job")
    n_running: Count = Field(default=0, description="jobs")
    running: RunningJobs = Field(default=RunningJobs(), description="jobs, as `l0` and `l1`")
    n_behind_bytes: Count = Field(
        default=0, description="PFF bytes of finished runs that are not committed yet"
    )
    paused: Text | None = Field(default=None, description="the reason, or null")


class RejectedEntry(_Model):
    """An entry of a data root that is not followed."""

    name: Text
    reason: Text


class RootInfo(_Model):
    """A data root."""

    path: Text
    paused: Text | None = Field(default=None, description="the reason, or null")
    n_ignored: Count = Field(default=0, description="runs that began before `ignore_before`")
    refused: tuple[RejectedEntry, ...] = Field(
        default=(), description="rejected entries: `name` and `reason`"
    )


class DiskInfo(_Model):
    """An output directory."""

    key: Text = Field(description="`l0_dir` or `l1_dir`")
    path: Text
    free_bytes: Count


class Totals(_Model):
    """Sums over all runs."""

    n_runs: Count = 0
    n_streams: Count = 0
    n_done: Count = Field(default=0, description="streams with their L1 store")
    n_quarantined: Count = Field(default=0, description="streams")
    n_frames: Count = 0
    n_verified: Count = Field(default=0, description="streams")
    n_verify_failed: Count = Field(default=0, description="streams")


class StreamInfo(_Model):
    """A stream of a run."""

    stream: Text = Field(
        description="for example `dp_img16.module_3`", pattern=r"^dp_[a-z0-9]+\.module_\d+$"
    )
    state: StreamStatus = Field(
        description="`waiting` for stable files, `queued`, `open` (recorded; waits for its next"
        " append), `following` (is being appended), `ingesting`, `retrying`, `l1_queued`,"
        " `l1_running`, `l1_retrying`, `done`, `quarantined`, or `removed` (the frame files or the"
        " L0 store were deleted after the close)"
    )
    n_frames: Count = Field(default=0, description="committed")
    n_bytes: Count = Field(default=0, description="committed")
    n_behind_bytes: Count = Field(default=0, description="PFF bytes that are not committed yet")
    lag_s: float | None = Field(
        default=None, description="age of the last frame when it was committed, or null"
    )
    last_error: Text | None = Field(
        default=None,
        description="why it is quarantined or retried, or how it differs from its files, or null",
    )
    error_code: ErrorCode = Field(
        default=ErrorCode.OTHER,
        description="which kind of error: `late_file`, `source_changed`, `store_damaged`,"
        " `not_pff`, `duplicate_seqno`; empty for others and for none",
    )
    retry_at: Time | None = Field(default=None, description="UTC, or null")
    verify: VerifyStatus = Field(
        default=VerifyStatus.UNVERIFIED,
        description="`unverified` (waits, with `[daemon] verify`), `running`, `verified`,"
        " `failed`, or `gone` (nothing is left to compare)",
    )
    verified_at: Time | None = Field(
        default=None,
        description="UTC: when the L0 store equalled its frame files; null before, and once the"
        " store opens again or files of the run change",
    )
    verified_store_id: Text | None = Field(default=None, description="of that store, or null")
    verified_commit: int | None = Field(default=None, description="of that store, or null")


class RunInfo(_Model):
    """A run."""

    name: Text = Field(description="of its directory")
    root: Text = Field(description="the data root")
    state: RunState = Field(
        description="`waiting` (to be finished), `recording` (followed meanwhile), `working`,"
        " `done`, `quarantined` (done except for that), or `removed`"
    )
    reason: Text | None = Field(default=None, description="why it waits, or null")
    discovered_at: Time | None = Field(default=None, description="UTC, or null")
    finished_at: Time | None = Field(default=None, description="UTC, or null")
    completed_at: Time | None = Field(default=None, description="UTC, or null")
    n_streams: Count = 0
    n_quarantined: Count = Field(default=0, description="streams")
    n_frames: Count = Field(default=0, description="committed")
    n_bytes: Count = Field(
        default=0, description="PFF bytes that the service with this state directory read"
    )
    n_verified: Count = Field(
        default=0,
        description="streams that equal their frame files; 0 while files of the run change",
    )
    warnings: tuple[Text, ...] = Field(
        default=(), description="one line for each file that was cut short or rejected"
    )
    streams: tuple[StreamInfo, ...] | None = Field(
        default=None,
        description="its streams; null for old runs once some"
        f" {MAX_SETTLED_STREAMS:,} streams of completed runs are listed",
    )


class StatusDocument(_Model):
    """The document, version 1. Keys may be added within a version; none is removed."""

    schema_version: Literal[1] = 1
    written_at: Time | None = Field(
        default=None,
        description="UTC: when it was written, or found unchanged; null if no service ever wrote"
        " one, and then `service` has only `up`",
    )
    service: ServiceInfo = ServiceInfo()
    queue: QueueInfo = QueueInfo()
    roots: tuple[RootInfo, ...] = Field(default=(), description="the data roots")
    disks: tuple[DiskInfo, ...] = Field(default=(), description="the output directories")
    totals: Totals = Totals()
    runs: tuple[RunInfo, ...] = Field(default=(), description="oldest first")

    def as_json(self) -> dict[str, JsonValue]:
        """Return the document as ``status --json`` prints it, without passwords in URLs."""
        document: dict[str, JsonValue] = redact_urls(self.model_dump(mode="json"))
        if self.written_at is None:
            document["service"] = {"up": self.service.up}
        return document


@dataclass(frozen=True)
class ProcessInfo:
    """What the document says of the service and the state machine does not know.

    Attributes
    ----------
    pid : int
    version, host : str
    config : str or None
        The file used.
    started_ns : int
        Unix time.
    is_stopped : bool
        Nothing comes after this document.
    cluster : str
        In words.
    """

    pid: int
    version: str
    host: str
    config: str | None
    started_ns: int
    cluster: str
    is_stopped: bool = False


def build_status(
    state: ServiceStateMachine, info: ProcessInfo, now_ns: int, offset_ns: int
) -> StatusDocument:
    """Describe everything that the service knows.

    Parameters
    ----------
    state : ServiceStateMachine
    info : ProcessInfo
    now_ns : int
        Unix time.
    offset_ns : int
        Unix time minus the monotonic time of the records.
    """
    left = MAX_SETTLED_STREAMS
    runs = []
    for run in sorted(state.runs.values(), key=lambda run: run.order, reverse=True):
        is_settled = run.is_complete or run.is_removed
        has_errors = run.n_quarantined > 0 or run.n_verify_failed > 0
        with_streams = not is_settled or has_errors or left > 0
        left -= len(run.streams) if is_settled else 0
        runs.append(_describe_run(run, offset_ns, with_streams=with_streams))
    return StatusDocument(
        written_at=iso(now_ns),
        service=ServiceInfo(
            up=not info.is_stopped,
            pid=info.pid,
            host=info.host,
            version=info.version,
            config=info.config,
            phase=ServicePhase.STOPPED if info.is_stopped else state.phase,
            started_at=iso(info.started_ns),
            cluster=info.cluster,
            waits_for=state.waits_for or None,
        ),
        queue=_describe_queue(state),
        roots=tuple(_describe_root(root) for root in state.roots.values()),
        disks=tuple(
            DiskInfo(key=seen.label, path=seen.path, free_bytes=seen.free_bytes)
            for seen in state.outputs
            if not seen.problem
        ),
        totals=_sum_up(state),
        runs=tuple(runs[::-1]),
    )


def iso(time_ns: int) -> str:
    """Return a Unix time as ISO 8601 UTC, to the second."""
    text = datetime.fromtimestamp(time_ns // 10**9, UTC).isoformat()
    return text.replace("+00:00", "Z")


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of the document, docs/status.schema.json."""
    schema = StatusDocument.model_json_schema(mode="serialization")
    # Without a service there is only `up`.
    schema["$defs"]["ServiceInfo"]["required"] = ["up"]
    title = {"title": "panoseti-zarr status --json"}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, **title}


def describe_keys() -> Iterator[str]:
    """Give the lines of docs/logs.md that describe every key of the document."""
    parts = (
        *(("", StatusDocument), ("service", ServiceInfo), ("queue", QueueInfo)),
        *(("roots", RootInfo), ("disks", DiskInfo), ("totals", Totals)),
        *(("runs", RunInfo), ("runs[].streams", StreamInfo)),
    )
    for name, model in parts:
        subject = (model.__doc__ or "").partition("\n")[0]
        yield from (f"**`{name}`** {subject}" if name else subject, "")
        for key, field in model.model_fields.items():
            text = f": {field.description}" if field.description else ""
            yield from wrap_markdown(f"- `{key}`{text}", "  ")
        yield ""


def _describe_queue(state: ServiceStateMachine) -> QueueInfo:
    n_waiting, n_running = state.job_queue.counts()
    active = [state.runs[name].streams.values() for name in state.job_queue.active]
    statuses = [stream.status for streams in active for stream in streams]
    return QueueInfo(
        n_waiting=n_waiting,
        n_running=n_running,
        running=RunningJobs(
            l0=statuses.count(StreamStatus.INGESTING) + statuses.count(StreamStatus.FOLLOWING),
            l1=statuses.count(StreamStatus.L1_RUNNING),
        ),
        n_behind_bytes=sum(s.n_behind_bytes for streams in active for s in streams),
        paused=state.job_queue.paused or None,
    )


def _sum_up(state: ServiceStateMachine) -> Totals:
    streams = [stream for run in state.runs.values() for stream in run.streams.values()]
    return Totals(
        n_runs=len(state.runs),
        n_streams=len(streams),
        n_done=sum(s.status is StreamStatus.DONE for s in streams),
        n_quarantined=sum(s.status is StreamStatus.QUARANTINED for s in streams),
        n_frames=sum(s.n_frames for s in streams),
        n_verified=sum(run.n_verified for run in state.runs.values()),
        n_verify_failed=sum(run.n_verify_failed for run in state.runs.values()),
    )


def _describe_root(root: Root) -> RootInfo:
    refused = (RejectedEntry(name=n, reason=reason) for n, reason in sorted(root.refused.items()))
    return RootInfo(
        path=root.path,
        paused=root.paused or None,
        n_ignored=root.n_ignored,
        refused=tuple(refused),
    )


def _describe_run(run: Run, offset_ns: int, *, with_streams: bool) -> RunInfo:
    def at(time_s: float | None) -> str | None:
        return None if time_s is None else iso(int(time_s * 1e9) + offset_ns)

    streams = run.streams.values()
    listed = tuple(_describe_stream(run, s, at(s.due_s)) for s in streams) if with_streams else None
    return RunInfo(
        name=run.name,
        root=run.root,
        state=run.state,
        reason=run.reason or None,
        discovered_at=at(run.discovered_s),
        finished_at=at(run.finished_s),
        completed_at=at(run.completed_s),
        n_streams=len(streams),
        n_quarantined=run.n_quarantined,
        n_frames=sum(stream.n_frames for stream in streams),
        n_bytes=sum(stream.n_bytes for stream in streams),
        n_verified=run.n_verified,
        warnings=run.warnings,
        streams=listed,
    )


def _describe_stream(run: Run, stream: Stream, retry_at: str | None) -> StreamInfo:
    # While files of the run change, do not claim that they are all in the store.
    is_known = not (run.is_settling and stream.verify is VerifyStatus.VERIFIED)
    verified_ns = stream.verified_ns if is_known else None
    return StreamInfo(
        stream=stream.key,
        state=stream.status,
        n_frames=stream.n_frames,
        n_bytes=stream.n_bytes,
        n_behind_bytes=stream.n_behind_bytes,
        lag_s=None if stream.lag_s is None else round(stream.lag_s, 1),
        last_error=stream.reason or stream.verify_reason or None,
        error_code=stream.code,
        retry_at=retry_at,
        verify=stream.verify if is_known else VerifyStatus.UNVERIFIED,
        verified_at=None if verified_ns is None else iso(verified_ns),
        verified_store_id=stream.verified_store_id if verified_ns is not None else None,
        verified_commit=stream.verified_commit if verified_ns is not None else None,
    )
