"""What the tasks of one L1 store share: what is to be done, and how its frames are read."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from panoseti_zarr.config import BaselineSubtractConfig, capped
from panoseti_zarr.core.masks import (
    block_of_pixels,
    boards_of_frames,
    present_quabos,
    quabo_of_pixels,
    swap_quarters,
)
from panoseti_zarr.io.arrays import declared_errors, open_array, read_into
from panoseti_zarr.io.buffers import scratch
from panoseti_zarr.io.l1_metadata import PIXEL_DTYPE
from panoseti_zarr.io.zarr_metadata import Json
from panoseti_zarr.model import PRODUCTS, HeaderForm, Product

Ints = npt.NDArray[np.integer]
Float32s = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

N_CODING = capped(sys.maxsize)
"""Inner chunks (or chunks, where there are none) that a process decodes or encodes at once."""

coding = threading.BoundedSemaphore(max(1, N_CODING // 2))
"""Held while a chunk of images is decoded or encoded: TensorStore needs as much memory for it
again as the task that waits, and keeps it until the array is closed."""

_MOST_FRAMES = 4096


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
            return np.zeros(self.layout.height * self.layout.width, np.int64)
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
    def frames_at_once(self) -> int:
        """Frames whose values are counted in one go: more would not fit the cache."""
        return min(self.settings.compute_chunk_size, _MOST_FRAMES)


def read_array(job: L1Job, path: str, frames: slice) -> Ints:
    """Read some frames of an array of the L0 store.

    Raises
    ------
    CorruptDataError
        A chunk is missing or damaged.
    TransientIOError
        Reading failed for now.
    """
    with declared_errors(f"reading {path} of the L0 store"):
        return np.asarray(open_array(job.store, path, job.documents[path])[frames].read().result())


def image_buffers(job: L1Job, n_frames: int) -> tuple[Ints, Float32s]:
    """Return memory of this thread for raw images and for the chunk that they become.

    Both share it, the raw images at its end: frame after frame, what is written never reaches
    those that are still to be read.

    Returns
    -------
    images : ndarray of the product's dtype, shape (n_frames, n_pixels)
    chunk : ndarray of float32, shape (time_chunk, n_pixels)
    """
    n_pixels = job.layout.height * job.layout.width
    chunk = scratch("images", (job.time_chunk, n_pixels), PIXEL_DTYPE)
    n_bytes = n_frames * job.layout.pixel_bytes
    end = chunk.reshape(-1).view(np.uint8)[chunk.nbytes - n_bytes :]
    return end.view(job.layout.dtype).reshape(n_frames, n_pixels), chunk


def read_images(job: L1Job, frames: slice) -> Ints:
    """Read images into `image_buffers`, where they are gone at the next call.

    Returns
    -------
    ndarray of the product's dtype, shape (n_frames, n_pixels)

    Raises
    ------
    CorruptDataError, TransientIOError
        As `read_array`.
    """
    images, _ = image_buffers(job, len(range(*frames.indices(job.n_frames))))
    pixels = images.reshape(-1, job.layout.height, job.layout.width)
    with coding, declared_errors("reading images of the L0 store"):
        document = job.documents["images"]
        read_into(open_array(job.store, "images", document, n_encoding=N_CODING)[frames], pixels)
    return images


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
