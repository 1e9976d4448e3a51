"""``panoseti-zarr retry``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def retry(
    run: Annotated[str, typer.Argument(help="A run's name, or the path of its directory.")],
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild", help="Rebuild its stores beside the old ones, then replace them."
        ),
    ] = False,
    config: Annotated[Path | None, typer.Option(readable=False, help="Configuration file.")] = None,
) -> None:
    """Retry a quarantined run.

    Quarantined streams are queued again, and L1 stores with other settings than the configured
    ones are made again. A running service acts within a second, a stopped one at its next start.
    """
    from panoseti_zarr.daemon.startup import directory, load_service_config
    from panoseti_zarr.daemon.status.lock import is_locked
    from panoseti_zarr.daemon.status.requests import request_retry

    settings, path = load_service_config(config)
    state_dir = directory(settings, "state_dir", path)
    name = Path(run).name
    request_retry(settings.daemon, state_dir, name, rebuild=rebuild)
    when = "now" if is_locked(state_dir) else "when the service starts"
    typer.echo(f"{name}: {'stores rebuilt' if rebuild else 'retried'} {when}")
