"""The service's state machine: events in, instructions out.

Pure: no input or output, no clock, no logging. The shell (`service`) turns everything that
happens into an event, and carries out the instructions that `ServiceStateMachine.handle` returns.

A rescan shows what is true. A run waits until it is finished; then it is listed and its streams
are queued. A run whose files change later waits again, while its other streams go on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from panoseti_zarr.daemon.state.discovery import RunDiscovery
from panoseti_zarr.daemon.state.events import (
    AppendEnded,
    ChangeHint,
    CheckedOutput,
    ClusterReported,
    Committed,
    ConfigRejected,
    Connected,
    Disconnected,
    Event,
    ExecutorFailed,
    IngestEnded,
    JobEnded,
    L1Ended,
    L1Started,
    Outcome,
    OutputsChecked,
    QuicklookEnded,
    Reconfigured,
    ReloadRequested,
    RequestRejected,
    RetryRequested,
    RootScanned,
    RunScanned,
    SidecarEnded,
    Started,
    StopRequested,
    Tick,
    VerifyEnded,
)
from panoseti_zarr.daemon.state.instructions import (
    CheckCluster,
    CheckOutputs,
    DeleteRequest,
    Exit,
    Instruction,
    Log,
    MakeQuicklook,
    ReadConfig,
    ReportReady,
    SaveHistory,
    SaveRun,
    StopJobs,
    UnwatchRun,
    WatchRoot,
    WatchRun,
)
from panoseti_zarr.daemon.state.invariants import violations
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
    RunPhase,
    ServicePhase,
    StreamStatus,
    VerifyStatus,
)
from panoseti_zarr.daemon.state.settings import Settings
from panoseti_zarr.daemon.state.verification import VerificationQueue
from panoseti_zarr.errors import InvariantError

STOP_S = 40.0
"""Seconds that jobs may take to stop before they are abandoned: their commits stay."""

_WHILE_STOPPING = (Log, SaveRun, StopJobs, SaveHistory)
"""The instructions that still matter while the service stops."""


class ServiceStateMachine:
    """Everything that the service knows, and what it does next.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.roots: dict[str, Root] = {}
        self.runs: dict[str, Run] = {}
        self.job_queue = JobQueue(self.runs, self.roots)
        self.live_streams = LiveStreams(self.runs, self.roots, self.job_queue)
        self.verification = VerificationQueue(self.runs, self.roots, self.job_queue)
        self.is_stopping = False
        self.was_connected = False
        self.waits_for = ""
        """Why there is no cluster at present; empty if there is one."""
        self.outputs: tuple[CheckedOutput, ...] = ()
        """The output directories, as they were seen last."""
        self._discovery = RunDiscovery(self.runs, self.roots)
        self._requests: list[RetryRequested] = []
        self._exit_code = 0
        self._stop_by_s: float | None = None
        self._outputs_due_s = 0.0
        self._is_checking_outputs = False
        self._places: dict[str, MountId] = {}

    def handle(self, event: Event) -> list[Instruction]:
        """Take in an event; return what is to be done now, in order."""
        instructions = _HANDLERS[type(event)](self, event)
        if not self.is_stopping:
            return instructions + self._do_due(event.now_s)
        instructions = [i for i in instructions if isinstance(i, _WHILE_STOPPING)]
        if not (self.job_queue.running or self.verification.job):
            instructions.append(Exit(self._exit_code))
        elif self._stop_by_s is not None and self._stop_by_s <= event.now_s:
            instructions.append(Exit(self._exit_code, has_abandoned=True))
        return instructions

    @property
    def phase(self) -> ServicePhase:
        """What the service does."""
        if self.is_stopping:
            return ServicePhase.STOPPING
        return ServicePhase.RUNNING if self.was_connected else ServicePhase.STARTING

    def validate(self) -> None:
        """Check the machine's own invariants; slow with many runs, for tests and replays.

        Raises
        ------
        InvariantError
            One does not hold.
        """
        if lines := violations(self):
            raise InvariantError("; ".join(lines))

    def next_due_s(self, now_s: float) -> float | None:
        """Return the monotonic time at which a `Tick` is wanted, if nothing comes before."""
        due = [
            part.next_due_s(now_s)
            for part in (self.live_streams, self.job_queue, self.verification)
        ]
        due.append(self._discovery.next_due_s())
        if not self._is_checking_outputs:
            due.append(self._outputs_due_s)
        return min((due_s for due_s in due if due_s is not None), default=None)

    def volumes(self) -> tuple[tuple[str, str], ...]:
        """Return on which volumes roots and output directories are when all is well, by path."""
        places = {root.path: root.place for root in self.roots.values()} | self._places
        return tuple((path, place.volume) for path, place in places.items() if place)

    def _do_due(self, now_s: float) -> list[Instruction]:
        instructions = self._answer_requests(now_s)
        instructions += self._discovery.start_due_scans(now_s, self.settings)
        if not self._is_checking_outputs and self._outputs_due_s <= now_s:
            self._is_checking_outputs, self._outputs_due_s = True, now_s
            instructions.append(CheckOutputs())
        elif self._outputs_due_s + self.settings.hang_s <= now_s and not self.job_queue.paused:
            instructions += self._pause_queue("l0_dir or l1_dir gives no answer")
        instructions += self.live_streams.start(now_s, self.settings)
        instructions += self.job_queue.start_jobs(now_s, self.settings)
        return instructions + self.verification.start(now_s)

    def _on_started(self, event: Started) -> list[Instruction]:
        places = {name: MountId(volume) for name, volume in event.volumes}
        for path in event.roots:
            self.roots[path] = Root(path, event.now_s, place=places.pop(path, None))
        self._places = places
        self._outputs_due_s = event.now_s
        instructions: list[Instruction] = []
        for known in event.runs:
            # A copy: the event stays as it was, for a replay.
            streams = {key: replace(stream) for key, stream in known.streams.items()}
            run = self.runs[known.name] = replace(known, streams=streams)
            # At the start the stores of every known run are looked at, for a missing L1.
            run.recheck_s = event.now_s
            run.quiet, run.is_scanning = None, False
            # A run of a root that is no longer configured may turn up in another.
            is_removed = run.is_removed or run.root not in self.roots
            for stream in run.streams.values():
                if stream.status not in SETTLED:
                    # An L1 needs its closed store alone, whatever became of the run.
                    is_left = stream.status in L1_LEFT and run.root in self.roots
                    stream.status = StreamStatus.L1_QUEUED if is_left else StreamStatus.WAITING
                    run.completed_s = None
                if stream.verify is VerifyStatus.RUNNING:
                    stream.unverify()
            run.phase = RunPhase.LISTED if run.is_complete else RunPhase.SETTLING
            run.phase = RunPhase.REMOVED if is_removed else run.phase
            if run.is_settling:
                instructions.append(WatchRun(run.root, run.name))
            # Do not log removals that predate this start.
            self.verification.update_run(run, self.settings)
            if any(stream.status is StreamStatus.L1_QUEUED for stream in run.streams.values()):
                instructions += self.job_queue.update_run(run, event.now_s)
        return instructions

    def _on_connected(self, event: Connected) -> list[Instruction]:
        name = "cluster.connected" if self.was_connected else "service.ready"
        is_first, self.was_connected = not self.was_connected, True
        self.job_queue.is_connected = True
        self.waits_for = ""
        log = Log(name, fields={"n_slots": event.n_slots})
        return [log, ReportReady()] if is_first else [log]

    def _on_disconnected(self, event: Disconnected) -> list[Instruction]:
        self.job_queue.is_connected = False
        self.waits_for = event.reason
        return [Log("cluster.lost", "error", fields={"reason": event.reason})]

    def _on_cluster_reported(self, event: ClusterReported) -> list[Instruction]:
        if event.name == "cluster.unreachable":
            self.waits_for = event.fields["reason"]
        return [Log(event.name, event.level, fields=event.fields)]

    def _on_executor_failed(self, event: ExecutorFailed) -> list[Instruction]:
        return self._stop(event.now_s, event.exit_code)

    def _on_tick(self, _: Tick) -> list[Instruction]:
        return []

    def _on_change_hint(self, event: ChangeHint) -> list[Instruction]:
        self._discovery.on_change_hint(event, self.settings)
        return []

    def _on_root_scanned(self, event: RootScanned) -> list[Instruction]:
        known = set(self.runs)
        instructions, removed = self._discovery.on_root_scanned(event, self.settings)
        instructions += [SaveRun(name) for name in self.runs if name not in known]
        for run in removed:
            run.phase = RunPhase.REMOVED
            for stream in run.streams.values():
                mark_source_gone(stream)
            instructions += [Log("run.removed", "info", run.name), UnwatchRun(run.root, run.name)]
            instructions += self._after(run, event.now_s)
        if not event.problem:
            instructions.append(WatchRoot(event.root))
        return instructions

    def _on_run_scanned(self, event: RunScanned) -> list[Instruction]:
        instructions, is_listed = self._discovery.on_run_scanned(event, self.settings)
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
        run.phase = RunPhase.LISTED
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
        return instructions + (self.job_queue.request_sidecar(run) if was_complete else [])

    def _follow(self, run: Run, event: RunScanned) -> list[Instruction]:
        """Open the streams of a run that is recorded, and look at it again soon."""
        if not (run.is_settling and run.quiet and event.growth):
            return []
        due_s = event.now_s + self.settings.rescan_interval_s(run.quiet.seconds)
        self._discovery.schedule_scan(run, due_s)
        return self._after(run, event.now_s) if self.live_streams.on_growth(run, event) else []

    def _on_outputs_checked(self, event: OutputsChecked) -> list[Instruction]:
        self._is_checking_outputs = False
        self.outputs = event.outputs
        self._outputs_due_s = event.now_s + self.settings.outputs_every_s
        verdict = self._judge_outputs(event.outputs)
        self.job_queue.is_checked = True
        self.job_queue.are_outputs_there = verdict.are_there
        if verdict.are_there:
            self.job_queue.devices = {o.label: o.device for o in event.outputs}
            self._places = {o.path: MountId(o.volume, o.device) for o in event.outputs}
        return self._pause_queue(verdict.problem)

    def _pause_queue(self, problem: str) -> list[Instruction]:
        """Let no job start, and say so, while there is a problem."""
        before, self.job_queue.paused = self.job_queue.paused, problem
        if problem:
            pause = Log("queue.paused", "warning", fields={"reason": problem})
            return [] if before else [pause]
        return [Log("queue.resumed")] if before else []

    def _judge_outputs(self, outputs: tuple[CheckedOutput, ...]) -> OutputsCheck:
        return check_outputs(outputs, self._places, self.settings.min_free_bytes)

    def _on_committed(self, event: Committed) -> list[Instruction]:
        return self.job_queue.committed(event)

    def _on_ingest_ended(self, event: IngestEnded) -> list[Instruction]:
        return self._after_job(event, self.job_queue.ingest_ended(event, self.settings))

    def _on_append_ended(self, event: AppendEnded) -> list[Instruction]:
        return self._after_job(event, self.live_streams.on_ended(event, self.settings))

    def _on_l1_started(self, event: L1Started) -> list[Instruction]:
        return [Log("l1.started", "info", event.run, event.stream)]

    def _on_l1_ended(self, event: L1Ended) -> list[Instruction]:
        instructions = self._after_job(event, self.job_queue.l1_ended(event, self.settings))
        if event.is_changed:
            instructions.append(MakeQuicklook(event.run, event.stream))
        return instructions

    def _on_verify_ended(self, event: VerifyEnded) -> list[Instruction]:
        return self._after_job(event, self.verification.on_ended(event, self.settings))

    def _after_job(self, event: JobEnded, instructions: list[Instruction]) -> list[Instruction]:
        """Do what the end of any job means for its run and for the service."""
        run = self.runs[event.run]
        stream = run.streams[event.stream]
        if run.is_removed:
            mark_source_gone(stream)
        elif run.is_settling and not isinstance(event, AppendEnded):
            self._discovery.schedule_scan(run, event.now_s)
        instructions += self._after(run, event.now_s)
        if event.outcome is Outcome.FAILED:
            instructions.append(CheckCluster())
        if event.outcome is Outcome.BROKEN:
            instructions.append(Log("service.failed", "critical", fields={"reason": event.reason}))
            instructions.append(SaveHistory())
            instructions += self._stop(event.now_s, exit_code=1)
        return instructions

    def _on_quicklook_ended(self, event: QuicklookEnded) -> list[Instruction]:
        if event.problem:
            fields: dict[str, Any] = {"reason": event.problem}
            return [Log("quicklook.failed", "warning", event.run, event.stream, fields)]
        fields = {"path": event.path, "seconds": event.seconds}
        return [Log("quicklook.made", "info", event.run, event.stream, fields)]

    def _on_sidecar_ended(self, event: SidecarEnded) -> list[Instruction]:
        instructions: list[Instruction] = []
        if event.problem:
            fields = {"reason": event.problem}
            instructions.append(Log("housekeeping.failed", "warning", event.run, None, fields))
        if event.made is not None:
            instructions.append(Log("housekeeping.made", "info", event.run, None, event.made))
        return instructions

    def _on_retry_requested(self, event: RetryRequested) -> list[Instruction]:
        self._requests.append(event)
        return []

    def _on_request_rejected(self, event: RequestRejected) -> list[Instruction]:
        fields = {"request": event.request, "reason": event.reason}
        return [Log("request.refused", "warning", fields=fields), DeleteRequest(event.request)]

    def _answer_requests(self, now_s: float) -> list[Instruction]:
        """Retry the runs that are asked for; an unknown one once every root was listed."""
        if not self._requests:
            return []
        are_all_known = all(root.scanned_s is not None for root in self.roots.values())
        ready: list[RetryRequested] = []
        waiting: list[RetryRequested] = []
        for request in self._requests:
            (ready if are_all_known or request.run in self.runs else waiting).append(request)
        self._requests = waiting
        instructions: list[Instruction] = []
        for request in ready:
            instructions += self._retry(request, now_s)
            if request.request:
                instructions.append(DeleteRequest(request.request))
        return instructions

    def _retry(self, event: RetryRequested, now_s: float) -> list[Instruction]:
        run = self.runs.get(event.run)
        if run is None or run.is_removed:
            reason = "no such run" if run is None else "its directory is gone"
            return [Log("retry.refused", "warning", event.run, None, {"reason": reason})]
        fields = {"rebuild": event.rebuild}
        instructions: list[Instruction] = [Log("run.retried", "info", run.name, None, fields)]
        run.rebuild = event.rebuild and not run.digest
        for stream in run.streams.values():
            stream.retry(rebuild=event.rebuild)
        self._discovery.schedule_listing(run)
        return instructions + self._after(run, now_s)

    def _on_reload_requested(self, _: ReloadRequested) -> list[Instruction]:
        return [ReadConfig()]

    def _on_config_rejected(self, event: ConfigRejected) -> list[Instruction]:
        return [Log("config.refused", "error", fields={"reason": event.reason})]

    def _on_reconfigured(self, event: Reconfigured) -> list[Instruction]:
        self.settings = event.settings
        self._outputs_due_s = event.now_s
        for root in self.roots.values():
            root.scan_due_s = event.now_s
        for run in self.runs.values():
            self.verification.update_run(run, self.settings)
        fields = {"changed": event.changed, "needs_restart": event.needs_restart}
        return [Log("config.reloaded", fields=fields)]

    def _on_stop_requested(self, event: StopRequested) -> list[Instruction]:
        if self.is_stopping:
            self._stop_by_s = event.now_s
            return []
        log = Log("service.stopping", fields={"reason": event.reason})
        return [log, *self._stop(event.now_s, exit_code=0)]

    def _stop(self, now_s: float, exit_code: int) -> list[Instruction]:
        self.is_stopping = True
        self._exit_code = exit_code
        self._stop_by_s = now_s + STOP_S
        return [StopJobs()]

    def _after(self, run: Run, now_s: float) -> list[Instruction]:
        """Keep the job queue's view of a run up to date; announce the run's completion."""
        instructions = self.verification.update_run(run, self.settings)
        return [*instructions, *self.job_queue.update_run(run, now_s), SaveRun(run.name)]


