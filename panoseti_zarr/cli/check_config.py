"""The command ``check-config``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def check_config(
    file: Annotated[
        Path, typer.Argument(readable=False, metavar="F", help="The configuration file.")
    ],
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print the effective configuration as JSON, a line a section."),
    ] = False,
) -> None:
    """Check a configuration file.

    Exit code 2 if it is wrong; the message names the key. Keys that have no effect together with
    the others are listed on stderr.
    """
    from panoseti_zarr.config import ineffective_keys, load_config
    from panoseti_zarr.errors import one_line

    config = load_config(file)
    for note in ineffective_keys(config):
        typer.echo(f"note: {note}", err=True)
    if as_json:
        lines = (f'"{name}": {section.model_dump_json()}' for name, section in config)
        typer.echo("{\n" + ",\n".join(lines) + "\n}")
    else:
        typer.echo(f"{one_line(str(file))}: ok")
