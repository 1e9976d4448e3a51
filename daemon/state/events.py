"""Events: everything that happens to the service, as the state machine takes it in.

Plain data, so that a sequence of events can be stored and replayed (`state.history`). Times
(``now_s``, ``began_s``, ...) are those of the monotonic clock, read by whoever made the event.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from panoseti_zarr.core.pff.growth import Growth
from panoseti_zarr.daemon.state.records import Run
from panoseti_zarr.daemon.state.settings import Settings
from panoseti_zarr.errors import ErrorCode

# What events are made of ------------------------------------------------------------------------


@dataclass(frozen=True)
class RunEntry:
    """A run directory in the listing of its root."""

    name: str
    directory_mtime_ns: int
    order: tuple[int, int, str]
    start_ns: int


class StoreComparison(StrEnum):
    """How a stream's L0 store compares with the frame files that are there."""

    ABSENT = "absent"
    OPEN = "open"
    SAME = "same"
    SOURCE_GONE = "source_gone"
    DIFFERENT = "different"


@dataclass(frozen=True)
class ScannedStream:
    """A stream in the listing of its run: its files' digest and size, and how its stores stand."""

    key: str
    digest: str
    store: StoreComparison
    has_l1: bool = False
    store_id: str = ""
    commit: int = 0
    size_bytes: int = 0


class Outcome(StrEnum):
    """How a job ended.

    ``CHANGED``: the files are not those of the listing; ``FAILED``: a transient error;
    ``UNEXPECTED``: an error that nobody foresaw, retried a few times; ``MISSING``: the files or
    stores are gone; ``BROKEN``: an invariant does not hold.
    """

    DONE = "done"
    CHANGED = "changed"
    CORRUPT = "corrupt"
    FAILED = "failed"
    UNEXPECTED = "unexpected"
    MISSING = "missing"
    STOPPED = "stopped"
    BROKEN = "broken"


@dataclass(frozen=True)
class CheckedOutput:
    """An output directory: ``problem`` is empty where it could be looked at."""

    label: str
    path: str
    problem: str = ""
    volume: str = ""
    device: int = 0
    free_bytes: int = 0
    is_empty: bool = False


# Events -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Started:
    """The service starts. From the ledger: known runs, and volumes by directory."""

    now_s: float
    roots: tuple[str, ...]
    runs: tuple[Run, ...] = ()
    volumes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Connected:
    """The executor is ready for jobs."""

    now_s: float
    n_slots: int
    n_workers: int = 0


@dataclass(frozen=True)
class Disconnected:
    """The executor lost its cluster."""

    now_s: float
    reason: str


@dataclass(frozen=True)
class ClusterReported:
    """Anything else that the cluster reports, as the log event it becomes."""

    now_s: float
    name: str
    level: str
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ExecutorFailed:
    """The executor cannot be made, and waiting does not help."""

    now_s: float
    exit_code: int


@dataclass(frozen=True)
class Tick:
    """Time passed."""

    now_s: float


@dataclass(frozen=True)
class ChangeHint:
    """A watch noticed something in a root (``run`` is None) or in one of its runs."""

    now_s: float
    root: str
    run: str | None


