"""Reads parts of the arrays of a store, at the commit at which it was opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from panoseti_zarr.core.pff.names import l1_store_name
from panoseti_zarr.errors import InputError, declared_errors
from panoseti_zarr.io.readers.root import parse_root
from panoseti_zarr.io.zarr3.metadata import ZARR_JSON, Json, chunk_path, corrupt_if_malformed
from panoseti_zarr.io.zarr3.shards import ChunkLayout, open_chunk
from panoseti_zarr.model import PRODUCTS, Product, StreamKey


@dataclass(frozen=True)
class StoreView:
    """An L0 or L1 store as its root document describes it.

    Attributes
    ----------
    path : Path
    level : int
        0 or 1.
    attributes : dict
        The root attributes.
    documents : dict of str to dict
        The ``zarr.json`` of every array and group, by path.
    """

    path: Path
    level: int
    attributes: Json
    documents: dict[str, Json]

    @classmethod
    def open(cls, path: Path) -> StoreView:
        """Read the root document.

        Raises
        ------
        InputError
            There is no store, or none that is known here.
        CorruptDataError
            It is ours, but its root document is not whole.
        """
        try:
            content = (path / ZARR_JSON).read_bytes()
        except OSError as error:
            raise InputError(f"cannot read the store: {error.strerror}", path=str(path)) from None
        level, document = parse_root(content, path)
        with corrupt_if_malformed(str(path)):
            attributes = document["attributes"]
            if attributes["product"] not in PRODUCTS:
                raise InputError("not an L0 or L1 store that is known here", path=str(path))
            members = document["consolidated_metadata"]["metadata"]
            stream = cls(path, level, attributes, members)
            _ = stream.n_frames, stream.key, stream.chunk_frames
        return stream

    @property
    def product(self) -> Product:
        """The data product."""
        return PRODUCTS[self.attributes["product"]]

    @property
    def key(self) -> StreamKey:
        """The stream's name within its run."""
        return StreamKey(self.product.name, int(self.attributes["module"]))

    @property
    def n_frames(self) -> int:
        """Committed frames."""
        return int(self.documents["images"]["shape"][0])

    @property
    def chunk_frames(self) -> int:
        """Frames of a chunk, the same for all arrays along time."""
        return int(self.documents["images"]["chunk_grid"]["configuration"]["chunk_shape"][0])

    @property
    def piece_frames(self) -> int:
        """Images that are stored together."""
        return ChunkLayout.of(self.documents["images"]).piece_frames

    def is_made_from(self, l0: StoreView) -> bool:
        """Whether this L1 store has the frames of that L0 store, as they are now."""
        keys = ("store_id", "commit", "n_frames")
        return self.level == 1 and all(
            self.attributes.get(f"l0_{key}") == l0.attributes.get(key) for key in keys
        )

    def read(self, array: str, start: int, stop: int) -> npt.NDArray[Any]:
        """Read a part of an array along its first dimension.

        Raises
        ------
        CorruptDataError
            A chunk is missing or damaged.
        TransientIOError
            A transient failure to read.
        """
        document = self.documents[array]
        shape = document["shape"]
        step = document["chunk_grid"]["configuration"]["chunk_shape"][0]
        values = np.empty((stop - start, *shape[1:]), np.dtype(document["data_type"]))
        position = start
        while position < stop:
            index, inside = divmod(position, step)
            end = min(stop, (index + 1) * step)
            stored = self.path / chunk_path(array, index, len(shape))
            with declared_errors(f"reading {array}"), open_chunk(str(stored), document) as chunk:
                chunk.read(inside, values[position - start : end - start])
            position = end
        return values


def find_l1(l0: StoreView, where: Path | None) -> StoreView | None:
    """Find the L1 store of an L0 store.

    Parameters
    ----------
    l0 : StoreView
    where : Path or None
        The L1 store, or the directory in which it would be; None looks beside the L0 store.

    Returns
    -------
    StoreView or None
        None if no such store has the same frames.

    Raises
    ------
    InputError
        What was named is a store, but not the L1 store of these frames.
    """
    name = l1_store_name(l0.attributes["run"], l0.key)
    is_store = where is not None and (where / ZARR_JSON).exists()
    path = where if where is not None and is_store else (where or l0.path.absolute().parent) / name
    if not (path / ZARR_JSON).exists():
        return None
    found = StoreView.open(path)
    if found.is_made_from(l0):
        return found
    if is_store:
        raise InputError("is not the L1 store of the frames of this L0 store", path=str(path))
    return None
