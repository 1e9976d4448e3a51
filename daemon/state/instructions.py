"""What comes out of the state machine: what the shell is to do. Plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


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
    """Watch a run directory that is not done; a hint, nothing depends on it."""

    root: str
    run: str


@dataclass(frozen=True)
class UnwatchRun:
    """Watch it no longer."""

    root: str
    run: str


@dataclass(frozen=True)
class StartIngest:
    """Append a stream to its L0 store and close it; answered by `Committed`, `IngestEnded`.

    ``digest`` is that of the listing: other files are not to be read. The devices are those on
    which the root and the L0 directory were well.
    """

    root: str
    root_device: int | None
    l0_device: int | None
    run: str
    stream: str
    digest: str
    rebuild: bool = False


@dataclass(frozen=True)
class StartAppend:
    """Append what an open stream has so far; answered by `Committed`, `AppendEnded`.

    ``with_tail``: its last, partial chunk too. The devices as in `StartIngest`.
    """

    root: str
    root_device: int | None
    l0_device: int | None
    run: str
    stream: str
    with_tail: bool


@dataclass(frozen=True)
class StartL1:
    """Make a stream's L1 store unless it matches; answered by `L1Ended`.

    ``refresh``: make it also where only its settings differ. ``l1_device`` as in `StartIngest`.
    """

    l1_device: int | None
    run: str
    stream: str
    refresh: bool = False


@dataclass(frozen=True)
class StartVerify:
    """Compare a closed L0 store with its frame files; answered by `VerifyEnded`.

    ``digest`` and the devices as in `StartIngest`.
    """

    root: str
    root_device: int | None
    l0_device: int | None
    run: str
    stream: str
    digest: str


@dataclass(frozen=True)
class PauseVerify:
    """Let the comparison under way wait, for a job has come, or go on."""

    is_held: bool


@dataclass(frozen=True)
class MakeHousekeeping:
    """Have what lies beside a run's L1 stores made, unless it is there; nothing waits for it.

    The devices as in `StartIngest`.
    """

    root: str
    root_device: int | None
    l1_device: int | None
    run: str


@dataclass(frozen=True)
class SaveRun:
    """Write the run's record to the ledger."""

    run: str


@dataclass(frozen=True)
class StopJobs:
    """Ask the jobs under way to stop."""


@dataclass(frozen=True)
class AbandonTasks:
    """Ask the jobs under way to stop, and leave tasks that hang to themselves: others go on."""


@dataclass(frozen=True)
class Exit:
    """Nothing is under way any more: end the service."""

    code: int


Instruction = (
    Log
    | ScanRoot
    | ScanRun
    | CheckOutputs
    | WatchRun
    | UnwatchRun
    | StartIngest
    | StartAppend
    | StartL1
    | StartVerify
    | PauseVerify
    | MakeHousekeeping
    | SaveRun
    | StopJobs
    | AbandonTasks
    | Exit
)
