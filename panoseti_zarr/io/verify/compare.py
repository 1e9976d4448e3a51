"""Comparing a store's chunks with the frame files, several at once. Part of `verify`.

What concerns one chunk is a task of its own, plain data, so that it can run in a thread or on a
cluster.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from panoseti_zarr.errors import InvariantError, SourceChangedError
from panoseti_zarr.io.verify.chunks import ChunkFrames, n_chunks, read_chunk
from panoseti_zarr.io.verify.frames import FrameComparer
from panoseti_zarr.io.verify.nodes import Source, StoreDescription
from panoseti_zarr.io.verify.report import Difference
from panoseti_zarr.io.verify.sources import ObservedFile, open_file, sources_in
from panoseti_zarr.model import Product

_BLOCK_BYTES = 2 << 20
"""Frame bytes compared at once: with what is made of them they stay in the cache."""

_MOST_THREADS = 4
"""Each holds a chunk; more would wait for the disk."""


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
        When something cannot be read for now.
    SourceChangedError
        When a frame file shrank while it was read.
    """
    chunk = read_chunk(work.store, work.description, work.chunk)
    if isinstance(chunk, Difference):
        return chunk
    if work.observed is None:
        return None
    sources = work.description.sources
    for source, start, stop in sources_in(sources, chunk.start, chunk.stop):
        file = work.observed.get(source.name)
        n_frames = file.n_frames if file else 0
        if file is None or n_frames < source.n_frames:
            note = "the file does not have the frames of the store"
            return Difference("source_files", source.n_frames, n_frames, note, start, source.name)
        found = _compare(file, source, chunk, range(start, stop), work.description.product)
        if found:
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


def _compare(
    file: ObservedFile, source: Source, chunk: ChunkFrames, frames: range, product: Product
) -> Difference | None:
    """Compare the frames that a chunk has of one file; ``frames`` counts within the store."""
    layout = file.layout
    if layout is None:
        raise InvariantError("a file with frames has no layout", path=source.name)
    comparer = FrameComparer(layout, product)
    block_frames = max(1, _BLOCK_BYTES // layout.frame_bytes)
    buffer = bytearray(min(block_frames, len(frames)) * layout.frame_bytes)
    with open_file(file.path) as fd:
        for start in frames[::block_frames]:
            stop = min(start + block_frames, frames.stop)
            in_file = start - source.first_frame
            block = memoryview(buffer)[: (stop - start) * layout.frame_bytes]
            _read_into(fd, block, in_file * layout.frame_bytes)
            file_frames = np.frombuffer(block, np.uint8).reshape(stop - start, layout.frame_bytes)
            stored = {
                path: array[start - chunk.start : stop - chunk.start]
                for path, array in chunk.arrays.items()
            }
            found = comparer.first_difference(file_frames, stored)
            if found:
                return found.placed(start, source.name, in_file, layout.frame_bytes)
    return None


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
