"""What the commands share: how figures, tables and progress look, and which config is used."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from panoseti_zarr.config import Config


def read_config(path: Path | None) -> Config:
    """Load the configuration of a command, and say on stderr which file it is."""
    from panoseti_zarr.config import find_config, load_config

    found = find_config(path, service=False)
    config = load_config(found)
    note(f"config: {found or 'built-in defaults'}")
    return config


def note(line: str) -> None:
    """Write a line for the person at the terminal, on stderr."""
    typer.echo(line, err=True)


def echo_json(document: object) -> None:
    """Write a result as JSON, on stdout."""
    typer.echo(json.dumps(document, indent=2))


def format_size(n_bytes: float) -> str:
    """Give a size in decimal units.

    Examples
    --------
    >>> format_size(25_405_080)
    '25.4 MB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 999.5:
            return f"{n_bytes:.0f} B" if unit == "B" else f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.3g} TB"


def format_rate(n_bytes: int, seconds: float) -> str:
    """Give a throughput; a dash where nothing was moved."""
    return f"{format_size(n_bytes / seconds)}/s" if n_bytes and seconds else "-"


def format_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lay out a table: words to the left, numbers to the right."""
    cells = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    is_number = [
        bool(rows) and all(isinstance(row[i], int | float) for row in rows)
        for i in range(len(header))
    ]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, is_number, strict=True)
        ).rstrip()
        for row in cells
    )


@contextlib.contextmanager
def progress_bar(total_bytes: int) -> Iterator[Any]:
    """Show a bar on stderr where that is a terminal; give a function that adds bytes to it."""
    if not sys.stderr.isatty():
        yield lambda n_bytes: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("", total=total_bytes)
        yield lambda n_bytes: progress.advance(bar, n_bytes)
