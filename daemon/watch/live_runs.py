"""Runs that are being recorded: their directories, and what this process saw of them."""

from __future__ import annotations

import glob
import threading
from collections import OrderedDict
from pathlib import Path

from panoseti_zarr.config import DaemonConfig
from panoseti_zarr.io.pff.live import LiveRun

_N_REMEMBERED = 64
"""Runs. One that is forgotten is read again once where it was committed; nothing else is lost."""


class LiveRuns:
    """What this process saw of the runs that it follows; for several threads.

    Parameters
    ----------
    settings : DaemonConfig
        Replaced at a reload.
    """

    def __init__(self, settings: DaemonConfig) -> None:
        self.settings = settings
        self._runs: OrderedDict[str, LiveRun] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, run: str) -> bool:
        """Whether anything is known of a run."""
        with self._lock:
            return run in self._runs

    def get(self, run: str) -> LiveRun:
        """Return what is known of a run."""
        with self._lock:
            growing = self._runs.pop(run, None) or LiveRun(self.settings.settle_s)
            self._runs[run] = growing
            if len(self._runs) > _N_REMEMBERED:
                self._runs.popitem(last=False)
            return growing

    def directories(self, root: Path, run: str) -> tuple[Path, ...]:
        """Return the other directories that may hold frame files of a run.

        Links that lead out of the data root are not followed.
        """
        if not self.settings.follow:
            return ()
        resolved = root.resolve()
        patterns = (p if "{run}" in p else f"{p}/{{run}}" for p in self.settings.follow_dirs)
        found = {
            Path(root, path).resolve()
            for pattern in patterns
            for path in glob.glob(pattern.replace("{run}", glob.escape(run)), root_dir=root)
        }
        own = resolved / run
        return tuple(
            path
            for path in sorted(found)
            if path.is_dir() and path.is_relative_to(resolved) and path != own
        )
