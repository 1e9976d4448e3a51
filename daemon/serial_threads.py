"""Threads for whatever may block: one for each named queue, which runs its tasks in order.

There is a queue for each data root, one for the cluster, one for the records, and so on. A file
system that hangs holds up its own queue and nothing else. The threads are daemon threads: one
that hangs does not keep the process from ending.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

Task = Callable[[], None]

_MOMENT_S = 0.1
"""Enough for an idle thread to end."""


class SerialThreads:
    """Starts the thread of a queue when it is first used."""

    def __init__(self) -> None:
        self._queues: dict[str, SimpleQueue[Task | None]] = {}
        self._threads: dict[str, threading.Thread] = {}

    def submit(self, name: str, task: Task) -> None:
        """Run a task, which handles its own errors, after those that wait in its queue."""
        if name not in self._queues:
            self._queues[name] = SimpleQueue()
            thread = threading.Thread(
                target=_work, args=(self._queues[name],), name=name, daemon=True
            )
            self._threads[name] = thread
            thread.start()
        self._queues[name].put(task)

    def close(self, name: str, timeout_s: float) -> bool:
        """Let every thread end, and wait until one has finished its queue.

        Parameters
        ----------
        name : str
            The queue to wait for.
        timeout_s : float
            The longest wait.

        Returns
        -------
        bool
            Whether all threads have ended by then.
        """
        for queue in self._queues.values():
            queue.put(None)
        if name in self._threads:
            self._threads[name].join(timeout_s)
        for thread in self._threads.values():
            thread.join(_MOMENT_S)
        return not any(thread.is_alive() for thread in self._threads.values())


def _work(queue: SimpleQueue[Task | None]) -> None:
    while (task := queue.get()) is not None:
        task()
