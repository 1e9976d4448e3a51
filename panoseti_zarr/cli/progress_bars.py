"""Bars on a terminal: one a stream, with its rate and the time left."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Advance = Callable[[str, float], None]
"""Takes a stream and how many bytes of it are done in all."""


@contextlib.contextmanager
def progress_bars(sizes: Mapping[str, int]) -> Iterator[Advance]:
    """Show a bar for each stream that is worked on, on stderr where that is a terminal.

    Parameters
    ----------
    sizes : mapping of str to int
        Bytes of each stream.

    Yields
    ------
    callable
        To be called, from any thread, when more of a stream is done.
    """
    if not sys.stderr.isatty():
        yield lambda stream, n_bytes: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, expand=True) as progress:
        yield _Bars(progress, sizes)


class _Bars:
    """A bar from the first to the last bytes of a stream: those under way are shown, no others."""

    def __init__(self, progress: Progress, sizes: Mapping[str, int]) -> None:
        self._progress = progress
        self._sizes = sizes
        self._lock = threading.Lock()
        self._bars: dict[str, TaskID] = {}

    def __call__(self, stream: str, n_bytes: float) -> None:
        with self._lock:
            if stream not in self._bars:
                total = self._sizes[stream]
                self._bars[stream] = self._progress.add_task(stream, total=total)
        is_done = n_bytes >= self._sizes[stream]
        self._progress.update(self._bars[stream], completed=n_bytes, visible=not is_done)
