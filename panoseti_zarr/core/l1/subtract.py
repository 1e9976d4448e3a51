"""Subtract a baseline from frames. Definitions: docs/l1.md.

A *row* of a baseline is what one window (of one board) shares: ``window * n_boards + board``.
Frames are arrays of shape (n_frames, n_pixels), their pixels row by row.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.integer]
Int64 = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Float32s = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

# Frames worked on together: what they need stays in the processor's cache.
_FRAMES_PER_STEP = 256


def doubled_residuals(images: Ints, block_medians: Floats, blocks: Ints) -> Ints:
    """Return twice what is left of images after their block medians, which makes it whole numbers.

    Parameters
    ----------
    images : ndarray of uint8 or uint16, shape (n_frames, n_pixels)
    block_medians : ndarray of float64, shape (n_frames, n_blocks)
        Of each frame's window; NaN where all is masked, and the result then means nothing.
    blocks : ndarray of int, shape (n_pixels,)
        The block of each pixel.

    Returns
    -------
    ndarray of int32, shape (n_frames, n_pixels)
    """
    doubled = np.nan_to_num(2 * block_medians).astype(np.int32)
    return np.asarray(2 * images.astype(np.int32) - doubled[:, blocks])


def subtract_images(
    images: Ints,
    rows: Int64,
    block_medians: Floats,
    supermedian: Floats,
    blocks: Ints,
    adc_to_pe: float,
    out: Float32s,
) -> None:
    """Subtract the baseline of images and scale them to photo-electrons.

    Baselines are multiples of 1/4 below 2**18, so the difference is exact in float32.

    Parameters
    ----------
    images : ndarray of uint8 or uint16, shape (n_frames, n_pixels)
    rows : ndarray of int64, shape (n_frames,)
        The row of ``block_medians`` of each frame, ascending.
    block_medians : ndarray of float64, shape (n_rows, n_blocks)
    supermedian : ndarray of float64, shape (n_pixels,)
    blocks : ndarray of int, shape (n_pixels,)
        The block of each pixel.
    adc_to_pe : float
        ADC counts of one photo-electron.
    out : ndarray of float32, shape (n_frames, n_pixels)
        Receives the result: NaN where there is no baseline.
    """
    cuts = np.flatnonzero(np.diff(rows)) + 1
    for start, stop in zip([0, *cuts.tolist()], [*cuts.tolist(), len(images)], strict=True):
        if start == stop:
            continue
        base = (block_medians[rows[start]][blocks] + supermedian).astype(np.float32)
        for begin in range(start, stop, _FRAMES_PER_STEP):
            part = slice(begin, min(begin + _FRAMES_PER_STEP, stop))
            np.subtract(images[part], base, out=out[part], dtype=np.float32)
            _divide(out[part], adc_to_pe)


def pulse_thresholds(pedestals: Floats, sigmas: Floats, n_sigmas: float) -> Ints:
    """Return the least pixel value whose residual is above ``n_sigmas * sigma``.

    Parameters
    ----------
    pedestals, sigmas : ndarray of float64, shape (n_rows, n_pixels)
        Pedestals are multiples of 1/2; NaN where it is missing.
    n_sigmas : float

    Returns
    -------
    ndarray of int32, shape (n_rows, n_pixels)
        Above every pixel value where there is no pedestal.
    """
    limit = float(1 << 20)
    doubled_pedestals = np.nan_to_num(2 * pedestals).astype(np.int64)
    doubled_limits = np.minimum(2 * (n_sigmas * sigmas), limit)
    least = np.floor(np.nan_to_num(doubled_limits, nan=limit)).astype(np.int64) + 1
    # residual > limit, with twice the residual a whole number: 2 * value >= 2 * pedestal + least
    return np.asarray(-((-(doubled_pedestals + least)) // 2)).astype(np.int32)


def keep_pulses(
    images: Ints,
    rows: Int64,
    pedestals: Floats,
    thresholds: Ints,
    out: Float32s,
) -> None:
    """Write the residuals of pulse-height pixels that reach their threshold.

    Parameters
    ----------
    images : ndarray of int16, shape (n_frames, n_pixels)
    rows : ndarray of int64, shape (n_frames,)
        The row of ``pedestals`` of each frame; negative where the frame is masked.
    pedestals : ndarray of float64, shape (n_rows, n_pixels)
    thresholds : ndarray of int32, shape (n_rows, n_pixels)
        From `pulse_thresholds`.
    out : ndarray of float32, shape (n_frames, n_pixels)
        Receives the residuals, and NaN where it is missing.
    """
    n_pixels = images.shape[1]
    for begin in range(0, len(images), _FRAMES_PER_STEP):
        part = slice(begin, begin + _FRAMES_PER_STEP)
        values, row = images[part], rows[part]
        hits = values >= thresholds[row]
        hits &= (row >= 0)[:, np.newaxis]
        frame, pixel = np.divmod(np.flatnonzero(hits), n_pixels)
        residuals = values[frame, pixel] - pedestals[row[frame], pixel]
        out[part] = np.nan
        out[begin + frame, pixel] = residuals


def mask_pixels(out: Float32s, present: Bools, quabos: Ints) -> None:
    """Set the pixels of quabos that are masked to NaN.

    Parameters
    ----------
    out : ndarray of float32, shape (n_frames, n_pixels)
    present : ndarray of bool, shape (n_frames, 4)
        Whether a quabo's pixels are not masked.
    quabos : ndarray of int, shape (n_pixels,)
        The quabo of each pixel.
    """
    frames = np.flatnonzero(~present.all(axis=1))
    out[frames] = np.where(present[frames][:, quabos], out[frames], np.float32(np.nan))


def _divide(values: Float32s, divisor: float) -> None:
    """Divide in place, each quotient rounded to float32 from a float64 one or exactly."""
    if float(np.float32(divisor)) == divisor:
        np.divide(values, np.float32(divisor), out=values)
    else:
        values[...] = values.astype(np.float64) / divisor
