"""Open the arrays of a store with TensorStore, and say what it says as our own errors."""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy.typing as npt
import tensorstore as ts

from panoseti_zarr.errors import CorruptDataError, TransientIOError
from panoseti_zarr.io.allocator import keep_freed_memory
from panoseti_zarr.io.zarr_metadata import Json

# Here, because every process that works on chunks comes by: commands, service, workers.
keep_freed_memory()

_SYSTEM_ERROR = re.compile(r"\[os_error_code='(\d+)'\]")


def open_array(store: Path | str, path: str, document: Json, *, n_encoding: int = 1) -> Any:
    """Open an array without reading or writing its metadata.

    Parameters
    ----------
    store : Path or str
        The directory of the store, or of a staged attempt.
    path : str
        Of the array, below it.
    document : dict
        The array's ``zarr.json``.
    n_encoding : int
        Chunks that this process encodes at once.

    Returns
    -------
    tensorstore.TensorStore
        A chunk that is not there is an error when it is read. Writes are not yet durable when
        they are done: sync the files.
    """
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": f"{store}/{path}/"},
        "metadata": document,
        "store_data_equal_to_fill_value": True,
        "fill_missing_data_reads": False,
    }
    return ts.open(spec, open=True, assume_metadata=True, context=_context(n_encoding)).result()


def read_into(array: Any, out: npt.NDArray[Any]) -> None:
    """Read an array of TensorStore into memory that is there; ``out`` has its shape and dtype."""
    ts.array(out, copy=False, write=True).write(array).result()


@functools.lru_cache(maxsize=8)
def _context(n_encoding: int) -> Any:
    return ts.Context({"file_io_sync": False, "data_copy_concurrency": {"limit": n_encoding}})


@contextlib.contextmanager
def declared_errors(doing: str) -> Iterator[None]:
    """Turn what TensorStore and the system raise in the block into declared errors.

    Raises
    ------
    TransientIOError
        The operating system failed a call (full disk, I/O error).
    CorruptDataError
        Anything else: a chunk is missing, its checksum or its encoding is wrong.
    """
    try:
        yield
    except OSError as error:
        raise TransientIOError(f"{doing}: {error.strerror or error}") from None
    except (ValueError, RuntimeError) as error:
        system = _SYSTEM_ERROR.search(str(error))
        if system:
            raise TransientIOError(f"{doing}: {os.strerror(int(system[1]))}") from None
        raise CorruptDataError(f"{doing}: {str(error).splitlines()[0]}") from None


def chunk_path(array: str, index: int, n_dims: int) -> str:
    """Return where a chunk lies in a store: default chunk keys, y and x in one piece."""
    return f"{array}/c/{index}" + "/0" * (n_dims - 1)
