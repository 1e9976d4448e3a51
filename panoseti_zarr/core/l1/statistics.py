"""Statistics of frames, from which a baseline is made. Definitions: docs/l1.md.

A *row* of a baseline is what one window (of one board) shares: ``window * n_boards + board``.
Frames are arrays of shape (n_frames, n_pixels), their pixels row by row. A window that goes beyond
the given frames is counted, and settled when the counts of all its parts are together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from panoseti_zarr.core.l1.histogram import NO_TALLY, Tally, merge_tallies
from panoseti_zarr.core.l1.histogram_builder import TallyBuilder
from panoseti_zarr.core.l1.medians import (
    few_medians_and_sigmas,
    medians,
    medians_and_sigmas,
    partitioned_medians,
)
from panoseti_zarr.core.l1.windows import Windows

Ints = npt.NDArray[np.integer]
Int64 = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_FRAMES_TOGETHER = 1024
"""What is made of this many images stays in the processor's cache."""


@dataclass(frozen=True)
class Statistics:
    """Medians and sigmas of the rows that some frames complete, and counts of the others.

    Attributes
    ----------
    rows : ndarray of int64, shape (n,)
    medians, sigmas : ndarray of float64, shape (n, n_groups)
        NaN where nothing was counted.
    partial : Tally
        Of the rows whose windows are not whole yet; its groups are ``row * n_groups + group``.
    """

    rows: Int64
    medians: Floats
    sigmas: Floats
    partial: Tally


def settle(tally: Tally, n_groups: int, is_whole: Bools) -> Statistics:
    """Take the statistics of the rows that are whole, and leave the tally of the others.

    Parameters
    ----------
    tally : Tally
        Its groups are ``row * n_groups + group``.
    n_groups : int
        Groups of a row: blocks or pixels.
    is_whole : ndarray of bool, shape (n_rows,)
    """
    row_of_key, group_of_key = np.divmod(tally.groups, n_groups)
    settled = is_whole[row_of_key]
    is_found = np.bincount(row_of_key[settled], minlength=len(is_whole)) > 0
    rows = np.flatnonzero(is_found)
    local = (np.cumsum(is_found) - 1)[row_of_key] * n_groups + group_of_key
    median, sigma = medians_and_sigmas(tally.regrouped(local, settled), len(rows) * n_groups)
    shape = (len(rows), n_groups)
    partial = tally.regrouped(tally.groups, ~settled)
    return Statistics(rows, median.reshape(shape), sigma.reshape(shape), partial)


def partial_statistics(tally: Tally, n_groups: int) -> Statistics:
    """Return statistics that are counts only, of no whole row."""
    none = np.empty((0, n_groups))
    return Statistics(np.empty(0, np.int64), none, none, tally)


def join_statistics(parts: list[Statistics], n_groups: int) -> Statistics:
    """Return what several parts of a stream completed, and the counts they left."""
    none = np.empty((0, n_groups))
    return Statistics(
        np.concatenate([np.empty(0, np.int64), *(part.rows for part in parts)]),
        np.concatenate([none, *(part.medians for part in parts)]),
        np.concatenate([none, *(part.sigmas for part in parts)]),
        merge_tallies(part.partial for part in parts),
    )


