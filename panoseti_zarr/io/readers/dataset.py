"""Follow a stream while it is written: its committed frames as an xarray dataset that can refresh.

Needs xarray, which the commands and the service do not: ``pip install 'panoseti-zarr[read]'``.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy.typing as npt
import xarray as xr
import zarr
from xarray.backends import BackendArray, ZarrStore
from xarray.core import indexing

from panoseti_zarr.errors import CorruptDataError, InputError, StoreReplacedError
from panoseti_zarr.io.readers.snapshot_store import SnapshotStore

Chunks = int | Mapping[Any, Any] | str | None

RETRY_DELAYS_S = (0.01, 0.05, 0.2, 0.5)
"""Pauses before a read that failed is tried again."""

_POLL_S = 0.1
# Checksums and buffers that do not fit; Blosc; gzip, and files that NFS replaced; missing chunks.
_READ_ERRORS = (ValueError, RuntimeError, OSError, CorruptDataError)


def open_stream(
    path: str | os.PathLike[str],
    *,
    chunks: Chunks = None,
    headers: bool = False,
    wait_s: float = 0.0,
) -> StreamDataset:
    """Open the committed frames of a stream's store, whether it still grows or not.

    Parameters
    ----------
    path : str or path-like
        An L0 store, or an L1 store.
    chunks : int, mapping, "auto" or None
        As of `xarray.open_dataset`: None reads what is asked for, when it is asked for; ``{}``
        gives Dask arrays, which compute over any length in bounded memory.
    headers : bool
        Take the header fields in as well, ``headers/quabo_0/pkt_num`` as ``quabo_0_pkt_num``, and
        ``headers/pkt_num`` (ph256) as ``pkt_num``.
    wait_s : float
        So long to wait for the store to appear, which it does with its first committed frames.

    Returns
    -------
    StreamDataset
        With the variables and attributes that ``xarray.open_zarr(path)`` gives; ``n_frames`` and
        ``closed`` are among the attributes.

    Raises
    ------
    InputError
        There is no store (yet), or the directory holds something else.
    CorruptDataError
        Its root document is not whole.
    """
    stream = _Stream(Path(path), chunks, headers)
    until = time.monotonic() + wait_s
    while True:
        try:
            return StreamDataset._of(stream)
        except _NoStoreError:
            left_s = until - time.monotonic()
            if left_s <= 0:
                raise
            time.sleep(min(left_s, _POLL_S))


class StreamDataset(xr.Dataset):  # type: ignore[no-untyped-call]
    """The frames of a stream that were committed when it was opened, or last refreshed.

    An `xarray.Dataset` in everything else. What is derived from it is a plain one, which stays as
    it is. A read that meets a chunk while it is replaced by a longer one is tried again; data that
    are damaged for good are an error, as is a missing chunk.
    """

    __slots__ = ("_stream",)

    _stream: _Stream

    @classmethod
    def _of(cls, stream: _Stream) -> StreamDataset:
        dataset = cls()
        dataset._stream = stream
        return dataset.refresh()

    @classmethod
    def _construct_direct(cls, *args: Any, **kwargs: Any) -> Any:
        """Make what is derived from this dataset: a plain one."""
        return xr.Dataset._construct_direct(*args, **kwargs)

    def refresh(self) -> Self:
        """Take in what was committed since: frames and attributes.

        The dataset itself changes, so that what was assigned to it or loaded is gone. Arrays and
        datasets taken from it stay as they were, and may still be read. Where another store took
        the place of the one that was opened (``retry --rebuild``; an L1 store that is made again)
        it is that one now, from its first frame, and ``store_id`` among the attributes tells; what
        was taken before and is read only then is a `StoreReplacedError`, never the other's frames.

        Returns
        -------
        StreamDataset
            Itself.

        Raises
        ------
        InputError
            The store is gone (the dataset stays as it was), or this is no dataset of
            `open_stream`.
        CorruptDataError
            Its root document is not whole.
        """
        try:
            stream = self._stream
        except AttributeError:
            raise InputError(
                "only a dataset that open_stream gave can be refreshed, not what is made from it"
            ) from None
        now = stream.read()
        super().__init__(now.data_vars, now.coords, now.attrs)
        self.encoding = now.encoding
        return self


class _NoStoreError(InputError):
    """There is no store, or none yet."""


@dataclass(frozen=True)
class _Stream:
    """Where a stream is, and how it is wanted."""

    path: Path
    chunks: Chunks
    headers: bool

    def read(self) -> xr.Dataset:
        """Read the last commit."""
        while True:
            try:
                store = SnapshotStore(self.path)
                source = _SteadyZarrStore.open_group(
                    store, mode="r", consolidated=True, zarr_format=3
                )
                source.header_fields = store.header_fields if self.headers else {}
                return xr.open_dataset(source, engine="store", chunks=self.chunks)
            except StoreReplacedError:
                continue
            except FileNotFoundError:
                raise _NoStoreError(
                    "there is no store, or none yet: it appears with its first committed frames",
                    path=str(self.path),
                ) from None


class _SteadyZarrStore(ZarrStore):
    """xarray's way to a Zarr group, with arrays whose reads are tried again.

    Attributes
    ----------
    header_fields : dict of str to str
        Paths of arrays below the group to take in, by the names they get.
    """

    header_fields: Mapping[str, str]

    def get_variables(self) -> dict[str, xr.Variable]:
        fields = {name: self._open_field(path) for name, path in self.header_fields.items()}
        return {**super().get_variables(), **fields}  # type: ignore[no-untyped-call]

    def open_store_variable(self, name: str) -> xr.Variable:
        found = super().open_store_variable(name)  # type: ignore[no-untyped-call]
        return xr.Variable(found.dims, self._lazy(name), found.attrs, found.encoding)

    def _open_field(self, path: str) -> xr.Variable:
        array = self.zarr_group[path]
        chunks = {"chunks": array.chunks, "preferred_chunks": {"time": array.chunks[0]}}
        return xr.Variable(("time",), self._lazy(path), dict(array.attrs), chunks)

    def _lazy(self, path: str) -> indexing.LazilyIndexedArray:
        return indexing.LazilyIndexedArray(_RetryingArray(self.zarr_group[path]))


class _RetryingArray(BackendArray):
    """A Zarr array of a `SnapshotStore`; what is read of it is right, or an error.

    A tail chunk may be replaced by a longer one after a reader read the index of its inner
    chunks, and before it reads one of them. The inner chunk's checksum is then wrong, and the next
    read right.
    """

    __slots__ = ("_array", "dtype", "shape")

    def __init__(self, array: zarr.Array[Any]) -> None:
        self._array = array
        self.shape = array.shape
        self.dtype = array.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        array: Any = self._array
        if isinstance(key, indexing.VectorizedIndexer):
            array = self._array.vindex
        elif isinstance(key, indexing.OuterIndexer):
            array = self._array.oindex
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.VECTORIZED, lambda raw: self._read(array, raw)
        )

    async def async_getitem(self, key: indexing.ExplicitIndexer) -> Any:
        return await asyncio.to_thread(self.__getitem__, key)

    def _read(self, array: Any, key: Any) -> npt.NDArray[Any]:
        for delay_s in RETRY_DELAYS_S:
            try:
                return self._read_once(array, key)
            except _READ_ERRORS:
                time.sleep(delay_s)
        return self._read_once(array, key)

    def _read_once(self, array: Any, key: Any) -> npt.NDArray[Any]:
        store: Any = self._array.store
        try:
            values: npt.NDArray[Any] = array[key]
        except _READ_ERRORS as error:
            store.check_not_replaced()
            error.add_note(f"while reading {self._array.path} of {store.path}")
            raise
        store.check_not_replaced()
        return values
