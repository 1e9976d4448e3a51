"""The files of a store's directory, and reading its chunks. Part of `verify`.

Missing chunks are errors, never fill values, and TensorStore checks each chunk's crc32c.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorstore as ts

from panoseti_zarr.errors import InputError, TransientIOError, from_os_error, is_missing
from panoseti_zarr.io.verify.nodes import StoreDescription, metadata_paths
from panoseti_zarr.io.verify.report import Difference
from panoseti_zarr.model import ArraySpec

_AT_FAULT = ("DATA_LOSS", "FAILED_PRECONDITION", "INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE")
"""How TensorStore's messages begin where what it read is at fault, not the reading."""

_PIECE_BYTES = 8 << 20
"""Of the images that are read at once: with fewer, threads spend their time in calls of NumPy, for
which one waits for the other."""

_CHECKSUM = "Digest mismatch"
"""What TensorStore says where the crc32c alone is wrong."""


def list_store_files(store: Path) -> dict[str, int]:
    """Return everything in a store that is no directory: path inside it, and size in bytes.

    Raises
    ------
    InputError
        When the store is gone.
    TransientIOError
        When a directory cannot be listed at present.
    """
    sizes: dict[str, int] = {}
    folders = [store]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry.path))
                    else:
                        size = entry.stat(follow_symlinks=False).st_size
                        sizes[Path(entry.path).relative_to(store).as_posix()] = size
        except OSError as error:
            if not is_missing(error):
                raise from_os_error(error, "listing the store") from error
            raise InputError(str(from_os_error(error, "listing the store"))) from error
    return sizes


def chunk_path(spec: ArraySpec, chunk: int) -> str:
    """Return the place of an array's ``chunk``-th chunk along time, inside its store."""
    return "/".join([spec.path, "c", str(chunk), *("0" for _ in spec.frame_shape)])


def listing_differences(
    files: dict[str, int], description: StoreDescription
) -> Iterator[Difference]:
    """Find chunks that are not there, and files that do not belong there.

    Parameters
    ----------
    files : dict of str to int
        From `list_store_files`.
    description : StoreDescription

    Yields
    ------
    Difference
        In the order of the frames, then of the names.
    """
    expected = metadata_paths(description.specs)
    for chunk, start in enumerate(range(0, description.n_frames, description.time_chunk)):
        for spec in description.specs:
            path = chunk_path(spec, chunk)
            expected.add(path)
            if path not in files:
                yield Difference(path, "no file", "a chunk", frame_index=start)
    for path in sorted(set(files) - expected):
        yield Difference(
            path, "a file", "no file", "neither zarr.json nor a chunk below the frame count"
        )


@dataclass(frozen=True)
class ChunkFrames:
    """Frames ``start`` to ``stop`` of a store, which are one chunk.

    Attributes
    ----------
    start, stop : int
    arrays : dict of str to ndarray
        Its arrays but ``images``, by path.
    images : tensorstore.TensorStore
        Still to be read, with `read_images`, piece by piece.
    store : Path
    images_path : str
        Of the chunk of ``images``, inside the store.
    """

    start: int
    stop: int
    arrays: dict[str, npt.NDArray[np.generic]]
    images: Any
    store: Path
    images_path: str

    def pieces(self) -> Iterator[tuple[int, int]]:
        """Yield where parts begin and end: of some inner chunks each, which are not cut."""
        n_frames, *frame = self.images.chunk_layout.read_chunk.shape
        piece_bytes = n_frames * math.prod(frame) * self.images.dtype.numpy_dtype.itemsize
        step = n_frames * max(1, _PIECE_BYTES // piece_bytes)
        for start in range(self.start, self.stop, step):
            yield start, min(start + step, self.stop)

    def read_images(self, start: int, stop: int) -> npt.NDArray[np.generic] | Difference:
        """Read images ``start`` to ``stop`` of the store; as `read_chunk`."""
        try:
            return np.ascontiguousarray(self.images[start:stop].read().result())
        except ValueError as error:
            return _broken(self.store, self.images_path, "a whole chunk", error, self.start)


def n_chunks(description: StoreDescription) -> int:
    """Return how many chunks each array of a store has."""
    return -(-description.n_frames // description.time_chunk)


def read_chunk(store: Path, description: StoreDescription, chunk: int) -> ChunkFrames | Difference:
    """Read one chunk of every array of a store but ``images``, which is opened.

    Parameters
    ----------
    store : Path
    description : StoreDescription
    chunk : int
        Its place along time.

    Returns
    -------
    ChunkFrames or Difference
        A difference where an array does not open, or a chunk is missing or its checksum or
        content wrong.

    Raises
    ------
    TransientIOError
        When a chunk could not be read.
    """
    start = chunk * description.time_chunk
    stop = min(start + description.time_chunk, description.n_frames)
    futures: dict[ArraySpec, Any] = {}
    for spec in description.specs:
        array = _open_array(store, spec)
        if isinstance(array, Difference):
            return array
        if spec.frame_shape:
            images, images_path = array, chunk_path(spec, chunk)
        else:
            futures[spec] = array[start:stop].read()
    frames: dict[str, npt.NDArray[np.generic]] = {}
    for spec, future in futures.items():
        try:
            frames[spec.path] = np.ascontiguousarray(future.result())
        except ValueError as error:
            return _broken(store, chunk_path(spec, chunk), "a whole chunk", error, start)
    return ChunkFrames(start, stop, frames, images, store, images_path)


def _open_array(store: Path, spec: ArraySpec) -> ts.TensorStore | Difference:
    opening = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": f"{store.absolute() / spec.path}/"},
        "fill_missing_data_reads": False,
    }
    try:
        return ts.open(opening, open=True, read=True).result()
    except ValueError as error:
        return _broken(store, f"{spec.path}/zarr.json", "an array", error)


def _broken(
    store: Path, path: str, expected: str, error: ValueError, frame_index: int | None = None
) -> Difference:
    """Return what TensorStore said as a difference, unless reading failed for another reason."""
    reason = str(error).partition(" [tensorstore_spec")[0]
    if not reason.startswith(_AT_FAULT):
        raise TransientIOError(f"reading {path}: {reason}") from error
    # TensorStore decompresses while it sums up, so of most damage Blosc speaks first.
    damage = "checksum wrong" if _CHECKSUM in reason else "damaged chunk"
    if frame_index is None:
        damage = "damaged array"
    file = str(store.absolute() / path)
    note = reason.replace(f'Error reading local file "{file}": ', "")
    return Difference(path, "not readable", expected, note, frame_index, file=file, damage=damage)
