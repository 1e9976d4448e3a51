"""Scan of a run: its files, their progress, and the state of its stores."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from panoseti_zarr.core.pff.growth import Growth
from panoseti_zarr.core.pff.names import l1_store_name, store_name
from panoseti_zarr.daemon.state.events import CheckedOutput, ScannedStream, StoreComparison
from panoseti_zarr.daemon.state.readiness import fingerprint
from panoseti_zarr.daemon.watch.live_runs import LiveRuns
from panoseti_zarr.daemon.watch.output_check import stat_outputs
from panoseti_zarr.daemon.watch.paths import is_inside
from panoseti_zarr.daemon.watch.root_scan import RootListing
from panoseti_zarr.errors import PanosetiZarrError, one_line
from panoseti_zarr.io.l0.metadata import L0State, read_state
from panoseti_zarr.io.pff.listing import FrameFile, RunListing, identity_of, list_run
from panoseti_zarr.model import Identity, StreamKey
from panoseti_zarr.pipeline.l1 import l1_matches

MAX_REFUSED = 50
"""Refused files of a run that are named one by one."""


@dataclass(frozen=True)
class RunScan:
    """The result of a run scan; its fields are those of `RunScanned` in `events`."""

    digest: str = ""
    directory_mtime_ns: int = 0
    markers: tuple[str, ...] = ()
    streams: tuple[ScannedStream, ...] | None = None
    growth: tuple[Growth, ...] = ()
    outputs: tuple[CheckedOutput, ...] = ()
    refused: tuple[str, ...] = ()
    n_empty_files: int = 0
    is_gone: bool = False
    problem: str = ""


def scan_run(
    path: Path,
    wanted: tuple[str, ...],
    l0_dir: Path,
    l1_dir: Path,
    *,
    with_streams: bool,
    recordings: LiveRuns | None = None,
) -> RunScan:
    """Take the identities of a run's files, and see how its streams' stores stand.

    Parameters
    ----------
    path : Path
        The run directory.
    wanted : tuple of str
        Names of finished markers.
    l0_dir, l1_dir : Path
        Where the stores are.
    with_streams : bool
        Whether to list the streams; left out where files change during it.
    recordings : LiveRuns, optional
        Knows the other directories of frame files, and records their progress where runs are
        followed.
    """
    try:
        if not is_inside(path, path.parent):
            return RunScan(problem="leads out of the data root")
        beside = recordings.directories(path.parent, path.name) if recordings else ()
        look = _look(path, wanted, beside)
        if recordings and recordings.settings.follow:
            # One that was not seen to grow, and is listed with its marker there, was over before.
            is_over = with_streams and look.markers and path.name not in recordings
            growth = () if is_over else _growth(path, recordings, beside)
            look = replace(look, growth=growth)
        return _list_streams(path, look, beside, l0_dir, l1_dir) if with_streams else look
    except FileNotFoundError:
        return RunScan(is_gone=True)
    except OSError as error:
        return RunScan(problem=f"cannot be read: {error.strerror}")
    except PanosetiZarrError as error:
        return RunScan(is_gone=not path.exists(), problem=str(error))


def stream_digest(listing: RunListing, key: StreamKey) -> str:
    """Condense the identities of a stream's frame files, refused ones by their reason."""
    files = {file.path.name: file.identity for file in listing.streams.get(key, ())}
    for name, refused_key, reason in listing.refused:
        if refused_key == key:
            files[f"{name}\0{reason}"] = Identity(0, 0, 0, 0)
    return fingerprint(files)


def compare_store(files: tuple[FrameFile, ...], state: L0State) -> StoreComparison:
    """Say how a store compares with the frame files that are there; nothing is read of them."""
    if not state.closed:
        return StoreComparison.OPEN
    held = {
        (entry.name, entry.size_bytes, entry.mtime_ns, entry.ctime_ns)
        for entry in state.source_files
    }
    there = {
        (
            file.path.name,
            file.identity.size_bytes,
            file.identity.mtime_ns,
            file.identity.ctime_ns,
        )
        for file in files
    }
    if there == held:
        return StoreComparison.SAME
    return StoreComparison.SOURCE_GONE if there < held else StoreComparison.DIFFERENT


