"""Publishes the service's state: ledger, status file, systemd, metrics and status page.

Files are written in a thread of their own, one write at a time: a slow disk delays what is
written, not the loop.
"""

from __future__ import annotations

import math
import os
import socket
import time
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Protocol

from panoseti_zarr import __version__
from panoseti_zarr.cluster import Executor
from panoseti_zarr.config import Config
from panoseti_zarr.core.backoff import Backoff
from panoseti_zarr.daemon.jobs.context import Post
from panoseti_zarr.daemon.log import get_logger
from panoseti_zarr.daemon.report.ledger_writer import LedgerBatch, LedgerWriter
from panoseti_zarr.daemon.report.run_progress import Progress
from panoseti_zarr.daemon.report.systemd import SystemdNotifier, SystemdSink
from panoseti_zarr.daemon.serial_threads import SerialThreads
from panoseti_zarr.daemon.state.events import Tick
from panoseti_zarr.daemon.state.instructions import Log
from panoseti_zarr.daemon.state.machine import ServiceStateMachine
from panoseti_zarr.daemon.status.document import ProcessInfo, StatusDocument, build_status
from panoseti_zarr.daemon.status.file import touch_status_file, write_status_file
from panoseti_zarr.daemon.status.ledger import Ledger
from panoseti_zarr.daemon.web.feed import PageFeed

if TYPE_CHECKING:
    from panoseti_zarr.daemon.report.metrics import Metrics

LEAST_PAUSE_S = 0.05
"""Seconds between two status files while something happens, at least."""

PAUSE_FACTOR = 10
"""The pause between two status files, in units of the time that the last one took."""

FAILURES = Backoff(first_s=1.0, most_s=60.0)
"""When a write that failed is tried again."""

HEARTBEAT_S = 30.0
"""Seconds between two status files, or two updates of its time, while nothing happens."""

IDLE_FACTOR = 500
"""As `PAUSE_FACTOR`, while nothing happens."""

MOST_IDLE_S = 600.0
"""The longest pause between two status files."""

STUCK_S = 180.0
"""Seconds after which an unfinished write, or a silent cluster, counts as stuck."""

QUEUE = "records"
"""The queue of `SerialThreads` in which files are written."""


class Sink(Protocol):
    """Takes what is published; all calls come from the service's loop."""

    def on_log(self, log: Log, *, is_news: bool) -> None:
        """Take in a log event; ``is_news`` where it changes the status."""

    def publish(self, document: StatusDocument) -> None:
        """Take in a status document."""

    def close(self) -> None:
        """Release what the sink holds."""


