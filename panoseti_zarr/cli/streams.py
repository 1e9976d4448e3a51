"""``panoseti-zarr streams``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from panoseti_zarr.cli.console import echo_json, format_table, note
from panoseti_zarr.core.text import count, format_size

if TYPE_CHECKING:
    from panoseti_zarr.io.pff.stream_summary import StreamSummary


def streams(
    obs: Annotated[Path, typer.Argument(readable=False, metavar="OBS", help="A run directory.")],
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """List the streams of a run.

    Shows the files, frames, size, first and last time, and gaps of each stream.
    """
    from panoseti_zarr.errors import InputError
    from panoseti_zarr.io.pff.listing import describe_refused, list_run
    from panoseti_zarr.io.pff.stream_summary import describe_stream
    from panoseti_zarr.pipeline.convert import NO_FRAMES

    listing = list_run(obs)
    summaries = [describe_stream(listing, key) for key in listing.keys]
    for line in describe_refused(listing):
        note(f"warning: {line}")
    if as_json:
        document = {
            "run": listing.name,
            "streams": [_as_json(summary) for summary in summaries],
            "empty_files": [file.path.name for file in listing.empty_files],
        }
        echo_json(document)
    if not summaries:
        raise InputError(NO_FRAMES, path=str(listing.path))
    if not as_json:
        typer.echo(f"{listing.name}\n{_table(summaries)}")
        typer.echo(count(len(listing.empty_files), "empty frame file"))
    for summary in summaries:
        if summary.problem:
            note(f"{summary.key}: {summary.problem}")


def _as_json(summary: StreamSummary) -> dict[str, Any]:
    return {
        "stream": str(summary.key),
        "product": summary.key.product,
        "module": summary.key.module,
        "files": list(summary.files),
        "n_empty_files": summary.n_empty_files,
        "n_frames": summary.n_frames,
        "size_bytes": summary.size_bytes,
        "first_time": _time(summary.first_time_ns),
        "last_time": _time(summary.last_time_ns),
        "first_time_ns": summary.first_time_ns,
        "last_time_ns": summary.last_time_ns,
        "gaps": list(summary.gaps),
        "problem": summary.problem,
    }


def _time(time_ns: int | None) -> str | None:
    from panoseti_zarr.core.pff.times import iso_time

    return None if time_ns is None else iso_time(time_ns)


def _table(summaries: list[StreamSummary]) -> str:
    rows = [
        (
            str(summary.key),
            len(summary.files),
            summary.n_frames,
            format_size(summary.size_bytes),
            _time(summary.first_time_ns) or "-",
            _time(summary.last_time_ns) or "-",
            ",".join(map(str, summary.gaps)) or "-",
        )
        for summary in summaries
    ]
    return format_table(
        ("stream", "files", "frames", "size", "first time", "last time", "gaps"), rows
    )
