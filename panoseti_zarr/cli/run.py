"""``panoseti-zarr run``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from panoseti_zarr.cli.console import (
    echo_json,
    format_rate,
    format_table,
    make_output_directory,
    note,
    note_event,
    read_config,
)
from panoseti_zarr.cli.convert import convert_with_progress, exit_code
from panoseti_zarr.cli.progress_bars import progress_bars
from panoseti_zarr.core.text import count, format_size

if TYPE_CHECKING:
    from panoseti_zarr.cluster import Executor
    from panoseti_zarr.config import Config
    from panoseti_zarr.pipeline.convert import StreamOutcome
    from panoseti_zarr.pipeline.l1 import L1Result


def run(
    obs: Annotated[Path, typer.Argument(readable=False, metavar="OBS", help="A run directory.")],
    l0_dir: Annotated[
        Path, typer.Argument(readable=False, metavar="L0_DIR", help="Where the L0 stores are made.")
    ],
    l1_dir: Annotated[
        Path, typer.Argument(readable=False, metavar="L1_DIR", help="Where the L1 stores are made.")
    ],
    config: Annotated[Path | None, typer.Option(readable=False, help="Configuration file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write the summary as JSON.")] = False,
) -> None:
    """Make the L0 and L1 stores of a run.

    Lists the streams, starts the configured cluster, makes L0 and L1 stores, and prints a
    summary. Also makes the housekeeping table and copies small files, as ``housekeeping`` does.
    """
    from panoseti_zarr.cluster import SharedPaths, make_executor
    from panoseti_zarr.io.pff.listing import list_run

    settings = read_config(config)
    listing = list_run(obs)
    note(f"{listing.name}: {count(len(listing.keys), 'stream')}")
    for key in listing.keys:
        note(f"  {key}: {count(len(listing.streams.get(key, ())), 'file')}")
    if listing.keys:
        make_output_directory(l1_dir, "L1_DIR")
    places = SharedPaths((l0_dir.absolute(), l1_dir.absolute()), (listing.path.absolute(),))
    with make_executor(settings, places=places, tell=note_event) as executor:
        note(f"cluster: {executor.scheduler_address or 'threads of this process'}")
        outcomes = convert_with_progress(listing, l0_dir, settings, executor)
        made = _make_l1_stores(listing.name, outcomes, l1_dir, settings, executor)
    _make_housekeeping(listing.path, l1_dir)
    rows = [row for outcome in outcomes for row in _rows(outcome, made, l1_dir, listing.name)]
    if as_json:
        echo_json(
            {"run": listing.name, "steps": [dict(zip(_KEYS, row, strict=True)) for row in rows]}
        )
    else:
        typer.echo(format_table(_HEADER, [_cells(row) for row in rows]))
    raise typer.Exit(1 if None in made.values() else exit_code(outcomes))


def _make_housekeeping(obs: Path, l1_dir: Path) -> None:
    """Write the sidecar files. Report failures; the stores are unaffected."""
    from panoseti_zarr.cli.housekeeping import describe
    from panoseti_zarr.errors import PanosetiZarrError
    from panoseti_zarr.pipeline.sidecar import make_housekeeping

    try:
        result = make_housekeeping(obs, l1_dir)
    except PanosetiZarrError as error:
        note(f"warning: housekeeping: {error}")
        return
    note(describe(result))
    if result.problem:
        note(f"warning: housekeeping: {result.problem}")


def _make_l1_stores(
    run_name: str, outcomes: list[StreamOutcome], l1_dir: Path, config: Config, executor: Executor
) -> dict[str, L1Result | None]:
    """Make the L1 stores that are missing, with a bar for all of them on a terminal.

    One that cannot be made is said on stderr, None, and does not stop the others.
    """
    from panoseti_zarr.core.pff.names import l1_store_name
    from panoseti_zarr.errors import CorruptDataError, InputError, TransientIOError
    from panoseti_zarr.io.l1.builder import recover_killed
    from panoseti_zarr.model import PRODUCTS
    from panoseti_zarr.pipeline.l1 import l1_matches, make_l1

    sizes = {
        outcome.key: outcome.result.n_frames * PRODUCTS[outcome.key.product].pixel_bytes
        for outcome in outcomes
        if outcome.result
    }
    made: dict[str, L1Result | None] = {}
    n_done_bytes = 0
    with progress_bars({"L1": sum(sizes.values())}) as advance:
        for outcome in outcomes:
            if outcome.result is None:
                continue
            advance("L1", n_done_bytes)
            l0_path = outcome.result.store_path
            l1_path = l1_dir / l1_store_name(run_name, outcome.key)
            try:
                if l1_matches(l0_path, l1_path):
                    recover_killed(l1_path)
                else:
                    settings = config.baseline_subtract
                    made[str(outcome.key)] = make_l1(l0_path, l1_path, settings, executor)
                    note(f"{outcome.key}: L1 made")
            except (CorruptDataError, TransientIOError, InputError) as error:
                made[str(outcome.key)] = None
                note(f"{outcome.key}: L1: {error}")
            n_done_bytes += sizes[outcome.key]
    return made


_KEYS = ("stream", "step", "state", "n_frames", "seconds", "input_bytes", "store_bytes")
_HEADER = ("stream", "step", "state", "frames", "time", "size", "throughput", "ratio")

_Row = tuple[str, str, str, int, float, int, int]


def _rows(
    outcome: StreamOutcome, made: dict[str, L1Result | None], l1_dir: Path, run_name: str
) -> list[_Row]:
    """Give the L0 and the L1 row of a stream; a step that had nothing to do took no time.

    The input is PFF for L0 and the pixels as recorded for L1.
    """
    from panoseti_zarr.core.pff.names import l1_store_name
    from panoseti_zarr.model import PRODUCTS

    key, result = str(outcome.key), outcome.result
    if result is None:
        return [(key, "L0", "failed" if outcome.has_failed else "quarantined", 0, 0.0, 0, 0)]
    l0_bytes = _tree_bytes(result.store_path)
    state = "cut short" if result.cut_short else "done" if result.changed else "unchanged"
    l0_row = (key, "L0", state, result.n_frames, result.seconds, result.n_bytes, l0_bytes)
    l1 = made.get(key)
    if key in made and l1 is None:
        return [l0_row, (key, "L1", "failed", 0, 0.0, 0, 0)]
    l1_path = l1_dir / l1_store_name(run_name, outcome.key)
    return [
        l0_row,
        (
            key,
            "L1",
            "done" if l1 else "unchanged",
            result.n_frames,
            l1.seconds if l1 else 0.0,
            result.n_frames * PRODUCTS[outcome.key.product].pixel_bytes,
            _tree_bytes(l1_path),
        ),
    ]


def _cells(row: _Row) -> tuple[str, ...]:
    stream, step, state, n_frames, seconds, input_bytes, store_bytes = row
    return (
        stream,
        step,
        state,
        str(n_frames),
        f"{seconds:.2f} s",
        format_size(store_bytes),
        format_rate(input_bytes, seconds),
        f"{input_bytes / store_bytes:.2f}" if input_bytes and store_bytes else "-",
    )


def _tree_bytes(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
