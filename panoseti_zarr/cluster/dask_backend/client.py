"""Tasks on a Dask cluster, through a ``distributed.Client`` that is made again when it is lost."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from distributed import Client, Security

from panoseti_zarr.cluster.dask_backend.dask_config import DASK_SETTINGS
from panoseti_zarr.cluster.dask_backend.internals import scheduler_connection
from panoseti_zarr.cluster.dask_backend.pending import CLIENT_LOST, PendingTasks, Task
from panoseti_zarr.cluster.executor import ClusterEvent, Executor, P, T, Tell, tell_nobody
from panoseti_zarr.core.backoff import Backoff
from panoseti_zarr.errors import ConfigError, TransientIOError

__all__ = ["DASK_SETTINGS", "Contact", "DaskExecutor"]

_LOOK_S = 0.5
"""How often the client is looked at."""

_ASK_S = 10.0
"""How often the scheduler is asked for its slots, which also shows that it is alive."""

_ANSWER_S = 30.0
"""How long it may take to answer."""

_CONNECT_S = 10.0
_BACKOFF = Backoff(first_s=0.5, most_s=30.0)

_PATIENCE_S = 300.0
"""How long tasks wait for a lost scheduler; then they fail."""


class Contact(NamedTuple):
    """Where a scheduler is, and what it takes to talk to it."""

    address: str
    security: Security | None = None


class DaskExecutor(Executor):
    """Runs tasks through a client of a Dask cluster.

    When the scheduler is lost, it is looked for with growing delays, and the tasks that have no
    result yet are started again: tasks may run twice. After some minutes they fail, and so does
    whatever is asked of the executor.

    Parameters
    ----------
    find : callable
        Returns where the scheduler is now; raises `TransientIOError` while it is missing.
    tell : callable, optional
        Takes ``cluster.worker_lost``, ``cluster.lost``, ``cluster.unreachable`` and
        ``cluster.connected``.
    cleanup : contextlib.ExitStack, optional
        Closed after the client.

    Raises
    ------
    ConfigError
        ``find`` cannot work.
    TransientIOError
        The scheduler cannot be reached.
    """

    def __init__(
        self,
        find: Callable[[], Contact],
        *,
        tell: Tell = tell_nobody,
        cleanup: contextlib.ExitStack | None = None,
    ) -> None:
        self._find = find
        self._tell = tell
        self._cleanup = cleanup or contextlib.ExitStack()
        self._tasks = PendingTasks(self._lose)
        self._loss = ""
        self._given_up = ""
        self._closing = threading.Event()
        self._look = threading.Event()
        try:
            self._connect()
        except BaseException:
            self._cleanup.close()
            raise
        self._keeper = threading.Thread(target=self._keep, name="dask client", daemon=True)
        self._keeper.start()

    @property
    def scheduler_address(self) -> str:
        """Of the scheduler, as it was last known."""
        return self._address

    @property
    def dashboard_url(self) -> str | None:
        """Of the scheduler's dashboard, which may be bound to that host's loopback."""
        host = urlsplit(self._address).hostname
        if self._dashboard_port is None or not host:
            return None
        return f"http://{f'[{host}]' if ':' in host else host}:{self._dashboard_port}/status"

    @property
    def n_slots(self) -> int:
        """Threads of all workers, as they were last counted."""
        if self._given_up:
            raise TransientIOError(self._given_up)
        return self._n_slots

    @property
    def n_workers(self) -> int:
        """Worker processes, as they were last counted."""
        return self._n_workers

    def silent_s(self) -> float:
        """Return for how many seconds the scheduler has not answered; it is asked now and then."""
        return time.monotonic() - self._answered_s

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start a task on any worker, as soon as there is a scheduler."""
        task = Task(function, args, kwargs, outer=Future())
        self._tasks.add(task)
        self._tasks.start(task, self._client)
        return task.outer

    def close(self) -> None:
        """Leave the cluster, and end it where it was started for this executor."""
        self._closing.set()
        self._look.set()
        self._keeper.join()
        self._leave(self._client)
        self._tasks.refuse("the cluster was left")
        self._cleanup.close()

    def _connect(self) -> None:
        address, security = self._find()
        try:
            client = Client(address, security=security, timeout=_CONNECT_S, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise TransientIOError(f"no Dask scheduler answers at {address}: {error}") from None
        try:
            client.subscribe_topic("all", self._hear)
            self._ask(client)
            self._dashboard_port = _find_dashboard(client)
        except CLIENT_LOST as error:
            self._leave(client)
            raise TransientIOError(f"the Dask scheduler at {address} is gone: {error}") from None
        self._address = address
        self._client = client
        self._loss = ""

    def _lose(self, reason: str) -> None:
        self._loss = self._loss or reason
        self._look.set()

    def _keep(self) -> None:
        """Look after the client, in a thread of its own."""
        while True:
            self._look.wait(_LOOK_S)
            if self._closing.is_set():
                return
            self._look.clear()
            if not (reason := self._why_lost()):
                continue
            self._tell(ClusterEvent("cluster.lost", "error", {"reason": reason}))
            self._leave(self._client)
            if self._find_again(reason):
                self._tell(ClusterEvent("cluster.connected", "info", {"n_slots": self._n_slots}))
                continue
            if not self._closing.is_set():
                self._tasks.refuse(self._given_up)
                self._tell(ClusterEvent("cluster.lost", "error", {"reason": self._given_up}))
            return

    def _why_lost(self) -> str:
        comm = scheduler_connection(self._client)
        if self._client.status != "running" or comm is None or comm.closed():
            return f"the connection to the Dask scheduler at {self._address} broke"
        if self._loss:
            return self._loss
        if self.silent_s() < _ASK_S:
            return ""
        try:
            self._ask(self._client)
        except CLIENT_LOST as error:
            return f"the Dask scheduler does not answer: {error}"
        return ""

    def _ask(self, client: Client) -> None:
        """Ask the scheduler for its workers."""
        scheduler = client.scheduler
        if scheduler is None:
            raise RuntimeError("the client is closed")
        threads: dict[str, int] = client.sync(scheduler.ncores, callback_timeout=_ANSWER_S)
        self._n_workers, self._n_slots = len(threads), max(1, sum(threads.values()))
        self._answered_s = time.monotonic()

    def _find_again(self, reason: str) -> bool:
        """Connect again and start the tasks again; return False when patience is over."""
        deadline_s = time.monotonic() + _PATIENCE_S
        n_failures = 1
        while not self._closing.wait(_BACKOFF.delay_s(n_failures)):
            try:
                self._connect()
            except (TransientIOError, ConfigError) as error:
                reason = str(error)
                if time.monotonic() > deadline_s:
                    break
            else:
                self._tasks.start_again(self._client)
                return True
            n_failures += 1
            fields = {"reason": reason, "retry_in_s": _BACKOFF.delay_s(n_failures)}
            self._tell(ClusterEvent("cluster.unreachable", "warning", fields))
        self._given_up = reason
        return False

    def _leave(self, client: Client) -> None:
        with contextlib.suppress(*CLIENT_LOST):
            if client.status == "running":
                client.unsubscribe_topic("all")
            client.close(timeout=5)

    def _hear(self, event: tuple[float, Any]) -> None:
        message = event[1]
        if (
            isinstance(message, dict)
            and message.get("action") == "remove-worker"
            and not self._closing.is_set()
        ):
            worker = str(message.get("worker", ""))
            self._tell(ClusterEvent("cluster.worker_lost", "warning", {"worker": worker}))


def _find_dashboard(client: Client) -> int | None:
    """Ask the scheduler for the port of its dashboard."""
    if client.scheduler is None:
        raise RuntimeError("the client is closed")
    identity: dict[str, Any] = client.sync(client.scheduler.identity, callback_timeout=_ANSWER_S)
    port = identity.get("services", {}).get("dashboard")
    return port if isinstance(port, int) else None
