"""The interface that all clusters share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

if TYPE_CHECKING:
    from panoseti_zarr.cluster.tls import Certificates

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class ClusterEvent:
    """What happened to a cluster, as docs/logs.md describes it.

    Attributes
    ----------
    name : str
        ``cluster.worker_lost`` and so on.
    level : str
        Of the log line.
    fields : dict
        The event's keys.
    """

    name: str
    level: str = "info"
    fields: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Say it in one line, for people."""
        told = ", ".join(f"{key} {value}" for key, value in self.fields.items())
        return f"{self.name}: {told}" if told else self.name


Tell = Callable[[ClusterEvent], None]
"""Takes the events of a cluster, from another thread."""


def tell_nobody(event: ClusterEvent) -> None:
    """Ignore an event."""


class Executor(ABC):
    """Runs tasks: module-level functions whose arguments and results can be pickled and are small.

    A future raises what its task raised, and may be cancelled. A task that is lost with its
    worker or scheduler is started again, so that it may run twice; its future raises
    `TransientIOError` where that did not help. A context manager: leaving it closes it.
    """

    @property
    @abstractmethod
    def n_slots(self) -> int:
        """Tasks that run at once.

        Raises
        ------
        TransientIOError
            The cluster cannot be reached.
        """

    @property
    def n_workers(self) -> int:
        """Processes that run tasks, as they were last counted."""
        return 1

    def silent_s(self) -> float:
        """Return for how many seconds the cluster has not answered; it is asked now and then."""
        return 0.0

    @property
    def scheduler_address(self) -> str | None:
        """Where others can reach the cluster, if they can."""
        return None

    @property
    def dashboard_url(self) -> str | None:
        """Where Dask's dashboard is, if there is one."""
        return None

    @property
    def certificates(self) -> Certificates | None:
        """What others need to reach it, if anything."""
        return None

    @abstractmethod
    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start a task.

        Raises
        ------
        TransientIOError
            The cluster cannot be reached.
        """

    def renew(self) -> None:  # noqa: B027 - where it cannot be, nothing is to be done
        """Leave tasks that hang to themselves, where that can be: later tasks do not wait for them.

        A Dask cluster keeps its threads, hung ones included.
        """

    @abstractmethod
    def close(self) -> None:
        """End what runs and free what is held; also what was started for this executor."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
