"""Undocumented parts of distributed that are used here. A test fails if one of them goes.

``ProcessInterface``: the class that `SpecCluster` starts schedulers and workers with.
``SpansSchedulerExtension``: the scheduler's memory of every task.
``scheduler_connection``: whether a client is still connected, without asking the scheduler.
"""

from __future__ import annotations

from typing import Any

from distributed import Client
from distributed.deploy.spec import ProcessInterface
from distributed.spans import SpansSchedulerExtension

__all__ = ["ProcessInterface", "SpansSchedulerExtension", "scheduler_connection"]


def scheduler_connection(client: Client) -> Any:
    """Return the connection of a client, which has ``closed()``; None where it has none."""
    return client.scheduler_comm
