"""Reads the frames of a chunk plan and decodes them into the arrays of a store."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from panoseti_zarr.core.append_plan import ChunkPlan, Segment
from panoseti_zarr.core.pff.headers import HeaderDecoder
from panoseti_zarr.core.pff.times import times_and_quality
from panoseti_zarr.errors import InvariantError, SourceChangedError
from panoseti_zarr.io.fs.scratch import scratch
from panoseti_zarr.io.pff.listing import identity_of
from panoseti_zarr.io.pff.source import open_source
from panoseti_zarr.model import FrameLayout, Product, array_specs, header_specs

Arrays = dict[str, npt.NDArray[Any]]

IMAGES = "images"

_READ_BYTES = 5_000_000
"""Frames are read and decoded in blocks of about this size: smaller ones spend their time in
calls of NumPy, larger ones leave the processor's cache."""


class FrameReader:
    """Reads and decodes the frames of a chunk, in one pass.

    Parameters
    ----------
    plan : ChunkPlan
    product : Product
    max_read_bytes : int
        The most that is read at once.

    Attributes
    ----------
    values : dict of str to ndarray
        Every array of the store but ``images``, by path, ``plan.stop - plan.start`` long; as far
        as `images` has come. They are this thread's, and are used again by its next reader.
    """

    def __init__(self, plan: ChunkPlan, product: Product, max_read_bytes: int) -> None:
        self._plan = plan
        self._product = product
        self._max_read_bytes = max_read_bytes
        self._n_frames = plan.stop - plan.start
        self.values: Arrays = {
            spec.path: scratch(spec.path, (self._n_frames,), spec.dtype)
            for spec in array_specs(product)
            if spec.path != IMAGES
        }

    def images(self, n_at_once: int) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Yield the images in runs of ``n_at_once`` frames, fewer in the last one.

        Yields
        ------
        position : int
            Of the run's first frame in the chunk.
        images : ndarray of the product's dtype, shape (n, height, width)
            This thread's; gone at the next run.

        Raises
        ------
        SourceChangedError
            A source is not, or is no longer, the file that was planned.
        TransientIOError
            A transient failure to read.
        """
        size = min(n_at_once, self._n_frames)
        shape = (size, self._product.height, self._product.width)
        run = scratch(IMAGES, shape, self._product.dtype)
        pixels = run.view(np.uint8).reshape(size, -1)
        position, n_held = 0, 0
        for segment in self._plan.segments:
            decoder = _decoder(segment_layout(segment), self._product)
            for frames in _read_blocks(segment, self._max_read_bytes):
                self._decode(decoder, frames, position + n_held)
                found = frames[:, decoder.layout.header_bytes + 1 :]
                while len(found):
                    n_taken = min(len(found), size - n_held)
                    pixels[n_held : n_held + n_taken] = found[:n_taken]
                    found, n_held = found[n_taken:], n_held + n_taken
                    if n_held == size:
                        yield position, run
                        position, n_held = position + size, 0
        if n_held:
            yield position, run[:n_held]

    def read_all(self) -> Arrays:
        """Read everything; return every array, ``images`` too."""
        # Taken to its end: the sources are looked at once more after the last frame.
        ((_, images),) = self.images(self._n_frames)
        return {**self.values, IMAGES: images}

    def _decode(self, decoder: HeaderDecoder, frames: npt.NDArray[np.uint8], position: int) -> None:
        here = slice(position, position + len(frames))
        fields = [self.values[spec.path][here] for spec in header_specs(self._product)]
        readable = decoder.decode(frames, fields)
        times, quality = times_and_quality(fields, readable, self._product)
        self.values["timestamps"][here] = times
        self.values["quality"][here] = quality


def segment_layout(segment: Segment) -> FrameLayout:
    """Return the layout of a segment's file, which has frames and so has one."""
    if segment.source.layout is None:
        raise InvariantError("a file without frames was planned", path=segment.source.name)
    return segment.source.layout


@functools.lru_cache(maxsize=64)
def _decoder(layout: FrameLayout, product: Product) -> HeaderDecoder:
    return HeaderDecoder.of(layout, product)


def _read_blocks(segment: Segment, max_read_bytes: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the frames of a segment, (n, frame_bytes) each; a block is gone at the next one."""
    source, layout = segment.source, segment_layout(segment)
    block_frames = max(1, min(_READ_BYTES, max_read_bytes) // layout.frame_bytes)
    buffer = scratch("file", (block_frames, layout.frame_bytes), np.dtype(np.uint8))
    stop = segment.first_frame + segment.n_frames
    with open_source(source.path) as fd:
        _check_identity(fd, segment)
        for first in range(segment.first_frame, stop, block_frames):
            block = buffer[: min(block_frames, stop - first)]
            offset = first * layout.frame_bytes
            if not _fill(fd, block.reshape(-1), offset):
                raise SourceChangedError(
                    "file is shorter than it was", path=source.name, byte_offset=offset
                )
            yield block
        _check_identity(fd, segment)


def _fill(fd: int, buffer: npt.NDArray[np.uint8], offset: int) -> bool:
    """Fill a buffer from a file; False where the file ends before."""
    position = 0
    while position < buffer.size:
        n_read = os.preadv(fd, [buffer.data[position:]], offset + position)
        if n_read == 0:
            return False
        position += n_read
    return True


def _check_identity(fd: int, segment: Segment) -> None:
    if not segment.source.is_still(identity_of(os.fstat(fd))):
        raise SourceChangedError("file changed while it was read", path=segment.source.name)
