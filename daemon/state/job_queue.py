"""The job queue: which job starts next, and the effect of its end on the stream. Pure.

A stream has one job at a time: its L0 job, then, once the store is closed, its L1 job. Jobs
start with the oldest run, streams in the order of their listing.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator

from panoseti_zarr.daemon.state.events import Committed, IngestEnded, JobEnded, L1Ended, Outcome
from panoseti_zarr.daemon.state.instructions import (
    Instruction,
    JobTarget,
    Log,
    MakeSidecar,
    StartIngest,
    StartL1,
)
from panoseti_zarr.daemon.state.records import (
    RUNNING,
    SETTLED,
    Root,
    Run,
    Stream,
    StreamStatus,
)
from panoseti_zarr.daemon.state.retries import retry_or_quarantine
from panoseti_zarr.daemon.state.settings import Settings


def requeue(run: Run, stream: Stream) -> Log:
    """Put a stream in the queue afresh, and say so."""
    stream.queue()
    return Log("stream.queued", "info", run.name, stream.key)


class JobQueue:
    """Streams with work to do, and the jobs under way.

    Parameters
    ----------
    runs, roots : dict
        The state machine's own records, shared with it.
    """

    def __init__(self, runs: dict[str, Run], roots: dict[str, Root]) -> None:
        self._runs = runs
        self._roots = roots
        self.active: set[str] = set()
        """Names of runs with a stream that is not settled."""
        self.in_order: list[Run] = []
        """Those runs, oldest first."""
        self.is_connected = False
        self.devices: dict[str, int] = {}
        """``st_dev`` of the output directories when all was well, by label."""
        self.is_checked = False
        """The output directories were looked at."""
        self.are_outputs_there = False
        """They are what they were, whether or not there is room."""
        self.paused = ""
        """Why no job may start; empty where one may."""
        self.running: set[tuple[str, str]] = set()

    @property
    def may_start(self) -> bool:
        """Whether any job may start."""
        return self.is_connected and self.is_checked and not self.paused

    def n_running(self, status: StreamStatus) -> int:
        """Count the jobs of a kind that do something.

        One whose root hangs does not: it must not keep the others from starting.
        """
        return sum(not self._roots[run.root].is_hung for run in self._with_job(status))

    def start_jobs(self, now_s: float, settings: Settings) -> list[Instruction]:
        """Start what may start now."""
        if not self.may_start:
            return []
        n_ingesting = self.n_running(StreamStatus.INGESTING)
        n_l1 = len(self._with_job(StreamStatus.L1_RUNNING))
        instructions: list[Instruction] = []
        for run, stream in self._waiting():
            # A first start can queue thousands of streams: stop once all slots are taken.
            if n_ingesting >= settings.max_streams and n_l1 >= settings.max_l1:
                break
            if stream.due_s is not None and stream.due_s > now_s:
                continue
            if stream.status in {StreamStatus.QUEUED, StreamStatus.RETRYING}:
                if n_ingesting < settings.max_streams and not self._roots[run.root].paused:
                    n_ingesting += 1
                    instructions.append(self._start_ingest(run, stream))
            elif n_l1 < settings.max_l1 or n_ingesting + n_l1 < settings.max_streams:
                n_l1 += 1
                instructions.append(self._start_l1(run, stream))
        return instructions

    def next_due_s(self, now_s: float) -> float | None:
        """Return the earliest time after ``now_s`` at which a delayed attempt is due."""
        due = (stream.due_s for _, stream in self._waiting() if stream.due_s is not None)
        return min((due_s for due_s in due if due_s > now_s), default=None)

    def counts(self) -> tuple[int, int]:
        """Return how many streams wait for a job, and how many have one."""
        return sum(1 for _ in self._waiting()), len(self.running)

    def update_run(self, run: Run, now_s: float) -> list[Instruction]:
        """Note whether a run has streams with work to do; announce its completion."""
        if not all(stream.status in SETTLED for stream in run.streams.values()):
            self._activate(run)
            if run.is_complete or run.began_s is None:
                run.began_s = now_s
            run.completed_s = None
            return []
        self._deactivate(run)
        if run.is_complete or run.is_settling or run.is_removed:
            return []
        run.completed_s = now_s
        return [_completed(run, now_s), *self.request_sidecar(run)]

    def request_sidecar(self, run: Run) -> list[Instruction]:
        """Have the sidecar files of a complete run made."""
        if not run.is_complete or run.is_removed:
            return []
        return [MakeSidecar(self.target(run, "", "l1_dir"))]

    def target(self, run: Run, stream: str, output: str) -> JobTarget:
        """Describe a job's run and stream, with the devices as they were last in order.

        Parameters
        ----------
        run : Run
        stream : str
            Its key; empty for the whole run.
        output : str
            ``l0_dir`` or ``l1_dir``: the directory of the stores.
        """
        root = self._roots.get(run.root)
        root_device = root.place.device if root and root.place else None
        return JobTarget(run.name, stream, run.root, root_device, self.devices.get(output))

    def committed(self, event: Committed) -> list[Instruction]:
        """Note progress: the next failure is a first one again."""
        run = self._runs[event.run]
        # Its frames were read: the root is not hung, however long its rescan takes.
        self._roots[run.root].answered_s = event.now_s
        stream = run.streams[event.stream]
        stream.n_frames = event.n_frames
        stream.n_bytes += event.n_bytes
        stream.lag_s = event.lag_s
        stream.n_attempts = 0
        fields = {
            "n_frames": event.n_frames,
            "n_new_frames": event.n_new_frames,
            "n_bytes": event.n_bytes,
            "seconds": round(event.seconds, 3),
            "mb_per_s": mb_per_s(event.n_bytes, event.seconds),
            "lag_s": None if event.lag_s is None else round(event.lag_s, 1),
        }
        return [Log("stream.committed", "info", event.run, event.stream, fields)]

    def ingest_ended(self, event: IngestEnded, settings: Settings) -> list[Instruction]:
        """Move a stream whose L0 job ended."""
        run, stream = self.end(event)
        if event.outcome is Outcome.DONE:
            return self._closed(run, stream, event)
        if event.outcome in {Outcome.STOPPED, Outcome.BROKEN}:
            stream.status = StreamStatus.QUEUED
            return []
        if stream.requeue_after_job:
            return [requeue(run, stream)]
        if event.outcome in {Outcome.CHANGED, Outcome.MISSING}:
            # Not what was listed: wait until the run is finished again, and list it again.
            stream.status = StreamStatus.WAITING
            run.settle()
            return []
        return retry_or_quarantine(
            stream, event, StreamStatus.RETRYING, "stream.postponed", settings
        )

    def l1_ended(self, event: L1Ended, settings: Settings) -> list[Instruction]:
        """Move a stream whose L1 job ended."""
        run, stream = self.end(event)
        if event.outcome is Outcome.DONE:
            return self._made(run, stream, event)
        if event.outcome in {Outcome.STOPPED, Outcome.BROKEN}:
            stream.status = StreamStatus.L1_QUEUED
            return []
        if stream.requeue_after_job:
            return [requeue(run, stream)]
        if event.outcome in {Outcome.CHANGED, Outcome.MISSING}:
            stream.status = StreamStatus.WAITING
            run.settle()
            return []
        return retry_or_quarantine(
            stream, event, StreamStatus.L1_RETRYING, "l1.postponed", settings
        )

    def end(self, event: JobEnded) -> tuple[Run, Stream]:
        """Remove a job that ended; return its run and stream."""
        self.running.discard((event.run, event.stream))
        run = self._runs[event.run]
        return run, run.streams[event.stream]

    def _start_ingest(self, run: Run, stream: Stream) -> Instruction:
        stream.status = StreamStatus.INGESTING
        stream.due_s = None
        stream.n_bytes = 0 if stream.rebuild else stream.n_bytes
        self.running.add((run.name, stream.key))
        return StartIngest(self.target(run, stream.key, "l0_dir"), stream.digest, stream.rebuild)

    def _start_l1(self, run: Run, stream: Stream) -> Instruction:
        stream.status = StreamStatus.L1_RUNNING
        stream.due_s = None
        self.running.add((run.name, stream.key))
        return StartL1(self.target(run, stream.key, "l1_dir"), stream.refresh_l1)

    def _closed(self, run: Run, stream: Stream, event: IngestEnded) -> list[Instruction]:
        stream.is_closed = True
        stream.rebuild = stream.rebuild and stream.requeue_after_job
        stream.recover()
        stream.n_frames = event.n_frames
        warnings = tuple(f"{event.stream}: {line}" for line in event.cut_short)
        instructions: list[Instruction] = [
            Log("file.cut_short", "warning", event.run, event.stream, {"reason": line})
            for line in event.cut_short
            if f"{event.stream}: {line}" not in run.warnings
        ]
        others = (w for w in run.warnings if not w.startswith(f"{event.stream}: "))
        run.warnings = (*others, *warnings)
        fields = {
            "n_frames": event.n_frames,
            "n_new_frames": event.n_new_frames,
            "n_bytes": event.n_bytes,
            "seconds": round(event.seconds, 3),
            "gaps": list(event.gaps),
        }
        instructions.append(Log("stream.closed", "info", event.run, event.stream, fields))
        if stream.requeue_after_job:
            instructions.append(requeue(run, stream))
        else:
            stream.status = StreamStatus.L1_QUEUED
        return instructions

    def _made(self, run: Run, stream: Stream, event: L1Ended) -> list[Instruction]:
        stream.status = StreamStatus.REMOVED if run.is_removed else StreamStatus.DONE
        stream.recover()
        stream.refresh_l1 = stream.refresh_l1 and stream.requeue_after_job
        instructions: list[Instruction] = []
        if event.is_changed:
            fields = {
                "n_frames": event.n_frames,
                "n_bytes": event.n_bytes,
                "seconds": round(event.seconds, 3),
            }
            instructions.append(Log("l1.finished", "info", event.run, event.stream, fields))
        if stream.requeue_after_job:
            instructions.append(requeue(run, stream))
        return instructions

    def _activate(self, run: Run) -> None:
        if run.name not in self.active:
            self.active.add(run.name)
            bisect.insort(self.in_order, run, key=lambda active: active.order)

    def _deactivate(self, run: Run) -> None:
        if run.name in self.active:
            self.active.remove(run.name)
            del self.in_order[bisect.bisect_left(self.in_order, run.order, key=lambda r: r.order)]

    def _waiting(self) -> Iterator[tuple[Run, Stream]]:
        """Give the streams that a job is wanted for, in order."""
        idle = {*RUNNING, *SETTLED, StreamStatus.WAITING, StreamStatus.OPEN}
        for run in self.in_order:
            for stream in run.streams.values():
                if stream.status not in idle:
                    yield run, stream

    def _with_job(self, status: StreamStatus) -> list[Run]:
        """Give the run of each stream that has a job, and this status."""
        running = ((self._runs[run], stream) for run, stream in self.running)
        return [run for run, stream in running if run.streams[stream].status is status]


def mb_per_s(n_bytes: int, seconds: float) -> float | None:
    """Return a rate in MB/s (10^6 bytes) as it is logged; None if it took no time."""
    return round(n_bytes / seconds / 1e6, 1) if seconds > 0 else None


def _completed(run: Run, now_s: float) -> Log:
    began_s = now_s if run.began_s is None else run.began_s
    fields = {
        "n_streams": len(run.streams),
        "n_frames": sum(stream.n_frames for stream in run.streams.values()),
        "n_quarantined": run.n_quarantined,
        "seconds": round(now_s - began_s, 3),
    }
    return Log("run.completed", "info", run.name, None, fields)
