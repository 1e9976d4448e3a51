"""The part of the configuration that the state machine needs. Plain data."""

from __future__ import annotations

from dataclasses import dataclass

from panoseti_zarr.core.backoff import Backoff


@dataclass(frozen=True)
class Settings:
    """What the state machine needs of the config; `Reconfigured` replaces it.

    Attributes
    ----------
    finished_markers : tuple of str
    settle_s, quiet_s, rescan_s, recheck_s : float
        See ``[daemon]`` of the config.
    max_streams, max_l1 : int
        L0 jobs and L1 jobs under way at once; L1 jobs also take places that no L0 job needs.
    min_free_bytes : int
        Free bytes below which no job starts.
    ignore_before_ns : int or None
        Runs that started before this (ns since 1970-01-01 UTC) are left alone.
    retry_first_s, retry_most_s : float
        First and longest delay after a failure that may pass; each is twice the one before.
    hang_s : float
        Seconds without an answer after which a file system counts as hung.
    verify : bool
        Whether closed stores are compared with their frame files.
    follow : bool
        Whether runs are appended while they are recorded.
    tail_flush_s : float
        Seconds after which the tail of an open stream is shown.
    """

    finished_markers: tuple[str, ...] = ("collect_complete", "run_complete")
    settle_s: float = 10.0
    quiet_s: float = 0.0
    rescan_s: float = 60.0
    recheck_s: float = 86400.0
    max_streams: int = 2
    max_l1: int = 1
    min_free_bytes: int = 0
    ignore_before_ns: int | None = None
    retry_first_s: float = 5.0
    retry_most_s: float = 600.0
    hang_s: float = 60.0
    verify: bool = False
    follow: bool = False
    tail_flush_s: float = 30.0

    @property
    def debounce_s(self) -> float:
        """Seconds between looks that watch notices ask for."""
        return min(1.0, self.settle_s, self.rescan_s)

    def rescan_interval_s(self, quiet_s: float) -> float:
        """Return the seconds between looks at a recording, rarer the longer nothing changed."""
        return min(self.rescan_s, max(self.debounce_s, self.tail_flush_s / 10, quiet_s / 4))

    def backoff_s(self, n_attempts: int) -> float:
        """Return the delay after this many failures."""
        return Backoff(self.retry_first_s, self.retry_most_s).delay_s(n_attempts)

    @property
    def outputs_every_s(self) -> float:
        """Seconds between looks at the output directories."""
        return min(10.0, self.rescan_s)
