"""Count the values of frames into a `Tally`, fast where each group's values are close together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from panoseti_zarr.core.l1.histogram import NO_TALLY, Tally, merge_tallies, summed_tally, tally_keys

Ints = npt.NDArray[np.integer]
Int64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_BLOCK_VALUES = 1 << 16
_MAX_OUTSIDE = 1 << 18
_MAX_BINS = 1 << 19
_MIN_WIDTH = 64
_USUAL = 0.99
_N_SAMPLED = 64


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
    counts : ndarray of int64, shape (n_groups, width + 1)
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
    in a sorted list, so it is always exact, and fast where each group's values are close together.

    Parameters
    ----------
    pixel_groups : ndarray of int, shape (n_pixels,)
        The group of each pixel, from 0.
    """

    def __init__(self, pixel_groups: Ints) -> None:
        self._groups = pixel_groups.astype(np.int64)
        self._n_groups = int(self._groups.max()) + 1
        self._bins: _Bins | None = None
        self._outside = NO_TALLY
        self._outside_keys: list[Int64] = []

    def add(self, values: Ints, *, keep: Bools | None = None) -> None:
        """Count the values of some frames.

        Parameters
        ----------
        values : ndarray of int, shape (n_frames, n_pixels)
            Within ``[-VALUE_LIMIT, VALUE_LIMIT)``; always of one dtype.
        keep : ndarray of bool, shape (n_frames, n_pixels), optional
            False where a value does not count.
        """
        if not len(values):
            return
        if self._bins is None:
            self._bins = self._make_bins(values)
        n_values = max(_BLOCK_VALUES, self._bins.counts.size)
        step = max(1, n_values // len(self._groups))
        for start in range(0, len(values), step):
            part = slice(start, start + step)
            self._add(self._bins, values[part], None if keep is None else keep[part])

    def tally(self) -> Tally:
        """Return what was counted."""
        if self._bins is None:
            return NO_TALLY
        counts = self._bins.counts[:, :-1].reshape(-1)
        used = np.flatnonzero(counts)
        groups, offsets = np.divmod(used, self._bins.width)
        values = offsets + self._bins.low[groups]
        self._fold_outside()
        return merge_tallies([Tally(tally_keys(groups, values), counts[used]), self._outside])

    def _add(self, bins: _Bins, values: Ints, keep: Bools | None) -> None:
        # Distances from the least value wrap around, so that one comparison is for both ends.
        distances = values.view(bins.lows.dtype) - bins.lows
        if bins.limits is not None:
            np.minimum(distances, bins.limits, out=distances)
        places = (distances + bins.offsets).ravel()
        n_bins = bins.counts.size
        if keep is not None:
            places[np.flatnonzero(~keep)] = n_bins
        found = np.bincount(places, minlength=n_bins)[:n_bins].reshape(bins.counts.shape)
        if found[:, -1].any():
            is_outside = distances == bins.width
            if keep is not None:
                is_outside &= keep
            self._add_outside(values, np.flatnonzero(is_outside))
        np.add(bins.counts, found, out=bins.counts)

    def _add_outside(self, values: Ints, outside: Int64) -> None:
        frames, pixels = np.divmod(outside, len(self._groups))
        self._outside_keys.append(tally_keys(self._groups[pixels], values[frames, pixels]))
        if sum(map(len, self._outside_keys)) > _MAX_OUTSIDE:
            self._fold_outside()

    def _fold_outside(self) -> None:
        keys = np.concatenate([np.empty(0, np.int64), *self._outside_keys])
        self._outside = merge_tallies([self._outside, summed_tally(keys, np.ones_like(keys))])
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
        width = 4 * int(distances[int(_USUAL * len(distances))]) + 1
        width = min(max(width, _MIN_WIDTH), max(_MAX_BINS // self._n_groups, _MIN_WIDTH))
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
            counts=np.zeros((self._n_groups, width + 1), np.int64),
        )