def _growth(path: Path, recordings: LiveRuns, beside: tuple[Path, ...]) -> tuple[Growth, ...]:
    """See how far the streams of a run have come."""
    began_s = time.monotonic()
    listing = list_run(path, beside)
    return recordings.get(path.name).observe(listing, began_s, time.monotonic())


def _look(path: Path, wanted: tuple[str, ...], beside: tuple[Path, ...]) -> RunScan:
    """Take the identities of all that is in a run directory, and in those beside it."""
    mtime_ns = os.stat(path).st_mtime_ns
    files = _identities(path)
    markers = tuple(name for name in wanted if name in files)
    for directory in beside:
        with contextlib.suppress(FileNotFoundError):
            there = _identities(directory)
            files |= {f"{directory}/{name}": identity for name, identity in there.items()}
    return RunScan(fingerprint(files, mtime_ns), mtime_ns, markers)


def _identities(path: Path) -> dict[str, Identity]:
    """Take the identities of all entries of a directory, links also by what they lead to."""
    files: dict[str, Identity] = {}
    for name in os.listdir(path):
        place = os.path.join(path, name)
        try:
            status = os.stat(place, follow_symlinks=False)
            files[name] = identity_of(status)
        except FileNotFoundError:  # gone since the listing
            continue
        if stat.S_ISLNK(status.st_mode):
            # A link that leads nowhere, in a circle or to what may not be read counts itself.
            with contextlib.suppress(OSError):
                files[f"{name}\0"] = identity_of(os.stat(place))
    return files


def _list_streams(
    path: Path, look: RunScan, beside: tuple[Path, ...], l0_dir: Path, l1_dir: Path
) -> RunScan:
    """Add the streams to a look, unless the files change meanwhile."""
    listing = list_run(path, beside)
    streams = tuple(
        replace(
            _stream_seen(listing, key, l0_dir, l1_dir),
            size_bytes=listing.size_bytes(key),
        )
        for key in listing.keys
    )
    again = _look(path, look.markers, beside)
    if again.digest != look.digest:
        return replace(again, growth=look.growth)
    outputs = stat_outputs(l0_dir, l1_dir)
    return replace(
        look,
        streams=streams,
        outputs=outputs,
        refused=_refused_lines(listing),
        n_empty_files=len(listing.empty_files),
    )


def _refused_lines(listing: RunListing) -> tuple[str, ...]:
    """Return a line on each refused file that no stream is blamed for; not on a flood of them."""
    lines = [f"{one_line(n)}: {reason}" for n, key, reason in listing.refused if key is None]
    n_more = len(lines) - MAX_REFUSED
    return (*lines[:MAX_REFUSED], *([f"{n_more} more"] if n_more > 0 else []))


def _stream_seen(listing: RunListing, key: StreamKey, l0_dir: Path, l1_dir: Path) -> ScannedStream:
    l0_path = l0_dir / store_name(listing.name, key)
    l1_path = l1_dir / l1_store_name(listing.name, key)
    digest = stream_digest(listing, key)
    try:
        os.lstat(l0_path)
    except (FileNotFoundError, NotADirectoryError):
        return ScannedStream(str(key), digest, StoreComparison.ABSENT)
    try:
        state = read_state(l0_path)
        store = compare_store(listing.streams.get(key, ()), state)
        has_l1 = l1_matches(l0_path, l1_path)
        return ScannedStream(str(key), digest, store, has_l1, state.store_id, state.commit)
    except PanosetiZarrError:
        # The job says what is wrong with it.
        return ScannedStream(str(key), digest, StoreComparison.DIFFERENT)


def asdict_shallow(seen: RootListing | RunScan) -> dict[str, Any]:
    """Return a scan as the fields of its event."""
    return {field.name: getattr(seen, field.name) for field in fields(seen)}
