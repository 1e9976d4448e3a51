"""Where tasks run: threads of this process, a local Dask cluster, or one that others run."""

from __future__ import annotations

from collections.abc import Callable

from panoseti_zarr.cluster.executor import Executor
from panoseti_zarr.cluster.in_process import InProcessExecutor
from panoseti_zarr.config import Config, capped
from panoseti_zarr.errors import ConfigError

__all__ = ["Executor", "InProcessExecutor", "make_executor"]


def make_executor(
    config: Config,
    *,
    scheduler: str | None = None,
    on_worker_lost: Callable[[str], None] | None = None,
) -> Executor:
    """Make the executor that the configuration asks for.

    Parameters
    ----------
    config : Config
    scheduler : str, optional
        Address or scheduler file of a running cluster; goes before ``[cluster]``.
    on_worker_lost : callable, optional
        Called with the address of a worker that the cluster lost, from another thread.

    Raises
    ------
    ConfigError
        ``[cluster]`` asks for what is not there.
    TransientIOError
        The cluster cannot be reached for now.
    """
    cluster = config.cluster
    if scheduler is None and not cluster.use_cluster:
        return InProcessExecutor(capped(config.pff_to_zarr.num_workers))
    # Dask takes half a second to import: only where it is used.
    if scheduler is None and cluster.type == "local":
        from panoseti_zarr.cluster.local import start_local  # noqa: PLC0415

        return start_local(cluster.local, on_worker_lost=on_worker_lost)
    if scheduler is None and cluster.type == "address":
        scheduler = cluster.scheduler_address or str(cluster.scheduler_file or "")
    if not scheduler:
        raise ConfigError(_NO_SCHEDULER[cluster.type])
    from panoseti_zarr.cluster.address import connect  # noqa: PLC0415

    return connect(scheduler, cluster.tls, on_worker_lost=on_worker_lost)


_NO_SCHEDULER = {
    "address": '[cluster] type = "address" needs scheduler_address or scheduler_file',
    "ssh": '[cluster] type = "ssh" is not there yet: start the workers by hand and give '
    'type = "address", or use type = "local"',
}
