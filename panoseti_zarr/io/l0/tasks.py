"""The tasks of an append: read a chunk's frames, compare, and stage the chunk.

They run on any worker. They never write inside a store: each execution stages its chunk in a
folder of its own, which the coordinator renames into the store or sweeps.
"""

from __future__ import annotations

import functools
import os
import threading
import uuid
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from panoseti_zarr.core.append_plan import ChunkPlan
from panoseti_zarr.errors import (
    CorruptDataError,
    SourceChangedError,
    TransientIOError,
    declared_errors,
)
from panoseti_zarr.io.fs.durable import sync_file
from panoseti_zarr.io.fs.failpoints import reached
from panoseti_zarr.io.pff.frames import IMAGES, FrameReader, segment_layout
from panoseti_zarr.io.zarr3.metadata import ZARR_JSON, Json, chunk_path
from panoseti_zarr.io.zarr3.shards import ChunkLayout, new_chunk, open_chunk, staged_path
from panoseti_zarr.model import PRODUCTS, TIME_MISSING_NS

_RUN_BYTES = 4 << 20
"""Images are read, compared, encoded and written in runs of about this size: from the first step
to the last they stay in the processor's cache."""


@dataclass(frozen=True)
class ChunkJob:
    """What a chunk task needs.

    Attributes
    ----------
    plan : ChunkPlan
    product : str
    store : str
        The L0 store, for comparing with what is committed.
    documents : dict of str to dict
        The ``zarr.json`` of every array, by path; the shape along time is the committed count.
    staging : str
        The store's staging directory.
    max_read_bytes : int
        The most that is read at once.
    n_encoding : int
        Chunks encoded at once by one process.
    """

    plan: ChunkPlan
    product: str
    store: str
    documents: dict[str, Json]
    staging: str
    max_read_bytes: int
    n_encoding: int


@dataclass(frozen=True)
class StagedChunk:
    """A chunk that is written and durable in the folder of its attempt, ready to be committed.

    Attributes
    ----------
    plan : ChunkPlan
    attempt : str
        Name of the folder in the staging directory.
    n_bytes : int
        PFF bytes of the frames that were not committed before.
    last_time_ns : int
        Time of the last frame that has one; `TIME_MISSING_NS` if none has.
    """

    plan: ChunkPlan
    attempt: str
    n_bytes: int
    last_time_ns: int


def write_chunk(job: ChunkJob) -> StagedChunk:
    """Stage one chunk of every array, durably.

    Raises
    ------
    SourceChangedError
        A source is not, or is no longer, the file that was planned, or its first frames are not
        those that the store holds.
    CorruptDataError
        What the store holds cannot be read.
    TransientIOError
        A transient failure to read or write.
    """
    plan = job.plan
    attempt = uuid.uuid4().hex
    folder = os.path.join(job.staging, attempt)
    frames = FrameReader(plan, PRODUCTS[job.product], job.max_read_bytes)
    with declared_errors(f"writing chunk {plan.index}"):
        # Not those above it: where they are gone a file system is not mounted, or the work over.
        os.mkdir(folder)
        with new_chunk(
            staged_path(folder, IMAGES), job.documents[IMAGES], _encoding_slots(job.n_encoding)
        ) as chunk:
            for position, images in frames.images(chunk.layout.run_frames(_RUN_BYTES)):
                _compare(job, IMAGES, position, images)
                chunk.add(images)
        reached("chunk.read")
        for path, values in frames.values.items():
            _compare(job, path, 0, values)
            with new_chunk(staged_path(folder, path), job.documents[path]) as chunk:
                chunk.add(values)
        reached("chunk.written")
        for path in job.documents:
            sync_file(staged_path(folder, path))
    reached("chunk.durable")
    times = frames.values["timestamps"]
    known = times[times != TIME_MISSING_NS]
    n_bytes = sum(part.n_frames * segment_layout(part).frame_bytes for part in plan.segments)
    n_bytes -= plan.n_compare * segment_layout(plan.segments[0]).frame_bytes
    last_time_ns = int(known[-1]) if known.size else TIME_MISSING_NS
    return StagedChunk(plan, attempt, n_bytes, last_time_ns)


def compare_chunk(job: ChunkJob) -> None:
    """Read committed frames again and compare them with the store; errors as `write_chunk`."""
    frames = FrameReader(job.plan, PRODUCTS[job.product], job.max_read_bytes)
    n_at_once = ChunkLayout.of(job.documents[IMAGES]).run_frames(_RUN_BYTES)
    for position, images in frames.images(n_at_once):
        _compare(job, IMAGES, position, images)
    for path, values in frames.values.items():
        _compare(job, path, 0, values)


@functools.lru_cache(maxsize=8)
def _encoding_slots(n_encoding: int) -> threading.BoundedSemaphore:
    return threading.BoundedSemaphore(n_encoding)


def _compare(job: ChunkJob, path: str, position: int, found: npt.NDArray[Any]) -> None:
    """Compare frames of a chunk, from a position in it on, with what the store holds of them."""
    n_compare = min(job.plan.n_compare - position, len(found))
    if n_compare <= 0:
        return
    start = job.plan.start + position
    document = job.documents[path]
    stored = f"{job.store}/{chunk_path(path, job.plan.index, len(document['shape']))}"
    held = np.empty_like(found[:n_compare])
    try:
        with declared_errors(f"reading {path} of the store"), open_chunk(stored, document) as chunk:
            chunk.read(start - job.plan.index * chunk.layout.chunk_frames, held)
    except CorruptDataError:
        if os.path.exists(f"{job.store}/{ZARR_JSON}"):
            raise
        raise TransientIOError("the store was moved or deleted", path=job.store) from None
    differs = held != found[:n_compare]
    if differs.any():
        frame = start + int(np.flatnonzero(differs.reshape(n_compare, -1).any(axis=1))[0])
        raise SourceChangedError(
            f"frame {frame} of the store was committed with other {path} than its file has now"
        )
