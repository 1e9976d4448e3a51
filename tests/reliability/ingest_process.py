"""A process that ingests or subtracts one stream, and stops at the steps it is asked to.

Run with one argument, a JSON object (see `main`). It writes one JSON object a line on stdout:
``held`` (a step's name; it goes on when a line comes on stdin), ``commit`` (frames committed, and
durable), ``handed_over`` (a task was written to a file instead of being run), and at the end
``done`` or ``failed``.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from panoseti_zarr.cluster import Executor, ThreadExecutor
from panoseti_zarr.config import BaselineSubtractConfig, Config, PffToZarrConfig
from panoseti_zarr.daemon.jobs.context import JobContext
from panoseti_zarr.daemon.jobs.l1 import run_l1
from panoseti_zarr.daemon.state.events import L1Ended
from panoseti_zarr.daemon.state.instructions import JobTarget, StartL1
from panoseti_zarr.daemon.watch.live_runs import LiveRuns
from panoseti_zarr.errors import PanosetiZarrError
from panoseti_zarr.io.fs import failpoints
from panoseti_zarr.io.pff.listing import list_run
from panoseti_zarr.io.pff.live import LiveRun
from panoseti_zarr.pipeline.appender import AppendRequest, Commit
from panoseti_zarr.pipeline.follow import follow_stream
from panoseti_zarr.pipeline.ingest import ingest_stream

L1_SETTINGS = {"baseline_window": 10, "baseline_mode": "running"}


class Narrator:
    """Tells what happens on stdout, one object a line and one write each, and waits on stdin."""

    def __init__(self, holds: list[dict[str, Any]]) -> None:
        self._holds = holds
        self._n_commits = 0
        self._lock = threading.Lock()

    def tell(self, **what: Any) -> None:
        """Write a line."""
        os.write(sys.stdout.fileno(), (json.dumps(what) + "\n").encode())

    def on_step(self, step: str) -> None:
        """Stop at a step that is held, for as long as nothing comes on stdin."""
        with self._lock:
            hold = next((hold for hold in self._holds if self._is_here(hold, step)), None)
            if hold is None:
                return
            self._holds.remove(hold)
            self.tell(held=step)
            sys.stdin.readline()

    def on_commit(self, commit: Commit) -> None:
        """Count and tell a commit."""
        self._n_commits += 1
        self.tell(commit=commit.n_frames)

    def _is_here(self, hold: dict[str, Any], step: str) -> bool:
        if hold["step"] != step or hold["after_commits"] != self._n_commits:
            return False
        hold["n_before"] -= 1
        return hold["n_before"] < 0


class HandingOver(Executor):
    """Writes the first task to a file, for a process of its own; that task never ends here."""

    def __init__(self, path: str, narrator: Narrator) -> None:
        self._path = Path(path)
        self._narrator = narrator

    @property
    def n_slots(self) -> int:
        """One task at once."""
        return 1

    def submit(self, function: Any, *args: Any, **kwargs: Any) -> Future[Any]:
        """Write the task down."""
        self._path.write_bytes(pickle.dumps((function, args, kwargs)))
        self._narrator.tell(handed_over=str(self._path))
        return Future()

    def close(self) -> None:
        """Nothing is held."""


def ingest(order: dict[str, Any], narrator: Narrator) -> dict[str, Any]:
    """Ingest the one stream of a run; return what the result says."""
    listing = list_run(Path(order["run"]))
    (key,) = listing.keys
    executor = (
        HandingOver(order["hand_over"], narrator) if order.get("hand_over") else ThreadExecutor(1)
    )
    with executor:
        result = ingest_stream(
            listing,
            key,
            Path(order["l0_dir"]),
            PffToZarrConfig(**order["settings"]),
            executor,
            on_commit=narrator.on_commit,
            rebuild=order.get("rebuild", False),
        )
    return {"n_frames": result.n_frames, "changed": result.changed}


def follow(order: dict[str, Any], narrator: Narrator) -> dict[str, Any]:
    """Make one round of the one stream of a run that is recorded, its tail included."""
    listing = list_run(Path(order["run"]))
    (key,) = listing.keys
    growing = LiveRun(settle_s=0)
    for _ in range(2):
        growing.observe(listing, time.monotonic(), time.monotonic())
    with ThreadExecutor(1) as executor:
        settings = PffToZarrConfig(**order["settings"])
        append = AppendRequest(
            listing, key, settings, executor, narrator.on_commit, threading.Event()
        )
        result = follow_stream(append, Path(order["l0_dir"]), growing, with_tail=True)
    return {"n_frames": result.n_frames}


def subtract(l0: Path, l1_dir: Path, settings: dict[str, Any] = L1_SETTINGS) -> L1Ended:
    """Make the L1 store of an L0 store unless it matches, as a job of the service does."""
    run, _, stream = l0.name.removesuffix(".zarr").rpartition(".dp_")
    told: list[Any] = []
    config = Config(baseline_subtract=BaselineSubtractConfig(**settings))
    with ThreadExecutor(1) as executor:
        context = JobContext(
            config,
            l0.parent,
            l1_dir,
            executor,
            threading.Event(),
            told.append,
            LiveRuns(config.daemon),
        )
        run_l1(StartL1(JobTarget(run, f"dp_{stream}", ""), refresh=True), context)
    ended: L1Ended = told[-1]
    return ended


def run_task(path: str) -> dict[str, Any]:
    """Run a task that was handed over; return the folder it staged into."""
    function, args, kwargs = pickle.loads(Path(path).read_bytes())  # noqa: S301 - written by us
    return {"attempt": function(*args, **kwargs).attempt}


def run_task_for_ever(path: str, narrator: Narrator) -> None:
    """Run a task again and again, as many late tasks of a busy cluster would."""
    narrator.tell(round=run_task(path))
    while True:
        with contextlib.suppress(PanosetiZarrError):  # swept away under it
            run_task(path)


def main() -> None:
    """Do what the argument asks for.

    Its keys: ``run``, ``l0_dir``, ``settings``, ``rebuild``, ``follow`` (one round of a recording),
    ``hand_over`` (a file for the first task); or ``subtract`` (an L0 store) and ``l1_dir``; or
    ``task`` (such a file: run it) and ``for_ever``. And ``holds``, a list of objects with
    ``step``, ``after_commits`` (as many commits of this process were told before) and ``n_before``
    (it goes on from the step as many times first).
    """
    order = json.loads(sys.argv[1])
    narrator = Narrator(order.get("holds", []))
    failpoints.listen(narrator.on_step)
    if order.get("for_ever"):
        run_task_for_ever(order["task"], narrator)
    try:
        if "subtract" in order:
            ended = subtract(Path(order["subtract"]), Path(order["l1_dir"]))
            done = {"outcome": ended.outcome, "changed": ended.is_changed}
        else:
            work = follow if order.get("follow") else ingest
            done = run_task(order["task"]) if "task" in order else work(order, narrator)
    except PanosetiZarrError as error:
        narrator.tell(failed=type(error).__name__, message=str(error))
    else:
        narrator.tell(done=done)


if __name__ == "__main__":
    main()
