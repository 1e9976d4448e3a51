"""Sidecar files of the L1 stores, made in a separate process on which no ingest depends.

A night's ``hk.pff`` takes minutes and a library of its own to read; whatever becomes of that, the
service and its jobs go on. One run at a time, in a lane; what could not be made is tried again
when the run is listed again.
"""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from panoseti_zarr.daemon.jobs.child_process import Child
from panoseti_zarr.daemon.jobs.context import check_device
from panoseti_zarr.daemon.log import get_logger
from panoseti_zarr.daemon.serial_threads import SerialThreads
from panoseti_zarr.daemon.state.instructions import MakeHousekeeping
from panoseti_zarr.daemon.watch.paths import is_inside
from panoseti_zarr.errors import PanosetiZarrError, TransientIOError
from panoseti_zarr.pipeline.sidecar import NEEDS_PYARROW, is_housekeeping_made

LANE = "housekeeping"

MOST_S = 4 * 3600.0
"""How long the process may take."""

_SHOWN_CHARS = 500


class SidecarJob:
    """Has tables and copies made, in its lane.

    Parameters
    ----------
    l1_dir : Path
        Where they lie.
    lanes : SerialThreads
    is_on : callable
        Says whether the configuration, as it is now, asks for it.
    """

    def __init__(self, l1_dir: Path, lanes: SerialThreads, is_on: Callable[[], bool]) -> None:
        self._l1_dir = l1_dir
        self._lanes = lanes
        self._is_on = is_on
        self._child = Child()
        self._has_said_pyarrow = False

    def want(self, wanted: MakeHousekeeping) -> None:
        """Make them of a run after those that wait, unless they are there."""
        if self._is_on():
            self._lanes.submit(LANE, partial(self._make, wanted))

    def close(self) -> None:
        """End what is under way, and begin nothing more."""
        self._child.close()

    def _make(self, wanted: MakeHousekeeping) -> None:
        if self._child.is_closed:
            return
        started_s = time.monotonic()
        try:
            document = self._make_if_missing(wanted)
        except (PanosetiZarrError, OSError) as error:
            self._failed(wanted.run, str(error))
        except Exception as error:  # noqa: BLE001 - the lane's boundary: it must go on
            get_logger().error("task.crashed", task=LANE, exc_info=error)
        else:
            if document is None:
                return
            if document["problem"]:
                self._failed(wanted.run, document["problem"])
            get_logger().info(
                "housekeeping.made",
                run=wanted.run,
                path=document["table"],
                n_rows=document["n_rows"],
                n_bad_lines=document["n_bad_lines"],
                n_files=document["n_files"],
                seconds=round(time.monotonic() - started_s, 3),
            )

    def _make_if_missing(self, wanted: MakeHousekeeping) -> dict[str, Any] | None:
        """Make them; return what the process says of them, None where there was nothing to do."""
        root = Path(wanted.root)
        check_device(root, wanted.root_device, "the data root")
        check_device(self._l1_dir, wanted.l1_device, "l1_dir")
        run = root / wanted.run
        if not run.is_dir() or not is_inside(run, root):
            return None
        with_table = importlib.util.find_spec("pyarrow") is not None
        if is_housekeeping_made(run, self._l1_dir, with_table=with_table):
            return None
        return self._run(run)

    def _run(self, run: Path) -> dict[str, Any] | None:
        words = ("housekeeping", "--json", "--", str(run), str(self._l1_dir))
        ended = self._child.run(words, MOST_S)
        if ended is None:
            return None
        if ended.is_late:
            raise TransientIOError(f"it took longer than {MOST_S:g} s")
        try:
            document: dict[str, Any] = json.loads(ended.stdout)
        except ValueError:
            raise TransientIOError(ended.reason[:_SHOWN_CHARS]) from None
        return document

    def _failed(self, run: str, reason: str) -> None:
        if reason == NEEDS_PYARROW:
            # Once is enough.
            if self._has_said_pyarrow:
                return
            self._has_said_pyarrow = True
        get_logger().warning("housekeeping.failed", run=run, reason=reason)
