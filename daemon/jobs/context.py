"""The context that all jobs share, and the classification of their errors."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from panoseti_zarr.cluster import Executor
from panoseti_zarr.config import Config
from panoseti_zarr.daemon.log import get_logger
from panoseti_zarr.daemon.state.events import Event, Outcome
from panoseti_zarr.daemon.state.instructions import JobTarget
from panoseti_zarr.daemon.watch.live_runs import LiveRuns
from panoseti_zarr.errors import (
    ErrorCode,
    InvariantError,
    PanosetiZarrError,
    StopRequestedError,
    TransientIOError,
    from_os_error,
)

Post = Callable[[Event], None]
"""Puts an event into the service's inbox, from any thread."""


@dataclass(frozen=True)
class JobContext:
    """What every job needs.

    Attributes
    ----------
    config : Config
    l0_dir, l1_dir : Path
        The directories of the stores.
    executor : Executor
    stop : threading.Event
        Set when jobs have to stop.
    post : callable
        Takes the job's events.
    live_runs : LiveRuns
        What was seen of runs while they were recorded.
    may_verify : threading.Event
        Cleared while a comparison has to pause.
    """

    config: Config
    l0_dir: Path
    l1_dir: Path
    executor: Executor
    stop: threading.Event
    post: Post
    live_runs: LiveRuns
    may_verify: threading.Event = field(default_factory=threading.Event)


def run_path(target: JobTarget) -> Path:
    """Return the run directory of a job."""
    return Path(target.root) / target.run


class Failure(NamedTuple):
    """How a job failed: what an event of its end says, in the order of its fields."""

    outcome: Outcome
    reason: str = ""
    code: ErrorCode = ErrorCode.OTHER

    @property
    def blames_data(self) -> bool:
        """The data are at fault, or may be: first see whether they are still there."""
        return self.outcome in {Outcome.CORRUPT, Outcome.UNEXPECTED}


def classify_error(error: BaseException, stop: threading.Event) -> Failure:
    """Return what an error means for the job that raised it."""
    if isinstance(error, StopRequestedError) or stop.is_set():
        return Failure(Outcome.STOPPED)
    if isinstance(error, OSError) and not isinstance(error, PanosetiZarrError):
        error = from_os_error(error, "the job failed")
    match error:
        case InvariantError():
            return Failure(Outcome.BROKEN, str(error))
        case TransientIOError() | BrokenExecutor() | CancelledError() | MemoryError():
            return Failure(Outcome.FAILED, str(error) or type(error).__name__)
        case PanosetiZarrError():
            return Failure(Outcome.CORRUPT, str(error), error.code)
    get_logger().error("task.crashed", task="job", exc_info=error)
    return Failure(Outcome.UNEXPECTED, f"unexpected {type(error).__name__}: {error}")


def check_device(path: Path, device: int | None, label: str) -> None:
    """Refuse to use the bare mount point of a file system that was unmounted.

    Raises
    ------
    TransientIOError
        The directory is on another file system than before.
    """
    if device is not None and os.stat(path).st_dev != device:
        raise TransientIOError(f"{label} is another file system than before", path=str(path))
