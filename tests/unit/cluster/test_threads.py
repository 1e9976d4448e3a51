"""Tasks in threads of this process."""

import threading

from support.waiting import PATIENCE_S

from panoseti_zarr.cluster import ThreadExecutor


def test_tasks_that_hang_hold_nobody_up_once_threads_are_renewed():
    """With all threads hung, a task waits; renewed, it runs, and what hung still gives a result."""
    with ThreadExecutor(2) as executor:
        go_on = threading.Event()
        hung = [executor.submit(go_on.wait, 30) for _ in range(2)]
        executor.renew()
        assert executor.submit(max, 1, 2).result(timeout=PATIENCE_S) == 2
        assert not any(task.done() for task in hung)
        go_on.set()
        assert all(task.result(timeout=PATIENCE_S) for task in hung)
