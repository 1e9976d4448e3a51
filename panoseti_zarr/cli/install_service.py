"""``panoseti-zarr install-service``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def install_service(
    config: Annotated[
        Path | None,
        typer.Option(
            readable=False, help="Its configuration file (/etc/panoseti-zarr/config.toml)."
        ),
    ] = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Undo it; configuration, state and stores stay.")
    ] = False,
    purge: Annotated[
        bool, typer.Option("--purge", help="With --remove: not configuration and state.")
    ] = False,
) -> None:
    """Install the service on this server.

    Installs the unit, the user, the directories and an example configuration. The service can
    write to the configured directories only: run this again when they change, and after an
    upgrade. Root only.
    """
    from panoseti_zarr.daemon import install

    if purge and not remove:
        raise typer.BadParameter("--purge needs --remove")
    if remove:
        install.remove(typer.echo, purge=purge)
    else:
        install.install((config or install.CONFIG_PATH).absolute(), typer.echo)
