"""Counts of values, in memory that does not grow with the number of frames.

A `Tally` says how often each value occurs in each group (a pixel, a block of pixels, a pixel within
a window). Tallies of parts of a stream add up to that of the whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.integer]
Int64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_VALUE_BITS = 20
_VALUE_OFFSET = 1 << (_VALUE_BITS - 1)
VALUE_LIMIT = _VALUE_OFFSET
"""Values lie in ``[-VALUE_LIMIT, VALUE_LIMIT)``; twice a difference of two uint16 does."""

_MAX_PARTS = 8


@dataclass(frozen=True)
class Tally:
    """How often each value occurs in each group.

    Attributes
    ----------
    keys : ndarray of int64, shape (n,)
        Group and value in one number, ascending, each once.
    counts : ndarray of int64, shape (n,)
        At least 1.
    """

    keys: Int64
    counts: Int64

    @property
    def groups(self) -> Int64:
        """The group of each key, ascending."""
        return self.keys >> _VALUE_BITS

    @property
    def values(self) -> Int64:
        """The value of each key."""
        return (self.keys & ((1 << _VALUE_BITS) - 1)) - _VALUE_OFFSET

    def bounds(self, n_groups: int) -> Int64:
        """Return where the keys of each group begin, and where the last one's end.

        Returns
        -------
        ndarray of int64, shape (n_groups + 1,)
        """
        firsts = np.arange(n_groups + 1, dtype=np.int64) << _VALUE_BITS
        return np.asarray(np.searchsorted(self.keys, firsts))

    def regrouped(self, groups: Ints, where: Bools | None = None) -> Tally:
        """Return a tally with another group for each key, of those keys only that are true."""
        keys, counts = tally_keys(groups, self.values), self.counts
        return (
            summed_tally(keys, counts)
            if where is None
            else summed_tally(keys[where], counts[where])
        )


NO_TALLY = Tally(np.empty(0, np.int64), np.empty(0, np.int64))
"""The tally of no values."""


def merge_tallies(tallies: Iterable[Tally]) -> Tally:
    """Return the tally of all the values that some tallies counted."""
    parts = [tally for tally in tallies if len(tally.keys)]
    if not parts:
        return NO_TALLY
    if len(parts) == 1:
        return parts[0]
    return summed_tally(
        np.concatenate([part.keys for part in parts]),
        np.concatenate([part.counts for part in parts]),
    )


class TallySum:
    """Adds up tallies; merges them when enough have come to be worth it."""

    def __init__(self) -> None:
        self._parts: list[Tally] = []

    def add(self, tally: Tally) -> None:
        """Add a tally."""
        self._parts.append(tally)
        if len(self._parts) > _MAX_PARTS:
            self._parts = [merge_tallies(self._parts)]

    def total(self) -> Tally:
        """Return the tally of all that was added."""
        return merge_tallies(self._parts)


def tally_keys(groups: Ints, values: Ints) -> Int64:
    """Return group and value of each pair in one number."""
    return (groups.astype(np.int64) << _VALUE_BITS) + (values.astype(np.int64) + _VALUE_OFFSET)


def summed_tally(keys: Int64, counts: Int64) -> Tally:
    """Return the tally of keys in any order, the counts of equal ones added up."""
    if len(keys) == 0:
        return NO_TALLY
    if np.all(keys[1:] > keys[:-1]):
        return Tally(keys, counts)
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    return Tally(keys[starts], np.add.reduceat(counts, starts))
