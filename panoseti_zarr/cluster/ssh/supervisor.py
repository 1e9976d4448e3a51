"""Keeps one host's process up: started, and started again when it or its host was lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from panoseti_zarr.cluster.executor import ClusterEvent, Tell
from panoseti_zarr.cluster.ssh.host_process import HostProcess, HostUnreachableError, Started
from panoseti_zarr.core.backoff import Backoff
from panoseti_zarr.errors import PanosetiZarrError

_BACKOFF = Backoff(first_s=1.0, most_s=15.0)
_STEADY_S = 60.0
"""A process that lasted so long was well: the next start is tried soon."""


class SchedulerAddress:
    """Where the workers find the scheduler."""

    def __init__(self) -> None:
        self.address = ""
        self._opened = asyncio.Event()
        self._closed = asyncio.Event()

    def open(self, address: str) -> None:
        """Say that there is a scheduler."""
        self.address = address
        self._closed.clear()
        self._opened.set()

    def close(self) -> None:
        """Say that it is gone."""
        self.address = ""
        self._opened.clear()
        self._closed.set()

    async def wait_until_open(self) -> str:
        """Wait for a scheduler; return its address."""
        await self._opened.wait()
        return self.address

    async def wait_until_closed(self) -> None:
        """Wait until there is no scheduler."""
        await self._closed.wait()


class HostSupervisor:
    """Keeps a process up until it is cancelled.

    Parameters
    ----------
    host : str
    make : callable
        Makes and starts a process; called for each start.
    on_up : callable
        Takes what the host said, when the process is up.
    on_change : callable
        Called when `is_up` or `problem` changed.
    until : callable or None
        Waits for another reason to start the process again.
    tell : callable
        Takes ``cluster.host_lost``.
    """

    def __init__(
        self,
        host: str,
        make: Callable[[contextlib.AsyncExitStack], Awaitable[HostProcess]],
        *,
        on_up: Callable[[Started], None],
        on_change: Callable[[], None],
        until: Callable[[], Awaitable[None]] | None,
        tell: Tell,
    ) -> None:
        self.host = host
        self.is_up = False
        self.problem: PanosetiZarrError | None = None
        self._make = make
        self._on_up = on_up
        self._on_change = on_change
        self._until = until
        self._tell = tell
        self._last_reason = ""

    @property
    def is_permanent(self) -> bool:
        """Whether the last start failed for another reason than an unreachable host."""
        return self.problem is not None and not isinstance(self.problem, HostUnreachableError)

    async def keep(self) -> None:
        """Start the process, again and again."""
        clock = asyncio.get_running_loop().time
        n_failures = 0
        while True:
            began_s = clock()
            reason = await self._once()
            if clock() - began_s > _STEADY_S:
                n_failures = 0
            n_failures += 1
            delay_s = _BACKOFF.delay_s(n_failures)
            # A host that is away for days is not worth a warning every time.
            level = "warning" if reason != self._last_reason else "debug"
            self._last_reason = reason
            fields = {"host": self.host, "reason": reason, "retry_in_s": delay_s}
            self._tell(ClusterEvent("cluster.host_lost", level, fields))
            self._change(is_up=False, problem=self.problem)
            await asyncio.sleep(delay_s)

    async def _once(self) -> str:
        """Start the process and wait until it is lost; return why it is not up."""
        async with contextlib.AsyncExitStack() as stack:
            try:
                process = await self._make(stack)
            except PanosetiZarrError as error:
                self.problem = error
                return str(error)
            assert process.started is not None  # noqa: S101 - it is up
            self._last_reason = ""
            self._change(is_up=True, problem=None)
            self._on_up(process.started)
            return await self._until_lost(process)

    async def _until_lost(self, process: HostProcess) -> str:
        lost = asyncio.ensure_future(process.lost())
        others = [asyncio.ensure_future(self._until())] if self._until else []
        try:
            await asyncio.wait([lost, *others], return_when=asyncio.FIRST_COMPLETED)
            return lost.result() if lost.done() else "the scheduler was lost"
        finally:
            for task in (lost, *others):
                task.cancel()

    def _change(self, *, is_up: bool, problem: PanosetiZarrError | None) -> None:
        self.is_up, self.problem = is_up, problem
        self._on_change()
