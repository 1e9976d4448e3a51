"""The readable part of a recording while it is written. Pure functions.

A file grows at its end alone, in steps that know nothing of frames: the last frame may be half
there, and behind it may lie space that was reserved and holds zeros. So while a file may grow, a
frame counts once a good header follows it. Files are read in the order of their seqnos, and a
file only once the one before it has its final size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Growth:
    """How far the files of a stream have come that is being recorded.

    Attributes
    ----------
    key : str
        The stream's name in logs: ``dp_img16.module_3``.
    size_bytes : int
        Of all its files.
    n_files : int
        Those that can be read now, the last of which may still grow.
    latest_ns : int
        The newest of their ctimes.
    """

    key: str
    size_bytes: int
    n_files: int
    latest_ns: int


def count_readable_files(seqnos: Sequence[int], is_final: Sequence[bool]) -> int:
    """Count the files at the start of a stream that can be read while it is recorded.

    All of them but the last are final. A seqno that is missing may still come: what is behind it
    waits until the run is finished.

    Parameters
    ----------
    seqnos : sequence of int
        Of all files of the stream, empty ones too, ascending.
    is_final : sequence of bool
        Whether each has its final size.
    """
    n_readable = 0
    for place, seqno in enumerate(seqnos):
        if seqno != place or (place and not is_final[place - 1]):
            break
        n_readable += 1
    return n_readable


def count_certain_frames(is_good: Callable[[int], bool], n_headers: int, n_known: int) -> int:
    """Count the frames of a growing file that are whole for certain.

    Those before the last good header are. Where headers at the end are not good, it is looked
    for backwards in growing steps and then between two of them, so that gigabytes of reserved
    space cost few looks. That finds a good header, if not always the last one: broken headers in
    the middle can make the count smaller at present, never too large.

    Parameters
    ----------
    is_good : callable
        Whether frame ``k`` of the file has a good header.
    n_headers : int
        Frames whose header lies inside the file.
    n_known : int
        Frames that were found to be whole before.

    Returns
    -------
    int
        At least ``n_known``.
    """
    bad, step, good = n_headers, 1, n_headers - 1
    while good > n_known and not is_good(good):
        bad, good, step = good, good - step, 2 * step
    if good <= n_known:
        good = n_known
        if bad <= n_known or not is_good(good):
            return n_known
    while bad - good > 1:
        middle = (good + bad) // 2
        if is_good(middle):
            good = middle
        else:
            bad = middle
    return good


def visible_stop(
    n_committed: int, n_available: int, time_chunk: int, inner_chunk: int, *, with_tail: bool
) -> int:
    """Decide up to which frame an open stream is committed now.

    Without its tail: as far as whole chunks go. With it: as far as whole inner chunks go, so that
    a shard's pieces keep their places in its file when it grows; where that shows nothing new, up
    to the last frame there is.

    Parameters
    ----------
    n_committed, n_available : int
        Frames that the store has, and that its files hold for certain.
    time_chunk, inner_chunk : int
        Frames per chunk, and per inner chunk (0: there are none).
    with_tail : bool

    Returns
    -------
    int
        ``n_committed`` where there is nothing to do.
    """
    if not with_tail:
        return max(n_committed, n_available // time_chunk * time_chunk)
    in_pieces = n_available // inner_chunk * inner_chunk if inner_chunk else n_available
    return max(n_committed, in_pieces if in_pieces > n_committed else n_available)
