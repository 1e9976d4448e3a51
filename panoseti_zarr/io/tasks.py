"""The tasks of an append: read a chunk's frames, compare, and stage the chunk.

They run on any worker. They never write inside a store: each execution stages its chunk in a
folder of its own, which the coordinator renames into the store or sweeps.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass

import numpy as np

from panoseti_zarr.core.append import ChunkPlan
from panoseti_zarr.errors import CorruptDataError, SourceChangedError, TransientIOError
from panoseti_zarr.io.arrays import chunk_path, declared_errors, open_array
from panoseti_zarr.io.durable import sync_file
from panoseti_zarr.io.frames import Arrays, read_frames, segment_layout
from panoseti_zarr.io.steps import reached
from panoseti_zarr.io.zarr_metadata import ZARR_JSON, Json
from panoseti_zarr.model import PRODUCTS, TIME_MISSING_NS


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
    """A chunk that lies written and durable in its attempt's folder, ready to be committed.

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
        Reading or writing failed for now.
    """
    plan = job.plan
    arrays = read_frames(plan, PRODUCTS[job.product], job.max_read_bytes)
    reached("chunk.read")
    _compare(job, arrays)
    attempt = uuid.uuid4().hex
    _write(job, arrays, os.path.join(job.staging, attempt))
    times = arrays["timestamps"]
    known = times[times != TIME_MISSING_NS]
    n_bytes = sum(part.n_frames * segment_layout(part).frame_bytes for part in plan.segments)
    n_bytes -= plan.n_compare * segment_layout(plan.segments[0]).frame_bytes
    last_time_ns = int(known[-1]) if known.size else TIME_MISSING_NS
    return StagedChunk(plan, attempt, n_bytes, last_time_ns)


def compare_chunk(job: ChunkJob) -> None:
    """Read committed frames again and compare them with the store; errors as `write_chunk`."""
    _compare(job, read_frames(job.plan, PRODUCTS[job.product], job.max_read_bytes))


def resized(document: Json, n_frames: int) -> Json:
    """Return an array's document with another length along time."""
    return {**document, "shape": [n_frames, *document["shape"][1:]]}


def _compare(job: ChunkJob, arrays: Arrays) -> None:
    """Compare the first ``n_compare`` frames of the plan with what the store holds."""
    n_compare, start = job.plan.n_compare, job.plan.start
    if n_compare == 0:
        return
    for path, document in job.documents.items():
        try:
            with declared_errors(f"reading {path} of the store"):
                array = open_array(job.store, path, document)
                held = array[start : start + n_compare].read().result()
        except CorruptDataError:
            if os.path.exists(f"{job.store}/{ZARR_JSON}"):
                raise
            raise TransientIOError("the store was moved or deleted", path=job.store) from None
        differs = held != arrays[path][:n_compare]
        if differs.any():
            frame = start + int(np.flatnonzero(differs.reshape(n_compare, -1).any(axis=1))[0])
            raise SourceChangedError(
                f"frame {frame} of the store was committed with other {path} than its file has now"
            )


def _write(job: ChunkJob, arrays: Arrays, folder: str) -> None:
    plan = job.plan
    with declared_errors(f"writing chunk {plan.index}"):
        pending = []
        for path, document in job.documents.items():
            array = open_array(
                folder, path, resized(document, plan.stop), n_encoding=job.n_encoding
            )
            # Encoded from our buffer, without a copy: it is not touched before all is written.
            pending.append(
                array[plan.start : plan.stop].write(
                    arrays[path], can_reference_source_data_indefinitely=True
                )
            )
        for write in pending:
            write.exception()  # waits: of a task that fails, too, nothing may still be written
        for write in pending:
            write.result()
        reached("chunk.written")
        for path, document in job.documents.items():
            sync_file(f"{folder}/{chunk_path(path, plan.index, len(document['shape']))}")
    reached("chunk.durable")
