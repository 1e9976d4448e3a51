"""What jobs share, and the L1 job: an L0 store to its L1. Each runs to its end in a thread."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError
from dataclasses import dataclass, field
from pathlib import Path

from panoseti_zarr.cluster import Executor
from panoseti_zarr.config import BaselineSubtractConfig, Config
from panoseti_zarr.core.pff.names import l1_store_name, store_name
from panoseti_zarr.daemon.log import get_logger
from panoseti_zarr.daemon.state.events import (
    Event,
    L1Ended,
    L1Started,
    Outcome,
)
from panoseti_zarr.daemon.state.instructions import StartL1
from panoseti_zarr.daemon.watch.live_runs import LiveRuns
from panoseti_zarr.errors import (
    InvariantError,
    PanosetiZarrError,
    StopRequestedError,
    TransientIOError,
    from_os_error,
)
from panoseti_zarr.io.l1.builder import recover_killed
from panoseti_zarr.model import StreamKey
from panoseti_zarr.pipeline.l1 import l1_matches, make_l1

Tell = Callable[[Event], None]


@dataclass(frozen=True)
class JobContext:
    """What every job needs.

    Attributes
    ----------
    config : Config
    l0_dir, l1_dir : Path
        Where the stores are.
    executor : Executor
    stop : threading.Event
        Set when the service is to end.
    tell : callable
        Takes what happened, as events.
    recordings : LiveRuns
        What was seen of runs while they were recorded.
    may_verify : threading.Event
        Set while a comparison of a store with its files may go on.
    """

    config: Config
    l0_dir: Path
    l1_dir: Path
    executor: Executor
    stop: threading.Event
    tell: Tell
    recordings: LiveRuns
    may_verify: threading.Event = field(default_factory=threading.Event)


def parse_stream(text: str) -> StreamKey:
    """Return the stream that a log or the state machine calls ``dp_img16.module_3``."""
    product, _, module = text.removeprefix("dp_").partition(".module_")
    return StreamKey(product, int(module))


def run_l1(job: StartL1, workshop: JobContext) -> None:
    """Make a stream's L1 store unless it matches; tell how it ended."""
    key = parse_stream(job.stream)
    l0_path = workshop.l0_dir / store_name(job.run, key)
    l1_path = workshop.l1_dir / l1_store_name(job.run, key)
    settings = workshop.config.baseline_subtract

    def ended(outcome: Outcome, reason: str = "") -> L1Ended:
        return L1Ended(time.monotonic(), job.run, job.stream, outcome, reason)

    try:
        check_device(workshop.l1_dir, job.l1_device, "l1_dir")
        if l1_matches(l0_path, l1_path) and not (job.refresh and _differs(l1_path, settings)):
            recover_killed(l1_path)
            workshop.tell(ended(Outcome.DONE))
            return
        workshop.tell(L1Started(time.monotonic(), job.run, job.stream))
        result = make_l1(l0_path, l1_path, settings, workshop.executor, stop=workshop.stop)
    except BaseException as error:  # noqa: BLE001 - the task boundary: it must be reported
        outcome, reason = classify_error(error, workshop.stop)
        if not os.path.lexists(l0_path) and outcome is Outcome.CORRUPT:
            outcome = Outcome.MISSING
        workshop.tell(ended(outcome, reason))
    else:
        workshop.tell(
            L1Ended(
                time.monotonic(),
                job.run,
                job.stream,
                Outcome.DONE,
                is_changed=True,
                n_frames=result.n_frames,
                n_bytes=result.n_bytes,
                seconds=result.seconds,
            )
        )


def classify_error(error: BaseException, stop: threading.Event) -> tuple[Outcome, str]:
    """Say how a job ended that raised an error, and why, in one line."""
    if isinstance(error, StopRequestedError) or stop.is_set():
        return Outcome.STOPPED, ""
    if isinstance(error, OSError) and not isinstance(error, PanosetiZarrError):
        error = from_os_error(error, "the job failed")
    match error:
        case InvariantError():
            return Outcome.BROKEN, str(error)
        case TransientIOError() | BrokenExecutor() | CancelledError() | MemoryError():
            return Outcome.FAILED, str(error) or type(error).__name__
        case PanosetiZarrError():
            return Outcome.CORRUPT, str(error)
    get_logger().error("task.crashed", task="job", exc_info=error)
    return Outcome.CORRUPT, f"unexpected {type(error).__name__}: {error}"


def _differs(l1_path: Path, settings: BaselineSubtractConfig) -> bool:
    """Whether an L1 store was made with other settings."""
    try:
        with open(l1_path / "zarr.json", "rb") as file:
            held = json.load(file)["attributes"]["settings"]
    except (OSError, ValueError, KeyError, TypeError):
        return True
    return bool(held != settings.model_dump(mode="json"))


def check_device(path: Path, device: int | None, label: str) -> None:
    """Write nothing into the bare directory of a file system that is not mounted any more.

    Raises
    ------
    TransientIOError
        It is another file system than before.
    """
    if device is not None and os.stat(path).st_dev != device:
        raise TransientIOError(f"{label} is another file system than before", path=str(path))
