"""Keeps Dask's scheduler from remembering every task: loaded by it at its start.

Dask's "spans" note something of each task for ever (0.6 kB, and some kB each time that the cluster
was idle), on the scheduler and on the workers. There is no setting that turns them off.
"""

from __future__ import annotations

from typing import Any

from distributed import Scheduler

from panoseti_zarr.cluster.dask_backend.internals import SpansSchedulerExtension


class NoSpans(SpansSchedulerExtension):
    """Takes what spans take, and keeps nothing."""

    def observe_tasks(self, *_: Any, **__: Any) -> dict[Any, Any]:
        """Put tasks into no span."""
        return {}

    def heartbeat(self, *_: Any) -> None:
        """Drop the metrics of a worker."""


def dask_setup(scheduler: Scheduler) -> None:
    """Take the place of the spans; Dask calls this."""
    scheduler.extensions["spans"] = NoSpans(scheduler)
