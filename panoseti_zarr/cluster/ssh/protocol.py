"""The protocol between the two ends of an SSH connection: lines of JSON.

The host says its versions, takes one order, and says its result; from then on each side
sends a heartbeat every `HEARTBEAT_S`. A host that hears nothing for `SILENCE_S` ends what it runs.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
from dataclasses import asdict, dataclass, field
from typing import Any

HEARTBEAT_S = 5.0
"""How often each side gives a sign of life."""

SILENCE_S = 30.0
"""How long a host waits for one before it ends its processes."""

GRACE_S = 5.0
"""How long these may take to end by themselves; then they are killed."""

_SAME_EVERYWHERE = ("panoseti-zarr", "distributed", "dask", "numcodecs")


@dataclass(frozen=True)
class StartRequest:
    """What a host is to run.

    Attributes
    ----------
    scheduler : str or None
        Address that the workers connect to; None: run the scheduler.
    name : str
        Of the workers, which get a number each behind it.
    certificates : dict of str to str
        PEM texts, as `Certificates` has them.
    port, dashboard_port : int
        Of the scheduler; 0 is any free one.
    any_port : bool
        Whether another port will do where that one is taken.
    n_workers, n_threads : int
        Of each worker; capped at the host's processors.
    memory_bytes : int
        Limit of each worker.
    dask : dict
        Settings of Dask.
    sight : dict
        What the host must see, as `places.PathProbe` has it.
    """

    scheduler: str | None
    name: str
    certificates: dict[str, str] = field(repr=False)
    port: int = 0
    any_port: bool = True
    dashboard_port: int = 0
    n_workers: int = 1
    n_threads: int = 1
    memory_bytes: int = 0
    dask: dict[str, Any] = field(default_factory=dict)
    sight: dict[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """Return the order as a line."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def from_line(cls, line: str) -> StartRequest:
        """Return the order of a line."""
        return cls(**json.loads(line))


def versions() -> dict[str, str]:
    """Return the versions that must be the same on all hosts."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {"Python": python, **{n: importlib.metadata.version(n) for n in _SAME_EVERYWHERE}}


def version_difference(here: dict[str, str], there: dict[str, str]) -> str:
    """Say which versions differ; empty where none does.

    Examples
    --------
    >>> version_difference({"Python": "3.11"}, {"Python": "3.12"})
    'Python 3.12 there, 3.11 here'
    """
    return "; ".join(
        f"{name} {there.get(name, 'missing')} there, {version} here"
        for name, version in here.items()
        if there.get(name) != version
    )
