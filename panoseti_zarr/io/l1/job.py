"""The parameters that the tasks of one L1 store share, and their reading of its frames."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from panoseti_zarr.config import BaselineSubtractConfig
from panoseti_zarr.core.l1.masks import (
    block_of_pixels,
    boards_of_frames,
    present_quabos,
    quabo_of_pixels,
    swap_quarters,
)
from panoseti_zarr.errors import declared_errors
from panoseti_zarr.io.fs.scratch import scratch
from panoseti_zarr.io.l1.metadata import PIXEL_DTYPE
from panoseti_zarr.io.zarr3.metadata import Json, chunk_path
from panoseti_zarr.io.zarr3.shards import ChunkLayout, ChunkReader, open_chunk
from panoseti_zarr.model import PRODUCTS, HeaderForm, Product

Ints = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]

_MOST_FRAMES = 4096

_RUN_BYTES = 4 << 20
"""Of the float32 images that are worked on together."""


@dataclass(frozen=True)
class L1Job:
    """What every task of one L1 store needs.

    Attributes
    ----------
    store : str
        The L0 store.
    documents : dict of str to dict
        The ``zarr.json`` of the L0 store's arrays, by path, as of the commit.
    image_document : dict
        The ``zarr.json`` of the L1 store's ``images``.
    product : str
    n_frames, time_chunk : int
        Of the L0 store.
    settings : BaselineSubtractConfig
    staging : str
        The L1 store's staging directory.
    """

    store: str
    documents: dict[str, Json]
    image_document: Json
    product: str
    n_frames: int
    time_chunk: int
    settings: BaselineSubtractConfig
    staging: str

    @property
    def layout(self) -> Product:
        """The data product."""
        return PRODUCTS[self.product]

    @property
    def n_chunks(self) -> int:
        """Chunks along time."""
        return -(-self.n_frames // self.time_chunk)

    @property
    def has_running_windows(self) -> bool:
        """Whether each window has a baseline of its own."""
        return self.settings.baseline_mode == "running" and self.settings.baseline_window > 0

    @property
    def has_first_window(self) -> bool:
        """Whether the first frames alone give the baseline."""
        return self.settings.baseline_mode == "initial" and self.settings.baseline_window > 0

    @property
    def quabos(self) -> Ints:
        """The quabo of each pixel; of a ``ph256`` frame it is the frame's, and this is 0."""
        if self.layout.form is HeaderForm.QUABO:
            return np.zeros(self.n_pixels, np.int64)
        return quabo_of_pixels(self.layout, swap=self.swaps)

    @property
    def blocks(self) -> Ints:
        """The median block of each pixel of an image."""
        return block_of_pixels(self.layout, self.settings.img_block_size)

    @property
    def swaps(self) -> bool:
        """Whether quarters are exchanged."""
        return self.product == "ph1024" and self.settings.ph1024_swap_quabos

    def chunk_range(self, index: int) -> tuple[int, int]:
        """Return the frames of a chunk, half open."""
        start = index * self.time_chunk
        return start, min(start + self.time_chunk, self.n_frames)

    @property
    def n_pixels(self) -> int:
        """Pixels of a frame."""
        return self.layout.height * self.layout.width

    @property
    def run_frames(self) -> int:
        """Frames that are read, subtracted and written together: whole pieces of the L1 store."""
        frame_bytes = self.n_pixels * PIXEL_DTYPE.itemsize
        n_bytes = min(_RUN_BYTES, self.settings.compute_chunk_size * frame_bytes)
        return ChunkLayout.of(self.image_document).run_frames(n_bytes)

    @property
    def frames_at_once(self) -> int:
        """Frames whose values are counted in one go: more would not fit the cache."""
        return min(self.settings.compute_chunk_size, _MOST_FRAMES)


def read_array(job: L1Job, path: str, frames: slice) -> Ints:
    """Read some frames of an array of the L0 store, all of one chunk.

    Raises
    ------
    CorruptDataError
        The chunk is missing or damaged.
    TransientIOError
        A transient failure to read.
    """
    start, stop = frames.start, frames.stop
    values = np.empty(stop - start, np.dtype(job.documents[path]["data_type"]))
    if start < stop:
        with _open_chunk(job, path, start) as chunk:
            chunk.read(start % job.time_chunk, values)
    return values[:: frames.step]


def read_images(job: L1Job, frames: slice) -> Ints:
    """Read images of one chunk into memory of this thread, where they are gone at the next call.

    Returns
    -------
    ndarray of the product's dtype, shape (n_frames, n_pixels)

    Raises
    ------
    CorruptDataError, TransientIOError
        As `read_array`.
    """
    start, stop, step = frames.start, frames.stop, frames.step or 1
    n_chosen = len(range(start, stop, step))
    images = scratch("images", (n_chosen, job.n_pixels), job.layout.dtype)
    if n_chosen and step == 1:
        with _open_chunk(job, "images", start) as chunk:
            chunk.read(start % job.time_chunk, as_frames(job, images))
    elif n_chosen:
        position = 0
        for first, run in image_runs(job, start, stop):
            chosen = run[(start - first) % step :: step]
            images[position : position + len(chosen)] = chosen
            position += len(chosen)
    return images


def image_runs(job: L1Job, start: int, stop: int) -> Iterator[tuple[int, Ints]]:
    """Read images of one chunk in runs that stay in the processor's cache.

    Yields
    ------
    first : int
        Frame of the store at which the run begins. From the chunk's first frame on, runs are
        whole inner chunks of the L1 store.
    images : ndarray of the product's dtype, shape (n_frames, n_pixels)
        This thread's; gone at the next run.

    Raises
    ------
    CorruptDataError, TransientIOError
        As `read_array`.
    """
    size = job.run_frames
    with _open_chunk(job, "images", start) as chunk:
        while start < stop:
            in_chunk = start % job.time_chunk
            images = scratch(
                "run", (min(size - in_chunk % size, stop - start), job.n_pixels), job.layout.dtype
            )
            chunk.read(in_chunk, as_frames(job, images))
            yield start, images
            start += len(images)


def as_frames(job: L1Job, images: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return images of shape (n_frames, n_pixels) as (n_frames, height, width)."""
    return images.reshape(-1, job.layout.height, job.layout.width)


@contextmanager
def _open_chunk(job: L1Job, path: str, frame: int) -> Iterator[ChunkReader]:
    """Open the chunk of an array of the L0 store that has a frame."""
    document = job.documents[path]
    stored = chunk_path(path, frame // job.time_chunk, len(document["shape"]))
    with (
        declared_errors(f"reading {path} of the L0 store"),
        open_chunk(f"{job.store}/{stored}", document) as chunk,
    ):
        yield chunk


def read_boards(job: L1Job, frames: slice, quality: Ints) -> Ints:
    """Return the board that each pulse-height frame counts for; errors as `read_array`."""
    quabo_num = None
    if job.layout.form is HeaderForm.QUABO:
        quabo_num = read_array(job, "headers/quabo_num", frames)
    return boards_of_frames(quality, quabo_num, job.layout)


def find_present(job: L1Job, quality: Ints) -> Bools | None:
    """Say which quabos' pixels are not masked; None where a frame has one board."""
    if job.layout.form is HeaderForm.QUABO:
        return None
    return present_quabos(quality, job.layout)


def exchange_quarters(job: L1Job, images: Ints) -> Ints:
    """Exchange the quarters of images of shape (n_frames, n_pixels) where that is asked for."""
    if not job.swaps:
        return images
    frames = images.reshape(len(images), job.layout.height, job.layout.width)
    return swap_quarters(frames).reshape(images.shape)
