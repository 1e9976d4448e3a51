"""Where tasks run: threads of this process, a Dask cluster here or on other hosts, or others'."""

from __future__ import annotations

from panoseti_zarr.cluster.executor import ClusterEvent, Executor, Tell, tell_nobody
from panoseti_zarr.cluster.shared_paths import SharedPaths
from panoseti_zarr.cluster.threads import ThreadExecutor
from panoseti_zarr.config import Config, capped
from panoseti_zarr.errors import ConfigError

__all__ = [
    "ClusterEvent",
    "Executor",
    "SharedPaths",
    "Tell",
    "ThreadExecutor",
    "make_executor",
    "places_of",
]


def make_executor(
    config: Config,
    *,
    scheduler: str | None = None,
    places: SharedPaths | None = None,
    tell: Tell = tell_nobody,
) -> Executor:
    """Make the executor that the configuration asks for.

    Parameters
    ----------
    config : Config
    scheduler : str, optional
        Address or scheduler file of a running cluster; goes before ``[cluster]``.
    places : SharedPaths, optional
        What the hosts of an SSH cluster must see as this process does; by default the
        directories of ``[daemon]``.
    tell : callable, optional
        Takes what happens to the cluster, from another thread.

    Raises
    ------
    ConfigError
        ``[cluster]`` asks for what is not there.
    TransientIOError
        The cluster cannot be reached at present.
    """
    cluster = config.cluster
    if scheduler is None and not cluster.use_cluster:
        return ThreadExecutor(capped(config.pff_to_zarr.num_workers))
    # Dask takes half a second to import: only where it is used.
    if scheduler is None and cluster.type == "local":
        from panoseti_zarr.cluster.dask_backend.local import start_local  # noqa: PLC0415

        return start_local(cluster.local, tell=tell)
    if scheduler is None and cluster.type == "ssh":
        from panoseti_zarr.cluster.ssh.executor import start_ssh  # noqa: PLC0415

        return start_ssh(cluster.ssh, cluster.tls, places=places or places_of(config), tell=tell)
    scheduler = scheduler or cluster.scheduler_address or str(cluster.scheduler_file or "")
    if not scheduler:
        raise ConfigError('[cluster] type = "address" needs scheduler_address or scheduler_file')
    from panoseti_zarr.cluster.dask_backend.scheduler_file import connect  # noqa: PLC0415

    return connect(scheduler, cluster.tls, tell=tell)


def places_of(config: Config) -> SharedPaths:
    """Return the directories of ``[daemon]`` that tasks read and write."""
    daemon = config.daemon
    outputs = [path for path in (daemon.l0_dir, daemon.l1_dir) if path is not None]
    return SharedPaths(tuple(outputs), tuple(daemon.data_root))
