"""Tells others how the service is: ledger, status file, systemd, metrics, status page.

Files are written in a lane of their own, one write at a time: a slow disk delays what is written,
not the loop.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from panoseti_zarr import __version__
from panoseti_zarr.config import Config
from panoseti_zarr.daemon.log import get_logger
from panoseti_zarr.daemon.report.progress import Progress
from panoseti_zarr.daemon.report.systemd import SystemdNotifier
from panoseti_zarr.daemon.serial_threads import SerialThreads
from panoseti_zarr.daemon.state.events import Started
from panoseti_zarr.daemon.state.instructions import Log
from panoseti_zarr.daemon.state.machine import ServiceStateMachine
from panoseti_zarr.daemon.status.document import (
    ServiceInfo,
    describe,
    touch_status_file,
    write_snapshot,
)
from panoseti_zarr.daemon.status.ledger import Ledger, Rows, rows_of
from panoseti_zarr.daemon.status.summary import summarize
from panoseti_zarr.daemon.web.feed import PageFeed

if TYPE_CHECKING:
    from panoseti_zarr.daemon.report.metrics import Metrics

LEAST_PAUSE_S = 0.05
"""Seconds between two status files while something happens, at least."""

PAUSE_FACTOR = 10
"""How many times longer than the last one took the next status file waits, at least."""

FAILURE_PAUSES_S = (1.0, 60.0)
"""Seconds until what could not be written is tried again: the first, and the most."""

HEARTBEAT_S = 30.0
"""Seconds between two status files, or signs of life in them, while nothing does."""

IDLE_FACTOR = 500
"""How many times longer than the last one took the next one waits while nothing happens."""

MOST_IDLE_S = 600.0
"""The longest that it waits."""

STUCK_S = 180.0
"""Seconds after which a write that does not end, or a silent cluster, counts as stuck."""

LANE = "records"
"""In which files are written."""


class StatusPublisher:
    """Follows the state machine's records.

    Parameters
    ----------
    config : Config
    config_path : Path or None
    state : ServiceStateMachine
        Read in the loop's thread only.
    state_dir : Path
    ledger : Ledger
    lanes : SerialThreads
    notifier : SystemdNotifier
    post : callable
        Has a function called in the loop's thread.
    """

    def __init__(
        self,
        config: Config,
        config_path: Path | None,
        state: ServiceStateMachine,
        state_dir: Path,
        ledger: Ledger,
        lanes: SerialThreads,
        notifier: SystemdNotifier,
        post: Callable[[Callable[[], None]], None],
    ) -> None:
        self.phase = "starting"
        self.waits_for = ""
        self.progress = Progress(config.logging.progress_s)
        self.cluster_silent_s: Callable[[], float] = lambda: 0.0
        """Tells for how long the cluster has not answered."""
        self._is_stuck = False
        self._state = state
        self._state_dir = state_dir
        self._ledger = ledger
        self._lanes = lanes
        self._notifier = notifier
        self._post = post
        self._config_path = config_path
        self._cluster = config.cluster.type if config.cluster.use_cluster else "in process"
        self._started_ns = time.time_ns()
        self._offset_ns = time.time_ns() - time.monotonic_ns()
        self._unsaved: set[str] = set()
        self._forgotten: list[Path] = []
        self._is_writing = False
        self._has_news = True
        self._written_s = 0.0
        self._touched_s = 0.0
        self._pause_s = LEAST_PAUSE_S
        self._idle_s = HEARTBEAT_S
        self._notified_s = 0.0
        self._metrics = _start_metrics(config.metrics.port)
        self.page = PageFeed(config, state_dir)

    def load(self, roots: tuple[str, ...]) -> Started:
        """Return the start as the ledger remembers it."""
        runs = self._ledger.load(self._offset_ns)
        if self._ledger.replaced:
            get_logger().warning("ledger.replaced", reason=self._ledger.replaced)
        return Started(time.monotonic(), roots, runs, self._ledger.volumes())

    def save(self, run: str) -> None:
        """Have a run written to the ledger soon."""
        self._unsaved.add(run)
        self.page.saved()

    def forget(self, request: Path) -> None:
        """Have a request's file removed once what it changed is in the ledger."""
        self._forgotten.append(request)

    def said(self, log: Log) -> None:
        """Note a log event: there is news, and perhaps something to count."""
        # A rescan, which is said for debugging, is no news where no run waits for anything.
        is_news = log.level != "debug" or any(r.is_settling for r in self._state.runs.values())
        self._has_news = self._has_news or is_news
        self.page.said(log, is_news=is_news)
        if self._metrics is None:
            return
        if log.event == "stream.committed":
            self._metrics.committed(log.stream or "", log.fields, time.time())
        elif log.event == "stream.closed":
            self._metrics.closed(log.stream or "", self._since_finished_s(log))
        elif log.event == "l1.finished":
            self._metrics.subtracted(log.stream or "", self._since_finished_s(log))

    def connected(self, n_slots: int, n_workers: int) -> None:
        """Note how much the cluster can do."""
        if self._metrics:
            self._metrics.connected(n_slots, n_workers)

    def turn(self) -> None:
        """Do what is due, once a turn of the loop."""
        now_s = time.monotonic()
        if self.next_due_s() <= now_s:
            self._write(now_s)
        self.page.turn(self._describe)
        self._touch(now_s)
        if now_s - self._notified_s >= min(1.0, (self._notifier.watchdog_s or 4.0) / 4):
            self._notified_s = now_s
            self._give_sign_of_life(now_s)
            if self.phase == "starting":
                self._notifier.extend_timeout(30)
        busy = sorted({name for name, _ in self._state.backlog.running})
        for log in self.progress.lines((self._state.runs[name] for name in busy), now_s):
            get_logger().info(log.event, run=log.run, **log.fields)

    def close(self) -> None:
        """Write the last records, in `LANE`."""
        self.phase = "stopped"
        self._write(time.monotonic())
        self._lanes.submit(LANE, self._ledger.close)
        if self._metrics:
            self._metrics.close()
        self.page.close()

    def next_due_s(self) -> float:
        """Return the monotonic time at which the files are to be written again."""
        if self._is_writing:
            return math.inf
        has_news = self._has_news or self._unsaved or self._forgotten
        return self._written_s + (self._pause_s if has_news else self._idle_s)

    def _touch(self, now_s: float) -> None:
        """Give a sign of life between two status files that are far apart."""
        is_current = not (self._is_writing or self._has_news)
        if is_current and now_s - self._touched_s >= HEARTBEAT_S:
            self._touched_s = now_s
            self._lanes.submit(LANE, partial(touch_status_file, self._state_dir))

    def _write(self, now_s: float) -> None:
        rows = [rows_of(self._state.runs[name], self._offset_ns) for name in self._unsaved]
        document = self._describe()
        self.page.show(document)
        if not self._is_stuck:
            self._notifier.status(summarize(document))
        if self._metrics:
            self._metrics.counted(document)
        volumes, forgotten = self._state.volumes(), self._forgotten
        self._unsaved, self._forgotten = set(), []
        self._has_news, self._is_writing = False, True
        self._written_s = self._touched_s = now_s
        self._lanes.submit(LANE, lambda: self._write_files(rows, volumes, document, forgotten))

    def _write_files(
        self,
        rows: list[Rows],
        volumes: tuple[tuple[str, str], ...],
        document: dict[str, Any],
        forgotten: list[Path],
    ) -> None:
        """Write, in the lane's thread; what fails is said, and tried again later."""
        unsaved: list[Rows] = []
        is_shown = True
        try:
            self._ledger.save(rows, volumes)
            for path in forgotten:
                path.unlink(missing_ok=True)
        except Exception as error:  # noqa: BLE001 - the lane's boundary: the loop must be told
            get_logger().error("ledger.failed", reason=str(error))
            unsaved = rows
        else:
            forgotten = []
        try:
            write_snapshot(self._state_dir, document)
        except Exception as error:  # noqa: BLE001 - as above
            get_logger().error("status.failed", reason=str(error))
            is_shown = False
        self._post(partial(self._written, [run[0] for run, _ in unsaved], forgotten, is_shown))

    def _written(self, unsaved: list[str], forgotten: list[Path], is_shown: bool) -> None:
        """Begin the pause: with years of runs a document takes a while, also the loop's time."""
        self._is_writing = False
        self._unsaved.update(unsaved)
        self._forgotten = forgotten + self._forgotten
        if unsaved or forgotten or not is_shown:
            self._has_news = True
            first_s, most_s = FAILURE_PAUSES_S
            self._pause_s = min(max(first_s, 2 * self._pause_s), most_s)
            return
        took_s = time.monotonic() - self._written_s
        # A disk that stalled once is no reason to be silent for longer than when idle.
        self._pause_s = min(max(LEAST_PAUSE_S, PAUSE_FACTOR * took_s), HEARTBEAT_S)
        self._idle_s = min(max(HEARTBEAT_S, IDLE_FACTOR * took_s), MOST_IDLE_S)

    def _give_sign_of_life(self, now_s: float) -> None:
        """Keep the watchdog quiet while there is progress; else say why it will bite.

        That the loop comes here is its own progress. A data root that hangs is no reason: it is
        paused, the others go on, and a new process would hang on it too.
        """
        reason = ""
        if self._is_writing and now_s - self._written_s > STUCK_S:
            reason = f"a write to {self._state_dir} does not end"
        elif not self.waits_for and self.cluster_silent_s() > STUCK_S:
            reason = "the cluster does not answer, and was not given up"
        if not reason:
            self._notifier.watchdog()
        elif not self._is_stuck:
            get_logger().critical("service.stuck", reason=reason)
            self._notifier.status(f"stuck: {reason}")
        self._is_stuck = bool(reason)

    def _since_finished_s(self, log: Log) -> float:
        """Return the seconds since the files of an event's run are at rest, marker included."""
        run = self._state.runs[log.run or ""]
        since_s = run.quiet.since_s if run.quiet else run.finished_s
        now_s = time.monotonic()
        return now_s - (now_s if since_s is None else since_s)

    def _describe(self) -> dict[str, Any]:
        facts = ServiceInfo(
            pid=os.getpid(),
            version=__version__,
            host=socket.gethostname(),
            config=str(self._config_path) if self._config_path else None,
            started_ns=self._started_ns,
            phase=self.phase,
            cluster=self._cluster,
            waits_for=self.waits_for,
        )
        return describe(self._state, facts, time.time_ns(), self._offset_ns)


def _start_metrics(port: int | None) -> Metrics | None:
    if not port:
        return None
    # Only where it is used: the import takes a tenth of a second.
    from panoseti_zarr.daemon.report.metrics import Metrics  # noqa: PLC0415

    try:
        metrics = Metrics(port, __version__)
    except OSError as error:
        get_logger().error("metrics.failed", port=port, reason=str(error))
        return None
    get_logger().info("metrics.started", port=port)
    return metrics