_HANDLERS: dict[type[Event], Callable[[ServiceStateMachine, Any], list[Instruction]]] = {
    Started: ServiceStateMachine._on_started,
    Connected: ServiceStateMachine._on_connected,
    Disconnected: ServiceStateMachine._on_disconnected,
    ClusterReported: ServiceStateMachine._on_cluster_reported,
    ExecutorFailed: ServiceStateMachine._on_executor_failed,
    Tick: ServiceStateMachine._on_tick,
    ChangeHint: ServiceStateMachine._on_change_hint,
    RootScanned: ServiceStateMachine._on_root_scanned,
    RunScanned: ServiceStateMachine._on_run_scanned,
    OutputsChecked: ServiceStateMachine._on_outputs_checked,
    Committed: ServiceStateMachine._on_committed,
    IngestEnded: ServiceStateMachine._on_ingest_ended,
    AppendEnded: ServiceStateMachine._on_append_ended,
    L1Started: ServiceStateMachine._on_l1_started,
    L1Ended: ServiceStateMachine._on_l1_ended,
    VerifyEnded: ServiceStateMachine._on_verify_ended,
    QuicklookEnded: ServiceStateMachine._on_quicklook_ended,
    SidecarEnded: ServiceStateMachine._on_sidecar_ended,
    RetryRequested: ServiceStateMachine._on_retry_requested,
    RequestRejected: ServiceStateMachine._on_request_rejected,
    ReloadRequested: ServiceStateMachine._on_reload_requested,
    Reconfigured: ServiceStateMachine._on_reconfigured,
    ConfigRejected: ServiceStateMachine._on_config_rejected,
    StopRequested: ServiceStateMachine._on_stop_requested,
}
