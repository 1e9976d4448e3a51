"""``panoseti-zarr baseline``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from panoseti_zarr.cli.console import note_event, read_config
from panoseti_zarr.core.text import count, format_size


def baseline(
    l0: Annotated[Path, typer.Argument(readable=False, help="A closed L0 store.")],
    l1: Annotated[
        Path,
        typer.Argument(readable=False, help="The L1 store to make; one that exists is replaced."),
    ],
    config: Annotated[Path | None, typer.Option(readable=False, help="Configuration file.")] = None,
    dask_scheduler: Annotated[
        str | None, typer.Option(help="Address or scheduler file of a Dask cluster.")
    ] = None,
    baseline_window: Annotated[
        int | None, typer.Option(help="Frames used for one baseline; 0: the whole stream.")
    ] = None,
    codec: Annotated[
        str | None, typer.Option(help="Compression: blosc-lz4, zstd, gzip or none.")
    ] = None,
    level: Annotated[int | None, typer.Option(help="Compression level.")] = None,
) -> None:
    """Make the L1 store of an L0 store.

    Subtracts the baseline. Options override the configuration.
    """
    from panoseti_zarr.cluster import SharedPaths, make_executor
    from panoseti_zarr.config import with_changes
    from panoseti_zarr.pipeline.l1 import make_l1

    read = read_config(config)
    settings = with_changes(
        read.baseline_subtract, baseline_window=baseline_window, codec=codec, level=level
    )
    places = SharedPaths((l1.absolute().parent,), (l0.absolute(),))
    with make_executor(read, scheduler=dask_scheduler, places=places, tell=note_event) as executor:
        result = make_l1(l0, l1, settings, executor)
    size = format_size(result.n_bytes)
    typer.echo(
        f"{result.path.name}: {count(result.n_frames, 'frame')}, {size}, {result.seconds:.2f} s"
    )
