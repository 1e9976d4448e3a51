"""The tasks of a baseline subtraction: windows, statistics of a chunk, subtraction of a chunk.

They run on any worker, read the L0 store, and write into the staging directory only, each
execution under a random name. What they return is small: names and numbers.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from panoseti_zarr.core.l1.histogram import NO_TALLY
from panoseti_zarr.core.l1.masks import n_boards, present_quabos
from panoseti_zarr.core.l1.statistics import (
    Statistics,
    block_statistics,
    count_pixels,
    partial_statistics,
    pulse_statistics,
)
from panoseti_zarr.core.l1.subtract import (
    doubled_residuals,
    keep_pulses,
    mask_pixels,
    pulse_thresholds,
    subtract_images,
)
from panoseti_zarr.core.l1.windows import WindowFinder, Windows, first_window, position_windows
from panoseti_zarr.errors import declared_errors
from panoseti_zarr.io.fs.durable import sync_file
from panoseti_zarr.io.fs.scratch import scratch
from panoseti_zarr.io.l1.baseline_files import (
    BaselineFiles,
    Sample,
    load_sample,
    load_windows,
    save_sample,
    save_statistics,
    save_windows,
)
from panoseti_zarr.io.l1.builder import StagedL1Chunk, copy_chunks, new_attempt
from panoseti_zarr.io.l1.job import (
    L1Job,
    as_frames,
    exchange_quarters,
    find_present,
    image_runs,
    read_array,
    read_boards,
    read_images,
)
from panoseti_zarr.io.l1.metadata import PIXEL_DTYPE
from panoseti_zarr.io.zarr3.shards import new_chunk, staged_path

Ints = npt.NDArray[np.integer]
Int64 = npt.NDArray[np.int64]
Float32s = npt.NDArray[np.float32]


def find_windows(job: L1Job) -> str:
    """Find the windows of the stream; return the path of a file with them.

    Raises
    ------
    CorruptDataError
        What the L0 store holds cannot be read.
    TransientIOError
        A transient failure to read or write. Both as in every task here.
    """
    return save_windows(job.staging, _find_windows(job))


def count_chunk(job: L1Job, windows_path: str, index: int) -> str:
    """Take the statistics of the frames of a chunk that count for a baseline.

    Returns
    -------
    str
        Path of a file with `Statistics`. Where the windows of images have baselines of their own
        there is a `Sample` beside it, of the frames that count for the supermedian; otherwise
        the partial tally has the values of each pixel.
    """
    windows = load_windows(windows_path, job.n_frames)
    start, stop = job.chunk_range(index)
    if job.layout.is_pulse_height:
        return save_statistics(job.staging, _count_pulses(job, windows, start, stop))
    if job.has_running_windows:
        return _count_blocks(job, windows, start, stop)
    step = job.settings.img_frame_step
    if job.has_first_window:
        step, stop = 1, min(stop, int(windows.stops[0, 0]))
    first = start + -start % step
    if first >= stop:
        return save_statistics(job.staging, partial_statistics(NO_TALLY, len(job.quabos)))
    frames = slice(first, stop, step)
    present = present_quabos(read_array(job, "quality", frames), job.layout)
    pixels = count_pixels(read_images(job, frames), present, job.quabos, job.frames_at_once)
    return save_statistics(job.staging, partial_statistics(pixels, len(job.quabos)))


def count_residuals(job: L1Job, sample_path: str, baseline: BaselineFiles) -> str:
    """Count, per pixel, twice what a sample of images has left after the block medians.

    Returns
    -------
    str
        Path of a file with `Statistics`, of which the partial tally matters.
    """
    sample = load_sample(sample_path)
    rows, local = np.unique(sample.rows, return_inverse=True)
    medians = baseline.load("block_median", rows)
    doubled = doubled_residuals(sample.images, medians[local], job.blocks)
    tally = count_pixels(doubled, sample.present, job.quabos, job.frames_at_once)
    return save_statistics(job.staging, partial_statistics(tally, len(job.quabos)))


def subtract_chunk(
    job: L1Job, windows_path: str, baseline: BaselineFiles, index: int
) -> StagedL1Chunk:
    """Stage a chunk of ``images`` less the baseline, and copies of the other arrays' chunks."""
    windows = load_windows(windows_path, job.n_frames)
    start, stop = job.chunk_range(index)
    subtraction = _subtraction(job, windows, baseline, start, stop)
    attempt, folder = new_attempt(job.staging)
    with declared_errors(f"writing chunk {index}"):
        os.mkdir(folder)
        with new_chunk(staged_path(folder, "images"), job.image_document) as chunk:
            for first, images in image_runs(job, start, stop):
                out = scratch("residuals", images.shape, PIXEL_DTYPE)
                subtraction(images, slice(first - start, first - start + len(images)), out)
                chunk.add(as_frames(job, out))
        copy_chunks(job.store, folder, (path for path in job.documents if path != "images"), index)
        for path in job.documents:
            sync_file(staged_path(folder, path))
    return StagedL1Chunk(index, attempt)


