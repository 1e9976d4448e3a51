"""Verifying an L0 store: against itself, and against the PFF files it was made from.

Shares no decoding code with `convert`: a shared mistake would pass both.

    root attributes  ->  arrays and groups  ->  list of files  ->  frames or chunks

Each step is an iterator of differences, and takes for granted what the steps before it checked;
the first difference ends the work.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

import numpy as np

from panoseti_zarr.errors import InvariantError, SourceChangedError, TransientIOError
from panoseti_zarr.io.verify.chunks import (
    ChunkFrames,
    list_store_files,
    listing_differences,
    read_chunks,
)
from panoseti_zarr.io.verify.frames import FrameComparer
from panoseti_zarr.io.verify.metadata import read_root, root_differences
from panoseti_zarr.io.verify.nodes import Source, StoreDescription, describe, node_differences
from panoseti_zarr.io.verify.report import Difference, VerifyReport
from panoseti_zarr.io.verify.sources import (
    ObservedFile,
    observe_files,
    open_file,
    source_differences,
    sources_in,
)
from panoseti_zarr.model import Product

_BLOCK_BYTES = 2 << 20
"""Frame bytes compared at once: with what is made of them they stay in the cache."""


def verify_store(store: Path, obs: Path | None = None) -> VerifyReport:
    """Look for the first difference between a store and what it must be.

    Parameters
    ----------
    store : Path
        An L0 store. Only committed frames count.
    obs : Path, optional
        Its run directory: then every pixel, header field, time and quality is compared with the
        PFF files. Without it every chunk is read, which checks its checksum.

    Returns
    -------
    VerifyReport

    Raises
    ------
    InputError
        When there is no L0 store, or no run directory.
    TransientIOError
        When something cannot be read for now, or the store was written to meanwhile.
    SourceChangedError
        When a frame file shrank while it was read.
    """
    started = time.perf_counter()
    content, document = read_root(store)
    difference = next(chain(root_differences(document), node_differences(store, document)), None)
    description = None if difference else describe(document)
    n_bytes = 0
    if description:
        files = list_store_files(store)
        n_bytes = sum(files.values())
        contents = _chunk_differences(store, description)
        if obs is not None:
            n_bytes = sum(source.size_bytes for source in description.sources)
            contents = _run_differences(store, obs, description)
        difference = next(chain(listing_differences(files, description), contents), None)
    if difference and read_root(store)[0] != content:
        raise TransientIOError(
            "the store was written to while it was verified: verify it again", path=str(store)
        )
    return VerifyReport(
        store=store,
        obs=obs,
        n_frames=description.n_frames if description else 0,
        n_bytes=n_bytes,
        seconds=time.perf_counter() - started,
        difference=difference,
        closed=bool(description and description.closed),
        checksums=bool(description and description.checksums),
    )


def _chunk_differences(store: Path, description: StoreDescription) -> Iterator[Difference]:
    for chunk in read_chunks(store, description):
        if isinstance(chunk, Difference):
            yield chunk


def _run_differences(store: Path, obs: Path, description: StoreDescription) -> Iterator[Difference]:
    observed = observe_files(obs, description)
    in_sources = source_differences(observed, description)
    in_frames = _frame_differences(store, observed, description)
    # An open store lacks frames as a rule, so what it has is looked at first.
    return chain(in_sources, in_frames) if description.closed else chain(in_frames, in_sources)


def _frame_differences(
    store: Path, observed: Mapping[str, ObservedFile], description: StoreDescription
) -> Iterator[Difference]:
    """Compare every committed frame with the frame files."""
    for chunk in read_chunks(store, description):
        if isinstance(chunk, Difference):
            yield chunk
            continue
        for source, start, stop in sources_in(description.sources, chunk.start, chunk.stop):
            file = observed.get(source.name)
            n_frames = file.n_frames if file else 0
            if file is None or n_frames < source.n_frames:
                note = "the file does not have the frames of the store"
                yield Difference(
                    "source_files", source.n_frames, n_frames, note, start, source.name
                )
                return
            difference = _compare(file, source, chunk, range(start, stop), description.product)
            if difference:
                yield difference


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