def pulse_statistics(
    images: Ints,
    boards: Ints,
    present: Bools | None,
    quabos: Ints,
    windows: Windows,
    first_frame: int,
    max_frames: int,
) -> Statistics:
    """Find the pedestals and sigmas of the windows that lie in a run of pulse-height frames.

    Parameters
    ----------
    images : ndarray of int16, shape (n_frames, n_pixels)
    boards : ndarray of int, shape (n_frames,)
        The board each frame counts for; negative for none.
    present : ndarray of bool, shape (n_frames, 4), or None
        Whether a quabo's pixels are not masked; None where frames have one board.
    quabos : ndarray of int, shape (n_pixels,)
        The quabo of each pixel, where ``present`` is given.
    windows : Windows
    first_frame : int
        Position of the first frame in the stream.
    max_frames : int
        Frames worked on at once.
    """
    n_pixels = images.shape[1]
    stops = windows.stops.ravel()
    is_whole = windows.lie_within(first_frame, first_frame + len(images))
    parts = []
    for board in range(windows.n_boards):
        at = np.flatnonzero(boards == board)
        rows = windows.rows_of(board, at + first_frame)
        counts = at + first_frame < stops[rows]
        at, rows = at[counts], rows[counts]
        found, starts, sizes = np.unique(rows, return_index=True, return_counts=True)
        for run in _group_equal_windows(starts, starts + sizes, is_whole[found], max_frames):
            chosen = at[starts[run[0]] : starts[run[-1]] + sizes[run[-1]]]
            if not is_whole[found[run[0]]] or len(chosen) > max_frames:
                builder = TallyBuilder(np.arange(n_pixels))
                tally = _count(builder, images, chosen, present, quabos, max_frames)
                shifted = tally.regrouped(tally.groups + found[run[0]] * n_pixels)
                parts.append(settle(shifted, n_pixels, is_whole))
            elif present is None or present[chosen].all():
                values = images[chosen].reshape(len(run), -1, n_pixels)
                parts.append(Statistics(found[run], *few_medians_and_sigmas(values), NO_TALLY))
            else:
                for place in run.tolist():
                    here = at[starts[place] : starts[place] + sizes[place]]
                    masked = _masked_statistics(images[here], present[here], quabos)
                    parts.append(Statistics(found[[place]], *masked, NO_TALLY))
    return join_statistics(parts, n_pixels)


def block_statistics(
    images: Ints,
    present: Bools,
    quabos: Ints,
    blocks: Ints,
    windows: Windows,
    first_frame: int,
    max_frames: int,
) -> Statistics:
    """Find the block medians of the windows that lie in a run of images.

    Parameters
    ----------
    images : ndarray of uint8 or uint16, shape (n_frames, n_pixels)
    present : ndarray of bool, shape (n_frames, 4)
        Whether a quabo's pixels are not masked.
    quabos, blocks : ndarray of int, shape (n_pixels,)
        The quabo and the block of each pixel.
    windows : Windows
        Of one board.
    first_frame : int
        Position of the first frame in the stream.
    max_frames : int
        Frames worked on at once.
    """
    n_blocks = int(blocks.max()) + 1
    block_pixels = np.argsort(blocks, kind="stable").reshape(n_blocks, -1)
    starts = np.maximum(windows.starts[:, 0] - first_frame, 0)
    stops = np.minimum(windows.stops[:, 0] - first_frame, len(images))
    is_whole = windows.lie_within(first_frame, first_frame + len(images))
    n_cut = np.concatenate(([0], np.cumsum(~present.all(axis=1))))
    parts = []
    for rows in _group_equal_windows(starts, stops, is_whole, max_frames):
        frames = slice(int(starts[rows[0]]), int(stops[rows[-1]]))
        n_frames = frames.stop - frames.start
        if not is_whole[rows[0]] or n_frames > max_frames:
            builder = TallyBuilder(blocks)
            tally = _count(builder, images[frames], None, present[frames], quabos, max_frames)
            shifted = tally.regrouped(tally.groups + rows[0] * n_blocks)
            parts.append(settle(shifted, n_blocks, is_whole))
        elif n_cut[frames.start] == n_cut[frames.stop]:
            values = images[frames].reshape(len(rows), -1, images.shape[1])
            parts.append(_medians_alone(rows, _block_medians(values, block_pixels)))
        else:
            for row in rows.tolist():
                here = slice(int(starts[row]), int(stops[row]))
                keep = present[here][:, quabos]
                found = _masked_block_medians(images[here], keep, block_pixels)
                parts.append(_medians_alone(np.array([row]), found[np.newaxis]))
    return join_statistics(parts, n_blocks)


def count_pixels(images: Ints, present: Bools | None, quabos: Ints, max_frames: int) -> Tally:
    """Count the values of each pixel that are not masked; parameters as `block_statistics`."""
    builder = TallyBuilder(np.arange(images.shape[1]))
    return _count(builder, images, None, present, quabos, max_frames)


