"""The service's connection to its executor: made in the background, made again when lost."""

from __future__ import annotations

import threading
from collections.abc import Callable

from panoseti_zarr.cluster import ClusterEvent, Executor, make_executor
from panoseti_zarr.config import Config
from panoseti_zarr.daemon.log import get_logger
from panoseti_zarr.daemon.serial_threads import SerialThreads
from panoseti_zarr.errors import PanosetiZarrError, TransientIOError

_FIRST_DELAY_S = 1.0
_MOST_DELAY_S = 60.0
_LANE = "cluster"


class ExecutorSupervisor:
    """Makes the executor, and makes it again when its cluster does not answer any more.

    Parameters
    ----------
    config : Config
    lanes : SerialThreads
    on_ready : callable
        Takes the executor and its number of slots.
    on_lost : callable
        Takes the reason; `on_ready` follows when there is one again.
    on_failed : callable
        Takes an error that no waiting mends.
    on_event : callable
        Takes whatever else happens to the cluster.
    """

    def __init__(
        self,
        config: Config,
        lanes: SerialThreads,
        *,
        on_ready: Callable[[Executor, int], None],
        on_lost: Callable[[str], None],
        on_failed: Callable[[Exception], None],
        on_event: Callable[[ClusterEvent], None],
    ) -> None:
        self._config = config
        self._lanes = lanes
        self._on_ready = on_ready
        self._on_lost = on_lost
        self._on_failed = on_failed
        self._on_event = on_event
        self._closing = threading.Event()
        self._executor: Executor | None = None

    def connect(self) -> None:
        """Begin to make the executor."""
        self._lanes.submit(_LANE, self._connect)

    def check(self) -> None:
        """Begin to ask whether the executor has a cluster or looks for it; make it again if not."""
        self._lanes.submit(_LANE, self._check)

    def close(self, timeout_s: float) -> bool:
        """Close the executor; return whether that was done in time."""
        self._closing.set()
        done = threading.Event()

        def close() -> None:
            self._close_executor()
            done.set()

        # One that is only looked for is not worth waiting for.
        timeout_s = timeout_s if self._executor else min(timeout_s, 1.0)
        self._lanes.submit(_LANE, close)
        return done.wait(timeout_s)

    def _connect(self) -> None:
        delay_s = _FIRST_DELAY_S
        while not self._closing.is_set():
            try:
                self._executor = make_executor(self._config, tell=self._hear)
                n_slots = self._executor.n_slots
            except TransientIOError as error:
                self._close_executor()
                fields = {"reason": str(error), "retry_in_s": delay_s}
                self._on_event(ClusterEvent("cluster.unreachable", "warning", fields))
                self._closing.wait(delay_s)
                delay_s = min(2 * delay_s, _MOST_DELAY_S)
            except Exception as error:  # noqa: BLE001 - a thread's boundary: the loop ends on it
                self._on_failed(error)
                return
            else:
                self._on_ready(self._executor, n_slots)
                return

    def _hear(self, event: ClusterEvent) -> None:
        """Take what the executor tells, in its thread: it looks for a lost scheduler itself."""
        if event.name == "cluster.lost":
            self._on_lost(event.fields["reason"])
            # Where it has given up, another one is made.
            self.check()
        elif event.name == "cluster.connected" and self._executor is not None:
            self._on_ready(self._executor, event.fields["n_slots"])
        else:
            self._on_event(event)

    def _check(self) -> None:
        if self._executor is None or self._closing.is_set():
            return
        try:
            self._executor.n_slots  # noqa: B018 - asking is the test
        except PanosetiZarrError:
            self._close_executor()
            self._connect()

    def _close_executor(self) -> None:
        executor, self._executor = self._executor, None
        if executor is None:
            return
        try:
            executor.close()
        except Exception as error:  # noqa: BLE001 - it is given up anyway
            get_logger().error("task.crashed", task="closing the executor", exc_info=error)
