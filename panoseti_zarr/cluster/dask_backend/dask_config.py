"""Dask's settings, on this machine and on every host."""

from __future__ import annotations

from typing import Any

import dask

DASK_SETTINGS: dict[str, Any] = {
    # A task that killed its worker is tried on others; then it is our coordinator's to judge.
    "distributed.scheduler.allowed-failures": 3,
    # A host whose link is cut is given up after this long, and its tasks run elsewhere.
    "distributed.comm.timeouts.tcp": "15s",
    "distributed.comm.timeouts.connect": "10s",
    "distributed.scheduler.worker-ttl": "60s",
    # For a life of months: logs are capped, nobody looks at profiles. Each connection keeps its
    # last messages (low-level log), and with them the arguments of tasks that ended long ago.
    "distributed.admin.low-level-log-length": 20,
    "distributed.admin.system-monitor.log-length": 600,
    "distributed.scheduler.preload": ["panoseti_zarr.cluster.dask_backend.spans"],
    "distributed.admin.log-length": 1000,
    "distributed.scheduler.events-cleanup-delay": "10m",
    "distributed.worker.profile.enabled": False,
    "distributed.diagnostics.computations.max-history": 10,
    "distributed.diagnostics.erred-tasks.max-history": 10,
    # Image data lives in the tasks' own buffers, which Dask can neither see nor spill.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    # A worker that grew is ended by its nanny and replaced.
    "distributed.worker.memory.terminate": 0.95,
    # TensorStore aborts after a fork.
    "distributed.worker.multiprocessing-method": "spawn",
}

dask.config.set(DASK_SETTINGS)
