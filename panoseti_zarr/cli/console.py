"""What the commands share: how figures, tables and progress look, and which config is used."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from panoseti_zarr.core.text import format_size

if TYPE_CHECKING:
    from panoseti_zarr.cluster import ClusterEvent
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


def note_event(event: ClusterEvent) -> None:
    """Write what happened to a cluster, on stderr."""
    if event.level != "debug":
        note(str(event))


def make_output_directory(path: Path, label: str) -> None:
    """Make an output directory where it is missing.

    Raises
    ------
    InputError
        It cannot be made.
    """
    from panoseti_zarr.errors import InputError
    from panoseti_zarr.io.fs.durable import ensure_directory

    try:
        ensure_directory(path)
    except OSError as error:
        raise InputError(f"cannot make {label}: {error.strerror}", path=str(path)) from None


def echo_json(document: object) -> None:
    """Write a result as JSON, on stdout."""
    typer.echo(json.dumps(document, indent=2))


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
