"""``panoseti-zarr cluster``."""

from __future__ import annotations

import signal
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Annotated

import typer

from panoseti_zarr.cli.console import note, note_event, read_config

if TYPE_CHECKING:
    from panoseti_zarr.cluster import ClusterEvent


def cluster(
    config: Annotated[
        Path | None, typer.Argument(readable=False, metavar="CONFIG", help="Configuration file.")
    ] = None,
    scheduler_file: Annotated[
        Path,
        typer.Argument(
            readable=False,
            metavar="SCHEDULER_FILE",
            help="Written when the cluster is ready, removed when it ends.",
        ),
    ] = Path("scheduler.json"),
) -> None:
    """Start the configured Dask cluster.

    Runs until SIGINT or SIGTERM. Pass the scheduler file to ``convert`` or ``baseline``, or set
    it as ``[cluster] scheduler_file``. The certificates of a cluster over SSH are beside it, in
    SCHEDULER_FILE.tls.
    """
    from panoseti_zarr.cluster import make_executor
    from panoseti_zarr.cluster.dask_backend.scheduler_file import (
        remove_scheduler_file,
        write_scheduler_file,
    )
    from panoseti_zarr.errors import ConfigError

    settings = read_config(config)
    if settings.cluster.type == "address":
        raise ConfigError('[cluster] type = "address" is a cluster that others run')
    started = settings.cluster.model_copy(update={"use_cluster": True})
    # What the main thread waits for; signal handlers may put, too.
    news: SimpleQueue[str] = SimpleQueue()

    def tell(event: ClusterEvent) -> None:
        note_event(event)
        news.put(event.name)

    with make_executor(settings.model_copy(update={"cluster": started}), tell=tell) as executor:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: news.put("end"))
        scheduler_file.parent.mkdir(parents=True, exist_ok=True)
        try:
            address = executor.scheduler_address or ""
            write_scheduler_file(scheduler_file, address, executor.certificates)
            typer.echo(address)
            note(f"{executor.n_slots} task slots; address in {scheduler_file}; Ctrl-C ends it")
            while news.get() != "end":
                executor.n_slots  # noqa: B018 - raises when the cluster is lost for good
                if executor.scheduler_address != address:
                    address = executor.scheduler_address or ""
                    write_scheduler_file(scheduler_file, address)
        finally:
            remove_scheduler_file(scheduler_file)
