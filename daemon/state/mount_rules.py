"""Rules that detect unmounted or replaced file systems. Pure.

A file system that is not mounted must not look like one from which everything was deleted, and
nothing may be written into the bare directory that it is mounted on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from panoseti_zarr.daemon.state.events import CheckedOutput, RootScanned
from panoseti_zarr.daemon.state.records import MountId

GB = 10**9


@dataclass(frozen=True)
class OutputsCheck:
    """What a look at the output directories means.

    Attributes
    ----------
    problem : str
        Why no job may start; empty where one may.
    are_there : bool
        What they hold, or do not hold, can be believed.
    """

    problem: str = ""
    are_there: bool = True


def check_root(place: MountId | None, known_runs: Iterable[str], seen: RootScanned) -> str:
    """Say why a data root must be skipped; an empty text if all is well.

    Parameters
    ----------
    place : MountId or None
        Where it was when it was last well.
    known_runs : iterable of str
        Names of its runs that were there.
    seen : RootScanned
        Its listing.
    """
    if seen.problem:
        return seen.problem
    known = set(known_runs)
    if not known:
        return ""
    if seen.n_entries == 0:
        return "is empty where it was not"
    is_other = place is not None and place.differs(seen.volume, seen.device)
    if is_other and known.isdisjoint(entry.name for entry in seen.runs):
        return "is another file system than before, without any run that was there"
    return ""


def check_outputs(
    outputs: Iterable[CheckedOutput], places: Mapping[str, MountId], min_free_bytes: int
) -> OutputsCheck:
    """Say whether jobs may write into the output directories.

    Parameters
    ----------
    outputs : iterable of CheckedOutput
    places : mapping of str to MountId
        Where each was when all was well, by its path.
    min_free_bytes : int
    """
    too_full = ""
    for seen in outputs:
        problem = seen.problem or _lost(places.get(seen.path), seen)
        if problem:
            return OutputsCheck(f"{seen.label} {problem}", are_there=False)
        if seen.free_bytes < min_free_bytes:
            too_full = (
                f"{seen.label} has {seen.free_bytes / GB:.1f} GB free, less than the"
                f" {min_free_bytes / GB:.1f} GB of min_free_gb"
            )
    return OutputsCheck(too_full)


def _lost(place: MountId | None, seen: CheckedOutput) -> str:
    """Say why an output directory is not the one that it was; an empty text where it may be."""
    # A remount can change the device number: its content shows that it is the same.
    if place is None or not seen.is_empty or not place.differs(seen.volume, seen.device):
        return ""
    return (
        f"is empty, and on {seen.volume} instead of {place.volume}: mount it, or put any file"
        " into it if that is meant"
    )
