"""The service's eyes: carries out the looks and watches that the state machine asks for."""

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

_WATCHING = "watching"
_OUTPUTS = "outputs"


class FilesystemInspector:
    """Looks in lanes of its own and tells what was seen.

    Parameters
    ----------
    recordings : LiveRuns
        With the settings as they are now.
    outputs : tuple of Path
        Where the L0 and the L1 stores are.
    lanes : SerialThreads
        A lane for each root, one for the output directories, one for the watches.
    tell : callable
        Takes events, from any thread.
    """

    def __init__(
        self,
        recordings: LiveRuns,
        outputs: tuple[Path, Path],
        lanes: SerialThreads,
        tell: Callable[[m.Event], None],
    ) -> None:
        self._recordings = recordings
        self._outputs = outputs
        self._lanes = lanes
        self._tell = tell
        self._hints = HintCoalescer(
            lambda root, run: tell(m.ChangeHint(time.monotonic(), root, run)),
        )
        self._watcher = Watcher(recordings.settings.watch, self._hints, _tell_overflow)
        self._unwatched: set[str] = set()

    def look(self, instruction: do.Instruction) -> None:
        """Carry out an instruction that looks at something or watches it."""
        match instruction:
            case do.ScanRoot(root):
                self._lanes.submit(root, lambda: self._scan(root))
            case do.ScanRun():
                self._lanes.submit(instruction.root, lambda: self._look_at_run(instruction))
            case do.CheckOutputs():
                self._lanes.submit(_OUTPUTS, self._check_outputs)
            case do.WatchRun(root, run):
                self._watch(root, lambda: self._watcher.watch_run(root, run))
            case do.UnwatchRun(root, run):
                self._watch(root, lambda: self._watcher.unwatch_run(root, run))

    def follow_up(self, event: m.RootScanned) -> None:
        """Keep a root watched that was just listed: it may be another directory by now."""
        if not event.problem:
            self._watch(event.root, lambda: self._watcher.watch_root(event.root))

    def taken(self, event: m.ChangeHint) -> None:
        """Note that a hint was handled."""
        self._hints.taken(event.root, event.run)

    def close(self) -> None:
        """End the watching."""
        self._lanes.submit(_WATCHING, self._watcher.close)

    def _scan(self, root: str) -> None:
        listing = _guarded(lambda: scan_root(Path(root)), "rescan", RootListing)
        self._tell(m.RootScanned(time.monotonic(), root, **asdict_shallow(listing)))

    def _look_at_run(self, wanted: do.ScanRun) -> None:
        began_s = time.monotonic()
        look = _guarded(
            lambda: scan_run(
                Path(wanted.root) / wanted.run,
                self._recordings.settings.finished_markers,
                *self._outputs,
                with_streams=wanted.with_streams,
                recordings=self._recordings,
            ),
            "look at a run",
            lambda problem: RunScan(problem=problem),
        )
        self._tell(m.RunScanned(time.monotonic(), wanted.run, began_s, **asdict_shallow(look)))

    def _check_outputs(self) -> None:
        seen = probe_outputs(*self._outputs)
        self._tell(m.OutputsChecked(time.monotonic(), seen))

    def _watch(self, root: str, change: Callable[[], None]) -> None:
        def carry_out() -> None:
            try:
                change()
            except FileNotFoundError:
                # The rescan will tell.
                return
            except Exception as error:  # noqa: BLE001 - hints only: the rescan does without
                if root not in self._unwatched:
                    self._unwatched.add(root)
                    get_logger().warning("watch.lost", root=root, reason=str(error))
            else:
                self._unwatched.discard(root)

        self._lanes.submit(_WATCHING, carry_out)


def _tell_overflow() -> None:
    get_logger().warning("watch.overflowed")


def _guarded(look: Callable[[], Seen], task: str, failed: Callable[[str], Seen]) -> Seen:
    """Look, and tell of an error that was not foreseen as of a problem: nobody waits for ever."""
    try:
        return look()
    except Exception as error:  # noqa: BLE001 - a thread's boundary
        get_logger().error("task.crashed", task=task, exc_info=error)
        return failed(f"cannot be looked at: {type(error).__name__}")
