"""A Dask cluster on this machine: worker processes, loopback only."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings

import dask
from distributed import LocalCluster

from panoseti_zarr.cluster.dask_backend.client import Contact, DaskExecutor
from panoseti_zarr.cluster.executor import Tell, tell_nobody
from panoseti_zarr.cluster.temporary import scratch_directory
from panoseti_zarr.config import LocalClusterConfig, capped
from panoseti_zarr.errors import TransientIOError


def start_local(settings: LocalClusterConfig, *, tell: Tell = tell_nobody) -> DaskExecutor:
    """Start a local cluster and connect to it.

    Workers are spawned, never forked (TensorStore aborts after a fork); one that dies or grows
    beyond its memory limit is replaced by its nanny. Workers times threads never exceed the
    processors.
    """
    n_workers = capped(settings.n_workers)
    n_threads = min(settings.threads_per_worker, max(1, capped(sys.maxsize) // n_workers))
    with contextlib.ExitStack() as stack, warnings.catch_warnings():
        # Another cluster may have the dashboard's port: Dask then takes any.
        warnings.filterwarnings("ignore", "Port .* is already in use", UserWarning)
        scratch = str(stack.enter_context(scratch_directory()))
        stack.enter_context(dask.config.set({"temporary-directory": scratch}))
        try:
            cluster = LocalCluster(
                n_workers=n_workers,
                threads_per_worker=n_threads,
                memory_limit=settings.memory_per_worker_bytes,
                processes=True,
                host="127.0.0.1",
                dashboard_address=f"127.0.0.1:{settings.dashboard_port}",
                worker_dashboard_address="127.0.0.1:0",
                local_directory=scratch,
                silence_logs=logging.WARNING,
            )
        except (OSError, RuntimeError, TimeoutError) as error:
            raise TransientIOError(f"the local Dask cluster did not start: {error}") from error
        stack.callback(_close, cluster)
        address = cluster.scheduler_address
        return DaskExecutor(lambda: Contact(address), tell=tell, cleanup=stack.pop_all())


def _close(cluster: LocalCluster) -> None:
    """Close a cluster; that its processes took too long to end, on a busy machine, is no failure.

    Its nannies have killed them by then.
    """
    with contextlib.suppress(TimeoutError):
        cluster.close(timeout=20)
