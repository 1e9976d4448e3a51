"""The service's connection to its executor: made in the background, and again when lost."""

from __future__ import annotations

import threading
import time

from panoseti_zarr.cluster import ClusterEvent, Executor, make_executor
from panoseti_zarr.config import Config
from panoseti_zarr.core.backoff import Backoff
from panoseti_zarr.daemon import log
from panoseti_zarr.daemon.jobs.context import Post
from panoseti_zarr.daemon.serial_threads import SerialThreads
from panoseti_zarr.daemon.state.events import (
    ClusterReported,
    Connected,
    Disconnected,
    ExecutorFailed,
)
from panoseti_zarr.errors import PanosetiZarrError, TransientIOError

_BACKOFF = Backoff(first_s=1.0, most_s=60.0)
_QUEUE = "cluster"


class ExecutorSupervisor:
    """Makes the executor, and makes it again when its cluster does not answer any more.

    It posts `Connected`, `Disconnected`, `ClusterReported` and, where waiting does not help,
    `ExecutorFailed`.

    Parameters
    ----------
    config : Config
    threads : SerialThreads
    post : callable
        Takes events, from any thread.
    """

    def __init__(self, config: Config, threads: SerialThreads, post: Post) -> None:
        self._config = config
        self._threads = threads
        self._post = post
        self._closing = threading.Event()
        self.executor: Executor | None = None
        """The executor; None until the first `Connected`, and while there is no cluster."""
        self.error: Exception | None = None
        """Why there can be no executor, after `ExecutorFailed`."""

    def connect(self) -> None:
        """Make the executor, in the background."""
        self._threads.submit(_QUEUE, self._connect)

    def check(self) -> None:
        """Check in the background that the executor still has a cluster; make it again if not."""
        self._threads.submit(_QUEUE, self._check)

    def close(self, timeout_s: float) -> bool:
        """Close the executor; return whether that was done in time."""
        self._closing.set()
        done = threading.Event()

        def close() -> None:
            self._close_executor()
            done.set()

        # A cluster that is still being looked for is not worth waiting for.
        timeout_s = timeout_s if self.executor else min(timeout_s, 1.0)
        self._threads.submit(_QUEUE, close)
        return done.wait(timeout_s)

    def _connect(self) -> None:
        n_failures = 0
        while not self._closing.is_set():
            try:
                self.executor = make_executor(self._config, tell=self._on_cluster_event)
                n_slots = self.executor.n_slots
            except TransientIOError as error:
                self._close_executor()
                n_failures += 1
                delay_s = _BACKOFF.delay_s(n_failures)
                fields = {"reason": str(error), "retry_in_s": delay_s}
                self._report(ClusterEvent("cluster.unreachable", "warning", fields))
                self._closing.wait(delay_s)
            except Exception as error:  # noqa: BLE001 - a thread's boundary: the service ends
                self.error = error
                log.failed(error)
                exit_code = getattr(error, "exit_code", 1)
                self._post(ExecutorFailed(time.monotonic(), exit_code))
                return
            else:
                self._post(Connected(time.monotonic(), n_slots, self.executor.n_workers))
                return

    def _on_cluster_event(self, event: ClusterEvent) -> None:
        """Post an event of the executor, in its thread: it looks for a lost scheduler itself."""
        if event.name == "cluster.lost":
            self._post(Disconnected(time.monotonic(), event.fields["reason"]))
            # If the executor has given up, make another one.
            self.check()
        elif event.name == "cluster.connected" and self.executor is not None:
            n_slots = event.fields["n_slots"]
            self._post(Connected(time.monotonic(), n_slots, self.executor.n_workers))
        else:
            self._report(event)

    def _report(self, event: ClusterEvent) -> None:
        self._post(ClusterReported(time.monotonic(), event.name, event.level, event.fields))

    def _check(self) -> None:
        if self.executor is None or self._closing.is_set():
            return
        try:
            self.executor.n_slots  # noqa: B018 - asking is the test
        except PanosetiZarrError:
            self._close_executor()
            self._connect()

    def _close_executor(self) -> None:
        executor, self.executor = self.executor, None
        if executor is None:
            return
        try:
            executor.close()
        except Exception as error:  # noqa: BLE001 - it is given up anyway
            log.get_logger().error("task.crashed", task="closing the executor", exc_info=error)
