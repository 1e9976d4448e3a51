"""``panoseti-zarr retry``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def retry(
    run: Annotated[str, typer.Argument(help="A run's name, or the path of its directory.")],
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Make its stores anew beside the old ones, and swap.")
    ] = False,
    config: Annotated[Path | None, typer.Option(readable=False, help="Configuration file.")] = None,
) -> None:
    """Let a quarantined run be tried again.

    Streams in quarantine are queued again, and L1 stores whose settings are not the configured
    ones are made anew. A service that runs takes the request within a second; otherwise it is
    carried out at the next start.
    """
    from panoseti_zarr.daemon.startup import directory, load_service_config
    from panoseti_zarr.daemon.status.lock import is_locked
    from panoseti_zarr.daemon.status.requests import request_retry

    settings, path = load_service_config(config)
    state_dir = directory(settings, "state_dir", path)
    name = Path(run).name
    request_retry(settings.daemon, state_dir, name, rebuild=rebuild)
    when = "now" if is_locked(state_dir) else "when the service starts"
    typer.echo(f"{name}: {'stores made anew' if rebuild else 'tried again'} {when}")
