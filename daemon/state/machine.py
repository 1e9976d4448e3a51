"""The service's state machine: events in, instructions out.

Pure: no input or output, no clock, no logging. The shell (`service`) reads the clock, looks at
disks, runs jobs, and carries out what comes out of `ServiceStateMachine.handle`.

What is true is what a rescan shows. A run waits until it is finished, is listed, and its
streams are queued; a run whose files change later waits again, while its other streams go on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from panoseti_zarr.daemon.state.discovery import RunDiscovery
from panoseti_zarr.daemon.state.events import (
    AppendEnded,
    ChangeHint,
    Committed,
    Connected,
    Disconnected,
    Event,
    IngestEnded,
    L1Ended,
    L1Started,
    Outcome,
    OutputsChecked,
    OutputSeen,
    Reconfigured,
    RetryRequested,
    RootScanned,
    RunScanned,
    Started,
    StopRequested,
    Tick,
    VerifyEnded,
)
from panoseti_zarr.daemon.state.instructions import (
    CheckOutputs,
    Exit,
    Instruction,
    Log,
    SaveRun,
    StopJobs,
    UnwatchRun,
    WatchRun,
)
from panoseti_zarr.daemon.state.job_queue import JobQueue, requeue
from panoseti_zarr.daemon.state.live_streams import LiveStreams
from panoseti_zarr.daemon.state.mount_rules import OutputsCheck, check_outputs
from panoseti_zarr.daemon.state.reconcile import (
    log_removed_streams,
    mark_source_gone,
    reconcile_streams,
    record_rejected_files,
)
from panoseti_zarr.daemon.state.records import (
    L1_LEFT,
    SETTLED,
    MountId,
    Root,
    Run,
    StreamStatus,
    VerifyStatus,
)
from panoseti_zarr.daemon.state.settings import Settings
from panoseti_zarr.daemon.state.verification import VerificationQueue

JobEnded = TypeVar("JobEnded", IngestEnded, AppendEnded, L1Ended, VerifyEnded)


class ServiceStateMachine:
    """All that the service knows, and what it does next.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.roots: dict[str, Root] = {}
        self.runs: dict[str, Run] = {}
        self.backlog = JobQueue(self.runs, self.roots)
        self.follower = LiveStreams(self.runs, self.roots, self.backlog)
        self.verifier = VerificationQueue(self.runs, self.roots, self.backlog)
        self.is_stopping = False
        self.was_connected = False
        self.outputs: tuple[OutputSeen, ...] = ()
        """The output directories, as they were seen last."""
        self._tracker = RunDiscovery(self.runs, self.roots)
        self._exit_code = 0
        self._outputs_due_s = 0.0
        self._is_checking_outputs = False
        self._places: dict[str, MountId] = {}
        self._handlers: dict[type, Callable[[Any], list[Instruction]]] = {
            Started: self._on_started,
            Connected: self._on_connected,
            Disconnected: self._on_disconnected,
            Tick: lambda _: [],
            ChangeHint: self._on_hinted,
            RootScanned: self._on_root_seen,
            RunScanned: self._on_run_seen,
            OutputsChecked: self._on_outputs_seen,
            Committed: self.backlog.committed,
            IngestEnded: partial(self._on_job_ended, self.backlog.ingest_ended),
            AppendEnded: partial(self._on_job_ended, self.follower.ended),
            L1Started: lambda event: [Log("l1.started", "info", event.run, event.stream)],
            L1Ended: partial(self._on_job_ended, self.backlog.l1_ended),
            VerifyEnded: partial(self._on_job_ended, self.verifier.ended),
            RetryRequested: self._on_retry_asked,
            Reconfigured: self._on_reconfigured,
            StopRequested: self._on_stop_asked,
        }

    def handle(self, event: Event) -> list[Instruction]:
        """Take in an event; return what is to be done now, in order."""
        instructions = self._handlers[type(event)](event)
        if not self.is_stopping:
            return instructions + self._do_due(event.now_s)
        instructions = [i for i in instructions if isinstance(i, Log | SaveRun | StopJobs)]
        if not (self.backlog.running or self.verifier.job):
            instructions.append(Exit(self._exit_code))
        return instructions

    def next_due_s(self, now_s: float) -> float | None:
        """Return the monotonic time at which a `Tick` is wanted, if nothing comes before."""
        due = [part.next_due_s(now_s) for part in (self.follower, self.backlog, self.verifier)]
        due.append(self._tracker.next_due_s())
        if not self._is_checking_outputs:
            due.append(self._outputs_due_s)
        return min((due_s for due_s in due if due_s is not None), default=None)

    def volumes(self) -> tuple[tuple[str, str], ...]:
        """Return on which volumes roots and output directories are when all is well, by path."""
        places = {root.path: root.place for root in self.roots.values()} | self._places
        return tuple((path, place.volume) for path, place in places.items() if place)

    def _do_due(self, now_s: float) -> list[Instruction]:
        instructions = self._tracker.look_due(now_s, self.settings)
        if not self._is_checking_outputs and self._outputs_due_s <= now_s:
            self._is_checking_outputs, self._outputs_due_s = True, now_s
            instructions.append(CheckOutputs())
        elif self._outputs_due_s + self.settings.hang_s <= now_s and not self.backlog.paused:
            instructions += self._pause_queue("l0_dir or l1_dir gives no answer")
        instructions += self.follower.start(now_s, self.settings)
        instructions += self.backlog.start_jobs(now_s, self.settings)
        return instructions + self.verifier.start(now_s)

    def _on_started(self, event: Started) -> list[Instruction]:
        places = {name: MountId(volume) for name, volume in event.volumes}
        for path in event.roots:
            self.roots[path] = Root(path, event.now_s, place=places.pop(path, None))
        self._places = places
        self._outputs_due_s = event.now_s
        instructions: list[Instruction] = []
        for run in event.runs:
            self.runs[run.name] = run
            # At the start the stores of every known run are looked at, for a missing L1.
            run.recheck_s = event.now_s
            run.quiet, run.is_looking = None, False
            # One of a root that is not configured any more may turn up in another.
            run.is_removed = run.is_removed or run.root not in self.roots
            for stream in run.streams.values():
                if stream.status not in SETTLED:
                    # An L1 needs its closed store alone, whatever became of the run.
                    is_left = stream.status in L1_LEFT and run.root in self.roots
                    stream.status = StreamStatus.L1_QUEUED if is_left else StreamStatus.WAITING
                    run.is_complete = False
                if stream.verify is VerifyStatus.RUNNING:
                    stream.unverify()
            run.is_settling = not (run.is_complete or run.is_removed)
            if run.is_settling:
                instructions.append(WatchRun(run.root, run.name))
            # Of what was removed before this start nothing is said.
            self.verifier.note(run, self.settings)
            if any(stream.status is StreamStatus.L1_QUEUED for stream in run.streams.values()):
                instructions += self.backlog.follow(run, event.now_s)
        return instructions

    def _on_connected(self, event: Connected) -> list[Instruction]:
        name = "cluster.connected" if self.was_connected else "service.ready"
        self.backlog.is_connected = self.was_connected = True
        return [Log(name, fields={"n_slots": event.n_slots})]

    def _on_disconnected(self, event: Disconnected) -> list[Instruction]:
        self.backlog.is_connected = False
        return [Log("cluster.lost", "error", fields={"reason": event.reason})]

    def _on_hinted(self, event: ChangeHint) -> list[Instruction]:
        self._tracker.hinted(event, self.settings)
        return []

    def _on_root_seen(self, event: RootScanned) -> list[Instruction]:
        known = set(self.runs)
        instructions, removed = self._tracker.root_seen(event, self.settings)
        instructions += [SaveRun(name) for name in self.runs if name not in known]
        for run in removed:
            run.is_removed, run.is_settling = True, False
            for stream in run.streams.values():
                mark_source_gone(stream)
            instructions += [Log("run.removed", "info", run.name), UnwatchRun(run.root, run.name)]
            instructions += self._after(run, event.now_s)
        return instructions

    def _on_run_seen(self, event: RunScanned) -> list[Instruction]:
        instructions, is_listed = self._tracker.run_seen(event, self.settings)
        run = self.runs[event.run]
        if not is_listed or event.streams is None:
            return instructions + self._follow(run, event)
        if not self._judge_outputs(event.outputs).are_there:
            # Their stores were looked for in the wrong place: look again with the next rescan.
            run.recheck_s = event.now_s
            return instructions
        was_settling, is_first = run.is_settling, not run.digest
        removed = {s.key for s in run.streams.values() if s.status is StreamStatus.REMOVED}
        queued = reconcile_streams(run, event.streams)
        instructions += log_removed_streams(run, removed, event.streams)
        instructions += record_rejected_files(run, event.refused)
        run.is_settling = False
        run.reason = ""
        run.digest = event.digest
        run.directory_mtime_ns = event.directory_mtime_ns
        run.n_empty_files = event.n_empty_files
        run.recheck_s = event.now_s + self.settings.recheck_s
        if was_settling:
            instructions.append(UnwatchRun(run.root, run.name))
        if was_settling and (is_first or queued):
            run.finished_s = event.now_s
            fields = {"n_streams": len(event.streams), "n_empty_files": event.n_empty_files}
            instructions.append(Log("run.finished", "info", run.name, None, fields))
        instructions += [requeue(run, stream) for stream in queued]
        was_complete = run.is_complete
        instructions += self._after(run, event.now_s)
        # Its other files may be new though its streams are not.
        return instructions + (self.backlog.housekeeping(run) if was_complete else [])

    def _follow(self, run: Run, event: RunScanned) -> list[Instruction]:
        """Open the streams of a run that is recorded, and look at it again soon."""
        if not (run.is_settling and run.quiet and event.growth):
            return []
        due_s = event.now_s + self.settings.rescan_interval_s(run.quiet.seconds)
        self._tracker.schedule_scan(run, due_s)
        return self._after(run, event.now_s) if self.follower.seen(run, event) else []

    def _on_outputs_seen(self, event: OutputsChecked) -> list[Instruction]:
        self._is_checking_outputs = False
        self.outputs = event.outputs
        self._outputs_due_s = event.now_s + self.settings.outputs_every_s
        verdict = self._judge_outputs(event.outputs)
        self.backlog.is_checked = True
        self.backlog.are_outputs_there = verdict.are_there
        if verdict.are_there:
            self.backlog.devices = {o.label: o.device for o in event.outputs}
            self._places = {o.path: MountId(o.volume, o.device) for o in event.outputs}
        return self._pause_queue(verdict.problem)

    def _pause_queue(self, problem: str) -> list[Instruction]:
        """Let no job start, and say so, while there is a problem."""
        before, self.backlog.paused = self.backlog.paused, problem
        if problem:
            pause = Log("queue.paused", "warning", fields={"reason": problem})
            return [] if before else [pause]
        return [Log("queue.resumed")] if before else []

    def _judge_outputs(self, outputs: tuple[OutputSeen, ...]) -> OutputsCheck:
        return check_outputs(outputs, self._places, self.settings.min_free_bytes)

    def _on_job_ended(
        self, take: Callable[[JobEnded, Settings], list[Instruction]], event: JobEnded
    ) -> list[Instruction]:
        instructions = take(event, self.settings)
        run = self.runs[event.run]
        stream = run.streams[event.stream]
        if run.is_removed:
            mark_source_gone(stream)
        elif run.is_settling and not isinstance(event, AppendEnded):
            self._tracker.schedule_scan(run, event.now_s)
        instructions += self._after(run, event.now_s)
        if event.outcome is Outcome.BROKEN:
            instructions.append(Log("service.failed", "critical", fields={"reason": event.reason}))
            instructions += self._stop(exit_code=1)
        return instructions

    def _on_retry_asked(self, event: RetryRequested) -> list[Instruction]:
        run = self.runs.get(event.run)
        if run is None or run.is_removed:
            reason = "no such run" if run is None else "its directory is gone"
            return [Log("retry.refused", "warning", event.run, None, {"reason": reason})]
        fields = {"rebuild": event.rebuild}
        instructions: list[Instruction] = [Log("run.retried", "info", run.name, None, fields)]
        run.rebuild = event.rebuild and not run.digest
        for stream in run.streams.values():
            stream.retry(rebuild=event.rebuild)
        self._tracker.schedule_listing(run)
        return instructions + self._after(run, event.now_s)

    def _on_reconfigured(self, event: Reconfigured) -> list[Instruction]:
        self.settings = event.settings
        self._outputs_due_s = event.now_s
        for root in self.roots.values():
            root.scan_due_s = event.now_s
        for run in self.runs.values():
            self.verifier.note(run, self.settings)
        return []

    def _on_stop_asked(self, _: StopRequested) -> list[Instruction]:
        return self._stop(exit_code=self._exit_code)

    def _stop(self, *, exit_code: int) -> list[Instruction]:
        self.is_stopping = True
        self._exit_code = exit_code
        return [StopJobs()]

    def _after(self, run: Run, now_s: float) -> list[Instruction]:
        """Keep the backlog's view of a run up to date; announce the run's completion."""
        instructions = self.verifier.note(run, self.settings)
        return [*instructions, *self.backlog.follow(run, now_s), SaveRun(run.name)]
