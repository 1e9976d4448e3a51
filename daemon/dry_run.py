"""A dry run of the service: what a start would do with the runs that exist.

The service's own looks and its own state machine, on an empty ledger and without a cluster: runs
are looked at twice, ``settle_s`` apart, as the service does.
"""

from __future__ import annotations

import os
import time
from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import Path

from panoseti_zarr.daemon.state.events import (
    CheckedOutput,
    Event,
    OutputsChecked,
    RootScanned,
    RunScanned,
    ScannedStream,
    Started,
    StoreComparison,
)
from panoseti_zarr.daemon.state.instructions import CheckOutputs, Instruction, ScanRoot, ScanRun
from panoseti_zarr.daemon.state.machine import ServiceStateMachine
from panoseti_zarr.daemon.state.records import Run
from panoseti_zarr.daemon.state.settings import Settings
from panoseti_zarr.daemon.watch.mounts import mount_of
from panoseti_zarr.daemon.watch.output_check import stat_outputs
from panoseti_zarr.daemon.watch.root_scan import scan_root
from panoseti_zarr.daemon.watch.run_scan import asdict_shallow, scan_run
from panoseti_zarr.errors import PanosetiZarrError
from panoseti_zarr.io.pff.listing import list_run
from panoseti_zarr.model import PRODUCTS, StreamKey

L1_PIXEL_BYTES = 4

STATES = ("to convert", "converted", "waiting", "ignored", "refused")
"""What a start does with a run; ``converted`` has all its stores, ``refused`` is not read."""


@dataclass(frozen=True)
class DryRunEntry:
    """What a start would do with one run.

    Attributes
    ----------
    name, root : str
    state : str
        One of `STATES`.
    reason : str
        Why it waits or is refused.
    n_streams : int
        With a frame file that is not empty.
    size_bytes : int
        Of the frame files.
    l0_bytes, l1_bytes : int
        Disk that the stores to be made need at most: as if nothing were compressed.
    """

    name: str
    root: str
    state: str
    reason: str = ""
    n_streams: int = 0
    size_bytes: int = 0
    l0_bytes: int = 0
    l1_bytes: int = 0


@dataclass(frozen=True)
class DryRun:
    """What a start would do.

    Attributes
    ----------
    runs : tuple of DryRunEntry
        By root, oldest first.
    paused : dict of str to str
        Data roots that would be skipped, and why.
    outputs : tuple of CheckedOutput
        The output directories as the service will have them: made, and its own.
    """

    runs: tuple[DryRunEntry, ...]
    paused: dict[str, str] = field(default_factory=dict)
    outputs: tuple[CheckedOutput, ...] = ()


def preview(roots: tuple[Path, ...], l0_dir: Path, l1_dir: Path, settings: Settings) -> DryRun:
    """Look at the data roots as a first start would; nothing is written.

    Parameters
    ----------
    roots : tuple of Path
    l0_dir, l1_dir : Path
        They need not be there.
    settings : Settings
        Of the service.
    """
    return _DryRunner(roots, l0_dir, l1_dir, settings).run()


