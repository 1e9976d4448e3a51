"""Scan of a data root: its run directories."""

from __future__ import annotations

import functools
import os
import stat
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from panoseti_zarr.core.pff.names import check_run_name, parse_run_name
from panoseti_zarr.daemon.state.events import RunEntry
from panoseti_zarr.daemon.watch.mounts import mount_of
from panoseti_zarr.daemon.watch.paths import describe_os_error, is_inside
from panoseti_zarr.errors import CorruptDataError

RUN_SUFFIX = ".pffd"


@dataclass(frozen=True)
class RootListing:
    """What a data root holds; ``problem`` says why it could not be listed."""

    problem: str = ""
    volume: str = ""
    device: int = 0
    n_entries: int = 0
    runs: tuple[RunEntry, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()


def scan_root(root: Path) -> RootListing:
    """List the runs of a data root. Names are data: what could do harm is refused, not followed."""
    runs: list[RunEntry] = []
    refused: list[tuple[str, str]] = []
    try:
        device = os.stat(root).st_dev
        with os.scandir(root) as listing:
            entries = list(listing)
    except OSError as error:
        return RootListing(problem=describe_os_error(error))
    for there in entries:
        name = there.name
        if not name.endswith(RUN_SUFFIX) or name.startswith("."):
            continue
        try:
            entry = _run_entry(root, there)
        except CorruptDataError as error:
            refused.append((name, error.message))
        except FileNotFoundError:
            continue
        except OSError as error:
            refused.append((name, f"cannot be looked at: {error.strerror}"))
        else:
            runs += [entry] if entry else []
    volume = mount_of(root).volume
    # Oldest first: in this order runs are looked at, and found to be finished.
    runs.sort(key=lambda entry: entry.order)
    return RootListing("", volume, device, len(entries), tuple(runs), tuple(refused))


def _run_entry(root: Path, entry: os.DirEntry[str]) -> RunEntry | None:
    """Look at a child of a root, with one call of the system; None where it is no run.

    Raises
    ------
    CorruptDataError
        It is refused.
    """
    if entry.is_symlink() and not is_inside(root / entry.name, root):
        raise CorruptDataError("is a link that leads out of the data root, or to another name")
    status = entry.stat()
    if not stat.S_ISDIR(status.st_mode):
        return None
    order, start_ns = _order_of(entry.name)
    mtime_ns = status.st_mtime_ns
    return RunEntry(entry.name, mtime_ns, order, mtime_ns if start_ns is None else start_ns)


@functools.lru_cache(maxsize=1 << 16)
def _order_of(name: str) -> tuple[tuple[int, int, str], int | None]:
    """Return a run's place in the order of runs, and its start, ns since 1970-01-01 UTC, if any.

    Remembered, because each rescan asks again of every run there is.

    Raises
    ------
    CorruptDataError
        The name cannot safely become part of other names.
    """
    check_run_name(name)
    start_ns = _start_ns(name)
    return ((1, 0, name) if start_ns is None else (0, start_ns, name)), start_ns


def _start_ns(name: str) -> int | None:
    """Return the start in a run's name, ns since 1970-01-01 UTC; None if it is missing."""
    text = parse_run_name(name).run_start
    try:
        return int(datetime.fromisoformat(text).timestamp()) * 10**9 if text else None
    except ValueError:
        return None
