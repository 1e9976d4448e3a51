"""No cluster: tasks run in threads of this process."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from panoseti_zarr.cluster.executor import Executor, P, T


class ThreadExecutor(Executor):
    """Runs tasks in ``n_threads`` threads; NumPy and the codecs release the interpreter lock."""

    def __init__(self, n_threads: int) -> None:
        self._n_threads = n_threads
        self._threads = self._pool()

    @property
    def n_slots(self) -> int:
        """Tasks that run at once."""
        return self._n_threads

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start a task."""
        return self._threads.submit(function, *args, **kwargs)

    def renew(self) -> None:
        """Give later tasks threads of their own; the others end with their tasks."""
        before, self._threads = self._threads, self._pool()
        before.shutdown(wait=False)

    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._n_threads, thread_name_prefix="task")

    def close(self) -> None:
        """Wait for the tasks that run; the others are dropped."""
        self._threads.shutdown(wait=True, cancel_futures=True)