class _DryRunner:
    """Answers the state machine's wishes to look at something, and no others."""

    def __init__(
        self, roots: tuple[Path, ...], l0_dir: Path, l1_dir: Path, settings: Settings
    ) -> None:
        self._roots = tuple(str(root) for root in roots)
        self._outputs = (l0_dir, l1_dir)
        self._markers = settings.finished_markers
        self._settle_s = settings.settle_s
        # No rescan and no second look at what is done comes into it.
        never_s = 1e12
        self._state = ServiceStateMachine(replace(settings, rescan_s=never_s, recheck_s=never_s))
        self._listed: dict[str, RunScanned] = {}
        self._entries: dict[str, tuple[str, ...]] = {}

    def run(self) -> DryRun:
        """Look at everything, once more after ``settle_s``, and say what was found."""
        self._handle(Started(time.monotonic(), self._roots))
        time.sleep(self._settle_s)
        # A run that rested is looked at for this: whether it still does.
        for run in self._state.runs.values():
            self._look_again(run)
        runs = [entry for root in self._roots for entry in self._of_root(root)]
        paused = {root.path: root.paused for root in self._state.roots.values() if root.paused}
        return DryRun(tuple(runs), paused, self._look_at_outputs())

    def _look_again(self, run: Run) -> None:
        if run.is_settling and not self._state.roots[run.root].paused:
            self._handle(self._look(ScanRun(run.root, run.name, with_streams=True)))

    def _handle(self, event: Event) -> None:
        events = deque([event])
        while events:
            for instruction in self._state.handle(events.popleft()):
                answer = self._answer(instruction)
                if answer is not None:
                    events.append(answer)

    def _answer(self, instruction: Instruction) -> Event | None:
        match instruction:
            case ScanRoot(root):
                return self._scan(root)
            case ScanRun():
                return self._look(instruction)
            case CheckOutputs():
                return OutputsChecked(time.monotonic(), self._look_at_outputs())
        return None

    def _scan(self, root: str) -> RootScanned:
        listing = scan_root(Path(root))
        self._entries[root] = tuple(entry.name for entry in listing.runs)
        return RootScanned(time.monotonic(), root, **asdict_shallow(listing))

    def _look(self, wanted: ScanRun) -> RunScanned:
        began_s = time.monotonic()
        path = Path(wanted.root) / wanted.run
        look = scan_run(path, self._markers, *self._outputs, with_streams=wanted.with_streams)
        if look.streams is not None:
            look = replace(look, outputs=self._look_at_outputs())
        seen = RunScanned(time.monotonic(), wanted.run, began_s, **asdict_shallow(look))
        if seen.streams is not None:
            self._listed[wanted.run] = seen
        return seen

    def _look_at_outputs(self) -> tuple[CheckedOutput, ...]:
        return tuple(_as_made(output) for output in stat_outputs(*self._outputs))

    def _of_root(self, root: str) -> list[DryRunEntry]:
        record = self._state.roots[root]
        names = self._entries.get(root, ())
        others = sorted((n, reason) for n, reason in record.refused.items() if n not in names)
        refused = [DryRunEntry(name, root, "refused", reason) for name, reason in others]
        return [self._of_name(root, name) for name in names] + refused

    def _of_name(self, root: str, name: str) -> DryRunEntry:
        run = self._state.runs.get(name)
        if reason := self._state.roots[root].refused.get(name):
            return DryRunEntry(name, root, "refused", reason)
        sizes = _sizes(Path(root) / name)
        found = DryRunEntry(name, root, "ignored", "", len(sizes), sum(sizes.values()))
        if run is None:
            return found
        seen = self._listed.get(name)
        if run.is_settling or seen is None or seen.streams is None:
            reason = run.reason or "its files change"
            l0_bytes, l1_bytes = _needed(sizes, {})
            return replace(
                found, state="waiting", reason=reason, l0_bytes=l0_bytes, l1_bytes=l1_bytes
            )
        l0_bytes, l1_bytes = _needed(sizes, {stream.key: stream for stream in seen.streams})
        state = "to convert" if l0_bytes or l1_bytes else "converted"
        return replace(found, state=state, l0_bytes=l0_bytes, l1_bytes=l1_bytes)


def _sizes(path: Path) -> dict[StreamKey, int]:
    """Return the bytes of each stream's frame files; nothing of a run that cannot be read."""
    try:
        listing = list_run(path)
    except PanosetiZarrError:
        return {}
    return {key: listing.size_bytes(key) for key in listing.streams}


def _needed(sizes: dict[StreamKey, int], seen: dict[str, ScannedStream]) -> tuple[int, int]:
    """Return what the L0 and the L1 stores that a run lacks need at most."""
    l0_bytes = l1_bytes = 0
    for key, size_bytes in sizes.items():
        product = PRODUCTS[key.product]
        stream = seen.get(str(key))
        has_l0 = stream is not None and stream.store is StoreComparison.SAME
        if not has_l0:
            l0_bytes += size_bytes
        if stream is None or not (has_l0 and stream.has_l1):
            # Times, quality and headers of a frame are smaller as numbers than as text.
            beside_bytes = product.today_frame_bytes - product.pixel_bytes
            frame_bytes = product.height * product.width * L1_PIXEL_BYTES + beside_bytes
            l1_bytes += size_bytes // product.today_frame_bytes * frame_bytes
    return l0_bytes, l1_bytes


def _as_made(output: CheckedOutput) -> CheckedOutput:
    """Return an output directory as the service will have it: made, and its own."""
    path = Path(output.path).absolute()
    place = next((p for p in (path, *path.parents) if p.exists()), Path("/"))
    status = os.statvfs(place)
    free_bytes = status.f_bavail * status.f_frsize
    device, volume = os.stat(place).st_dev, mount_of(place).volume
    return replace(output, problem="", volume=volume, device=device, free_bytes=free_bytes)
