"""Runs many tasks with few under way, and takes their results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from typing import TypeVar

from panoseti_zarr.cluster.executor import Executor

R = TypeVar("R")

_POLL_S = 0.2
"""How often a coordinator that waits for a task looks whether it is to stop."""

_N_AHEAD = 2
"""Tasks under way above those that run at once, so that no slot waits for the coordinator."""


def run_in_order(
    executor: Executor,
    task: Callable[..., R],
    arguments: Iterable[tuple[object, ...]],
    take: Callable[[list[R]], None],
    *,
    n_at_once: int | None = None,
    check_stop: Callable[[], None],
) -> None:
    """Run a task on each tuple of arguments, and take the results in the order of these.

    When it ends by an error no task of it runs any more.

    Parameters
    ----------
    executor : Executor
    task : callable
        A module-level function.
    arguments : iterable of tuple
        Of each task.
    take : callable
        Called with the next results, at least one, in this thread.
    n_at_once : int, optional
        Tasks under way; by default as many as the executor's slots and some more.
    check_stop : callable
        Raises when the work is to stop.

    Raises
    ------
    PanosetiZarrError
        What a task, ``take`` or ``check_stop`` raised.
    """
    waiting = iter(arguments)
    running: deque[Future[R]] = deque()
    if n_at_once is None:
        n_at_once = executor.n_slots + _N_AHEAD
    try:
        while True:
            while len(running) < n_at_once and (next_one := next(waiting, None)) is not None:
                running.append(executor.submit(task, *next_one))
            if not running:
                return
            while not wait_for([running[0]], timeout=_POLL_S).done:
                check_stop()
            check_stop()
            results = [running.popleft().result()]
            while running and _has_result(running[0]):
                results.append(running.popleft().result())
            take(results)
    finally:
        for future in running:
            future.cancel()
        # Threads cannot be interrupted; what they still stage must not outlive the sweep.
        wait_for([future for future in running if not future.cancelled()])


def _has_result(future: Future[R]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None