class StatusPublisher:
    """Describes the state machine's records and hands the description to every sink.

    Parameters
    ----------
    config : Config
    config_path : Path or None
    state : ServiceStateMachine
        Read in the loop's thread only.
    state_dir : Path
    ledger : Ledger
    threads : SerialThreads
    notifier : SystemdNotifier
    post : callable
        Puts an event into the loop's inbox.
    """

    def __init__(
        self,
        config: Config,
        config_path: Path | None,
        state: ServiceStateMachine,
        state_dir: Path,
        ledger: Ledger,
        threads: SerialThreads,
        notifier: SystemdNotifier,
        post: Post,
    ) -> None:
        self.progress = Progress(config.logging.progress_s)
        offset_ns = time.time_ns() - time.monotonic_ns()
        self.ledger = LedgerWriter(ledger, state, offset_ns)
        self._systemd = SystemdSink(notifier)
        self._metrics = _start_metrics(config.metrics.port, state)
        self._page = PageFeed(config, state_dir)
        self._sinks: list[Sink] = [self._systemd, self._page]
        self._sinks += [self._metrics] if self._metrics else []
        self._executor: Executor | None = None
        self._state = state
        self._state_dir = state_dir
        self._threads = threads
        self._post = post
        self._config_path = config_path
        self._cluster = config.cluster.type if config.cluster.use_cluster else "in process"
        self._started_ns = time.time_ns()
        self._offset_ns = offset_ns
        self._is_closed = False
        self._results: SimpleQueue[tuple[LedgerBatch | None, bool]] = SimpleQueue()
        self._is_writing = False
        self._has_news = True
        self._written_s = 0.0
        self._touched_s = 0.0
        self._pause_s = LEAST_PAUSE_S
        self._idle_s = HEARTBEAT_S
        self._n_failures = 0

    def on_log(self, log: Log) -> None:
        """Take in a log event: there is news."""
        # A rescan, which is a debug event, is no news unless a run waits for something.
        is_news = log.level != "debug" or any(r.is_settling for r in self._state.runs.values())
        self._has_news = self._has_news or is_news
        for sink in self._sinks:
            sink.on_log(log, is_news=is_news)

    def save(self, run: str) -> None:
        """Write a run to the ledger soon."""
        self.ledger.save(run)
        self._page.has_news = True

    def on_connected(self, executor: Executor, n_slots: int, n_workers: int) -> None:
        """Take in that there is a cluster, and its size."""
        self._executor = executor
        self._page.dashboard_url = executor.dashboard_url
        if self._metrics:
            self._metrics.show_cluster(n_slots, n_workers)

    def on_disconnected(self) -> None:
        """Take in that there is no cluster."""
        if self._metrics:
            self._metrics.show_cluster(0, 0)

    def run_due(self) -> None:
        """Do what is due; called with every pass of the loop."""
        now_s = time.monotonic()
        self._take_results()
        if self.next_due_s() <= now_s:
            self._write(now_s)
        self._page.run_due(self._describe)
        self._touch(now_s)
        self._systemd.run_due(now_s, self._state.phase, self._stuck_reason(now_s))
        busy = sorted({name for name, _ in self._state.job_queue.running})
        for log in self.progress.lines((self._state.runs[name] for name in busy), now_s):
            get_logger().info(log.event, run=log.run, **log.fields)

    def close(self) -> None:
        """Write the last records, and end every sink."""
        self._is_closed = True
        self._take_results()
        self._write(time.monotonic())
        self._threads.submit(QUEUE, self.ledger.close)
        for sink in self._sinks:
            sink.close()

    def next_due_s(self) -> float:
        """Return the monotonic time at which the files are to be written again."""
        if self._is_writing:
            return math.inf
        has_news = self._has_news or self.ledger.has_news
        return self._written_s + (self._pause_s if has_news else self._idle_s)

    def _touch(self, now_s: float) -> None:
        """Update the time of a status file that is still current, as a heartbeat."""
        is_current = not (self._is_writing or self._has_news)
        if is_current and now_s - self._touched_s >= HEARTBEAT_S:
            self._touched_s = now_s
            self._threads.submit(QUEUE, partial(touch_status_file, self._state_dir))

    def _write(self, now_s: float) -> None:
        document = self._describe()
        for sink in self._sinks:
            sink.publish(document)
        batch = self.ledger.take()
        self._has_news, self._is_writing = False, True
        self._written_s = self._touched_s = now_s
        self._threads.submit(QUEUE, lambda: self._write_files(batch, document))

    def _write_files(self, batch: LedgerBatch, document: StatusDocument) -> None:
        """Write both files, in the writer's thread."""
        is_saved = self.ledger.write(batch)
        is_shown = True
        try:
            write_status_file(self._state_dir, document)
        except Exception as error:  # noqa: BLE001 - a thread's boundary: it is tried again
            get_logger().error("status.failed", reason=str(error))
            is_shown = False
        self._results.put((None if is_saved else batch, is_shown))
        self._post(Tick(time.monotonic()))

    def _take_results(self) -> None:
        """Start the pause after a write, which is longer where a write takes long or fails."""
        try:
            failed, is_shown = self._results.get_nowait()
        except Empty:
            return
        self._is_writing = False
        if failed is not None:
            self.ledger.put_back(failed)
        if failed is not None or not is_shown:
            self._has_news = True
            self._n_failures += 1
            self._pause_s = FAILURES.delay_s(self._n_failures)
            return
        self._n_failures = 0
        took_s = time.monotonic() - self._written_s
        # After one slow write, be silent no longer than when idle.
        self._pause_s = min(max(LEAST_PAUSE_S, PAUSE_FACTOR * took_s), HEARTBEAT_S)
        self._idle_s = min(max(HEARTBEAT_S, IDLE_FACTOR * took_s), MOST_IDLE_S)

    def _stuck_reason(self, now_s: float) -> str:
        """Return why systemd should restart the service; empty while it makes progress.

        A data root that hangs is no reason: it is paused, the others go on, and a new process
        would hang on it too.
        """
        if self._is_writing and now_s - self._written_s > STUCK_S:
            return f"a write to {self._state_dir} does not end"
        silent_s = self._executor.silent_s() if self._executor else 0.0
        if not self._state.waits_for and silent_s > STUCK_S:
            return "the cluster does not answer, and was not given up"
        return ""

    def _describe(self) -> StatusDocument:
        info = ProcessInfo(
            pid=os.getpid(),
            version=__version__,
            host=socket.gethostname(),
            config=str(self._config_path) if self._config_path else None,
            started_ns=self._started_ns,
            cluster=self._cluster,
            is_stopped=self._is_closed,
        )
        return build_status(self._state, info, time.time_ns(), self._offset_ns)


def _start_metrics(port: int | None, state: ServiceStateMachine) -> Metrics | None:
    if not port:
        return None
    # Only where it is used: the import takes a tenth of a second.
    from panoseti_zarr.daemon.report.metrics import Metrics  # noqa: PLC0415

    try:
        metrics = Metrics(port, __version__, state.runs)
    except OSError as error:
        get_logger().error("metrics.failed", port=port, reason=str(error))
        return None
    get_logger().info("metrics.started", port=port)
    return metrics
