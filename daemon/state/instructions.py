"""Instructions: what the state machine has the shell do. Plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from panoseti_zarr.model import StreamKey


@dataclass(frozen=True)
class Log:
    """Write a log line."""

    event: str
    level: str = "info"
    run: str | None = None
    stream: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ScanRoot:
    """List a root; answered by `RootScanned`."""

    root: str


@dataclass(frozen=True)
class ScanRun:
    """Look at a run's files, and at its streams' stores if asked; answered by `RunScanned`."""

    root: str
    run: str
    with_streams: bool


@dataclass(frozen=True)
class CheckOutputs:
    """Look at the output directories; answered by `OutputsChecked`."""


@dataclass(frozen=True)
class WatchRun:
    """Watch a run directory that is not done; a hint only, nothing depends on it."""

    root: str
    run: str


@dataclass(frozen=True)
class UnwatchRun:
    """Stop watching a run directory."""

    root: str
    run: str


@dataclass(frozen=True)
class WatchRoot:
    """Watch a data root; repeated after each listing, as it may be another directory by now."""

    root: str


@dataclass(frozen=True)
class JobTarget:
    """What a job works on.

    Attributes
    ----------
    run, stream : str
        ``stream`` is empty for a job on the whole run.
    root : str
        The data root that holds the run.
    root_device, output_device : int or None
        ``st_dev`` of the data root, and of the directory of the stores, when both were last
        found in order. A job stops where they differ: something was unmounted.
    """

    run: str
    stream: str
    root: str
    root_device: int | None = None
    output_device: int | None = None

    @property
    def key(self) -> StreamKey:
        """The stream, parsed."""
        return StreamKey.parse(self.stream)


@dataclass(frozen=True)
class StartIngest:
    """Append a stream to its L0 store and close it; answered by `Committed`, `IngestEnded`.

    ``digest`` is that of the listed files: the job reads no others.
    """

    target: JobTarget
    digest: str
    rebuild: bool = False


@dataclass(frozen=True)
class StartAppend:
    """Append what an open stream has so far; answered by `Committed`, `AppendEnded`.

    ``with_tail``: its last, partial chunk too.
    """

    target: JobTarget
    with_tail: bool


@dataclass(frozen=True)
class StartL1:
    """Make a stream's L1 store unless it matches; answered by `L1Ended`.

    ``refresh``: make it also where only its settings differ.
    """

    target: JobTarget
    refresh: bool = False


@dataclass(frozen=True)
class StartVerify:
    """Compare a closed L0 store with its frame files; answered by `VerifyEnded`.

    ``digest`` as in `StartIngest`.
    """

    target: JobTarget
    digest: str


@dataclass(frozen=True)
class PauseVerify:
    """Pause the comparison under way while other jobs run, or let it go on."""

    is_held: bool


@dataclass(frozen=True)
class MakeQuicklook:
    """Draw the quick-look of a stream; answered by `QuicklookEnded`."""

    run: str
    stream: str


@dataclass(frozen=True)
class MakeSidecar:
    """Make the sidecar files of a run's L1 stores unless they exist; answered by `SidecarEnded`."""

    target: JobTarget


@dataclass(frozen=True)
class CheckCluster:
    """A job failed: check that the cluster still answers."""


@dataclass(frozen=True)
class ReportReady:
    """Report to systemd that the service is ready."""


@dataclass(frozen=True)
class ReadConfig:
    """Read the configuration again; answered by `Reconfigured` or `ConfigRejected`."""


@dataclass(frozen=True)
class DeleteRequest:
    """Delete a request file once everything that it changed is in the ledger."""

    request: str


@dataclass(frozen=True)
class SaveHistory:
    """Write the recent events to a file: an invariant was violated."""


@dataclass(frozen=True)
class SaveRun:
    """Write the run's record to the ledger."""

    run: str


@dataclass(frozen=True)
class StopJobs:
    """Ask all jobs to stop."""


@dataclass(frozen=True)
class AbandonTasks:
    """Ask all jobs to stop, and abandon tasks that hang: later jobs get new threads."""


@dataclass(frozen=True)
class Exit:
    """End the service. ``has_abandoned``: jobs are still running, and hang."""

    code: int
    has_abandoned: bool = False


Instruction = (
    Log
    | ScanRoot
    | ScanRun
    | CheckOutputs
    | WatchRoot
    | WatchRun
    | UnwatchRun
    | StartIngest
    | StartAppend
    | StartL1
    | StartVerify
    | PauseVerify
    | MakeQuicklook
    | MakeSidecar
    | CheckCluster
    | ReportReady
    | ReadConfig
    | DeleteRequest
    | SaveHistory
    | SaveRun
    | StopJobs
    | AbandonTasks
    | Exit
)