def single_window_baseline(pixels: Tally, blocks: Ints) -> tuple[Floats, Floats]:
    """Find the baseline of images where its one window's frames also give the supermedian.

    Parameters
    ----------
    pixels : Tally
        The values of each pixel in these frames.
    blocks : ndarray of int, shape (n_pixels,)
        The block of each pixel.

    Returns
    -------
    block_medians : ndarray of float64, shape (n_blocks,)
    supermedian : ndarray of float64, shape (n_pixels,)
        NaN where nothing was counted.
    """
    block_medians = medians(pixels.regrouped(blocks[pixels.groups]), int(blocks.max()) + 1)
    return block_medians, medians(pixels, len(blocks)) - block_medians[blocks]


def _medians_alone(rows: Int64, medians: Floats) -> Statistics:
    """Return statistics without sigmas, which images have no use for."""
    return Statistics(rows, medians, np.full(medians.shape, np.nan), NO_TALLY)


def _group_equal_windows(
    starts: Int64, stops: Int64, is_whole: Bools, max_frames: int
) -> list[Int64]:
    """Cut the windows that have frames here into runs that can be worked on together.

    Those of a run are whole, of one length, and have at most ``max_frames`` frames in all; others
    are alone.
    """
    max_frames = min(max_frames, _FRAMES_TOGETHER)
    here = np.flatnonzero(starts < stops)
    sizes, whole = (stops - starts)[here], is_whole[here]
    cuts = np.flatnonzero((np.diff(sizes) != 0) | ~whole[1:] | ~whole[:-1]) + 1
    runs = []
    for run in np.split(here, cuts):
        step = max(1, max_frames // int(stops[run[0]] - starts[run[0]])) if len(run) else 1
        runs += [run[begin : begin + step] for begin in range(0, len(run), step)]
    return runs


def _masked_statistics(images: Ints, present: Bools, quabos: Ints) -> tuple[Floats, Floats]:
    """Return medians and sigmas (1, n_pixels) of one window of which quabos are masked."""
    shape = (1, images.shape[1])
    median, sigma = np.empty(shape), np.empty(shape)
    for quabo in range(present.shape[1]):
        pixels = np.flatnonzero(quabos == quabo)
        values = images[present[:, quabo]][np.newaxis, :, pixels]
        median[:, pixels], sigma[:, pixels] = few_medians_and_sigmas(values)
    return median, sigma


def _block_medians(values: Ints, block_pixels: Int64) -> Floats:
    """Return the medians (n_windows, n_blocks) of images (n_windows, n_frames, n_pixels).

    Parameters
    ----------
    block_pixels : ndarray of int64, shape (n_blocks, n_pixels_of_a_block)
    """
    n_windows, n_frames, _ = values.shape
    by_block = np.take(values, block_pixels.ravel(), axis=2)
    by_block = by_block.reshape(n_windows, n_frames, *block_pixels.shape).transpose(0, 2, 1, 3)
    rows = by_block.astype(np.int32, order="C").reshape(n_windows * len(block_pixels), -1)
    return partitioned_medians(rows).reshape(n_windows, -1)


def _masked_block_medians(images: Ints, keep: Bools, block_pixels: Int64) -> Floats:
    """Return the medians of one window, of those pixels that are kept; NaN where none is."""
    result = np.full(len(block_pixels), np.nan)
    for block, pixels in enumerate(block_pixels):
        values = images[:, pixels][keep[:, pixels]].astype(np.int32)
        if len(values):
            result[block] = partitioned_medians(values[np.newaxis])[0]
    return result


def _count(
    builder: TallyBuilder,
    images: Ints,
    chosen: Int64 | None,
    present: Bools | None,
    quabos: Ints,
    max_frames: int,
) -> Tally:
    """Count the values of all frames or of those chosen, some frames at a time."""
    for begin in range(0, len(images) if chosen is None else len(chosen), max_frames):
        part = slice(begin, begin + max_frames) if chosen is None else chosen[begin:][:max_frames]
        if present is None:
            builder.add(images[part])
        else:
            _add_present(builder, images[part], present[part], quabos)
    return builder.tally()


def _add_present(builder: TallyBuilder, images: Ints, present: Bools, quabos: Ints) -> None:
    """Count the pixels that are not masked; whole frames, which are most, without looking."""
    is_whole = np.asarray(present.all(axis=1))
    if is_whole.all():
        builder.add(images)
        return
    builder.add(images[is_whole])
    cut = ~is_whole & present.any(axis=1)
    builder.add(images[cut], keep=present[cut][:, quabos])
