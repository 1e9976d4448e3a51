"""A Dask cluster on this machine: worker processes, loopback only."""

from __future__ import annotations

import contextlib
import logging
import sys
import tempfile
import warnings

from distributed import LocalCluster

from panoseti_zarr.cluster.dask_client import DaskExecutor, WorkerLost
from panoseti_zarr.config import LocalClusterConfig, capped
from panoseti_zarr.errors import TransientIOError


def start_local(
    settings: LocalClusterConfig, *, on_worker_lost: WorkerLost | None = None
) -> DaskExecutor:
    """Start a local cluster and connect to it.

    Workers are spawned, never forked (TensorStore aborts after a fork); one that dies is replaced
    by its nanny. Workers times threads never exceed the processors.
    """
    n_workers = capped(settings.n_workers)
    n_threads = min(settings.threads_per_worker, max(1, capped(sys.maxsize) // n_workers))
    with contextlib.ExitStack() as stack, warnings.catch_warnings():
        # Another cluster may have the dashboard's port: Dask then takes any.
        warnings.filterwarnings("ignore", "Port .* is already in use", UserWarning)
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="panoseti-zarr-dask-"))
        try:
            cluster = LocalCluster(
                n_workers=n_workers,
                threads_per_worker=n_threads,
                memory_limit=settings.memory_per_worker,
                processes=True,
                host="127.0.0.1",
                dashboard_address=f"127.0.0.1:{settings.dashboard_port}",
                local_directory=scratch,
                silence_logs=logging.WARNING,
            )
        except (OSError, RuntimeError, TimeoutError) as error:
            raise TransientIOError(f"the local Dask cluster did not start: {error}") from error
        stack.callback(cluster.close, timeout=20)
        return DaskExecutor(
            cluster.scheduler_address, on_worker_lost=on_worker_lost, cleanup=stack.pop_all()
        )
