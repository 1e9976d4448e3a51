"""``panoseti-zarr quicklook``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from panoseti_zarr.cli.console import echo_json
from panoseti_zarr.core.text import count


def quicklook(
    store: Annotated[Path, typer.Argument(readable=False, help="An L0 or L1 store.")],
    out: Annotated[
        Path | None,
        typer.Argument(
            readable=False,
            metavar="[OUT.png]",
            help="The picture, or a directory for it; one that exists is replaced.",
            show_default="the store's name, here",
        ),
    ] = None,
    l1: Annotated[
        Path | None,
        typer.Option(
            readable=False,
            metavar="STORE",
            help="L1 store of an L0 store, or the directory in which it is.",
            show_default="beside STORE",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what it shows as JSON.")] = False,
) -> None:
    """Draw a stream in one picture.

    Shows maps, a light curve or pulses, and quality over time. Pedestals and pulses come from the
    L1 store if there is one, otherwise from a sample of the L0 store. Of a long stream only a
    part of the images is read.
    """
    from panoseti_zarr.quicklook import make_quicklook, picture_name

    made = make_quicklook(store, out or Path(picture_name(store)), l1)
    if as_json:
        echo_json(made.as_json())
    else:
        frames = count(made.look.stream.n_frames, "frame")
        typer.echo(f"{made.path}: {frames}, {made.seconds:.2f} s")
