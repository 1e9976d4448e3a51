"""Runs the scans and watches that the state machine asks for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from panoseti_zarr.daemon.log import get_logger
from panoseti_zarr.daemon.serial_threads import SerialThreads
from panoseti_zarr.daemon.state import events as m
from panoseti_zarr.daemon.state import instructions as do
from panoseti_zarr.daemon.watch.live_runs import LiveRuns
from panoseti_zarr.daemon.watch.output_check import probe_outputs
from panoseti_zarr.daemon.watch.root_scan import RootListing, scan_root
from panoseti_zarr.daemon.watch.run_scan import RunScan, asdict_shallow, scan_run
from panoseti_zarr.daemon.watch.watcher import HintCoalescer, Watcher

Seen = TypeVar("Seen", RootListing, RunScan)

_WATCHES = "watches"
_OUTPUTS = "outputs"


class FilesystemInspector:
    """Scans in threads of its own and posts what it found.

    Parameters
    ----------
    live_runs : LiveRuns
        With the current settings.
    outputs : tuple of Path
        The directories of the L0 and the L1 stores.
    threads : SerialThreads
        One queue for each root, one for the output directories, one for the watches.
    post : callable
        Takes events, from any thread.
    """

    def __init__(
        self,
        live_runs: LiveRuns,
        outputs: tuple[Path, Path],
        threads: SerialThreads,
        post: Callable[[m.Event], None],
    ) -> None:
        self._live_runs = live_runs
        self._outputs = outputs
        self._threads = threads
        self._post = post
        self._hints = HintCoalescer(
            lambda root, run: post(m.ChangeHint(time.monotonic(), root, run)),
        )
        self._watcher = Watcher(live_runs.settings.watch, self._hints, _log_overflow)
        self._unwatched: set[str] = set()

    def execute(self, instruction: do.Instruction) -> None:
        """Carry out an instruction to scan, check or watch something."""
        match instruction:
            case do.ScanRoot(root):
                self._threads.submit(root, lambda: self._scan(root))
            case do.ScanRun():
                self._threads.submit(instruction.root, lambda: self._scan_run(instruction))
            case do.CheckOutputs():
                self._threads.submit(_OUTPUTS, self._check_outputs)
            case do.WatchRoot(root):
                self._watch(root, lambda: self._watcher.watch_root(root))
            case do.WatchRun(root, run):
                self._watch(root, lambda: self._watcher.watch_run(root, run))
            case do.UnwatchRun(root, run):
                self._watch(root, lambda: self._watcher.unwatch_run(root, run))

    def acknowledge(self, event: m.ChangeHint) -> None:
        """Note that a hint was handled: the next change gives another one."""
        self._hints.acknowledge(event.root, event.run)

    def close(self) -> None:
        """Stop all watches."""
        self._threads.submit(_WATCHES, self._watcher.close)

    def _scan(self, root: str) -> None:
        listing = _catch_unexpected(lambda: scan_root(Path(root)), "rescan", RootListing)
        self._post(m.RootScanned(time.monotonic(), root, **asdict_shallow(listing)))

    def _scan_run(self, wanted: do.ScanRun) -> None:
        began_s = time.monotonic()
        scan = _catch_unexpected(
            lambda: scan_run(
                Path(wanted.root) / wanted.run,
                self._live_runs.settings.finished_markers,
                *self._outputs,
                with_streams=wanted.with_streams,
                recordings=self._live_runs,
            ),
            "look at a run",
            lambda problem: RunScan(problem=problem),
        )
        self._post(m.RunScanned(time.monotonic(), wanted.run, began_s, **asdict_shallow(scan)))

    def _check_outputs(self) -> None:
        seen = probe_outputs(*self._outputs)
        self._post(m.OutputsChecked(time.monotonic(), seen))

    def _watch(self, root: str, change: Callable[[], None]) -> None:
        def carry_out() -> None:
            try:
                change()
            except FileNotFoundError:
                # The next rescan finds out.
                return
            except Exception as error:  # noqa: BLE001 - hints only: the rescan does without
                if root not in self._unwatched:
                    self._unwatched.add(root)
                    get_logger().warning("watch.lost", root=root, reason=str(error))
            else:
                self._unwatched.discard(root)

        self._threads.submit(_WATCHES, carry_out)


def _log_overflow() -> None:
    get_logger().warning("watch.overflowed")


def _catch_unexpected(scan: Callable[[], Seen], task: str, failed: Callable[[str], Seen]) -> Seen:
    """Scan; report an unexpected error as a problem, so that the answer always comes."""
    try:
        return scan()
    except Exception as error:  # noqa: BLE001 - a thread's boundary
        get_logger().error("task.crashed", task=task, exc_info=error)
        return failed(f"cannot be looked at: {type(error).__name__}")
