"""Exact medians and population standard deviations of integers.

From a `Tally` of any number of values, or by sorting where the values are few: both give the same
numbers, with nothing rounded before the last step.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from panoseti_zarr.core.tally import Tally

Ints = npt.NDArray[np.integer]
Int64 = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def medians(tally: Tally, n_groups: int) -> Floats:
    """Return the median of each group: the mean of the middle two where the count is even.

    Returns
    -------
    ndarray of float64, shape (n_groups,)
        NaN for a group without values.
    """
    bounds, cumulative, n_values = _group_counts(tally, n_groups)
    result = np.full(n_groups, np.nan)
    some = n_values > 0
    first, n_some = cumulative[bounds[:-1]][some], n_values[some]
    lower = np.searchsorted(cumulative[1:], first + (n_some - 1) // 2, side="right")
    upper = np.searchsorted(cumulative[1:], first + n_some // 2, side="right")
    values = tally.values
    result[some] = (values[lower] + values[upper]) / 2
    return result


def medians_and_sigmas(tally: Tally, n_groups: int) -> tuple[Floats, Floats]:
    """Return the median and the population standard deviation of each group.

    Returns
    -------
    median, sigma : ndarray of float64, shape (n_groups,)
        NaN for a group without values.
    """
    median = medians(tally, n_groups)
    bounds, _, n_values = _group_counts(tally, n_groups)
    some = n_values > 0
    # Distances from a value near the mean keep the sums small; the variance stays the same.
    centre = np.zeros(n_groups, np.int64)
    centre[some] = np.floor(median[some])
    distances = tally.values - centre[tally.groups]
    sums = _sums(distances * tally.counts, bounds)
    squares = _sums(distances * distances * tally.counts, bounds)
    sigma = np.full(n_groups, np.nan)
    sigma[some] = population_sigma(n_values[some], sums[some], squares[some])
    return median, sigma


def sorted_medians_and_sigmas(values: Ints) -> tuple[Floats, Floats]:
    """Return the median and the population standard deviation of each pixel, by sorting.

    The same numbers as from a `Tally`, sooner where the frames are few.

    Parameters
    ----------
    values : ndarray of int, shape (n_frames, n_pixels)

    Returns
    -------
    median, sigma : ndarray of float64, shape (n_pixels,)
        NaN where there is no frame.
    """
    n_frames, n_pixels = values.shape
    if n_frames == 0:
        return np.full(n_pixels, np.nan), np.full(n_pixels, np.nan)
    ordered = np.sort(values.T, axis=1)
    lower = ordered[:, (n_frames - 1) // 2].astype(np.int64)
    upper = ordered[:, n_frames // 2].astype(np.int64)
    median = (lower + upper) / 2
    distances = values - np.floor(median).astype(np.int64)
    sums = distances.sum(axis=0)
    squares = np.einsum("ij,ij->j", distances, distances)
    return median, population_sigma(np.full(n_pixels, n_frames), sums, squares)


def population_sigma(n_values: Int64, sums: Int64, squares: Int64) -> Floats:
    """Return standard deviations from exact sums: ``sqrt(n * squares - sums ** 2) / n``.

    Parameters
    ----------
    n_values, sums, squares : ndarray of int64, shape (n,)
        Count (at least 1), sum, and sum of squares of each set of values.
    """
    if n_values.size == 0:
        return np.empty(0)
    if float(n_values.max()) * float(squares.max()) < 2.0**62:
        return np.asarray(np.sqrt(n_values * squares - sums * sums) / n_values)
    exact = [
        n * square - total * total
        for n, total, square in zip(n_values.tolist(), sums.tolist(), squares.tolist(), strict=True)
    ]
    return np.asarray(np.sqrt(np.array(exact, dtype=np.float64)) / n_values)


def _group_counts(tally: Tally, n_groups: int) -> tuple[Int64, Int64, Int64]:
    """Return each group's bounds among the keys, the counts before each key, and per group."""
    bounds = tally.bounds(n_groups)
    cumulative = np.concatenate((np.zeros(1, np.int64), np.cumsum(tally.counts)))
    return bounds, cumulative, np.diff(cumulative[bounds])


def _sums(terms: Int64, bounds: Int64) -> Int64:
    """Add up each group's terms; sums that wrap around in between come out right."""
    cumulative = np.concatenate((np.zeros(1, np.int64), np.cumsum(terms)))
    return cumulative[bounds[1:]] - cumulative[bounds[:-1]]
