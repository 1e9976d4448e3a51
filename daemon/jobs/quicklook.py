"""Draws the quick-look of each new L1 store, in short-lived processes of low priority.

One at a time, each with a time limit. A quick-look that fails is logged and has no other
effect; those that wait when the service ends are not drawn.
"""

from __future__ import annotations

import importlib.util
import threading
import time
from pathlib import Path
from queue import SimpleQueue

from panoseti_zarr.config import Config
from panoseti_zarr.core.pff.names import store_name
from panoseti_zarr.daemon.jobs.child_process import CommandRunner
from panoseti_zarr.daemon.jobs.context import Post
from panoseti_zarr.daemon.log import get_logger
from panoseti_zarr.daemon.state.events import QuicklookEnded
from panoseti_zarr.errors import one_line
from panoseti_zarr.model import StreamKey
from panoseti_zarr.quicklook import NO_MATPLOTLIB, picture_name

TIMEOUT_S = 600.0
"""Seconds after which a quick-look is given up."""

_END_S = 1.0
_SHOWN_CHARS = 500


class Quicklooks:
    """Draws quick-looks in a thread of its own, and posts `QuicklookEnded` for each.

    Parameters
    ----------
    config : Config
        With the directories of ``[daemon]``.
    state_dir : Path
    post : callable
        Takes events, from any thread.
    """

    def __init__(self, config: Config, state_dir: Path, post: Post) -> None:
        self._stores = config.daemon.l0_dir, config.daemon.l1_dir
        self._directory = config.quicklook.directory(state_dir)
        # Where the service may write: matplotlib keeps a list of fonts, which takes long to make.
        self._runner = CommandRunner({"MPLCONFIGDIR": str(state_dir / "matplotlib")})
        self._post = post
        self._queue: SimpleQueue[tuple[str, str] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._waiting: set[tuple[str, str]] = set()
        self._thread: threading.Thread | None = None
        if self._directory and importlib.util.find_spec("matplotlib") is None:
            self._directory = None
            get_logger().info("quicklook.unavailable", reason=NO_MATPLOTLIB)

    def enqueue(self, run: str, stream: str) -> None:
        """Draw the quick-look of a stream, after those that wait; returns at once."""
        if self._directory is None:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="quicklooks", daemon=True)
            self._thread.start()
        with self._lock:
            if (run, stream) in self._waiting:
                return
            self._waiting.add((run, stream))
        self._queue.put((run, stream))

    def close(self) -> None:
        """Stop the process under way; those that wait are not started."""
        self._runner.close()
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join(_END_S)

    def _work(self) -> None:
        while (asked := self._queue.get()) is not None:
            with self._lock:
                self._waiting.discard(asked)
            started_s = time.monotonic()
            try:
                made = self._make(*asked)
            except (OSError, ValueError) as error:
                made = Path(), f"it could not be started: {error}"
            if made is None:
                return
            path, problem = made
            self._post(
                QuicklookEnded(
                    time.monotonic(),
                    *asked,
                    path=str(path),
                    seconds=round(time.monotonic() - started_s, 3),
                    problem=one_line(problem)[:_SHOWN_CHARS],
                )
            )

    def _make(self, run: str, stream: str) -> tuple[Path, str] | None:
        """Make a picture; return its path, and what went wrong or nothing; None at the end."""
        l0_dir, l1_dir = (directory or Path() for directory in self._stores)
        store = l0_dir / store_name(run, StreamKey.parse(stream))
        path = (self._directory or Path()) / picture_name(store)
        words = ("quicklook", str(store), str(path), "--l1", str(l1_dir))
        ended = self._runner.run(words, TIMEOUT_S)
        if ended is None:
            return None
        if ended.timed_out:
            return path, f"it took longer than {TIMEOUT_S:g} s"
        return path, ended.reason if ended.code else ""
