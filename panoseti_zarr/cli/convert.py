"""``panoseti-zarr convert``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from panoseti_zarr.cli.console import (
    echo_json,
    format_rate,
    make_output_directory,
    note,
    note_event,
    read_config,
)
from panoseti_zarr.cli.progress_bars import progress_bars
from panoseti_zarr.core.text import count, format_size

if TYPE_CHECKING:
    from panoseti_zarr.cluster import Executor
    from panoseti_zarr.config import Config
    from panoseti_zarr.io.pff.listing import RunListing
    from panoseti_zarr.model import StreamKey
    from panoseti_zarr.pipeline.appender import Commit
    from panoseti_zarr.pipeline.convert import StreamOutcome

INCOMPLETE = 3
"""Exit code: done as far as possible, but a stream is quarantined or a file was cut short."""


def convert(
    obs: Annotated[Path, typer.Argument(readable=False, metavar="OBS", help="A run directory.")],
    l0_dir: Annotated[
        Path, typer.Argument(readable=False, metavar="L0_DIR", help="Where the L0 stores are made.")
    ],
    config: Annotated[
        Path | None, typer.Argument(readable=False, metavar="CONFIG", help="Configuration file.")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Argument(metavar="SCHEDULER", help="Address or scheduler file of a Dask cluster."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Make or continue the L0 stores of a run.

    Appends every stream to its L0 store and closes it, whatever the run's markers say. Run
    again, it resumes at the last commit; if all is done, it changes nothing.
    """
    from panoseti_zarr.cluster import SharedPaths, make_executor
    from panoseti_zarr.io.pff.listing import list_run

    settings = read_config(config)
    listing = list_run(obs)
    if scheduler:
        note(f"cluster: connecting to {scheduler}")
    places = SharedPaths((l0_dir.absolute(),), (listing.path.absolute(),))
    with make_executor(settings, scheduler=scheduler, places=places, tell=note_event) as executor:
        outcomes = convert_with_progress(listing, l0_dir, settings, executor)
    if as_json:
        echo_json({"run": listing.name, "streams": [_as_json(outcome) for outcome in outcomes]})
    else:
        for outcome in outcomes:
            if outcome.result:
                typer.echo(_line(outcome))
    raise typer.Exit(exit_code(outcomes))


def exit_code(outcomes: list[StreamOutcome]) -> int:
    """Return 0 where all is done, 1 where something failed, else `INCOMPLETE`."""
    if any(outcome.has_failed for outcome in outcomes):
        return 1
    return 0 if all(outcome.is_whole for outcome in outcomes) else INCOMPLETE


def convert_with_progress(
    listing: RunListing, l0_dir: Path, config: Config, executor: Executor
) -> list[StreamOutcome]:
    """Convert a run with a bar a stream on a terminal, and say on stderr what is wrong with it."""
    from panoseti_zarr.io.pff.listing import describe_refused
    from panoseti_zarr.pipeline.convert import convert_run

    for line in describe_refused(listing):
        note(f"warning: {line}")
    sizes = {str(key): listing.size_bytes(key) for key in listing.keys}
    if listing.keys:
        make_output_directory(l0_dir, "L0_DIR")
    with progress_bars(sizes) as advance:

        def tell(key: StreamKey, commit: Commit) -> None:
            frame_bytes = commit.n_bytes / max(commit.n_new_frames, 1)
            advance(str(key), commit.n_frames * frame_bytes)

        outcomes = convert_run(listing, l0_dir, config, executor, on_commit=tell)
    for outcome in outcomes:
        for complaint in outcome.complaints:
            note(complaint)
    return outcomes


def _line(outcome: StreamOutcome) -> str:
    result = outcome.result
    assert result is not None  # noqa: S101 - only called for streams that are done
    if not result.changed:
        return f"{outcome.key}: {count(result.n_frames, 'frame')}, nothing new"
    return (
        f"{outcome.key}: {count(result.n_frames, 'frame')}, {result.n_new_frames:,} new, "
        f"{format_size(result.n_bytes)} in {result.seconds:.2f} s "
        f"({format_rate(result.n_bytes, result.seconds)})"
    )


def _as_json(outcome: StreamOutcome) -> dict[str, Any]:
    document: dict[str, Any] = {"stream": str(outcome.key), "problem": None}
    if outcome.result is None:
        return {**document, "problem": str(outcome.problem)}
    result = outcome.result
    return {
        **document,
        "store": str(result.store_path),
        "n_frames": result.n_frames,
        "n_new_frames": result.n_new_frames,
        "n_bytes": result.n_bytes,
        "seconds": round(result.seconds, 3),
        "changed": result.changed,
        "cut_short": list(result.cut_short),
        "gaps": list(result.gaps),
    }
