"""Prometheus metrics on loopback, where ``[metrics] port`` is set."""

from __future__ import annotations

import threading
from typing import Any
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

LOOPBACK = "127.0.0.1"


class Metrics:
    """The service's numbers, and the server that shows them.

    Parameters
    ----------
    port : int
        On loopback.

    Raises
    ------
    OSError
        The port is taken.
    """

    def __init__(self, port: int) -> None:
        registry = CollectorRegistry()

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"panoseti_zarr_{name}", text, registry=registry)

        def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(f"panoseti_zarr_{name}", text, labels, registry=registry)

        self._lag = gauge("lag_seconds", "From the last committed frame to its commit.")
        self._backlog = gauge("backlog_streams", "Streams that wait for a job.")
        self._running = gauge("running_jobs", "Jobs under way.")
        self._quarantined = gauge("quarantined_streams", "Streams in quarantine.")
        self._last_commit = gauge("last_commit_timestamp_seconds", "Unix time of the last commit.")
        self._frames = counter("frames", "Committed frames.")
        self._bytes = counter("bytes", "PFF bytes of committed frames.")
        self._errors = counter("errors", "Logged events that are errors or warnings.", ("event",))
        self._server: WSGIServer
        self._thread: threading.Thread
        self._server, self._thread = start_http_server(port, addr=LOOPBACK, registry=registry)

    def committed(self, fields: dict[str, Any], now_unix_s: float) -> None:
        """Count a commit; ``fields`` are those of ``stream.committed``."""
        self._frames.inc(fields["n_new_frames"])
        self._bytes.inc(fields["n_bytes"])
        self._last_commit.set(now_unix_s)
        if fields["lag_s"] is not None:
            self._lag.set(fields["lag_s"])

    def failed(self, event: str) -> None:
        """Count an event that is an error or a warning."""
        self._errors.labels(event).inc()

    def counted(self, document: dict[str, Any]) -> None:
        """Show how much there is to do, out of a status document."""
        self._backlog.set(document["queue"]["n_waiting"])
        self._running.set(document["queue"]["n_running"])
        self._quarantined.set(document["totals"]["n_quarantined"])

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)