def _find_windows(job: L1Job) -> Windows:
    size = job.settings.baseline_window
    if not job.layout.is_pulse_height:
        if job.has_first_window:
            return first_window(job.n_frames, size)
        return position_windows(job.n_frames, size)
    finder = WindowFinder(size, n_boards(job.layout), first_only=job.has_first_window)
    for index in range(job.n_chunks):
        start, stop = job.chunk_range(index)
        frames = slice(start, stop)
        finder.add(start, read_boards(job, frames, read_array(job, "quality", frames)))
        if finder.is_done:
            break
    return finder.windows(job.n_frames)


def _count_pulses(job: L1Job, windows: Windows, start: int, stop: int) -> Statistics:
    # Frames outside every window are not read: of a first window there are few.
    start = max(start, int(windows.starts.min()))
    stop = min(stop, int(windows.stops[windows.starts < job.n_frames].max(initial=start)))
    frames = slice(start, stop)
    quality = read_array(job, "quality", frames)
    return pulse_statistics(
        exchange_quarters(job, read_images(job, frames)),
        read_boards(job, frames, quality),
        find_present(job, quality),
        job.quabos,
        windows,
        start,
        job.settings.compute_chunk_size,
    )


def _count_blocks(job: L1Job, windows: Windows, start: int, stop: int) -> str:
    images = read_images(job, slice(start, stop))
    present = present_quabos(read_array(job, "quality", slice(start, stop)), job.layout)
    statistics = block_statistics(
        images, present, job.quabos, job.blocks, windows, start, job.frames_at_once
    )
    path = save_statistics(job.staging, statistics)
    step = job.settings.img_frame_step
    sampled = np.arange(start + -start % step, stop, step)
    chosen = sampled - start
    rows = windows.rows_of(0, sampled)
    save_sample(path, Sample(images[chosen], present[chosen], rows))
    return path


_Subtraction = Callable[[Ints, slice, Float32s], None]
"""Takes images, where they are in the chunk, and what to fill with what is left of them."""


def _subtraction(
    job: L1Job, windows: Windows, baseline: BaselineFiles, start: int, stop: int
) -> _Subtraction:
    """Load what is to be subtracted from a chunk's frames, and return how."""
    frames, positions = slice(start, stop), np.arange(start, stop)
    quality = read_array(job, "quality", frames)
    if not job.layout.is_pulse_height:
        return _image_subtraction(job, quality, windows.rows_of(0, positions), baseline)
    boards = read_boards(job, frames, quality)
    return _pulse_subtraction(job, quality, windows.rows_of_positions(positions, boards), baseline)


def _image_subtraction(
    job: L1Job, quality: Ints, rows: Int64, baseline: BaselineFiles
) -> _Subtraction:
    rows_here, local = np.unique(rows, return_inverse=True)
    block_medians = baseline.load("block_median", rows_here)
    supermedian = baseline.load("supermedian", np.arange(1))[0]
    present, blocks, quabos = present_quabos(quality, job.layout), job.blocks, job.quabos

    def subtract(images: Ints, part: slice, out: Float32s) -> None:
        subtract_images(
            images, local[part], block_medians, supermedian, blocks, job.settings.img_adc_to_pe, out
        )
        mask_pixels(out, present[part], quabos)

    return subtract


def _pulse_subtraction(
    job: L1Job, quality: Ints, rows: Int64, baseline: BaselineFiles
) -> _Subtraction:
    rows_here = np.unique(rows[rows >= 0])
    local = np.where(rows < 0, rows, np.searchsorted(rows_here, rows))
    pedestals = baseline.load("pedestal", rows_here)
    thresholds = pulse_thresholds(
        pedestals, baseline.load("sigma", rows_here), job.settings.ph_sigma_threshold
    )
    present, quabos = find_present(job, quality), job.quabos

    def subtract(images: Ints, part: slice, out: Float32s) -> None:
        if len(rows_here):
            keep_pulses(exchange_quarters(job, images), local[part], pedestals, thresholds, out)
        else:
            out.fill(np.nan)
        if present is not None:
            mask_pixels(out, present[part], quabos)

    return subtract
