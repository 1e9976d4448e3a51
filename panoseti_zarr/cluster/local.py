"""A Dask cluster on this machine: worker processes, loopback only."""

from __future__ import annotations

import contextlib
import tempfile
import warnings

from distributed import LocalCluster

from panoseti_zarr.cluster.dask_client import DaskExecutor, WorkerLost
from panoseti_zarr.config import LocalClusterConfig, capped


def start_local(
    settings: LocalClusterConfig, *, on_worker_lost: WorkerLost | None = None
) -> DaskExecutor:
    """Start a local cluster and connect to it.

    Workers are spawned, never forked (TensorStore aborts after a fork); one that dies is replaced
    by its nanny. Workers times threads never exceed the processors.
    """
    n_workers = capped(settings.n_workers)
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="panoseti-zarr-dask-"))
        with warnings.catch_warnings():
            # Another cluster may have the dashboard's port: Dask then takes any.
            warnings.filterwarnings("ignore", message="Port .* is already in use", category=UserWarning)
            cluster = LocalCluster(
                n_workers=n_workers,
                threads_per_worker=min(settings.threads_per_worker, max(1, capped(1 << 20) // n_workers)),
                memory_limit=settings.memory_per_worker,
                processes=True,
                host="127.0.0.1",
                dashboard_address=f"127.0.0.1:{settings.dashboard_port}",
                local_directory=scratch,
                silence_logs=False,
            )
        stack.callback(cluster.close, timeout=20)
        return DaskExecutor(
            cluster.scheduler_address, on_worker_lost=on_worker_lost, cleanup=stack.pop_all()
        )
