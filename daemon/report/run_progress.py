"""The progress of the runs under way, as lines of the log. Pure.

A run that takes hours says now and then what is done, at which rate, and what is left.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from panoseti_zarr.daemon.state.instructions import Log
from panoseti_zarr.daemon.state.records import SETTLED, Run


class Progress:
    """Gives a line for each run under way, every ``every_s`` seconds.

    Parameters
    ----------
    every_s : float
        Seconds between two lines of a run; 0 = none. May be changed.
    """

    def __init__(self, every_s: float) -> None:
        self.every_s = every_s
        self._reported: dict[str, tuple[float, int]] = {}
        """By run: when its last line was due (monotonic), and its committed bytes then."""

    def lines(self, runs: Iterable[Run], now_s: float) -> list[Log]:
        """Return the lines that are due.

        Parameters
        ----------
        runs : iterable of Run
            Those with a job under way.
        now_s : float
            Monotonic time.
        """
        if not self.every_s:
            return []
        before, self._reported = self._reported, {}
        lines = []
        for run in runs:
            n_bytes = sum(stream.n_bytes for stream in run.streams.values())
            reported_s, reported_bytes = before.get(run.name, (now_s, n_bytes))
            if now_s - reported_s < self.every_s:
                self._reported[run.name] = (reported_s, reported_bytes)
                continue
            self._reported[run.name] = (now_s, n_bytes)
            rate = max(0, n_bytes - reported_bytes) / (now_s - reported_s)
            lines.append(Log("run.progress", "info", run.name, None, _figures(run, n_bytes, rate)))
        return lines


def _figures(run: Run, n_bytes: int, rate: float) -> dict[str, int | float | None]:
    streams = run.streams.values()
    behind = sum(stream.n_behind_bytes for stream in streams)
    return {
        "n_streams": len(streams),
        "n_closed": sum(stream.is_closed for stream in streams),
        "n_done": sum(stream.status in SETTLED for stream in streams),
        "n_bytes": n_bytes,
        "n_behind_bytes": behind,
        "mb_per_s": round(rate / 1e6, 1),
        "left_s": math.ceil(behind / rate) if rate else None,
    }
