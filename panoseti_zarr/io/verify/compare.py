"""Comparing a store's chunks with the frame files, several at once. Part of `verify`.

What concerns one chunk is a task of its own, plain data, so that it can run in a thread or on a
cluster.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from panoseti_zarr.errors import InvariantError, SourceChangedError
from panoseti_zarr.io.verify.chunks import n_chunks, read_chunk
from panoseti_zarr.io.verify.frames import FrameComparer, Stored
from panoseti_zarr.io.verify.nodes import Source, StoreDescription
from panoseti_zarr.io.verify.report import Difference
from panoseti_zarr.io.verify.sources import ObservedFile, open_file, sources_in
from panoseti_zarr.model import FrameLayout, Product

_BLOCK_BYTES = 12 << 20
"""Frame bytes compared at once: those of the images that are read at once, in all products."""

_MOST_THREADS = 4
"""More would wait for the disk."""


@dataclass(frozen=True)
class ChunkWork:
    """One chunk of a store to look at.

    Attributes
    ----------
    store : Path
    description : StoreDescription
    chunk : int
        Its place along time.
    observed : mapping of str to ObservedFile, optional
        The frame files to compare with; without them the chunk is only read.
    """

    store: Path
    description: StoreDescription
    chunk: int
    observed: Mapping[str, ObservedFile] | None = None


CompareChunks = Callable[[Iterable[ChunkWork]], Difference | None]
"""Looks at chunks, and returns the first difference in their order."""


def chunk_works(
    store: Path, description: StoreDescription, observed: Mapping[str, ObservedFile] | None = None
) -> Iterator[ChunkWork]:
    """Yield the work on each chunk of a store."""
    for chunk in range(n_chunks(description)):
        yield ChunkWork(store, description, chunk, observed)


def compare_chunk(work: ChunkWork) -> Difference | None:
    """Read a chunk of every array, compare it with the frame files, return the first difference.

    Raises
    ------
    TransientIOError
        When something cannot be read at present.
    SourceChangedError
        When a frame file shrank while it was read.
    """
    chunk = read_chunk(work.store, work.description, work.chunk)
    if isinstance(chunk, Difference):
        return chunk
    with _OpenFiles(work.observed or {}, work.description.product) as files:
        for start, stop in chunk.pieces():
            images = chunk.read_images(start, stop)
            if isinstance(images, Difference):
                return images
            if work.observed is None:
                continue
            here = slice(start - chunk.start, stop - chunk.start)
            stored = {path: array[here] for path, array in chunk.arrays.items()}
            stored["images"] = images
            for source, first, last in sources_in(work.description.sources, start, stop):
                part = {p: array[first - start : last - start] for p, array in stored.items()}
                if found := files.first_difference(source, first, part):
                    return found
    return None


def compare_in_threads(works: Iterable[ChunkWork]) -> Difference | None:
    """Look at chunks in threads of this process; return the first difference in their order."""
    n_threads = min(len(os.sched_getaffinity(0)), _MOST_THREADS)
    running: deque[Future[Difference | None]] = deque()
    with ThreadPoolExecutor(n_threads, thread_name_prefix="verify") as threads:
        try:
            for work in works:
                running.append(threads.submit(compare_chunk, work))
                if len(running) > n_threads and (found := running.popleft().result()):
                    return found
            return next((found for future in running if (found := future.result())), None)
        finally:
            threads.shutdown(cancel_futures=True)


class _OpenFile:
    """A frame file, open for comparing frames of the store with its own."""

    def __init__(self, fd: int, layout: FrameLayout, source: Source, product: Product) -> None:
        self._fd = fd
        self._frame_bytes = layout.frame_bytes
        self._source = source
        self._comparer = FrameComparer(layout, product)
        self._buffer = bytearray()

    def first_difference(self, first_frame: int, stored: Stored) -> Difference | None:
        """Compare frames of the store, from ``first_frame`` of it on, block by block."""
        n_frames = len(stored["images"])
        block_frames = max(1, _BLOCK_BYTES // self._frame_bytes)
        for start in range(0, n_frames, block_frames):
            stop = min(start + block_frames, n_frames)
            in_file = first_frame + start - self._source.first_frame
            frames = self._read(in_file, stop - start)
            part = {path: array[start:stop] for path, array in stored.items()}
            if found := self._comparer.first_difference(frames, part):
                name = self._source.name
                return found.placed(first_frame + start, name, in_file, self._frame_bytes)
        return None

    def _read(self, frame_index: int, n_frames: int) -> npt.NDArray[np.uint8]:
        n_bytes = n_frames * self._frame_bytes
        if len(self._buffer) < n_bytes:
            self._buffer = bytearray(n_bytes)
        block = memoryview(self._buffer)[:n_bytes]
        _read_into(self._fd, block, frame_index * self._frame_bytes)
        return np.frombuffer(block, np.uint8).reshape(n_frames, self._frame_bytes)


class _OpenFiles(contextlib.ExitStack):
    """The frame files of a chunk, each opened when it is first compared with."""

    def __init__(self, observed: Mapping[str, ObservedFile], product: Product) -> None:
        super().__init__()
        self._observed = observed
        self._product = product
        self._files: dict[str, _OpenFile] = {}

    def first_difference(
        self, source: Source, first_frame: int, stored: Stored
    ) -> Difference | None:
        """Compare frames of the store, from ``first_frame`` of it on, with the file they are of."""
        file = self._observed.get(source.name)
        n_frames = file.n_frames if file else 0
        if file is None or n_frames < source.n_frames:
            note = "the file does not have the frames of the store"
            return Difference(
                "source_files", source.n_frames, n_frames, note, first_frame, source.name
            )
        if source.name not in self._files:
            if file.layout is None:
                raise InvariantError("a file with frames has no layout", path=source.name)
            fd = self.enter_context(open_file(file.path))
            self._files[source.name] = _OpenFile(fd, file.layout, source, self._product)
        return self._files[source.name].first_difference(first_frame, stored)


def _read_into(fd: int, block: memoryview, byte_offset: int) -> None:
    """Fill ``block`` with a file's bytes from ``byte_offset`` on."""
    done = 0
    while done < len(block):
        n_read = os.preadv(fd, [block[done:]], byte_offset + done)
        if n_read == 0:
            raise SourceChangedError(
                "the frame file shrank while it was read", byte_offset=byte_offset
            )
        done += n_read
