"""Tasks without a result, kept so that another scheduler can run them again."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from distributed import Client
from distributed.client import ClosedClientError
from distributed.scheduler import KilledWorker

from panoseti_zarr.errors import TransientIOError, one_line

CLIENT_LOST = (OSError, TimeoutError, ValueError, RuntimeError, ClosedClientError)
"""What a client raises that is closed, or whose scheduler is gone."""

_MOST_LOSSES = 5
"""Schedulers that a task may lose before it fails."""

_FETCH_S = 30.0
"""How long a result, a few bytes, may take to come from its worker."""

_N_THREADS = 4


@dataclass(eq=False)
class Task:
    """A task; ``inner`` is Dask's future of it, ``outer`` the one that we gave out."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outer: Future[Any]
    inner: Any = None
    n_losses: int = 0


class PendingTasks:
    """Gives tasks to a client, and hands over what comes of them.

    Parameters
    ----------
    on_loss : callable
        Called with the reason when a client lost tasks, from another thread.
    """

    def __init__(self, on_loss: Callable[[str], None]) -> None:
        self._on_loss = on_loss
        self._lock = threading.Lock()
        self._tasks: set[Task] = set()
        self._refusal = ""
        self._threads = _threads()

    def add(self, task: Task) -> None:
        """Take a task, until it has ended or was cancelled.

        Raises
        ------
        TransientIOError
            No task is taken any more.
        """
        with self._lock:
            if self._refusal:
                raise TransientIOError(self._refusal)
            self._tasks.add(task)
        task.outer.add_done_callback(lambda _: self._drop(task))

    def start(self, task: Task, client: Client) -> None:
        """Give a task to Dask; where the client is lost this moment, the next one gets it."""
        try:
            inner = client.submit(task.function, *task.args, pure=False, **task.kwargs)
        except CLIENT_LOST:
            if client.status == "running":
                raise
            return
        with self._lock:
            task.inner = inner
            threads = self._threads
        # Dask has one thread for all callbacks: what waits for a lost scheduler must not fill it.
        inner.add_done_callback(lambda ended: self._hand_over(threads, task, ended))
        if task.outer.done():
            _cancel(inner)

    def start_again(self, client: Client) -> None:
        """Give all tasks to a new client."""
        with self._lock:
            before, self._threads = self._threads, _threads()
        before.shutdown(wait=False, cancel_futures=True)
        for task in self._waiting():
            task.n_losses += task.inner is not None
            if task.n_losses > _MOST_LOSSES:
                lost = f"the task lost its scheduler {task.n_losses} times"
                _settle(task, error=TransientIOError(lost))
            else:
                self.start(task, client)

    def refuse(self, reason: str) -> None:
        """Let all tasks fail, also those that still come."""
        with self._lock:
            self._refusal = reason
        self._threads.shutdown(wait=False, cancel_futures=True)
        for task in self._waiting():
            _settle(task, error=TransientIOError(reason))

    def _waiting(self) -> list[Task]:
        with self._lock:
            return list(self._tasks)

    def _drop(self, task: Task) -> None:
        with self._lock:
            self._tasks.discard(task)
            inner = task.inner
        if task.outer.cancelled() and inner is not None:
            _cancel(inner)

    def _hand_over(self, threads: ThreadPoolExecutor, task: Task, inner: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the client was lost: the next one has the task
            threads.submit(self._ended, task, inner)

    def _ended(self, task: Task, inner: Any) -> None:
        """Hand an outcome over; a task that was lost with its scheduler waits for the next."""
        try:
            if inner.status == "error":
                _settle(task, error=inner.exception(timeout=_FETCH_S))
            else:
                _settle(task, result=inner.result(timeout=_FETCH_S))
        except BaseException as error:  # noqa: BLE001 - of Dask alone: what the task raised is a value
            if inner is task.inner and not task.outer.done():
                self._on_loss(one_line(f"results were lost: {error}"))


def _cancel(inner: Any) -> None:
    with contextlib.suppress(*CLIENT_LOST):  # what is lost needs no cancelling
        inner.cancel()


def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_N_THREADS, thread_name_prefix="task results")


def _settle(task: Task, *, result: Any = None, error: BaseException | None = None) -> None:
    if not task.outer.set_running_or_notify_cancel():
        return
    if isinstance(error, KilledWorker):
        error = TransientIOError(f"the task was lost with its workers: {error}")
    if error is None:
        task.outer.set_result(result)
    else:
        task.outer.set_exception(error)
