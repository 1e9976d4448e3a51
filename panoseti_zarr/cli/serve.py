"""``panoseti-zarr serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def serve(
    config: Annotated[Path | None, typer.Option(help="Configuration file.")] = None,
) -> None:
    """Watch the data roots and make the stores of every finished run, in the foreground.

    Logs on stdout. SIGTERM or SIGINT ends it without loss, SIGHUP reads the configuration again.
    """
    from daemon.startup import serve as serve_until_stopped

    raise typer.Exit(serve_until_stopped(config))
