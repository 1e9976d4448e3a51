"""``panoseti-zarr cluster``."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from panoseti_zarr.cli.console import note, read_config


def cluster(
    config: Annotated[
        Path | None, typer.Argument(metavar="CONFIG", help="Configuration file.")
    ] = None,
    scheduler_file: Annotated[
        Path,
        typer.Argument(
            metavar="SCHEDULER_FILE",
            help="Written when the cluster is ready, removed when it ends.",
        ),
    ] = Path("scheduler.json"),
) -> None:
    """Start the Dask cluster of ``[cluster]`` and keep it until SIGINT or SIGTERM.

    Give the scheduler file to ``convert`` or ``baseline``, or to ``[cluster] scheduler_file``.
    """
    from panoseti_zarr.cluster import make_executor
    from panoseti_zarr.cluster.address import write_scheduler_file
    from panoseti_zarr.errors import ConfigError, InvariantError

    settings = read_config(config)
    if settings.cluster.type == "address":
        raise ConfigError('[cluster] type = "address" is a cluster that others run')
    started = settings.cluster.model_copy(update={"use_cluster": True})
    asked_to_end = threading.Event()
    with make_executor(settings.model_copy(update={"cluster": started})) as executor:
        if executor.scheduler_address is None:
            raise InvariantError("the cluster has no address")
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: asked_to_end.set())
        scheduler_file.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_scheduler_file(scheduler_file, executor.scheduler_address)
            typer.echo(executor.scheduler_address)
            note(f"{executor.n_slots} task slots; address in {scheduler_file}; Ctrl-C ends it")
            asked_to_end.wait()
        finally:
            scheduler_file.unlink(missing_ok=True)
