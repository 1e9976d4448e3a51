"""``panoseti-zarr housekeeping``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from panoseti_zarr.cli.console import echo_json, make_output_directory
from panoseti_zarr.core.text import count

if TYPE_CHECKING:
    from panoseti_zarr.pipeline.sidecar import HousekeepingResult


def housekeeping(
    obs: Annotated[Path, typer.Argument(readable=False, metavar="OBS", help="A run directory.")],
    l1_dir: Annotated[
        Path, typer.Argument(readable=False, metavar="L1_DIR", help="Where they are made.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Make the housekeeping table of a run.

    ``{run}.hk.parquet`` has a row for each record of a board; ``{run}.files/`` has copies of the
    run's JSON files and logs, without passwords. Run again, it changes nothing unless the run
    changed.
    """
    from panoseti_zarr.errors import InputError
    from panoseti_zarr.pipeline.sidecar import make_housekeeping

    if obs.is_dir():
        make_output_directory(l1_dir, "L1_DIR")
    result = make_housekeeping(obs, l1_dir)
    if as_json:
        echo_json(_as_json(result))
    else:
        typer.echo(describe(result))
    if result.problem:
        raise InputError(result.problem, path=str(obs))


def describe(result: HousekeepingResult) -> str:
    """Say in one line what was made."""
    bad = f", {count(result.n_bad_lines, 'bad line')}" if result.n_bad_lines else ""
    table = f"{count(result.n_rows, 'row')}{bad}" if result.table else "no table"
    made = f"{result.seconds:.2f} s" if result.changed else "nothing new"
    return f"housekeeping: {table}, {count(result.n_files, 'file')} kept, {made}"


def _as_json(result: HousekeepingResult) -> dict[str, Any]:
    return {
        "table": str(result.table) if result.table else None,
        "files": str(result.files),
        "n_rows": result.n_rows,
        "n_bad_lines": result.n_bad_lines,
        "n_files": result.n_files,
        "problem": result.problem,
        "changed": result.changed,
        "seconds": round(result.seconds, 3),
    }
