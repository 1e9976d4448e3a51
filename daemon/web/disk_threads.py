"""Disk access for an event loop that must not wait for a disk."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def run_in_thread(function: Callable[[], T], timeout_s: float) -> T:
    """Run a function in a thread of its own, which does not keep the process where it hangs.

    Raises
    ------
    TimeoutError
        It took too long, and is left to itself.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def give(result: T | None, error: Exception | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, failure = None, None
        try:
            result = function()
        except Exception as error:  # noqa: BLE001 - a thread's boundary: it is raised in the loop
            failure = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(give, result, failure)

    threading.Thread(target=run, name="page disk", daemon=True).start()
    return await asyncio.wait_for(future, timeout_s)
