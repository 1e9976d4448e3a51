"""The configuration's models of ``[cluster]`` and its three sections: where the tasks run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from panoseti_zarr.config.types import (
    Address,
    Count,
    Hosts,
    Interval,
    Memory,
    OptionalPath,
    Port,
    Section,
    Word,
    parse_size,
)


class LocalClusterConfig(Section):
    """``[cluster.local]``: the Dask cluster on this machine, bound to 127.0.0.1."""

    n_workers: Count = Field(default=4, description="Worker processes (count), at most the CPUs.")
    threads_per_worker: Count = Field(
        default=2, description="Threads (count) of a worker, at most the CPUs."
    )
    memory_per_worker: Memory = Field(
        default="4GB", description='Memory limit of a worker ("4GB").'
    )
    dashboard_port: Port = Field(
        default=8787, description="Port of Dask's dashboard; 0 = any free one."
    )

    @property
    def memory_per_worker_bytes(self) -> int:
        """`memory_per_worker` in bytes."""
        return parse_size(self.memory_per_worker)


class SshClusterConfig(Section):
    """``[cluster.ssh]``: the Dask cluster that is started on other hosts over SSH."""

    hosts: Hosts = Field(
        default=("localhost",),
        description="Hosts: the first runs the scheduler, the others the workers; "
        "one alone runs both.",
    )
    workers_per_host: Count = Field(default=1, description="Worker processes (count) on each host.")
    threads_per_worker: Count = Field(
        default=16, description="Threads (count) of a worker, at most the CPUs."
    )
    memory_per_worker: Memory = Field(
        default="16GB", description='Memory limit of a worker ("16GB").'
    )
    scheduler_port: Port = Field(default=0, description="Port of the scheduler; 0 = any free one.")
    dashboard_port: Port = Field(
        default=8797, description="Port of Dask's dashboard; 0 = any free one."
    )
    connect_timeout: Interval = Field(
        default=60,
        description="Seconds within which the hosts must be reached and the workers be up.",
    )
    known_hosts: OptionalPath = Field(
        default=None, description="File of the hosts' SSH keys; unset = the user's own known_hosts."
    )
    identity_file: OptionalPath = Field(
        default=None,
        description="Private SSH key; unset = the user's own keys and agent. "
        "There is no other way in than a key.",
    )
    username: Word | None = Field(
        default=None, description="User name on the hosts; unset = the same."
    )
    remote_python: str | None = Field(
        default=None,
        min_length=1,
        description="Python on the hosts; unset = the same path as here.",
    )

    @property
    def memory_per_worker_bytes(self) -> int:
        """`memory_per_worker` in bytes."""
        return parse_size(self.memory_per_worker)


class TlsConfig(Section):
    """``[cluster.tls]``: the certificates of the Dask connections; all three or none."""

    ca_file: OptionalPath = Field(
        default=None,
        description="Certificate of the authority, PEM file; unset = made for the cluster.",
    )
    cert: OptionalPath = Field(
        default=None, description="Certificate that both sides show, PEM file."
    )
    key: OptionalPath = Field(default=None, description="Private key of `cert`, PEM file, 0600.")

    @model_validator(mode="after")
    def _all_or_none(self) -> TlsConfig:
        unset = [name for name in type(self).model_fields if getattr(self, name) is None]
        if unset and len(unset) < len(type(self).model_fields):
            raise ValueError(f"needs ca_file, cert and key together: {', '.join(unset)} is unset")
        return self


class ClusterConfig(Section):
    """``[cluster]``: where the tasks run."""

    type: Literal["local", "ssh", "address"] = Field(
        default="local",
        description="The Dask cluster: on this machine, started over SSH, or run by others.",
    )
    use_cluster: bool = Field(
        default=False, description="Whether tasks run on the Dask cluster; false = in this process."
    )
    scheduler_address: Address | None = Field(
        default=None, description='Scheduler of `type = "address"` ("tls://10.0.1.2:8786").'
    )
    scheduler_file: OptionalPath = Field(
        default=None, description="File with that address, instead of `scheduler_address`."
    )
    local: LocalClusterConfig = Field(default=LocalClusterConfig(), description="On this machine.")
    ssh: SshClusterConfig = Field(default=SshClusterConfig(), description="Over SSH.")
    tls: TlsConfig = Field(default=TlsConfig(), description="Certificates.")

    @model_validator(mode="after")
    def _address_is_known(self) -> ClusterConfig:
        n_given = (self.scheduler_address is not None) + (self.scheduler_file is not None)
        if self.use_cluster and self.type == "address" and n_given != 1:
            raise ValueError(
                'type = "address" needs either scheduler_address or scheduler_file'
                + (", not both" if n_given else "")
            )
        return self
