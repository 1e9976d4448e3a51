"""Count values, in memory that does not grow with the number of frames.

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

_BLOCK_VALUES = 1 << 16
_MAX_OUTSIDE = 1 << 18
_MAX_BINS = 1 << 19
_MIN_WIDTH = 64
_USUAL = 0.99
_N_SAMPLED = 64
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
        keys, counts = _keys(groups, self.values), self.counts
        return _summed(keys, counts) if where is None else _summed(keys[where], counts[where])


NO_TALLY = Tally(np.empty(0, np.int64), np.empty(0, np.int64))
"""The tally of no values."""


@dataclass(frozen=True)
class _Bins:
    """The values that are counted in an array.

    Attributes
    ----------
    width : int
        Values of a group that have a bin each; one more bin is for those outside.
    low : ndarray of int64, shape (n_groups,)
        The least value with a bin.
    lows : ndarray of unsigned int, shape (n_pixels,)
        The same for each pixel, wrapped around as the values are.
    limits : ndarray of unsigned int, shape (n_pixels,), or None
        ``width`` for each pixel; None where all values have a bin.
    offsets : ndarray of int64, shape (n_pixels,)
        The first bin of each pixel's group.
    counts : ndarray of int64, shape (n_rows, n_groups, width + 1)
    """

    width: int
    low: Int64
    lows: Ints
    limits: Ints | None
    offsets: Int64
    counts: Int64


class TallyBuilder:
    """Counts the values of pixels, group by group.

    Counts a window of values around the first ones in an array, and the rare values outside it
    in a sorted list, so it is fast where each group's values lie close together and exact always.

    Parameters
    ----------
    pixel_groups : ndarray of int, shape (n_pixels,)
        The group of each pixel, from 0.
    n_rows : int
        Sets of groups: ``add`` may say for each frame which row it counts in. The group of a
        pixel is then ``row * n_groups + pixel_groups``.
    """

    def __init__(self, pixel_groups: Ints, n_rows: int = 1) -> None:
        self._groups = pixel_groups.astype(np.int64)
        self._n_groups = int(self._groups.max()) + 1
        self._n_rows = n_rows
        self._bins: _Bins | None = None
        self._outside = NO_TALLY
        self._outside_keys: list[Int64] = []

    def add(self, values: Ints, *, keep: Bools | None = None, rows: Ints | None = None) -> None:
        """Count the values of some frames.

        Parameters
        ----------
        values : ndarray of int, shape (n_frames, n_pixels)
            Within ``[-VALUE_LIMIT, VALUE_LIMIT)``; always of one dtype.
        keep : ndarray of bool, shape (n_frames, n_pixels), optional
            False where a value does not count.
        rows : ndarray of int, shape (n_frames,), optional
            The row that each frame counts in; 0 by default.
        """
        if not len(values):
            return
        if self._bins is None:
            self._bins = self._make_bins(values)
        n_values = max(_BLOCK_VALUES, self._bins.counts[0].size)
        step = max(1, n_values // len(self._groups))
        for start in range(0, len(values), step):
            part = slice(start, start + step)
            self._add(
                self._bins,
                values[part],
                None if keep is None else keep[part],
                None if rows is None else rows[part].astype(np.int64),
            )

    def tally(self) -> Tally:
        """Return what was counted."""
        if self._bins is None:
            return NO_TALLY
        counts = self._bins.counts[:, :, :-1].reshape(-1)
        used = np.flatnonzero(counts)
        groups, offsets = np.divmod(used, self._bins.width)
        values = offsets + self._bins.low[groups % self._n_groups]
        self._fold_outside()
        return merge_tallies([Tally(_keys(groups, values), counts[used]), self._outside])

    def _add(self, bins: _Bins, values: Ints, keep: Bools | None, rows: Int64 | None) -> None:
        # Distances from the least value wrap around, so that one comparison is for both ends.
        distances = values.view(bins.lows.dtype) - bins.lows
        if bins.limits is not None:
            np.minimum(distances, bins.limits, out=distances)
        places = distances + bins.offsets
        first, n_rows = 0, 1
        if rows is not None:
            first = int(rows.min())
            n_rows = int(rows.max()) - first + 1
            if n_rows > 1:
                places += ((rows - first) * bins.counts[0].size)[:, np.newaxis]
        places = places.ravel()
        n_bins = n_rows * bins.counts[0].size
        if keep is not None:
            places[np.flatnonzero(~keep)] = n_bins
        found = np.bincount(places, minlength=n_bins)[:n_bins].reshape(n_rows, -1, bins.width + 1)
        if found[:, :, -1].any():
            is_outside = distances == bins.width
            if keep is not None:
                is_outside &= keep
            self._add_outside(values, np.flatnonzero(is_outside), rows)
        counts = bins.counts[first : first + n_rows]
        np.add(counts, found, out=counts)

    def _add_outside(self, values: Ints, outside: Int64, rows: Int64 | None) -> None:
        frames, pixels = np.divmod(outside, len(self._groups))
        groups = self._groups[pixels]
        if rows is not None:
            groups = groups + rows[frames] * self._n_groups
        self._outside_keys.append(_keys(groups, values[frames, pixels]))
        if sum(map(len, self._outside_keys)) > _MAX_OUTSIDE:
            self._fold_outside()

    def _fold_outside(self) -> None:
        keys = np.concatenate([np.empty(0, np.int64), *self._outside_keys])
        self._outside = merge_tallies([self._outside, _summed(keys, np.ones_like(keys))])
        self._outside_keys = []

    def _make_bins(self, values: Ints) -> _Bins:
        """Choose which values to count in an array, by a sample of the first frames."""
        sample = values[:: max(1, len(values) // _N_SAMPLED)].astype(np.int64)
        per_pixel = np.sort(sample, axis=0)[len(sample) // 2]
        # The middle pixel of each group, so that a hot pixel does not move its block's window.
        order = np.lexsort((per_pixel, self._groups))
        bounds = np.searchsorted(self._groups[order], np.arange(self._n_groups + 1))
        middle = per_pixel[order][(bounds[:-1] + bounds[1:]) // 2]
        distances = np.sort(np.abs(sample - middle[self._groups]), axis=None)
        n_all = self._n_groups * self._n_rows
        width = 4 * int(distances[int(_USUAL * len(distances))]) + 1
        width = min(max(width, _MIN_WIDTH), max(_MAX_BINS // n_all, _MIN_WIDTH))
        info = np.iinfo(values.dtype)
        width = min(width, int(info.max) - int(info.min) + 1)
        unsigned = np.dtype(f"u{values.itemsize}")
        has_all = width == 1 << 8 * values.itemsize
        low = np.clip(middle - width // 2, int(info.min), int(info.max) - width + 1)
        return _Bins(
            width=width,
            low=low,
            lows=low.astype(values.dtype).view(unsigned)[self._groups],
            limits=None if has_all else np.full(len(self._groups), width, unsigned),
            offsets=(np.arange(self._n_groups) * (width + 1))[self._groups],
            counts=np.zeros((self._n_rows, self._n_groups, width + 1), np.int64),
        )


def merge_tallies(tallies: Iterable[Tally]) -> Tally:
    """Return the tally of all the values that some tallies counted."""
    parts = [tally for tally in tallies if len(tally.keys)]
    if not parts:
        return NO_TALLY
    if len(parts) == 1:
        return parts[0]
    return _summed(
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


def _keys(groups: Ints, values: Ints) -> Int64:
    return (groups.astype(np.int64) << _VALUE_BITS) + (values.astype(np.int64) + _VALUE_OFFSET)


def _summed(keys: Int64, counts: Int64) -> Tally:
    """Sort keys, and add up the counts of equal ones."""
    if len(keys) == 0:
        return NO_TALLY
    if np.all(keys[1:] > keys[:-1]):
        return Tally(keys, counts)
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    return Tally(keys[starts], np.add.reduceat(counts, starts))
