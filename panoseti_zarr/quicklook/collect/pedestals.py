"""Pedestals and sigmas of pulse height: those of an L1 store, or of a sample of an L0 store."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from panoseti_zarr.config import BaselineSubtractConfig
from panoseti_zarr.core.l1.histogram import TallySum
from panoseti_zarr.core.l1.masks import n_boards, quabo_of_pixels
from panoseti_zarr.core.l1.statistics import Statistics, pulse_statistics, settle
from panoseti_zarr.core.l1.subtract import keep_pulses, mask_pixels, pulse_thresholds
from panoseti_zarr.core.l1.windows import Windows
from panoseti_zarr.core.text import count
from panoseti_zarr.model import HeaderForm, Product
from panoseti_zarr.quicklook.collect.scan import Frames, pieces_of, read_frames
from panoseti_zarr.quicklook.compute.sampling import choose_ranges, spread
from panoseti_zarr.quicklook.store_view import StoreView

Floats = npt.NDArray[np.float64]
Float32s = npt.NDArray[np.float32]
Ints = npt.NDArray[np.integer]

_MOST_WINDOWS = 64
_MOST_SAMPLE_PIECES = 32
_FRAMES_AT_ONCE = 1024


@dataclass(frozen=True)
class Pedestals:
    """Pedestals and sigmas, counts; NaN where nothing was measured.

    Attributes
    ----------
    pedestal, sigma : ndarray of float64, shape (n_boards, n_pixels)
    n_sigmas : float
        A pixel that many sigmas above its pedestal is a pulse.
    origin : str
        Where they come from, in words.
    """

    pedestal: Floats
    sigma: Floats
    n_sigmas: float
    origin: str


def stored_pedestals(l1: StoreView) -> Pedestals:
    """Return those of an L1 store; where it has several windows, their median."""
    documents, settings = l1.documents, l1.attributes["settings"]
    n_windows = int(documents["baseline/pedestal"]["shape"][0])
    windows = spread(n_windows, _MOST_WINDOWS)
    shape = (n_boards(l1.product), -1)
    maps = [
        _medians(
            np.array([l1.read(f"baseline/{name}", at, at + 1).reshape(shape) for at in windows])
        )
        for name in ("pedestal", "sigma")
    ]
    first, mode = settings["baseline_window"], settings["baseline_mode"]
    origin = "L1, whole stream"
    if first and mode == "initial":
        origin = f"L1, first {count(first, 'frame')}"
    elif first:
        origin = f"L1, median of {count(len(windows), 'window')} of {n_windows:,}"
    return Pedestals(maps[0], maps[1], settings["ph_sigma_threshold"], origin)


def sampled_pedestals(stream: StoreView) -> Pedestals:
    """Find those of an L0 store in pieces of it, spread evenly, as of one window."""
    product = stream.product
    ranges = choose_ranges(stream.n_frames, stream.chunk_frames)
    pieces = pieces_of(stream, ranges, _MOST_SAMPLE_PIECES)
    n_sampled = sum(stop - start for start, stop in pieces)
    shape = (1, n_boards(product))
    windows = Windows(np.zeros(shape, np.int64), np.full(shape, n_sampled), n_sampled)
    n_pixels, position, open_counts, parts = product.height * product.width, 0, TallySum(), []
    for start, stop in pieces:
        frames = read_frames(stream, start, stop)
        images = stream.read("images", start, stop).reshape(-1, n_pixels)
        present, quabos = _quabos(product, frames)
        part = pulse_statistics(
            images, frames.boards, present, quabos, windows, position, _FRAMES_AT_ONCE
        )
        parts.append(part)
        open_counts.add(part.partial)
        position += len(images)
    parts.append(settle(open_counts.total(), n_pixels, np.ones(shape[1], bool)))
    median, sigma = _by_board(parts, (shape[1], n_pixels))
    n_sigmas = BaselineSubtractConfig().ph_sigma_threshold
    return Pedestals(median, sigma, n_sigmas, f"sample of {count(n_sampled, 'frame')}")


def find_pulses(pedestals: Pedestals, images: Ints, frames: Frames, product: Product) -> Float32s:
    """Return what is above the threshold in frames of an L0 store, as its L1 store would.

    Parameters
    ----------
    pedestals : Pedestals
    images : ndarray of int16, shape (n_frames, n_pixels)
    frames : Frames
    product : Product

    Returns
    -------
    ndarray of float32, shape (n_frames, n_pixels)
        Heights above the pedestal; NaN elsewhere.
    """
    thresholds = pulse_thresholds(pedestals.pedestal, pedestals.sigma, pedestals.n_sigmas)
    pulses = np.empty(images.shape, np.float32)
    keep_pulses(images, frames.boards.astype(np.int64), pedestals.pedestal, thresholds, pulses)
    present, quabos = _quabos(product, frames)
    if present is not None:
        mask_pixels(pulses, present, quabos)
    return pulses


def _quabos(product: Product, frames: Frames) -> tuple[npt.NDArray[np.bool_] | None, Ints]:
    if product.form is HeaderForm.QUABO:
        return None, np.zeros(product.height * product.width, np.int64)
    return frames.present, quabo_of_pixels(product, swap=False)


def _by_board(parts: list[Statistics], shape: tuple[int, int]) -> tuple[Floats, Floats]:
    median, sigma = np.full(shape, np.nan), np.full(shape, np.nan)
    for part in parts:
        median[part.rows], sigma[part.rows] = part.medians, part.sigmas
    return median, sigma


def _medians(values: Floats) -> Floats:
    """Return the median over the first dimension of what is not NaN."""
    result = np.full(values.shape[1:], np.nan)
    some = np.isfinite(values).any(axis=0)
    result[some] = np.nanmedian(values[:, some], axis=0)
    return result
