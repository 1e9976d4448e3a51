"""``panoseti-zarr status``."""

from __future__ import annotations

import signal
import textwrap
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from panoseti_zarr.cli.console import echo_json
from panoseti_zarr.core.text import count, format_size

if TYPE_CHECKING:
    from panoseti_zarr.daemon.status.document import QueueInfo, RunInfo, StatusDocument, Totals

QUARANTINED = 1
"""Exit code: the service is up, but a stream is in quarantine, or differs from its files."""

DOWN = 2
"""Exit code: the service is down, or sends no heartbeat."""

_WIDTH = 80
_SILENT_S = 120.0
_WATCH_S = 1.0
_VERIFY_MARKS = {"verified": "yes", "failed": "differs", "running": "now", "gone": "no"}
_COLORS = {"done": "green", "quarantined": "red", "retrying": "yellow", "l1_retrying": "yellow"}


def status(
    config: Annotated[Path | None, typer.Option(readable=False, help="Configuration file.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write JSON, as in docs/logs.md.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it as it changes; on a terminal, what fits.")
    ] = False,
) -> None:
    """Show the service, its runs and streams.

    Works whether the service is up or down. Exit code 0: healthy; 1: a stream is quarantined or
    differs from its files; 2: the service is down, or its configuration is wrong.
    """
    from panoseti_zarr.daemon.startup import directory, load_service_config
    from panoseti_zarr.errors import InputError

    settings, path = load_service_config(config)
    state_dir = directory(settings, "state_dir", path)
    try:
        if watch and not as_json and _is_terminal():
            raise typer.Exit(_show_live(state_dir))
        while True:
            document = read_status(state_dir)
            if as_json:
                echo_json(document.as_json())
            else:
                typer.echo("\n".join(format_status(document)))
            if not watch:
                raise typer.Exit(exit_code(document))
            time.sleep(_WATCH_S)
    except InputError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(DOWN) from None


