"""The page's content, each part with the version in which it changed last. Pure.

A reader that knows a version gets what changed since, so that with thousands of runs a commit
costs one run's line, not the whole document.
"""

from __future__ import annotations

import json
from collections import deque
from typing import Any

from panoseti_zarr.daemon.status.document import RunInfo, StatusDocument
from panoseti_zarr.daemon.web.presenter import RunPictures, present_head, present_run

N_MINUTES = 720
"""Minutes over which throughput is kept."""

N_LINES = 100
"""Lines of the log that are kept."""


class VersionedView:
    """The page's contents, each part with the version in which it changed last.

    Attributes
    ----------
    version : int
        Grows with every change.
    """

    def __init__(self) -> None:
        self.version = 0
        self._head = _Part()
        self._names = _Part()
        self._seen: dict[str, RunInfo] = {}
        self._pictures: dict[str, RunPictures] = {}
        self._runs: dict[str, _Part] = {}
        self._minutes: dict[int, tuple[int, int]] = {}
        self._lines: deque[tuple[int, str]] = deque(maxlen=N_LINES)

    def show(
        self,
        document: StatusDocument,
        pictures: dict[str, RunPictures],
        dashboard: str | None,
    ) -> bool:
        """Take a status document over; return whether it shows anything new.

        Parameters
        ----------
        document : StatusDocument
        pictures : dict
            By run.
        dashboard : str or None
            Where Dask's dashboard is.
        """
        version = self.version + 1
        config = document.service.config
        is_new = self._head.put(present_head(document, dashboard), version)
        runs = {run.name: run for run in document.runs}
        for name, run in runs.items():
            mine, before = pictures.get(name, {}), self._pictures.get(name, {})
            if run != self._seen.get(name) or mine != before:
                part = self._runs.setdefault(name, _Part())
                is_new = part.put(present_run(run, mine, config), version) or is_new
        for name in self._runs.keys() - runs.keys():
            del self._runs[name]
        is_new = self._names.put(list(runs), version) or is_new
        self._seen, self._pictures = runs, pictures
        self.version = version if is_new else self.version
        return is_new

    def add_bytes(self, n_bytes: int, minute: int) -> None:
        """Count committed bytes in a minute of Unix time."""
        self.version += 1
        before = self._minutes.get(minute, (0, 0))[0]
        self._minutes[minute] = (before + n_bytes, self.version)
        for old in [key for key in self._minutes if key <= minute - N_MINUTES]:
            del self._minutes[old]

    def add_line(self, line: dict[str, Any]) -> None:
        """Add a line of the log."""
        self.version += 1
        self._lines.append((self.version, _dumps(line)))

    def changes_since(self, version: int) -> str:
        """Return what is new to a reader that knows a version, as JSON; 0: everything.

        ``version``; ``all``, where it does not build on what the reader has; and where they
        changed ``head``, ``names`` (of all runs, oldest first), ``runs``, ``minutes`` (each a
        minute of Unix time and the bytes committed in it) and ``lines``.
        """
        parts = [f'"version":{self.version}', f'"all":{_dumps(version == 0)}']
        if self._head.version > version:
            parts.append(f'"head":{self._head.text}')
        if self._names.version > version:
            parts.append(f'"names":{self._names.text}')
        runs = [part.text for part in self._runs.values() if part.version > version]
        minutes = [[m, n] for m, (n, changed) in self._minutes.items() if changed > version]
        lines = [text for added, text in self._lines if added > version]
        parts += [f'"runs":[{",".join(runs)}]'] if runs else []
        parts += [f'"minutes":{_dumps(minutes)}'] if minutes else []
        parts += [f'"lines":[{",".join(lines)}]'] if lines else []
        return "{" + ",".join(parts) + "}"


class _Part:
    """A piece of JSON, and the version in which it changed last."""

    def __init__(self) -> None:
        self.text = ""
        self.version = 0

    def put(self, value: Any, version: int) -> bool:
        """Take a value; return whether it differs from the one before."""
        text = _dumps(value)
        if text == self.text:
            return False
        self.text, self.version = text, version
        return True


def _dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
