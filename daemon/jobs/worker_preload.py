"""Preloaded by the workers of a local Dask cluster: they log as the service does."""

from __future__ import annotations

import logging

from panoseti_zarr.daemon import log


def dask_setup(worker: object) -> None:
    """Configure the log of a worker's process; Dask calls it by this name."""
    log.configure("warning", "json")
    chatty = (name for name in logging.root.manager.loggerDict if name.startswith("distributed"))
    log.adopt_loggers(*chatty, "tornado", "bokeh", "asyncio")
