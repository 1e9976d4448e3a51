"""The output of the processes on a host, as lines of our log: cut, and never a flood."""

from __future__ import annotations

import time
from collections.abc import Callable

from panoseti_zarr.errors import one_line

_MAX_LINE_CHARS = 2000
_MAX_LINES = 100
_WINDOW_S = 10.0


class OutputLines:
    """Cuts text into lines, and hands this many of them on in each window of time.

    Parameters
    ----------
    take_line : callable
        Takes a line without control characters.
    """

    def __init__(self, take_line: Callable[[str], None]) -> None:
        self._take_line = take_line
        self._rest = ""
        self._window_s = 0.0
        self._n_lines = 0
        self._n_dropped = 0

    def take(self, text: str) -> list[str]:
        """Take what was read; return its last lines."""
        *lines, rest = (self._rest + text).split("\n")
        if len(rest) > _MAX_LINE_CHARS:
            lines.append(rest)
            rest = ""
        self._rest = rest
        lines = [one_line(line.rstrip())[:_MAX_LINE_CHARS] for line in lines if line.strip()]
        for line in lines:
            self._hand_on(line)
        return lines[-3:]

    def end(self) -> None:
        """Hand on what has no end of line, and how many lines were left out."""
        if rest := one_line(self._rest.strip()):
            self._hand_on(rest[:_MAX_LINE_CHARS])
        self._rest = ""
        self._tell_dropped()

    def _hand_on(self, line: str) -> None:
        now_s = time.monotonic()
        if now_s - self._window_s > _WINDOW_S:
            self._tell_dropped()
            self._window_s, self._n_lines = now_s, 0
        if self._n_lines < _MAX_LINES:
            self._n_lines += 1
            self._take_line(line)
        else:
            self._n_dropped += 1

    def _tell_dropped(self) -> None:
        if self._n_dropped:
            self._take_line(f"... and {self._n_dropped} lines more")
        self._n_dropped = 0
