"""An oracle for L1 stores: section by section what docs/l1.md says, over whole arrays, in numpy.

Slow, and shares no code with the package. Masked values are NaN from the start.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

QUARTERS = (
    (slice(0, 16), slice(0, 16)),
    (slice(0, 16), slice(16, 32)),
    (slice(16, 32), slice(16, 32)),
    (slice(16, 32), slice(0, 16)),
)


@dataclass(frozen=True)
class NaiveL1:
    """What an L1 store must hold: ``images``, and the arrays of ``baseline/`` by name."""

    images: np.ndarray
    baseline: dict[str, np.ndarray]


def naive_l1(product, images, quality, quabo_num, settings) -> NaiveL1:
    """Subtract the baseline of a whole stream.

    Parameters
    ----------
    product : str
    images : ndarray, shape (n_frames, y, x)
    quality : ndarray of uint16, shape (n_frames,)
    quabo_num : ndarray of uint8, shape (n_frames,), or None
    settings : BaselineSubtractConfig
    """
    data = images.astype(float)
    for frame, bits in enumerate(quality):
        if bits & 64 or (product.startswith("ph") and bits & 128):
            data[frame] = np.nan
        if product == "ph256":
            if quabo_num[frame] > 3:
                data[frame] = np.nan
            continue
        for quabo, (rows, columns) in enumerate(QUARTERS):
            if bits >> quabo & 1:
                data[frame, rows, columns] = np.nan
    if product == "ph1024" and settings.ph1024_swap_quabos:
        upper_right, lower_left = data[:, :16, 16:].copy(), data[:, 16:, :16].copy()
        data[:, :16, 16:], data[:, 16:, :16] = lower_left, upper_right
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's, of medians of nothing
        if product.startswith("ph"):
            boards = quabo_num if product == "ph256" else np.zeros(len(data), int)
            return _pulse_height(data, boards, 4 if product == "ph256" else 1, settings)
        return _images(data, settings)


def cut_windows(frames: list[int], settings) -> list[list[int]]:
    """Cut a list of frames into windows."""
    size = settings.baseline_window
    if size == 0:
        return [frames]
    if settings.baseline_mode == "initial":
        return [frames[:size]]
    windows = [frames[i : i + size] for i in range(0, len(frames), size)]
    if len(windows) > 1 and len(windows[-1]) < size:
        rest = windows.pop()
        windows[-1] = windows[-1] + rest
    return windows or [[]]


def _pulse_height(data, boards, n_boards, settings) -> NaiveL1:
    n_frames, side = len(data), data.shape[1]
    windows = []
    for board in range(n_boards):
        seen = [i for i in range(n_frames) if boards[i] == board and not np.isnan(data[i]).all()]
        windows.append(cut_windows(seen, settings))
    n_windows = max(map(len, windows))
    pedestal = np.full((n_windows, n_boards, side, side), np.nan)
    sigma = pedestal.copy()
    starts = np.full((n_windows, n_boards), n_frames)
    stops = starts.copy()
    out = np.full(data.shape, np.nan, np.float32)
    for board, board_windows in enumerate(windows):
        for k, window in enumerate(board_windows):
            pedestal[k, board] = np.nanmedian(data[window], axis=0)
            sigma[k, board] = _sigmas(data[window])
            if window:
                starts[k, board], stops[k, board] = window[0], window[-1] + 1
            applies = window
            if settings.baseline_mode == "initial" or settings.baseline_window == 0:
                applies = [i for i in range(n_frames) if boards[i] == board]
            for i in applies:
                residual = data[i] - pedestal[k, board]
                is_pulse = residual > settings.ph_sigma_threshold * sigma[k, board]
                out[i] = np.where(is_pulse, residual, np.nan)
    values = {
        "pedestal": pedestal,
        "sigma": sigma,
        "window_start": starts,
        "window_stop": stops,
    }
    if n_boards == 1:
        values = {name: array[:, 0] for name, array in values.items()}
    return NaiveL1(out, values)


def _sigmas(values: np.ndarray) -> np.ndarray:
    """Population standard deviations over frames, in Python's whole numbers as far as they go."""
    result = np.full(values.shape[1:], np.nan)
    for y, x in np.ndindex(result.shape):
        known = [int(v) for v in values[:, y, x] if not math.isnan(v)]
        if known:
            spread = len(known) * sum(v * v for v in known) - sum(known) ** 2
            result[y, x] = math.sqrt(spread) / len(known)
    return result


def _images(data, settings) -> NaiveL1:
    n_frames = len(data)
    windows = cut_windows(list(range(n_frames)), settings)
    steps = list(range(0, n_frames, settings.img_frame_step))
    starts, stops = [w[0] if w else 0 for w in windows], [w[-1] + 1 if w else 0 for w in windows]
    is_running = settings.baseline_mode == "running" and settings.baseline_window > 0
    if settings.baseline_window == 0:
        windows = sampled = [steps]
        applies = [list(range(n_frames))]
    else:
        sampled = [steps] if is_running else windows
        applies = windows if is_running else [list(range(n_frames))]
    blocks = [(rows, columns) for _, rows, columns in _blocks(settings.img_block_size)]
    medians = np.array(
        [[_median(data[(window, *np.s_[rows, columns])]) for rows, columns in blocks]
         for window in windows]
    )  # fmt: skip
    left = np.full(data.shape, np.nan)
    for k, frames in enumerate(applies):
        for block, (rows, columns) in enumerate(blocks):
            left[frames, rows, columns] = data[frames, rows, columns] - medians[k, block]
    supermedian = np.nanmedian(left[sampled[0]], axis=0)
    n_side = 32 // settings.img_block_size
    return NaiveL1(
        ((left - supermedian) / settings.img_adc_to_pe).astype(np.float32),
        {
            "block_median": medians.reshape(-1, n_side, n_side),
            "supermedian": supermedian,
            "window_start": np.array(starts),
            "window_stop": np.array(stops),
        },
    )


def _median(values: np.ndarray) -> float:
    return float(np.nanmedian(values)) if values.size else math.nan


def _blocks(size: int) -> Iterator[tuple[int, slice, slice]]:
    for block in range((32 // size) ** 2):
        y, x = divmod(block, 32 // size)
        yield block, slice(y * size, (y + 1) * size), slice(x * size, (x + 1) * size)