def _show_live(state_dir: Path) -> int:
    """Show the status on the terminal as it changes, until interrupted; return the code."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console()
    document = read_status(state_dir)
    # Taken between two pictures, never in the middle of one.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    with Live(console=console, auto_refresh=False, screen=True) as live:
        while True:
            lines = fit_status(document, console.height)
            live.update(Text.from_ansi("\n".join(lines), no_wrap=True), refresh=True)
            if signal.sigtimedwait({signal.SIGINT}, _WATCH_S):
                break
            document = read_status(state_dir)
    typer.echo("\n".join(fit_status(document, console.height - 1)))
    return exit_code(document)


def read_status(state_dir: Path) -> StatusDocument:
    """Return the service's last status document, with ``service.up`` as it is now.

    Raises
    ------
    InputError
        The state directory cannot be read.
    """
    from panoseti_zarr.daemon.status.file import read_status_file
    from panoseti_zarr.daemon.status.lock import is_locked

    is_up = is_locked(state_dir)
    document = read_status_file(state_dir)
    service = document.service.model_copy(update={"up": is_up})
    return document.model_copy(update={"service": service})


def exit_code(document: StatusDocument) -> int:
    """Return what the command says with its exit code."""
    if not document.service.up or _silent_s(document) > _SILENT_S:
        return DOWN
    totals = document.totals
    return QUARANTINED if totals.n_quarantined or totals.n_verify_failed else 0


def format_status(document: StatusDocument) -> Iterator[str]:
    """Lay a status document out for people: lines of at most 80 columns."""
    yield from _head_lines(document)
    for run in document.runs:
        yield from _run_lines(run)
    yield from _total_lines(document.totals)


def fit_status(document: StatusDocument, n_lines: int) -> list[str]:
    """Lay out as much of a status document as fits: runs under way first, then the latest."""
    head, total = list(_head_lines(document)), list(_total_lines(document.totals))
    left = n_lines - len(head) - len(total) - 1
    runs = document.runs[::-1]
    shown: list[list[str]] = []
    for run in sorted(runs, key=lambda run: run.state in {"done", "removed"}):
        block = list(_run_lines(run))
        if len(block) > left:
            break
        left -= len(block)
        shown.append(block)
    n_others = len(runs) - len(shown)
    others = [f"and {count(n_others, 'run')} more: panoseti-zarr status"] if n_others else []
    return [*head, *(line for block in shown for line in block), *others, *total]


def _head_lines(document: StatusDocument) -> Iterator[str]:
    yield from _service_lines(document)
    for root in document.roots:
        yield from _wrapped(f"root: {root.path}: {root.paused or 'watched'}")
        if root.n_ignored:
            yield f"      {count(root.n_ignored, 'run')} older than ignore_before left alone"
        for refused in root.refused:
            yield from _wrapped(f"refused: {refused.name!r}: {refused.reason}", 2)
    if document.runs:
        yield f"{'':2}{'stream':<26}{'state':<14}{'frames':>16}{'lag':>11}  {'verified':<8}"


def _total_lines(totals: Totals) -> Iterator[str]:
    yield (
        f"total: {count(totals.n_runs, 'run')}, {count(totals.n_streams, 'stream')}, "
        f"{totals.n_done} done, {totals.n_quarantined} quarantined, "
        f"{count(totals.n_frames, 'frame')}"
    )
    if n_failed := totals.n_verify_failed:
        differ = "differs from its" if n_failed == 1 else "differ from their"
        yield f"{count(n_failed, 'stream')} {differ} frame files"


def _service_lines(document: StatusDocument) -> Iterator[str]:
    service, queue = document.service, document.queue
    written_at = document.written_at
    if written_at is None:
        state = "up" if service.up else "down"
        yield f"service: {state}; it has not written a status in this state directory yet"
        return
    if not service.up:
        if service.phase == "stopped":
            how = f"stopped at {written_at}"
        else:
            how = f"stopped unexpectedly; last status from {written_at}"
        yield from _wrapped(f"service: down ({how})")
    else:
        yield f"service: {service.phase}, pid {service.pid}, since {service.started_at}"
        if _silent_s(document) > _SILENT_S:
            yield f"         no heartbeat since {written_at}"
    if service.waits_for:
        yield from _wrapped(f"cluster: {service.cluster}; waits: {service.waits_for}")
    pause = f"; paused: {queue.paused}" if queue.paused else ""
    yield from _wrapped(
        f"queue: {count(queue.n_waiting, 'stream')} waiting, "
        f"{count(queue.n_running, 'job')}{_behind(queue)}{pause}"
    )


def _behind(queue: QueueInfo) -> str:
    n_bytes = queue.n_behind_bytes
    return f", {format_size(n_bytes)} behind" if n_bytes else ""


def _run_lines(run: RunInfo) -> Iterator[str]:
    yield from _wrapped(run.name)
    why = f": {run.reason}" if run.reason else ""
    n_streams = f", {count(run.n_streams, 'stream')}, {count(run.n_frames, 'frame')}"
    n_verified = run.n_verified
    if n_verified:
        n_streams += f", {'all' if n_verified == run.n_streams else n_verified} verified"
    yield from _wrapped(f"{run.state}{why}{n_streams if run.n_streams else ''}", 2)
    for stream in run.streams or ():
        state = f"{stream.state:<14}"
        if _is_terminal():
            state = typer.style(state, fg=_COLORS.get(stream.state))
        yield (
            f"{'':2}{stream.stream:<26}{state}"
            f"{stream.n_frames:>16,}{format_lag(stream.lag_s):>11}"
            f"  {_VERIFY_MARKS.get(stream.verify, '-')}"
        )
        if stream.last_error:
            retry = f" (again at {stream.retry_at})" if stream.retry_at else ""
            yield from _wrapped(f"{stream.last_error}{retry}", 6)
    for warning in run.warnings:
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
    if indent + len(text) <= _WIDTH:
        return [" " * indent + text]
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + 2),
        break_on_hyphens=False,
    )


def _silent_s(document: StatusDocument) -> float:
    """Return for how long the service has not written a status, seconds."""
    if document.written_at is None:
        return 0.0
    written = datetime.fromisoformat(document.written_at)
    return (datetime.now(UTC) - written).total_seconds()


def _is_terminal() -> bool:
    import sys

    return sys.stdout.isatty()
