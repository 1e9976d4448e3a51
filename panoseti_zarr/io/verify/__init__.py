"""Verifying an L0 store: against itself, and against the PFF files it was made from.

Shares no decoding code with `convert`: a shared mistake would pass both.

    root attributes  ->  arrays and groups  ->  list of files  ->  frames or chunks

Each step is an iterator of differences, and takes for granted what the steps before it checked;
the first difference ends the work.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from panoseti_zarr.errors import TransientIOError
from panoseti_zarr.io.verify.chunks import list_store_files, listing_differences
from panoseti_zarr.io.verify.compare import (
    ChunkWork,
    CompareChunks,
    chunk_works,
    compare_chunk,
    compare_in_threads,
)
from panoseti_zarr.io.verify.metadata import read_root, root_differences
from panoseti_zarr.io.verify.nodes import StoreDescription, describe, node_differences
from panoseti_zarr.io.verify.report import Difference, VerifyReport
from panoseti_zarr.io.verify.sources import ObservedFile, observe_files, source_differences

__all__ = [
    "ChunkWork",
    "CompareChunks",
    "Difference",
    "VerifyReport",
    "compare_chunk",
    "compare_in_threads",
    "verify_store",
]


def verify_store(
    store: Path,
    obs: Path | None = None,
    compare: CompareChunks = compare_in_threads,
    *,
    beside: Sequence[Path] = (),
) -> VerifyReport:
    """Look for the first difference between a store and what it must be.

    Parameters
    ----------
    store : Path
        An L0 store. Only committed frames count.
    obs : Path, optional
        Its run directory: then every pixel, header field, time and quality is compared with the
        PFF files. Without it every chunk is read, which checks its checksum.
    compare : callable
        Where `compare_chunk` runs: by default, in threads of this process.
    beside : sequence of Path
        Other directories that hold frame files of the run.

    Returns
    -------
    VerifyReport

    Raises
    ------
    InputError
        When there is no L0 store, or no run directory.
    TransientIOError
        When something cannot be read at present, or the store was written to meanwhile.
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
        if obs is None:
            contents = _chunk_differences(chunk_works(store, description), compare)
        else:
            n_bytes = sum(source.size_bytes for source in description.sources)
            observed = observe_files(obs, description, beside)
            contents = _run_differences(store, observed, description, compare)
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


def _chunk_differences(works: Iterable[ChunkWork], compare: CompareChunks) -> Iterator[Difference]:
    if found := compare(works):
        yield found


def _run_differences(
    store: Path,
    observed: Mapping[str, ObservedFile],
    description: StoreDescription,
    compare: CompareChunks,
) -> Iterator[Difference]:
    in_sources = source_differences(observed, description)
    in_frames = _chunk_differences(chunk_works(store, description, observed), compare)
    # An open store lacks frames as a rule, so what it has is looked at first.
    return chain(in_sources, in_frames) if description.closed else chain(in_frames, in_sources)
