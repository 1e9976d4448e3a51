"""``panoseti-zarr serve``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from panoseti_zarr.errors import PanosetiZarrError


def serve(
    config: Annotated[Path | None, typer.Option(readable=False, help="Configuration file.")] = None,
    preview: Annotated[
        bool,
        typer.Option("--preview", "--dry-run", help="Show what a start would do; change nothing."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --preview: write JSON.")] = False,
) -> None:
    """Run the service in the foreground.

    Watches the data roots and makes the stores of every finished run. Logs to stdout. SIGTERM or
    SIGINT stops it without loss; SIGHUP reads the configuration again.
    """
    from panoseti_zarr.daemon import log

    if preview:
        from panoseti_zarr.cli.preview import show_preview

        show_preview(config, as_json=as_json)
        return
    if as_json:
        raise typer.BadParameter("goes with --preview only", param_hint="--json")
    from panoseti_zarr.daemon.startup import serve as serve_until_stopped

    try:
        code = serve_until_stopped(config)
    except PanosetiZarrError as error:
        if not log.is_journal(sys.stdout):
            raise
        # An event with its priority, as all others there, and no line besides.
        log.failed(error)
        code = error.exit_code
    raise typer.Exit(code)
