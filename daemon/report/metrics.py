"""Prometheus metrics on loopback, as docs/monitoring.md lists them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from panoseti_zarr.daemon.state.instructions import Log
from panoseti_zarr.daemon.state.records import Run
from panoseti_zarr.daemon.status.document import StatusDocument

LOOPBACK = "127.0.0.1"

_PREFIX = "panoseti_zarr_"
_LAG_BUCKETS_S = (10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600)


class Metrics:
    """The service's numbers, and the server that shows them.

    Parameters
    ----------
    port : int
        On loopback.
    version : str
        Of the program.
    runs : mapping of str to Run
        The state machine's records.

    Raises
    ------
    OSError
        The port is taken.
    """

    def __init__(self, port: int, version: str, runs: Mapping[str, Run]) -> None:
        self._known_runs = runs
        registry = self._registry = CollectorRegistry()

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(_PREFIX + name, text, labels, registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(_PREFIX + name, text, labels, registry=registry)

        def lag(name: str, text: str) -> Histogram:
            return Histogram(
                _PREFIX + name, text, ("product",), buckets=_LAG_BUCKETS_S, registry=registry
            )

        gauge("build_info", "The program that runs.", "version").labels(version).set(1)
        self._is_ready = gauge("ready", "1 while it watches and is connected.")
        self._frames = counter("frames", "Committed frames.", "product")
        self._bytes = counter("bytes", "PFF bytes of committed frames.", "product")
        self._last_commit = gauge("last_commit_timestamp_seconds", "Unix time of the last commit.")
        self._lag = gauge("lag_seconds", "From the last committed frame to its commit.")
        self._lags = gauge(
            "stream_lag_seconds",
            "The same of each stream that is recorded.",
            "run",
            "stream",
        )
        self._to_l0 = lag("marker_to_l0_seconds", "From the finished run to its closed L0 store.")
        self._to_l1 = lag("marker_to_l1_seconds", "From the finished run to its L1 store.")
        self._runs = gauge("runs", "Known runs, by state.", "state")
        self._backlog = gauge("backlog_streams", "Streams that wait for a job.")
        self._behind = gauge("backlog_bytes", "PFF bytes of finished runs not committed yet.")
        self._jobs = gauge("running_jobs", "Jobs under way, by what they make.", "step")
        self._paused = gauge("paused", "1 while no job may start.")
        self._roots_paused = gauge("root_paused", "1 while a data root is left alone.", "root")
        self._quarantined = gauge("quarantined_streams", "Streams in quarantine.")
        self._slots = gauge("task_slots", "Tasks that the cluster runs at once; 0 without one.")
        self._workers = gauge("workers", "Workers of the cluster; 0 without one.")
        self._free = gauge("free_disk_bytes", "Free bytes where stores are written.", "directory")
        self._errors = counter("errors", "Warnings and errors in the log.", "event")
        self._counting = _CountErrors(self._errors)
        self._server: WSGIServer
        self._thread: threading.Thread
        self._server, self._thread = start_http_server(port, addr=LOOPBACK, registry=registry)
        logging.getLogger().addHandler(self._counting)

    def on_log(self, log: Log, *, is_news: bool) -> None:
        """Count commits and closed stores as they are logged."""
        product = _product(log.stream or "")
        if log.event == "stream.committed":
            self._frames.labels(product).inc(log.fields["n_new_frames"])
            self._bytes.labels(product).inc(log.fields["n_bytes"])
            self._last_commit.set(time.time())
            if log.fields["lag_s"] is not None:
                self._lag.set(log.fields["lag_s"])
        elif log.event == "stream.closed":
            self._to_l0.labels(product).observe(self._since_finished_s(log))
        elif log.event == "l1.finished":
            self._to_l1.labels(product).observe(self._since_finished_s(log))

    def show_cluster(self, n_slots: int, n_workers: int) -> None:
        """Set the size of the cluster; 0 without a cluster."""
        self._slots.set(n_slots)
        self._workers.set(n_workers)

    def publish(self, document: StatusDocument) -> None:
        """Set every gauge that the status document has a value for."""
        queue, service = document.queue, document.service
        self._is_ready.set(service.phase == "running" and not service.waits_for)
        self._backlog.set(queue.n_waiting)
        self._behind.set(queue.n_behind_bytes)
        for step, n_jobs in (("l0", queue.running.l0), ("l1", queue.running.l1)):
            self._jobs.labels(step).set(n_jobs)
        self._paused.set(queue.paused is not None)
        self._quarantined.set(document.totals.n_quarantined)
        for state in ("waiting", "recording", "working", "done", "quarantined", "removed"):
            self._runs.labels(state).set(sum(run.state == state for run in document.runs))
        self._lags.clear()
        for run in document.runs:
            if run.state == "recording":
                for stream in run.streams or ():
                    if stream.lag_s is not None:
                        self._lags.labels(run.name, stream.stream).set(stream.lag_s)
        for root in document.roots:
            self._roots_paused.labels(root.path).set(root.paused is not None)
        for disk in document.disks:
            self._free.labels(disk.key).set(disk.free_bytes)

    def close(self) -> None:
        """Stop the server."""
        logging.getLogger().removeHandler(self._counting)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)

    def _since_finished_s(self, log: Log) -> float:
        """Return the seconds since the files of an event's run are unchanged, marker included."""
        run = self._known_runs[log.run or ""]
        since_s = run.quiet.since_s if run.quiet else run.finished_s
        now_s = time.monotonic()
        return now_s - (now_s if since_s is None else since_s)


class _CountErrors(logging.Handler):
    """Counts what is logged as a warning or worse, by its event."""

    def __init__(self, errors: Counter) -> None:
        super().__init__(logging.WARNING)
        self._errors = errors

    def emit(self, record: logging.LogRecord) -> None:
        """Count a record: the service's own carry their event, those of libraries do not."""
        event = record.msg["event"] if isinstance(record.msg, dict) else "library.logged"
        self._errors.labels(event).inc()


def _product(stream: str) -> str:
    """Return the data product of a stream, of ``dp_img16.module_3`` img16."""
    return stream.removeprefix("dp_").partition(".")[0]
