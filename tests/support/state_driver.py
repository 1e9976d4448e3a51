"""Drives the service's state machine in tests: events go in, what comes out is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from panoseti_zarr.daemon.state.events import (
    CheckedOutput,
    Connected,
    Event,
    IngestEnded,
    L1Ended,
    Outcome,
    OutputsChecked,
    RootScanned,
    RunEntry,
    RunScanned,
    ScannedStream,
    Started,
    StoreComparison,
    Tick,
)
from panoseti_zarr.daemon.state.instructions import (
    Instruction,
    JobTarget,
    Log,
    StartIngest,
    WatchRoot,
)
from panoseti_zarr.daemon.state.machine import ServiceStateMachine
from panoseti_zarr.daemon.state.records import StreamStatus
from panoseti_zarr.daemon.state.settings import Settings

ROOT = "/data"
RUN = "obs_X.start_2024-07-25T04:34:06Z.runtype_sci.pffd"
IMG = "dp_img16.module_1"
PH = "dp_ph256.module_1"
SETTINGS = Settings(settle_s=10, rescan_s=60, recheck_s=1000, max_streams=2, min_free_bytes=100)


def entry(name: str = RUN, *, mtime_ns: int = 1, start_ns: int = 50) -> RunEntry:
    return RunEntry(name, mtime_ns, (0, start_ns, name), start_ns)


def stream(key: str = IMG, digest: str = "f1", **how: Any) -> ScannedStream:
    return ScannedStream(key, digest, how.pop("store", StoreComparison.ABSENT), **how)


def outputs(**how: Any) -> tuple[CheckedOutput, ...]:
    seen = {"volume": "nas:/big (nfs)", "device": 1, "free_bytes": 1000, **how}
    return (
        CheckedOutput("l0_dir", "/big/l0", **seen),
        CheckedOutput("l1_dir", "/big/l1", "", "nas:/big (nfs)", 2, 1000),
    )


def listed_machine(
    names: Sequence[str], *keys: str, refused: tuple[tuple[str, str], ...] = ()
) -> ServiceStateMachine:
    """Return a machine that has listed runs, each with these streams, and waits for outputs."""
    machine = ServiceStateMachine(Settings(settle_s=0))
    machine.handle(Started(0.0, (ROOT,)))
    machine.handle(Connected(0.0, 2))
    entries = tuple(RunEntry(name, 1, (0, place, name), 1) for place, name in enumerate(names))
    machine.handle(RootScanned(0.0, ROOT, "", "v", 1, len(names), entries, refused))
    seen = tuple(stream(key, "d") for key in keys)
    for name in names:
        machine.handle(RunScanned(0.0, name, 0.0, "d", 1, ("run_complete",), seen))
    return machine


def target(stream: str, *, run: str = RUN, l1: bool = False) -> JobTarget:
    """Describe a job's target as the driver's root and outputs make it."""
    return JobTarget(run, stream, ROOT, root_device=5, output_device=2 if l1 else 1)


class Driver:
    """Hands events to a machine at growing times.

    What comes out is without what comes with every rescan: debug lines, and `WatchRoot`.
    """

    def __init__(self, settings: Settings = SETTINGS, *, ready: bool = True, **start: Any) -> None:
        self.state = ServiceStateMachine(settings)
        self.now_s = 0.0
        self.send(Started, roots=start.pop("roots", (ROOT,)), **start)
        if ready:
            self.send(Connected, n_slots=2)
            self.outputs()

    def send(self, kind: type[Any], *, after_s: float = 0.0, **fields: Any) -> list[Instruction]:
        self.now_s += after_s
        if fields.get("outcome", Outcome.DONE) is not Outcome.DONE:
            fields = {"reason": "it failed", **fields}
        event: Event = kind(now_s=self.now_s, **fields)
        out = self.state.handle(event)
        self.state.validate()
        return [i for i in out if not _is_routine(i)]

    def outputs(self, **how: Any) -> list[Instruction]:
        return self.send(OutputsChecked, outputs=outputs(**how))

    def root(self, *entries: RunEntry, **how: Any) -> list[Instruction]:
        n_entries = how.pop("n_entries", len(entries))
        fields = {"root": ROOT, "volume": "raw", "device": 5, **how}
        return self.send(RootScanned, n_entries=n_entries, runs=entries, **fields)

    def look(
        self, *streams: ScannedStream, digest: str = "d1", run: str = RUN, **how: Any
    ) -> list[Instruction]:
        fields: dict[str, Any] = {"markers": ("run_complete",), "directory_mtime_ns": 1}
        fields |= {"outputs": outputs() if streams else ()} | how
        return self.send(
            RunScanned,
            after_s=how.pop("after_s", 0.0),
            run=run,
            began_s=self.now_s,
            digest=digest,
            streams=streams or None,
            **{key: value for key, value in fields.items() if key != "after_s"},
        )

    def listed(self, *streams: ScannedStream, run: str = RUN, **how: Any) -> list[Instruction]:
        """Discover a run and let it be finished with these streams."""
        if run not in self.state.runs:
            self.root(*(entry(name) for name in (*self.state.runs, run)))
        self.look(run=run, **how)
        self.now_s += 10
        self.send(Tick)
        return self.look(*streams, run=run, **how)

    def ingested(self, key: str = IMG, **how: Any) -> list[Instruction]:
        fields = {"run": RUN, "outcome": Outcome.DONE, "is_changed": True, "n_frames": 7, **how}
        return self.send(IngestEnded, stream=key, **fields)

    def l1_made(self, key: str = IMG, **how: Any) -> list[Instruction]:
        fields = {"run": RUN, "outcome": Outcome.DONE, "is_changed": True, **how}
        return self.send(L1Ended, stream=key, **fields)

    def status(self, key: str = IMG, run: str = RUN) -> StreamStatus:
        return self.state.runs[run].streams[key].status


def _is_routine(instruction: Instruction) -> bool:
    is_debug = isinstance(instruction, Log) and instruction.level == "debug"
    return is_debug or isinstance(instruction, WatchRoot)


def logged(instructions: list[Instruction]) -> list[str]:
    return [i.event for i in instructions if isinstance(i, Log)]


def started(instructions: list[Instruction]) -> list[tuple[str, str]]:
    return [(i.target.run, i.target.stream) for i in instructions if isinstance(i, StartIngest)]


def done_run(*keys: str) -> Driver:
    """Bring a run to its completion."""
    driver = Driver()
    driver.listed(*(stream(key) for key in keys))
    for key in keys:
        driver.ingested(key)
        driver.l1_made(key)
    driver.outputs()
    assert driver.state.runs[RUN].is_complete
    return driver
