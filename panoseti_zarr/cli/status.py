"""``panoseti-zarr status``."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

QUARANTINED = 1
"""Exit code: the service is up, but a stream is in quarantine."""

DOWN = 2
"""Exit code: the service is down, or does not give a sign of life."""

_WIDTH = 80
_SILENT_S = 120.0
_WATCH_S = 2.0
_COLORS = {"done": "green", "quarantined": "red", "retrying": "yellow", "l1_retrying": "yellow"}


def status(
    config: Annotated[Path | None, typer.Option(help="Configuration file.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write JSON, as in docs/logs.md.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again and again.")] = False,
) -> None:
    """Show every run and stream: state, frames, lag, last error; with the service up or down.

    Exit code 0: healthy; 1: a stream is in quarantine; 2: the service is down, or the
    configuration is wrong.
    """
    from daemon.startup import directory, load_service_config
    from panoseti_zarr.cli.console import echo_json
    from panoseti_zarr.errors import InputError

    settings, path = load_service_config(config)
    state_dir = directory(settings, "state_dir", path)
    while True:
        try:
            document = read_status(state_dir)
        except InputError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(DOWN) from None
        if watch and not as_json:
            typer.echo("\033[H\033[2J" if _is_terminal() else "", nl=False)
        if as_json:
            echo_json(document)
        else:
            typer.echo("\n".join(format_status(document)))
        if not watch:
            raise typer.Exit(exit_code(document))
        time.sleep(_WATCH_S)


def read_status(state_dir: Path) -> dict[str, Any]:
    """Return the service's last status document, with ``service.up`` as it is now.

    Raises
    ------
    InputError
        The state directory cannot be read.
    """
    from daemon.lock import is_locked
    from daemon.snapshot import empty_snapshot, read_snapshot

    is_up = is_locked(state_dir)
    document = read_snapshot(state_dir) or empty_snapshot()
    document["service"]["up"] = is_up
    return document


def exit_code(document: dict[str, Any]) -> int:
    """Return what the command says with its exit code."""
    if not document["service"]["up"] or _silent_s(document) > _SILENT_S:
        return DOWN
    return QUARANTINED if document["totals"]["n_quarantined"] else 0


def format_status(document: dict[str, Any]) -> Iterator[str]:
    """Lay a status document out for people: lines of at most 80 columns."""
    yield from _service_lines(document)
    for root in document["roots"]:
        yield from _wrapped(f"root: {root['path']}: {root['paused'] or 'watched'}")
        if root["n_ignored"]:
            yield f"      {root['n_ignored']} runs older than ignore_before left alone"
        for refused in root["refused"]:
            yield from _wrapped(f"refused: {refused['name']!r}: {refused['reason']}", 2)
    if document["runs"]:
        yield f"{'':2}{'stream':<26}{'state':<14}{'frames':>16}{'lag':>12}"
    for run in document["runs"]:
        yield from _run_lines(run)
    totals = document["totals"]
    yield (
        f"total: {totals['n_runs']} runs, {totals['n_streams']} streams, {totals['n_done']} done, "
        f"{totals['n_quarantined']} quarantined, {totals['n_frames']:,} frames"
    )


def _service_lines(document: dict[str, Any]) -> Iterator[str]:
    service, queue = document["service"], document["queue"]
    written_at = document["written_at"]
    if written_at is None:
        state = "up" if service["up"] else "down"
        yield f"service: {state}; it has not written a status in this state directory yet"
        return
    if not service["up"]:
        how = "stopped" if service["phase"] == "stopped" else "ended without a word; last status"
        yield from _wrapped(f"service: down ({how} at {written_at}); what follows is of then")
    else:
        yield f"service: {service['phase']}, pid {service['pid']}, since {service['started_at']}"
        if _silent_s(document) > _SILENT_S:
            yield f"         no sign of life since {written_at}"
    pause = f"; paused: {queue['paused']}" if queue["paused"] else ""
    yield from _wrapped(
        f"queue: {queue['n_waiting']} streams wait, {queue['n_running']} jobs{pause}"
    )


def _run_lines(run: dict[str, Any]) -> Iterator[str]:
    yield from _wrapped(run["name"])
    why = f": {run['reason']}" if run["reason"] else ""
    n_streams = f", {run['n_streams']} streams, {run['n_frames']:,} frames"
    yield from _wrapped(f"{run['state']}{why}{n_streams if run['n_streams'] else ''}", 2)
    for stream in run["streams"] or ():
        state = typer.style(f"{stream['state']:<14}", fg=_COLORS.get(stream["state"]))
        yield (
            f"{'':2}{stream['stream']:<26}{state if _is_terminal() else stream['state']:<14}"
            f"{stream['n_frames']:>16,}{format_lag(stream['lag_s']):>12}"
        )
        if stream["last_error"]:
            retry = f" (again at {stream['retry_at']})" if stream["retry_at"] else ""
            yield from _wrapped(f"{stream['last_error']}{retry}", 6)
    for warning in run["warnings"]:
        yield from _wrapped(f"warning: {warning}", 2)


def format_lag(lag_s: float | None) -> str:
    """Give a lag in one unit.

    Examples
    --------
    >>> format_lag(90), format_lag(7200)
    ('90 s', '2.0 h')
    """
    if lag_s is None:
        return "-"
    if lag_s < 100:
        return f"{lag_s:.0f} s"
    for unit, seconds in (("min", 60), ("h", 3600)):
        if lag_s < 100 * seconds:
            return f"{lag_s / seconds:.1f} {unit}"
    return f"{lag_s / 86400:.0f} d"


def _wrapped(text: str, indent: int = 0) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + 2),
        break_on_hyphens=False,
    )


def _silent_s(document: dict[str, Any]) -> float:
    """Return for how long the service has not written a status, seconds."""
    if document["written_at"] is None:
        return 0.0
    written = datetime.fromisoformat(document["written_at"])
    return (datetime.now(UTC) - written).total_seconds()


def _is_terminal() -> bool:
    import sys

    return sys.stdout.isatty()
