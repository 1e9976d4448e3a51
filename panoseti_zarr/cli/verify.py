"""``panoseti-zarr verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from panoseti_zarr.cli.console import echo_json


def verify(
    l0: Annotated[Path, typer.Argument(metavar="L0", help="The L0 store.")],
    obs: Annotated[
        Path | None, typer.Argument(metavar="OBS", help="The run directory it was made from.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Verify an L0 store; exit 1 at the first difference.

    With OBS, every pixel, header field, timestamp and quality is compared with the PFF files,
    which are read anew. Without, every chunk is read, and its checksum compared.
    """
    from panoseti_zarr.io.verify import verify_store

    report = verify_store(l0, obs)
    if as_json:
        echo_json(report.as_json())
    else:
        typer.echo(str(report))
    if not report.ok:
        raise typer.Exit(1)
