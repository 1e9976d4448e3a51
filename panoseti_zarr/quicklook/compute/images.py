"""Mean, spread and light curve of images, from parts of a stream. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

BAND = (0.01, 0.5, 0.99)
"""Shares of the pixels below the lower edge, the middle and the upper edge of the light curve."""

_BREAK_PARTS = 2


@dataclass(frozen=True)
class LightCurve:
    """The light over time, a point for each of some parts of the stream.

    Attributes
    ----------
    positions : ndarray of int64, shape (n_points,)
        The frame in the middle of each part, ascending.
    times_ns : ndarray of int64, shape (n_points,)
        Its time.
    values : ndarray of float64, shape (n_points, 3)
        Of the pixels' means over the part the lower edge, the middle and the upper edge (`BAND`).
    frames_a_point : int
        Frames of most parts.
    """

    positions: npt.NDArray[np.int64]
    times_ns: npt.NDArray[np.int64]
    values: Floats
    frames_a_point: int

    def with_breaks(self, step_ns: float) -> tuple[npt.NDArray[np.int64], Floats]:
        """Return times and values, and a point of NaN wherever frames are missing between two.

        Parameters
        ----------
        step_ns : float
            Usual time from one frame to the next.
        """
        late_ns = np.diff(self.times_ns) - np.diff(self.positions) * step_ns
        at = np.flatnonzero(late_ns > _BREAK_PARTS * self.frames_a_point * step_ns) + 1
        times_ns = np.insert(self.times_ns, at, self.times_ns[at - 1] + 1)
        return times_ns, np.insert(self.values, at, np.nan, axis=0)


class PixelSums:
    """Adds up images, pixel by pixel; masked pixels take no part."""

    def __init__(self, n_pixels: int) -> None:
        self._n_values = np.zeros(n_pixels, np.int64)
        self._sums = np.zeros(n_pixels)
        self._squares = np.zeros(n_pixels)
        self._centre: Floats | None = None

    def add(self, images: npt.NDArray[np.generic], keep: Bools | None) -> Floats:
        """Add images.

        Parameters
        ----------
        images : ndarray of any numbers, shape (n_frames, n_pixels)
        keep : ndarray of bool, shape (n_frames, n_pixels), or None
            Which are not masked; None for all.

        Returns
        -------
        ndarray of float64, shape (n_pixels,)
            The mean of these images; NaN where all are masked.
        """
        values = images.astype(np.float64)
        if keep is not None:
            values[~keep] = 0.0
        n_values = np.full(len(self._sums), len(images)) if keep is None else keep.sum(axis=0)
        mean = _ratio(values.sum(axis=0), n_values)
        if self._centre is None:
            # Distances from a value near the mean keep the squares small, and exact for counts.
            self._centre = np.rint(np.nan_to_num(mean))
        values -= self._centre
        if keep is not None:
            values[~keep] = 0.0
        self._n_values += n_values
        self._sums += values.sum(axis=0)
        self._squares += np.einsum("ij,ij->j", values, values)
        return mean

    def mean(self) -> Floats:
        """Return the mean of each pixel; NaN where there is no value."""
        return _ratio(self._sums, self._n_values) + (0.0 if self._centre is None else self._centre)

    def sigma(self) -> Floats:
        """Return the population standard deviation of each pixel; NaN where there is no value."""
        variance = self._n_values * self._squares - self._sums**2
        return _ratio(np.sqrt(np.maximum(variance, 0.0)), self._n_values)


def band_of(mean: Floats) -> Floats:
    """Return the edges and the middle (`BAND`) of the pixels of an image; NaN where all are."""
    finite = mean[np.isfinite(mean)]
    return np.quantile(finite, BAND) if len(finite) else np.full(len(BAND), np.nan)


def _ratio(numbers: Floats, n_values: npt.NDArray[np.int64]) -> Floats:
    result = np.full(len(numbers), np.nan)
    np.divide(numbers, n_values, out=result, where=n_values > 0)
    return result
