"""Hits and spectrum of pulse height, and the place of each board in a module. Pure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from panoseti_zarr.core.l1.masks import n_boards, quabo_of_pixels
from panoseti_zarr.model import N_QUABOS, QUABO_QUARTERS, HeaderForm, Product

Ints = npt.NDArray[np.integer]

SPECTRUM_EDGES: npt.NDArray[np.float64] = np.geomspace(0.5, 65536, 69)
"""Four bins for each doubling of the pulse height."""

_SIDE = 32


def as_module(values: npt.NDArray[np.generic], product: Product) -> npt.NDArray[np.generic]:
    """Arrange the pixels of a module's boards as in the module, upper row first.

    Parameters
    ----------
    values : ndarray, shape (n_boards, n_pixels)
        Of ``ph256`` the pixels of each quabo, otherwise of the module.
    product : Product

    Returns
    -------
    ndarray, shape (32, 32)
    """
    if n_boards(product) == 1:
        return values.reshape(product.height, product.width)
    module = np.empty((_SIDE, _SIDE), values.dtype)
    for board, quarter in zip(values, QUABO_QUARTERS, strict=True):
        module[quarter] = board.reshape(product.height, product.width)
    return module


class PulseSums:
    """Counts pulses, by pixel and by height.

    Parameters
    ----------
    product : Product
    swap : bool
        The quarters of ``ph1024`` were exchanged.
    """

    def __init__(self, product: Product, *, swap: bool) -> None:
        self._product = product
        n_pixels = product.height * product.width
        self._hits = np.zeros((n_boards(product), n_pixels), np.int64)
        self._spectrum = np.zeros((N_QUABOS, len(SPECTRUM_EDGES) - 1), np.int64)
        self._quabos: Ints | None = None
        if product.form is HeaderForm.MODULE:
            self._quabos = quabo_of_pixels(product, swap=swap)

    def add(self, pulses: npt.NDArray[np.float32], boards: Ints) -> None:
        """Take in frames.

        Parameters
        ----------
        pulses : ndarray of float32, shape (n_frames, n_pixels)
            Heights above the pedestal; NaN where there is no pulse.
        boards : ndarray of int, shape (n_frames,)
            The board that each frame counts for; negative for none, which has no pulses.
        """
        frames, pixels = np.nonzero(np.isfinite(pulses))
        board = boards[frames]
        np.add.at(self._hits, (board, pixels), 1)
        quabos = board if self._quabos is None else self._quabos[pixels]
        places = np.searchsorted(SPECTRUM_EDGES, pulses[frames, pixels], side="right") - 1
        places = np.clip(places, 0, self._spectrum.shape[1] - 1)
        np.add.at(self._spectrum, (quabos, places), 1)

    def hits(self) -> Ints:
        """Return how many pulses each pixel had, shape (32, 32)."""
        return as_module(self._hits, self._product)  # type: ignore[return-value]

    def spectrum(self) -> Ints:
        """Return how many pulses of each height (`SPECTRUM_EDGES`) each quabo had."""
        return self._spectrum
