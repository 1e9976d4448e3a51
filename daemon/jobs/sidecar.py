"""Makes the sidecar files of the L1 stores, in a separate process that no ingest depends on.

A night's ``hk.pff`` takes minutes and a library of its own to read; whatever happens there, the
service and its jobs go on. One run at a time; what could not be made is tried again when the run
is listed again.
"""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from panoseti_zarr.daemon.jobs.child_process import CommandRunner
from panoseti_zarr.daemon.jobs.context import Post, check_device, run_path
from panoseti_zarr.daemon.log import get_logger
from panoseti_zarr.daemon.serial_threads import SerialThreads
from panoseti_zarr.daemon.state.events import SidecarEnded
from panoseti_zarr.daemon.state.instructions import JobTarget
from panoseti_zarr.daemon.watch.paths import is_inside
from panoseti_zarr.errors import PanosetiZarrError, TransientIOError
from panoseti_zarr.pipeline.sidecar import NEEDS_PYARROW, is_housekeeping_made

QUEUE = "sidecar"
"""The queue of `SerialThreads` in which it works."""

MOST_S = 4 * 3600.0
"""Seconds that the process may take."""

_SHOWN_CHARS = 500


class SidecarJob:
    """Has sidecar files made, and posts `SidecarEnded` where there was something to do.

    Parameters
    ----------
    l1_dir : Path
        The directory that holds them.
    threads : SerialThreads
    is_on : callable
        Whether the current configuration asks for it.
    post : callable
        Takes events, from any thread.
    """

    def __init__(
        self, l1_dir: Path, threads: SerialThreads, is_on: Callable[[], bool], post: Post
    ) -> None:
        self._l1_dir = l1_dir
        self._threads = threads
        self._is_on = is_on
        self._post = post
        self._runner = CommandRunner()
        self._has_reported_pyarrow = False

    def enqueue(self, target: JobTarget) -> None:
        """Make the files of a run after those that wait, unless they exist."""
        if self._is_on():
            self._threads.submit(QUEUE, partial(self._make, target))

    def close(self) -> None:
        """Stop the process under way, and start no more."""
        self._runner.close()

    def _make(self, target: JobTarget) -> None:
        if self._runner.is_closed:
            return
        started_s = time.monotonic()
        made, problem = None, ""
        try:
            document = self._make_if_missing(target)
        except (PanosetiZarrError, OSError) as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 - a thread's boundary: it must go on
            get_logger().error("task.crashed", task="sidecar files", exc_info=error)
            return
        else:
            if document is None:
                return
            problem = document["problem"]
            made = {
                "path": document["table"],
                "n_rows": document["n_rows"],
                "n_bad_lines": document["n_bad_lines"],
                "n_files": document["n_files"],
                "seconds": round(time.monotonic() - started_s, 3),
            }
        if problem == NEEDS_PYARROW:
            # Reported once: it holds for every run.
            problem = "" if self._has_reported_pyarrow else problem
            self._has_reported_pyarrow = True
        if made or problem:
            self._post(SidecarEnded(time.monotonic(), target.run, made, problem))

    def _make_if_missing(self, target: JobTarget) -> dict[str, Any] | None:
        """Make the files; return the process's report, or None where there was nothing to do."""
        root, run = Path(target.root), run_path(target)
        check_device(root, target.root_device, "the data root")
        check_device(self._l1_dir, target.output_device, "l1_dir")
        if not run.is_dir() or not is_inside(run, root):
            return None
        with_table = importlib.util.find_spec("pyarrow") is not None
        if is_housekeeping_made(run, self._l1_dir, with_table=with_table):
            return None
        return self._run(run)

    def _run(self, run: Path) -> dict[str, Any] | None:
        words = ("housekeeping", "--json", "--", str(run), str(self._l1_dir))
        ended = self._runner.run(words, MOST_S)
        if ended is None:
            return None
        if ended.timed_out:
            raise TransientIOError(f"it took longer than {MOST_S:g} s")
        try:
            document: dict[str, Any] = json.loads(ended.stdout)
        except ValueError:
            raise TransientIOError(ended.reason[:_SHOWN_CHARS]) from None
        return document
