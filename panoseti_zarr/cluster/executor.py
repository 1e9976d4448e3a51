"""The one interface behind which all clusters look alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Executor(ABC):
    """Runs tasks: module-level functions whose arguments and results can be pickled and are small.

    A future raises what its task raised. It raises `TransientIOError` when the task was lost
    with its worker or scheduler and may be tried again, and may be cancelled. A context manager:
    leaving it closes it.
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
    def scheduler_address(self) -> str | None:
        """Where others can reach the cluster, if they can."""
        return None

    @abstractmethod
    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start a task.

        Raises
        ------
        TransientIOError
            The cluster cannot be reached.
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
