"""Threads for what may block: one a lane, in which tasks run in order.

A lane is a name: a data root, the cluster, the records. A file system that hangs holds up its
own lane and nothing else. The threads are daemons: one that hangs does not keep the process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

Task = Callable[[], None]

_MOMENT_S = 0.1
"""Enough for a lane that has nothing to do to end."""


class SerialThreads:
    """Starts a thread for each lane when it is first used."""

    def __init__(self) -> None:
        self._queues: dict[str, SimpleQueue[Task | None]] = {}
        self._threads: dict[str, threading.Thread] = {}

    def submit(self, lane: str, task: Task) -> None:
        """Run a task, which handles its own errors, after those that wait in its lane."""
        if lane not in self._queues:
            self._queues[lane] = SimpleQueue()
            thread = threading.Thread(
                target=_work, args=(self._queues[lane],), name=f"lane {lane}", daemon=True
            )
            self._threads[lane] = thread
            thread.start()
        self._queues[lane].put(task)

    def close(self, lane: str, timeout_s: float) -> bool:
        """Let every lane end, and one finish what it has.

        Parameters
        ----------
        lane : str
            The one that is waited for.
        timeout_s : float
            How long.

        Returns
        -------
        bool
            Whether all have ended by then.
        """
        for queue in self._queues.values():
            queue.put(None)
        if lane in self._threads:
            self._threads[lane].join(timeout_s)
        for thread in self._threads.values():
            thread.join(_MOMENT_S)
        return not any(thread.is_alive() for thread in self._threads.values())


def _work(queue: SimpleQueue[Task | None]) -> None:
    while (task := queue.get()) is not None:
        task()