@dataclass(frozen=True)
class RootScanned:
    """The listing of a root. ``n_entries`` counts every entry; ``refused``: (name, reason)."""

    now_s: float
    root: str
    problem: str = ""
    volume: str = ""
    device: int = 0
    n_entries: int = 0
    runs: tuple[RunEntry, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class RunScanned:
    """A look at the files of a run.

    ``streams`` is None where the look did not ask for them, or where the files changed during
    it; ``outputs`` tells where their stores were looked for. ``growth`` tells of each stream, where
    recordings are followed. ``refused``: a line on each file that
    belongs to no stream, for its name cannot be read. ``is_gone``: the directory is not
    there; ``problem``: it could not be looked at.
    """

    now_s: float
    run: str
    began_s: float = 0.0
    digest: str = ""
    directory_mtime_ns: int = 0
    markers: tuple[str, ...] = ()
    streams: tuple[ScannedStream, ...] | None = None
    growth: tuple[Growth, ...] = ()
    outputs: tuple[CheckedOutput, ...] = ()
    refused: tuple[str, ...] = ()
    n_empty_files: int = 0
    is_gone: bool = False
    problem: str = ""


@dataclass(frozen=True)
class OutputsChecked:
    """A look at the output directories."""

    now_s: float
    outputs: tuple[CheckedOutput, ...]


@dataclass(frozen=True)
class Committed:
    """An L0 job committed frames."""

    now_s: float
    run: str
    stream: str
    n_frames: int
    n_new_frames: int
    n_bytes: int
    seconds: float
    lag_s: float | None


@dataclass(frozen=True)
class JobEnded:
    """A job ended; ``reason`` and ``code`` say why where it is not done."""

    now_s: float
    run: str
    stream: str
    outcome: Outcome
    reason: str = ""
    code: ErrorCode = ErrorCode.OTHER


@dataclass(frozen=True)
class IngestEnded(JobEnded):
    """An L0 job ended. ``n_frames`` counts the whole store, ``n_bytes`` what this job read."""

    is_changed: bool = False
    n_frames: int = 0
    n_new_frames: int = 0
    n_bytes: int = 0
    seconds: float = 0.0
    cut_short: tuple[str, ...] = ()
    gaps: tuple[int, ...] = ()


@dataclass(frozen=True)
class AppendEnded(JobEnded):
    """An open stream was appended as far as it went.

    ``n_pending_frames``: frames that are certain and not shown yet; ``next_chunk_bytes``: the size
    of its files at which the next whole chunk is there.
    """

    n_pending_frames: int = 0
    next_chunk_bytes: int | None = None


@dataclass(frozen=True)
class L1Started:
    """An L1 job found no matching store and makes one."""

    now_s: float
    run: str
    stream: str


@dataclass(frozen=True)
class L1Ended(JobEnded):
    """An L1 job ended. ``is_changed``: it made a store, and did not just find one that matches."""

    is_changed: bool = False
    n_frames: int = 0
    n_bytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class VerifyEnded(JobEnded):
    """A comparison of an L0 store with its frame files ended.

    ``CORRUPT``: they differ, as ``reason`` says; ``frame_index`` counts in the store,
    ``byte_offset`` in ``file``. ``seconds`` leave out the time for which it was paused.
    """

    verified_ns: int | None = None
    store_id: str = ""
    commit: int = 0
    n_frames: int = 0
    n_bytes: int = 0
    seconds: float = 0.0
    frame_index: int | None = None
    file: str | None = None
    byte_offset: int | None = None


@dataclass(frozen=True)
class QuicklookEnded:
    """A quick-look was drawn, or could not be: ``problem`` says why."""

    now_s: float
    run: str
    stream: str
    path: str = ""
    seconds: float = 0.0
    problem: str = ""


@dataclass(frozen=True)
class SidecarEnded:
    """The sidecar files of a run were made, all or some of them.

    ``made`` has the fields of the log event ``housekeeping.made``; None if nothing was made.
    ``problem`` says what could not be made.
    """

    now_s: float
    run: str
    made: dict[str, Any] | None = None
    problem: str = ""


@dataclass(frozen=True)
class RetryRequested:
    """An operator asks to retry a run, or to rebuild its stores.

    ``request`` names the file in which the operator asked.
    """

    now_s: float
    run: str
    rebuild: bool = False
    request: str = ""


@dataclass(frozen=True)
class RequestRejected:
    """A request file cannot be read."""

    now_s: float
    request: str
    reason: str


@dataclass(frozen=True)
class ReloadRequested:
    """An operator asks to read the configuration again."""

    now_s: float


@dataclass(frozen=True)
class Reconfigured:
    """The configuration was read again.

    ``changed`` and ``needs_restart`` name the keys that apply now and after a restart.
    """

    now_s: float
    settings: Settings
    changed: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()


@dataclass(frozen=True)
class ConfigRejected:
    """The configuration was read again and has an error: the previous one stays."""

    now_s: float
    reason: str


@dataclass(frozen=True)
class StopRequested:
    """The service is asked to stop; asked a second time, it does not wait for its jobs."""

    now_s: float
    reason: str = ""


Event = (
    Started
    | Connected
    | Disconnected
    | ClusterReported
    | ExecutorFailed
    | Tick
    | ChangeHint
    | RootScanned
    | RunScanned
    | OutputsChecked
    | Committed
    | IngestEnded
    | AppendEnded
    | L1Started
    | L1Ended
    | VerifyEnded
    | QuicklookEnded
    | SidecarEnded
    | RetryRequested
    | RequestRejected
    | ReloadRequested
    | Reconfigured
    | ConfigRejected
    | StopRequested
)
