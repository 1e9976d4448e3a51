"""The service's loop: takes events, hands them to the state machine, carries out instructions.

One thread owns the state: it waits for events in the inbox and never for a disk or a cluster.
Whatever may block runs in another thread, which posts what happened as an event.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TypeVar

from panoseti_zarr.cluster import Executor
from panoseti_zarr.config import Config, DaemonConfig, load_config
from panoseti_zarr.daemon import log
from panoseti_zarr.daemon.config_reload import merge
from panoseti_zarr.daemon.history import History
from panoseti_zarr.daemon.jobs.context import JobContext
from panoseti_zarr.daemon.jobs.executor_supervisor import ExecutorSupervisor
from panoseti_zarr.daemon.jobs.l0 import run_append, run_ingest
from panoseti_zarr.daemon.jobs.l1 import run_l1
from panoseti_zarr.daemon.jobs.quicklook import Quicklooks
from panoseti_zarr.daemon.jobs.sidecar import SidecarJob
from panoseti_zarr.daemon.jobs.verify import run_verify
from panoseti_zarr.daemon.log import get_logger, set_level
from panoseti_zarr.daemon.report.publisher import QUEUE as RECORDS
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
from panoseti_zarr.errors import ConfigError, PanosetiZarrError

PASS_S = 0.5
"""The longest that one pass of the loop waits for an event, or takes in those that came."""

CLOSE_S = 25.0
"""Seconds that the cluster may take to close."""

WRITE_S = 10.0
"""Seconds that the last records may take to be written."""


Job = TypeVar("Job", do.StartIngest, do.StartAppend, do.StartL1, do.StartVerify)


@dataclass(frozen=True)
class ServicePaths:
    """The directories into which the service writes."""

    l0_dir: Path
    l1_dir: Path
    state_dir: Path

    @property
    def outputs(self) -> tuple[Path, Path]:
        """The directories of the stores."""
        return self.l0_dir, self.l1_dir


class Service:
    """Runs until it is stopped.

    Parameters
    ----------
    config : Config
        All directories of ``[daemon]`` are set and exist.
    config_path : Path or None
        Read again at SIGHUP.
    paths : ServicePaths
    ledger : Ledger
    notifier : SystemdNotifier
    """

    def __init__(
        self,
        config: Config,
        config_path: Path | None,
        paths: ServicePaths,
        ledger: Ledger,
        notifier: SystemdNotifier,
    ) -> None:
        self._config = config
        self._config_path = config_path
        self._paths = paths
        self._notifier = notifier
        self._log = get_logger()
        self._inbox: SimpleQueue[m.Event] = SimpleQueue()
        post = self._inbox.put
        self._threads = SerialThreads()
        self._state = ServiceStateMachine(machine_settings(config.daemon))
        self._history = History(self._state)
        self._live_runs = LiveRuns(config.daemon)
        self._inspector = FilesystemInspector(self._live_runs, paths.outputs, self._threads, post)
        self._sidecar = SidecarJob(
            paths.l1_dir, self._threads, lambda: self._config.daemon.housekeeping, post
        )
        self._publisher = StatusPublisher(
            config, config_path, self._state, paths.state_dir, ledger, self._threads, notifier, post
        )
        self._quicklooks = Quicklooks(config, paths.state_dir, post)
        self._supervisor = ExecutorSupervisor(config, self._threads, post)
        self._executor: Executor | None = None
        self._stop = threading.Event()
        self._may_verify = threading.Event()
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
            An error ended the service.
        """
        roots = tuple(str(root) for root in self._config.daemon.data_root)
        try:
            self._handle(self._publisher.ledger.load(roots))
            self._supervisor.connect()
            while self._exit_code is None:
                self._run_once()
        except Exception as error:  # noqa: BLE001 - the last boundary: close what is open
            self._error = error
            self._exit_code = getattr(error, "exit_code", 1)
            log.failed(error)
            if not isinstance(error, PanosetiZarrError):
                self._save_history(f"{type(error).__name__}: {error}")
        self._shut_down()
        failure = self._error or self._supervisor.error
        if failure is not None:
            raise failure
        return self._exit_code or 0

    def request_stop(self, reason: str) -> None:
        """Stop, from any thread or signal handler; a second time, do not wait for jobs."""
        self._inbox.put(m.StopRequested(time.monotonic(), reason))

    def request_reload(self) -> None:
        """Read the configuration again, from any thread or signal handler."""
        self._inbox.put(m.ReloadRequested(time.monotonic()))

    def _run_once(self) -> None:
        """Handle the events that came, or the passing of time; then publish what is due."""
        now_s = time.monotonic()
        due_s = self._state.next_due_s(now_s)
        due_s = min(self._publisher.next_due_s(), now_s + PASS_S if due_s is None else due_s)
        wait_s = min(PASS_S, max(0.0, due_s - now_s))
        try:
            self._handle(self._inbox.get(timeout=wait_s))
            until_s = time.monotonic() + PASS_S
            while time.monotonic() < until_s:
                self._handle(self._inbox.get_nowait())
        except Empty:
            self._handle(m.Tick(time.monotonic()))
        if not self._state.is_stopping:
            self._process_requests()
        self._publisher.run_due()

    def _handle(self, event: m.Event) -> None:
        match event:
            case m.ChangeHint():
                self._inspector.acknowledge(event)
            case m.Connected(_, n_slots, n_workers):
                # While the cluster is made again, keep the previous one.
                self._executor = self._supervisor.executor or self._executor
                if self._executor is not None:
                    self._publisher.on_connected(self._executor, n_slots, n_workers)
            case m.Disconnected():
                self._publisher.on_disconnected()
        self._history.record(event)
        for instruction in self._state.handle(event):
            self._execute(instruction)

    def _execute(self, instruction: do.Instruction) -> None:  # noqa: PLR0912 - one case each
        match instruction:
            case do.Log():
                self._log_event(instruction)
            case do.SaveRun(run):
                self._publisher.save(run)
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
            case do.MakeQuicklook(run, stream):
                self._quicklooks.enqueue(run, stream)
            case do.MakeSidecar(target):
                self._sidecar.enqueue(target)
            case do.CheckCluster():
                self._supervisor.check()
            case do.ReportReady():
                self._notifier.ready()
            case do.ReadConfig():
                self._read_config()
            case do.DeleteRequest(request):
                self._publisher.ledger.delete_when_saved(Path(request))
            case do.StopJobs():
                self._stop.set()
                self._sidecar.close()
                self._notifier.stopping()
            case do.AbandonTasks():
                self._abandon_tasks()
            case do.SaveHistory():
                self._save_history("a job violated an invariant")
            case do.Exit(code, has_abandoned):
                self._exit_code, self.has_abandoned = code, has_abandoned
            case _:
                self._inspector.execute(instruction)

    def _log_event(self, log: do.Log) -> None:
        names = {"run": log.run, "stream": log.stream}
        bound = {key: name for key, name in names.items() if name is not None}
        getattr(self._log, log.level)(log.event, **bound, **log.fields)
        self._publisher.on_log(log)

    def _start_job(self, run: Callable[[Job, JobContext], None], job: Job) -> None:
        assert self._executor is not None  # noqa: S101 - no job starts before `Connected`
        context = JobContext(
            self._config,
            *self._paths.outputs,
            self._executor,
            self._stop,
            self._inbox.put,
            self._live_runs,
            self._may_verify,
        )
        name = f"{job.target.run} {job.target.stream}"
        threading.Thread(target=run, args=(job, context), name=name, daemon=True).start()

    def _abandon_tasks(self) -> None:
        """Stop the jobs under way, unless they hang; later ones find free threads."""
        self._stop.set()
        self._stop = threading.Event()
        if self._executor is not None:
            self._executor.renew()

    def _process_requests(self) -> None:
        """Post the request files that are new."""
        requests = find_requests(self._paths.state_dir)
        for path, request in requests.items():
            if path in self._requests:
                continue
            now_s = time.monotonic()
            if isinstance(request, str):
                self._handle(m.RequestRejected(now_s, str(path), request))
            else:
                self._handle(m.RetryRequested(now_s, request.run, request.rebuild, str(path)))
        self._requests = set(requests)

    def _read_config(self) -> None:
        try:
            new = load_config(self._config_path)
        except ConfigError as error:
            self._inbox.put(m.ConfigRejected(time.monotonic(), str(error)))
            return
        self._config, changed, needs_restart = merge(self._config, new)
        set_level(self._config.logging.level)
        self._publisher.progress.every_s = self._config.logging.progress_s
        self._live_runs.settings = self._config.daemon
        settings = machine_settings(self._config.daemon)
        self._inbox.put(m.Reconfigured(time.monotonic(), settings, changed, needs_restart))

    def _save_history(self, reason: str) -> None:
        try:
            path = self._history.save(self._paths.state_dir, reason)
        except OSError as error:
            self._log.error("history.failed", reason=str(error))
        else:
            self._log.error("history.saved", path=str(path))

    def _shut_down(self) -> None:
        """Close everything, each part within its time."""
        self._stop.set()
        self._sidecar.close()
        n_abandoned = len(self._state.job_queue.running) if self.has_abandoned else 0
        self._inspector.close()
        self._quicklooks.close()
        is_closed = self._supervisor.close(1.0 if self.has_abandoned else CLOSE_S)
        self._publisher.close()
        is_written = self._threads.close(RECORDS, WRITE_S)
        self.has_abandoned = self.has_abandoned or not (is_closed and is_written)
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
