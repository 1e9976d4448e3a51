"""Tasks on a Dask cluster, through ``distributed.Client``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any

import dask
from distributed import Client, Security
from distributed.scheduler import KilledWorker

from panoseti_zarr.cluster.executor import Executor, P, T
from panoseti_zarr.errors import TransientIOError

WorkerLost = Callable[[str], None]

dask.config.set(
    {
        # A task that killed its worker is tried on others; then it is our coordinator's to judge.
        "distributed.scheduler.allowed-failures": 3,
        # For a life of months: event logs are capped, nobody looks at profiles.
        "distributed.admin.low-level-log-length": 1000,
        "distributed.admin.log-length": 1000,
        "distributed.worker.profile.enabled": False,
        # Image data lives in the tasks' own buffers, which Dask can neither see nor spill.
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.worker.memory.terminate": 0.95,
        "distributed.comm.timeouts.connect": "10s",
    }
)


class DaskExecutor(Executor):
    """Runs tasks through a client of a Dask cluster.

    Parameters
    ----------
    address : str
        Of the scheduler.
    security : distributed.Security, optional
        Certificates for TLS.
    timeout_s : float
        How long to wait for the scheduler.
    on_worker_lost : callable, optional
        Called with a worker's address when the cluster lost it, from another thread.
    cleanup : contextlib.ExitStack, optional
        Closed after the client.

    Raises
    ------
    TransientIOError
        The scheduler cannot be reached.
    """

    def __init__(
        self,
        address: str,
        *,
        security: Security | None = None,
        timeout_s: float = 30.0,
        on_worker_lost: WorkerLost | None = None,
        cleanup: contextlib.ExitStack | None = None,
    ) -> None:
        self._cleanup = cleanup or contextlib.ExitStack()
        self._address = address
        self._on_worker_lost = on_worker_lost
        self._is_closing = False
        try:
            self._client = Client(
                address, security=security, timeout=timeout_s, set_as_default=False
            )
        except (OSError, TimeoutError, ValueError) as error:
            self._cleanup.close()
            raise TransientIOError(f"no Dask scheduler answers at {address}: {error}") from None
        if on_worker_lost:
            self._client.subscribe_topic("all", self._hear)

    @property
    def scheduler_address(self) -> str:
        """Of the scheduler."""
        return self._address

    @property
    def n_slots(self) -> int:
        """Threads of all workers."""
        try:
            threads: dict[str, int] = self._client.nthreads()
        except (OSError, TimeoutError, ValueError, RuntimeError) as error:
            raise TransientIOError(f"the Dask scheduler does not answer: {error}") from None
        return max(1, sum(threads.values()))

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start a task on any worker."""
        outer: Future[T] = Future()
        try:
            inner = self._client.submit(function, *args, pure=False, **kwargs)
        except (OSError, TimeoutError, ValueError, RuntimeError) as error:
            raise TransientIOError(f"the Dask scheduler does not answer: {error}") from None

        def cancel_inner(settled: Future[T]) -> None:
            if settled.cancelled():
                inner.cancel()

        outer.add_done_callback(cancel_inner)
        inner.add_done_callback(lambda done: _settle(outer, done))
        return outer

    def close(self) -> None:
        """Leave the cluster, and end it where it was started for this executor."""
        self._is_closing = True
        with contextlib.suppress(OSError, TimeoutError):
            if self._on_worker_lost:
                self._client.unsubscribe_topic("all")
            self._client.close(timeout=10)
        self._cleanup.close()

    def _hear(self, event: tuple[float, Any]) -> None:
        message = event[1]
        if (
            isinstance(message, dict)
            and message.get("action") == "remove-worker"
            and self._on_worker_lost
            and not self._is_closing
        ):
            self._on_worker_lost(str(message.get("worker", "")))


def _settle(outer: Future[T], inner: Any) -> None:
    """Hand a Dask future's outcome over, its losses as `TransientIOError`."""
    if not outer.set_running_or_notify_cancel():
        return
    try:
        outer.set_result(inner.result())
    except (KilledWorker, CancelledError, OSError, TimeoutError) as error:
        lost = TransientIOError(f"the task was lost with its worker or scheduler: {error}")
        outer.set_exception(lost)
    except BaseException as error:  # noqa: BLE001 - the task boundary: whoever waits decides
        outer.set_exception(error)
