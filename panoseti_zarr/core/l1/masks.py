"""The pixels of a frame that hold a measurement, and the board of each.

Masked is what no board measured, or what cannot be trusted: a frame whose header could not be
read, the quarter of a quabo that sent nothing, and for pulse height a frame without a time. A
``ph256`` frame whose ``quabo_num`` names no quabo is masked too: it has no pedestal.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from panoseti_zarr.model import N_QUABOS, QUABO_QUARTERS, HeaderForm, Product, Quality

Ints = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]

NO_BOARD = -1
"""What `boards_of_frames` gives for a frame that counts for no board."""

_UPPER_RIGHT, _LOWER_LEFT = 1, 3


def readable_frames(quality: Ints, product: Product) -> Bools:
    """Say which frames are not masked as a whole by their header or their time.

    Parameters
    ----------
    quality : ndarray of uint16, shape (n_frames,)
        Bits of `Quality`.
    product : Product
    """
    bad = Quality.HEADER_UNREADABLE
    if product.is_pulse_height:
        bad |= Quality.NO_TIME
    return np.asarray((quality & np.uint16(bad)) == 0)


def present_quabos(quality: Ints, product: Product) -> Bools:
    """Say of each frame of a module product which quabos' pixels are not masked.

    Returns
    -------
    ndarray of bool, shape (n_frames, 4)
    """
    bits = np.uint16(1) << np.arange(N_QUABOS, dtype=np.uint16)
    sent = (quality[:, np.newaxis] & bits) == 0
    return np.asarray(sent & readable_frames(quality, product)[:, np.newaxis])


def boards_of_frames(quality: Ints, quabo_num: Ints | None, product: Product) -> Ints:
    """Return the number of the pedestal that each pulse-height frame counts for.

    Parameters
    ----------
    quality : ndarray of uint16, shape (n_frames,)
    quabo_num : ndarray of uint8, shape (n_frames,), or None
        Of ``ph256``; its frames count for their own quabo.
    product : Product

    Returns
    -------
    ndarray of int64, shape (n_frames,)
        0 for frames of a module product, the quabo for ``ph256``, `NO_BOARD` for a frame that is
        masked as a whole.
    """
    if quabo_num is None:
        return np.where(present_quabos(quality, product).any(axis=1), 0, NO_BOARD)
    good = readable_frames(quality, product) & (quabo_num < N_QUABOS)
    return np.where(good, quabo_num.astype(np.int64), NO_BOARD)


def n_boards(product: Product) -> int:
    """Return how many boards' frames share the stream and have windows of their own."""
    return N_QUABOS if product.form is HeaderForm.QUABO else 1


def quabo_of_pixels(product: Product, *, swap: bool) -> Ints:
    """Return which quabo each pixel of a module frame comes from.

    Parameters
    ----------
    product : Product
    swap : bool
        For frames whose quarters were exchanged by `swap_quarters`: the mask goes with the pixels.

    Returns
    -------
    ndarray of int64, shape (n_pixels,)
        Row by row.
    """
    quabos = np.zeros((product.height, product.width), np.int64)
    for quabo, quarter in enumerate(QUABO_QUARTERS):
        quabos[quarter] = quabo
    if swap:
        quabos = swap_quarters(quabos[np.newaxis])[0]
    return quabos.ravel()


def swap_quarters(frames: Ints) -> Ints:
    """Return frames with the upper-right and the lower-left quarter exchanged.

    Parameters
    ----------
    frames : ndarray, shape (n_frames, 32, 32)
    """
    upper_right, lower_left = QUABO_QUARTERS[_UPPER_RIGHT], QUABO_QUARTERS[_LOWER_LEFT]
    swapped = frames.copy()
    swapped[:, *upper_right] = frames[:, *lower_left]
    swapped[:, *lower_left] = frames[:, *upper_right]
    return swapped


def block_of_pixels(product: Product, block_size: int) -> Ints:
    """Return the block of each pixel, both row by row.

    Parameters
    ----------
    product : Product
    block_size : int
        Side of a block, pixels; divides height and width.

    Returns
    -------
    ndarray of int64, shape (n_pixels,)
    """
    rows = np.arange(product.height) // block_size
    columns = np.arange(product.width) // block_size
    return (rows[:, np.newaxis] * (product.width // block_size) + columns).ravel()
