"""Exact medians and population standard deviations of integers.

From a `Tally` of any number of values, or from the values themselves where they are few: both give
the same numbers, with nothing rounded before the last step.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from panoseti_zarr.core.l1.histogram import Tally

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


def partitioned_medians(values: npt.NDArray[np.int32]) -> Floats:
    """Return the median of each row, by partition.

    Of 32 bits and of one middle only, because there NumPy has vector instructions on most
    processors: 1 ns a value.

    Parameters
    ----------
    values : ndarray of int32, shape (n_rows, n_values)
        At least one value a row; put in another order.

    Returns
    -------
    ndarray of float64, shape (n_rows,)
    """
    n_values = values.shape[1]
    values.partition(n_values // 2, axis=1)
    upper = values[:, n_values // 2].astype(np.int64)
    if n_values % 2:
        return upper.astype(np.float64)
    return np.asarray((values[:, : n_values // 2].max(axis=1) + upper) / 2)


def few_medians_and_sigmas(values: Ints) -> tuple[Floats, Floats]:
    """Return the median and the population standard deviation of each pixel in windows.

    The same numbers as from a `Tally`, sooner where the frames of a window are few.

    Parameters
    ----------
    values : ndarray of int, shape (n_windows, n_frames, n_pixels)
        Of at most 16 bits; no more than 2**20 frames.

    Returns
    -------
    median, sigma : ndarray of float64, shape (n_windows, n_pixels)
        NaN where there is no frame.
    """
    n_windows, n_frames, n_pixels = values.shape
    shape = (n_windows, n_pixels)
    if n_frames == 0:
        return np.full(shape, np.nan), np.full(shape, np.nan)
    by_pixel = values.transpose(0, 2, 1).astype(np.int32, order="C").reshape(-1, n_frames)
    distances = by_pixel.astype(np.float64)
    median = partitioned_medians(by_pixel)
    # Whole numbers below 2**53, so that these sums are exact.
    distances -= np.floor(median)[:, np.newaxis]
    sums = distances.sum(axis=1).astype(np.int64)
    squares = np.einsum("ij,ij->i", distances, distances).astype(np.int64)
    sigma = population_sigma(np.full(len(median), n_frames), sums, squares)
    return median.reshape(shape), sigma.reshape(shape)


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
