"""The service's loop: takes events, hands them to the state machine, carries out what it says.

One thread has the state: it waits for events in a queue and never for a disk or a cluster.
Anything that may block runs in a serial thread or a job's own, and puts its result into the queue.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TypeVar

from panoseti_zarr.cluster import ClusterEvent, Executor
from panoseti_zarr.config import Config, DaemonConfig, load_config
from panoseti_zarr.daemon import log
from panoseti_zarr.daemon.config_reload import merge
from panoseti_zarr.daemon.jobs.context import JobContext, run_l1
from panoseti_zarr.daemon.jobs.executor_supervisor import ExecutorSupervisor
from panoseti_zarr.daemon.jobs.l0 import run_append, run_ingest
from panoseti_zarr.daemon.jobs.quicklook import Quicklooks
from panoseti_zarr.daemon.jobs.sidecar import SidecarJob
from panoseti_zarr.daemon.jobs.verify import run_verify
from panoseti_zarr.daemon.log import get_logger, set_level
from panoseti_zarr.daemon.report.publisher import LANE as RECORDS_LANE
from panoseti_zarr.daemon.report.publisher import StatusPublisher
from panoseti_zarr.daemon.report.systemd import SystemdNotifier
from panoseti_zarr.daemon.serial_threads import SerialThreads
from panoseti_zarr.daemon.state import events as m
from panoseti_zarr.daemon.state import instructions as do
from panoseti_zarr.daemon.state.machine import ServiceStateMachine
from panoseti_zarr.daemon.state.settings import Settings
from panoseti_zarr.daemon.status.ledger import Ledger
from panoseti_zarr.daemon.status.requests import find_requests
from panoseti_zarr.daemon.watch.inspector import FilesystemInspector
from panoseti_zarr.daemon.watch.live_runs import LiveRuns
from panoseti_zarr.errors import ConfigError

TURN_S = 0.5
"""The longest that the loop waits for an event, or takes in those that have come."""

STOP_S = 40.0
"""How long jobs may take to stop before they are abandoned: what they committed stays."""

CLOSE_S = 25.0
"""How long the cluster may take to close."""

WRITE_S = 10.0
"""How long the last records may take to be written."""


Job = TypeVar("Job", do.StartIngest, do.StartAppend, do.StartL1, do.StartVerify)


@dataclass(frozen=True)
class Directories:
    """What the service cannot do without: where it writes."""

    l0_dir: Path
    l1_dir: Path
    state_dir: Path

    @property
    def outputs(self) -> tuple[Path, Path]:
        """Where the stores are."""
        return self.l0_dir, self.l1_dir


class Service:
    """Runs until it is told to stop.

    Parameters
    ----------
    config : Config
        With all directories of ``[daemon]`` set and there.
    config_path : Path or None
        Read again at SIGHUP.
    places : Directories
    ledger : Ledger
    notifier : SystemdNotifier
    """

    def __init__(
        self,
        config: Config,
        config_path: Path | None,
        places: Directories,
        ledger: Ledger,
        notifier: SystemdNotifier,
    ) -> None:
        self._config = config
        self._config_path = config_path
        self._places = places
        self._notifier = notifier
        self._log = get_logger()
        self._inbox: SimpleQueue[m.Event | Callable[[], None]] = SimpleQueue()
        post = self._inbox.put
        self._lanes = SerialThreads()
        self._state = ServiceStateMachine(machine_settings(config.daemon))
        self._recordings = LiveRuns(config.daemon)
        self._eyes = FilesystemInspector(self._recordings, places.outputs, self._lanes, post)
        self._housekeeper = SidecarJob(
            places.l1_dir, self._lanes, is_on=lambda: self._config.daemon.housekeeping
        )
        self._recorder = StatusPublisher(
            config, config_path, self._state, places.state_dir, ledger, self._lanes, notifier, post
        )
        self._quicklooks = Quicklooks(
            config, places.state_dir, say=lambda log: post(partial(self._say, log))
        )
        self._link = ExecutorSupervisor(
            config,
            self._lanes,
            on_ready=lambda executor, n_slots: post(partial(self._ready, executor, n_slots)),
            on_lost=lambda reason: post(partial(self._lost, reason)),
            on_failed=lambda error: post(partial(self._fail, error)),
            on_event=lambda event: post(partial(self._of_cluster, event)),
        )
        self._executor: Executor | None = None
        self._stop = threading.Event()
        self._may_verify = threading.Event()
        self._stop_by_s: float | None = None
        self._requests: set[Path] = set()
        self._error: Exception | None = None
        self._exit_code: int | None = None
        self.has_abandoned = False
        """Threads are left that the process must not wait for."""

    def run(self) -> int:
        """Serve; return the exit code.

        Raises
        ------
        Exception
            What ended the service before its time.
        """
        roots = tuple(str(root) for root in self._config.daemon.data_root)
        try:
            self._handle(self._recorder.load(roots))
            self._link.connect()
            while self._exit_code is None:
                self._turn()
        except Exception as error:  # noqa: BLE001 - the last boundary: close what is open
            self._fail(error)
        self._finish()
        if self._error is not None:
            raise self._error
        return self._exit_code or 0

    def ask_to_stop(self, reason: str) -> None:
        """Ask the loop to end, from any thread or signal handler; a second time, at once."""
        self._inbox.put(partial(self._begin_stop, reason))

    def ask_to_reload(self) -> None:
        """Ask the loop to read the configuration again, from any thread or signal handler."""
        self._inbox.put(self._reload)

    def _turn(self) -> None:
        """Handle what has come, or the passing of time."""
        now_s = time.monotonic()
        due_s = self._state.next_due_s(now_s)
        due_s = min(self._recorder.next_due_s(), now_s + TURN_S if due_s is None else due_s)
        wait_s = min(TURN_S, max(0.0, due_s - now_s))
        try:
            self._take(self._inbox.get(timeout=wait_s))
            until_s = time.monotonic() + TURN_S
            while time.monotonic() < until_s:
                self._take(self._inbox.get_nowait())
        except Empty:
            self._handle(m.Tick(time.monotonic()))
        if self._stop_by_s is None:
            self._take_requests()
        self._recorder.turn()
        if self._stop_by_s is not None and time.monotonic() > self._stop_by_s:
            self.has_abandoned = True
            self._exit_code = 0

    def _take(self, item: m.Event | Callable[[], None]) -> None:
        if callable(item):
            item()
        else:
            self._handle(item)

    def _handle(self, event: m.Event) -> None:
        if isinstance(event, m.ChangeHint):
            self._eyes.taken(event)
        for instruction in self._state.handle(event):
            self._carry_out(instruction)
        if isinstance(event, m.RootScanned):
            self._eyes.follow_up(event)
        elif isinstance(event, m.L1Ended) and event.is_changed:
            self._quicklooks.ask(event.run, event.stream)
        elif getattr(event, "outcome", None) is m.Outcome.FAILED:
            self._link.check()

    def _carry_out(self, instruction: do.Instruction) -> None:
        match instruction:
            case do.Log():
                self._say(instruction)
            case do.SaveRun(run):
                self._recorder.save(run)
            case do.StartIngest():
                self._start_job(run_ingest, instruction)
            case do.StartAppend():
                self._start_job(run_append, instruction)
            case do.StartL1():
                self._start_job(run_l1, instruction)
            case do.StartVerify():
                self._start_job(run_verify, instruction)
            case do.PauseVerify(is_held):
                (self._may_verify.clear if is_held else self._may_verify.set)()
            case do.MakeHousekeeping():
                self._housekeeper.want(instruction)
            case do.StopJobs():
                self._stop.set()
            case do.AbandonTasks():
                self._leave_tasks()
            case do.Exit(code):
                self._exit_code = code
            case _:
                self._eyes.look(instruction)

    def _say(self, log: do.Log) -> None:
        names = {"run": log.run, "stream": log.stream}
        bound = {key: name for key, name in names.items() if name is not None}
        getattr(self._log, log.level)(log.event, **bound, **log.fields)
        self._recorder.said(log)

    def _start_job(self, run: Callable[[Job, JobContext], None], job: Job) -> None:
        assert self._executor is not None  # noqa: S101 - no job starts before `Connected`
        workshop = JobContext(
            self._config,
            *self._places.outputs,
            self._executor,
            self._stop,
            self._inbox.put,
            self._recordings,
            self._may_verify,
        )
        name = f"{job.run} {job.stream}"
        threading.Thread(target=run, args=(job, workshop), name=name, daemon=True).start()

    def _leave_tasks(self) -> None:
        """End the jobs under way, as far as they do not hang; later ones find free threads."""
        self._stop.set()
        self._stop = threading.Event()
        if self._executor is not None:
            self._executor.renew()

    def _ready(self, executor: Executor, n_slots: int) -> None:
        self._executor = executor
        self._recorder.waits_for = ""
        self._recorder.cluster_silent_s = executor.silent_s
        self._recorder.page.dashboard_url = executor.dashboard_url
        self._recorder.connected(n_slots, executor.n_workers)
        self._handle(m.Connected(time.monotonic(), n_slots))
        if self._recorder.phase == "starting":
            self._recorder.phase = "running"
            self._notifier.ready()

    def _lost(self, reason: str) -> None:
        self._recorder.waits_for = reason
        self._recorder.connected(0, 0)
        self._handle(m.Disconnected(time.monotonic(), reason))

    def _of_cluster(self, event: ClusterEvent) -> None:
        if event.name == "cluster.unreachable":
            self._recorder.waits_for = event.fields["reason"]
        self._say(do.Log(event.name, event.level, fields=event.fields))

    def _fail(self, error: Exception) -> None:
        """Note what ends the service before its time: not of its own making, or a mistake."""
        self._error = error
        self._exit_code = getattr(error, "exit_code", 1)
        log.failed(error)

    def _take_requests(self) -> None:
        """Take what people asked for; of runs that are not known yet, once all roots are."""
        requests = find_requests(self._places.state_dir)
        are_known = all(root.scanned_s is not None for root in self._state.roots.values())
        for request in requests:
            if request.path in self._requests:
                continue
            if request.problem:
                fields = {"request": request.path.name, "reason": request.problem}
                self._say(do.Log("request.refused", "warning", fields=fields))
            elif are_known or request.run in self._state.runs:
                self._handle(m.RetryRequested(time.monotonic(), request.run, request.rebuild))
            else:
                continue
            self._recorder.forget(request.path)
        self._requests = {request.path for request in requests}

    def _reload(self) -> None:
        try:
            new = load_config(self._config_path)
        except ConfigError as error:
            self._say(do.Log("config.refused", "error", fields={"reason": str(error)}))
            return
        self._config, changed, needs_restart = merge(self._config, new)
        set_level(self._config.logging.level)
        self._recorder.progress.every_s = self._config.logging.progress_s
        self._recordings.settings = self._config.daemon
        settings = machine_settings(self._config.daemon)
        self._handle(m.Reconfigured(time.monotonic(), settings))
        fields = {"changed": changed, "needs_restart": needs_restart}
        self._say(do.Log("config.reloaded", "info", fields=fields))

    def _begin_stop(self, reason: str) -> None:
        is_second = self._stop_by_s is not None
        self._stop_by_s = time.monotonic() + (0.0 if is_second else STOP_S)
        if is_second:
            return
        self._recorder.phase = "stopping"
        self._housekeeper.close()
        self._notifier.stopping()
        self._say(do.Log("service.stopping", "info", fields={"reason": reason}))
        self._handle(m.StopRequested(time.monotonic()))

    def _finish(self) -> None:
        """Close what is open, each within its time."""
        self._stop.set()
        self._housekeeper.close()
        n_abandoned = len(self._state.backlog.running) if self.has_abandoned else 0
        self._eyes.close()
        self._quicklooks.close()
        is_closed = self._link.close(1.0 if self.has_abandoned else CLOSE_S)
        self._recorder.close()
        self.has_abandoned = (
            not self._lanes.close(RECORDS_LANE, WRITE_S) or self.has_abandoned or not is_closed
        )
        self._log.info("service.stopped", exit_code=self._exit_code, n_abandoned=n_abandoned)


def machine_settings(daemon: DaemonConfig) -> Settings:
    """Return what the state machine needs of ``[daemon]``."""
    before = daemon.ignore_before
    return Settings(
        finished_markers=daemon.finished_markers,
        settle_s=daemon.settle_s,
        quiet_s=daemon.quiet_s,
        rescan_s=daemon.rescan_s,
        recheck_s=daemon.recheck_s,
        max_streams=daemon.max_streams,
        min_free_bytes=daemon.min_free_bytes,
        ignore_before_ns=None if before is None else int(before.timestamp()) * 10**9,
        retry_first_s=daemon.retry_s,
        retry_most_s=120 * daemon.retry_s,
        hang_s=daemon.hang_s,
        verify=daemon.verify,
        follow=daemon.follow,
        tail_flush_s=daemon.tail_flush_s,
    )
