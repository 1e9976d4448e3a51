"""``panoseti-zarr verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from panoseti_zarr.cli.console import echo_json


def verify(
    paths: Annotated[
        list[Path],
        typer.Argument(
            readable=False,
            metavar="L0... [OBS]",
            help="L0 stores, and the run directory that they were made from.",
        ),
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON; of several stores, a list.")
    ] = False,
) -> None:
    """Compare L0 stores with their files.

    With OBS, reads the PFF files again and compares every pixel, header field, timestamp and
    quality value. Without, reads every chunk and compares its checksum. The last path is OBS
    unless it is a store. Exit code 1: a store differs; its first difference is named.
    """
    from panoseti_zarr.io.verify import verify_store

    is_run_last = len(paths) > 1 and not (paths[-1] / "zarr.json").is_file()
    stores, obs = (paths[:-1], paths[-1]) if is_run_last else (paths, None)
    reports = []
    for store in stores:
        reports.append(verify_store(store, obs))
        if not as_json:
            typer.echo(f"{store.name}: {reports[-1]}" if len(stores) > 1 else str(reports[-1]))
    if as_json:
        documents = [report.as_json() for report in reports]
        echo_json(documents if len(stores) > 1 else documents[0])
    if not all(report.ok for report in reports):
        raise typer.Exit(1)
