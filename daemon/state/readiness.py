"""The decision whether a run is finished: file identities in, verdict and reason out. Pure.

A finished marker is necessary but not sufficient, because the copy that wrote it can have failed
or still be under way; file times prove nothing, for ``rsync -t`` keeps old ones. So a run is
finished when a marker exists and this process itself saw the same identities in two looks at
least ``settle_s`` apart on the monotonic clock; or, where ``quiet_s`` is set, when nothing
changed for that long, marker or none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from panoseti_zarr.model import Identity


@dataclass(frozen=True)
class StablePeriod:
    """Since when a run's files are unchanged, as far as this process saw.

    Attributes
    ----------
    digest : str
        Of the identities of all its files.
    since_s : float
        Monotonic time at which the first look that saw this digest had ended.
    until_s : float
        Monotonic time at which the last such look began.
    """

    digest: str
    since_s: float
    until_s: float

    @property
    def seconds(self) -> float:
        """Seconds for which nothing changed for certain."""
        return max(0.0, self.until_s - self.since_s)


@dataclass(frozen=True)
class Verdict:
    """Whether a run is finished.

    Attributes
    ----------
    is_finished : bool
    reason : str
        Why not, for people; empty where it is.
    rescan_interval_s : float or None
        Monotonic time at which the verdict may change by waiting alone; None where only a
        change of the run can change it.
    """

    is_finished: bool
    reason: str = ""
    rescan_interval_s: float | None = None


def fingerprint(files: Mapping[str, Identity], directory_mtime_ns: int = 0) -> str:
    """Condense the identities of files, by name, into a short text that differs when they do.

    Parameters
    ----------
    files : mapping of str to Identity
        Names may hold surrogates for bytes that are not UTF-8.
    directory_mtime_ns : int
        Counts too: a name that came and went leaves a trace in it.
    """
    digest = hashlib.blake2b(str(directory_mtime_ns).encode(), digest_size=16)
    for name, identity in sorted(files.items()):
        raw = name.encode("utf-8", "surrogateescape")
        numbers = (
            len(raw),
            identity.inode,
            identity.size_bytes,
            identity.mtime_ns,
            identity.ctime_ns,
        )
        digest.update(repr(numbers).encode() + raw)
    return digest.hexdigest()


def observe(
    before: StablePeriod | None, digest: str, began_s: float, ended_s: float
) -> StablePeriod:
    """Add one look to what is known: the quiet time goes on, or starts again with this look."""
    if before is None or before.digest != digest:
        return StablePeriod(digest, since_s=ended_s, until_s=began_s)
    return replace(before, until_s=began_s)


def assess_readiness(
    quiet: StablePeriod,
    markers: tuple[str, ...],
    wanted: tuple[str, ...],
    settle_s: float,
    quiet_s: float,
) -> Verdict:
    """Decide whether a run is finished.

    Parameters
    ----------
    quiet : StablePeriod
        Up to and with the last look.
    markers : tuple of str
        Finished markers that this look found.
    wanted : tuple of str
        All finished markers; the reason names them.
    settle_s : float
        Seconds without a change that a marker needs.
    quiet_s : float
        Seconds without a change that need no marker; 0 means never.
    """
    if markers and quiet.seconds >= settle_s:
        return Verdict(is_finished=True)
    if quiet_s > 0 and quiet.seconds >= quiet_s:
        return Verdict(is_finished=True)
    waits = [settle_s] if markers else []
    if quiet_s > 0:
        waits.append(quiet_s)
    if not waits:
        return Verdict(is_finished=False, reason=f"no finished marker ({', '.join(wanted)})")
    wait_s = min(waits)
    return Verdict(
        is_finished=False,
        reason=f"unchanged for {quiet.seconds:.1f} s of {wait_s:g} s",
        rescan_interval_s=quiet.since_s + wait_s,
    )
