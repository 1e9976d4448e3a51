"""Threads for what may block: one a lane, in which tasks run in order.

A lane is a name: a data root, the cluster, the records. A file system that hangs holds up its
own lane and nothing else. The threads are daemons: one that hangs does not keep the process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

Task = Callable[[], None]


class Lanes:
    """Starts a thread for each lane when it is first used."""

    def __init__(self) -> None:
        self._queues: dict[str, SimpleQueue[Task | None]] = {}
        self._threads: list[threading.Thread] = []

    def submit(self, lane: str, task: Task) -> None:
        """Run a task, which handles its own errors, after those that wait in its lane."""
        if lane not in self._queues:
            self._queues[lane] = SimpleQueue()
            thread = threading.Thread(
                target=_work, args=(self._queues[lane],), name=f"lane {lane}", daemon=True
            )
            self._threads.append(thread)
            thread.start()
        self._queues[lane].put(task)

    def close(self, timeout_s: float) -> bool:
        """Let every lane finish what it has; return whether all did in time."""
        for queue in self._queues.values():
            queue.put(None)
        deadline_s = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)


def _work(queue: SimpleQueue[Task | None]) -> None:
    while (task := queue.get()) is not None:
        task()
