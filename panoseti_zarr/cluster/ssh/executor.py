"""Tasks on a Dask cluster that is started over SSH, and ended with its executor."""

from __future__ import annotations

import contextlib

from panoseti_zarr.cluster.dask_backend.client import DaskExecutor
from panoseti_zarr.cluster.executor import Tell, tell_nobody
from panoseti_zarr.cluster.shared_paths import SharedPaths
from panoseti_zarr.cluster.ssh.cluster import SshCluster
from panoseti_zarr.cluster.tls import (
    Certificates,
    configured_certificates,
    make_certificates,
)
from panoseti_zarr.config import SshClusterConfig, TlsConfig


class SshExecutor(DaskExecutor):
    """Runs tasks on a cluster that it started over SSH, and ends it when it is closed."""

    def __init__(
        self, settings: SshClusterConfig, tls: TlsConfig, places: SharedPaths, tell: Tell
    ) -> None:
        self._certificates = configured_certificates(tls) or make_certificates()
        cluster = SshCluster(settings, self._certificates, places, tell)
        with contextlib.ExitStack() as stack:
            cluster.start()
            stack.callback(cluster.close)
            super().__init__(cluster.contact, tell=tell, cleanup=stack.pop_all())

    @property
    def certificates(self) -> Certificates:
        """What others need to reach the cluster."""
        return self._certificates


def start_ssh(
    settings: SshClusterConfig,
    tls: TlsConfig,
    *,
    places: SharedPaths | None = None,
    tell: Tell = tell_nobody,
) -> SshExecutor:
    """Start a cluster on hosts and connect to it.

    Parameters
    ----------
    settings : SshClusterConfig
    tls : TlsConfig
        Certificates; made for this cluster where there are none.
    places : SharedPaths, optional
        What all hosts must see as this process does.
    tell : callable, optional
        Takes what happens.

    Raises
    ------
    ConfigError
        A host is not the one that is known, does not let us in, or runs other versions.
    TransientIOError
        The scheduler or all workers did not start, or a host sees other directories.
    """
    return SshExecutor(settings, tls, places or SharedPaths(), tell)
