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
    """Put the service in place on this server: unit, user, directories, configuration.

    The unit may write where the configuration says, and nowhere else: run it again when the
    directories there change, and after an upgrade. Root only.
    """
    from panoseti_zarr.daemon import install

    if purge and not remove:
        raise typer.BadParameter("--purge needs --remove")
    if remove:
        install.remove(typer.echo, purge=purge)
    else:
        install.install((config or install.CONFIG_PATH).absolute(), typer.echo)
