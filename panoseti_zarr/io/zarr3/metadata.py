"""The ``zarr.json`` documents of the stores (Zarr v3 core specification), as plain JSON objects.

They say what the chunks are that `panoseti_zarr.io.zarr3.shards` writes; readers get all of them at
once through the consolidated metadata in the root.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from panoseti_zarr.errors import StoreDamagedError
from panoseti_zarr.model import TIME_MISSING_NS, ArraySpec, Quality

Json = dict[str, Any]

ZARR_JSON = "zarr.json"

INDEX_CODECS: list[Json] = [
    {"name": "bytes", "configuration": {"endian": "little"}},
    {"name": "crc32c"},
]
"""Of the index of a chunk's inner chunks."""

_LONG_NAMES = {
    "quabo_num": "quadrant board that sent the pulse",
    "pkt_num": "packet counter of the board",
    "pkt_tai": "White Rabbit TAI seconds modulo 1024",
    "pkt_nsec": "White Rabbit nanoseconds, clamped to 999999999",
    "tv_sec": "Unix time of the DAQ computer when the packet arrived, whole seconds",
    "tv_usec": "microseconds after tv_sec",
}
_UNITS = {"pkt_tai": "s", "pkt_nsec": "ns", "tv_sec": "s", "tv_usec": "us"}


@contextmanager
def corrupt_if_malformed(store: str) -> Iterator[None]:
    """Take a root document apart: what is not in it as it should be is a `CorruptDataError`."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"the store's {ZARR_JSON} is damaged: {error}"
        raise StoreDamagedError(message, path=store) from None


def codec_chain(
    dtype: np.dtype[np.generic], codec: str, level: int, *, checksum: bool, bitshuffle: bool = False
) -> list[Json]:
    """Return the codecs of an array: little-endian bytes, compression, crc32c.

    Parameters
    ----------
    dtype : numpy.dtype
        Of the array.
    codec : str
        ``blosc-lz4``, ``zstd``, ``gzip`` or ``none``.
    level : int
        Of the compression.
    checksum : bool
        Put a crc32c behind each encoded chunk, so that bit rot is an error, not data.
    bitshuffle : bool
        For ``blosc-lz4`` and ``zstd``: transpose bits before compression instead of bytes.
    """
    chain: list[Json] = [{"name": "bytes"}]
    if dtype.itemsize > 1:
        chain[0]["configuration"] = {"endian": "little"}
    if codec in ("blosc-lz4", "zstd"):
        shuffle = "bitshuffle" if bitshuffle else "shuffle" if dtype.itemsize > 1 else "noshuffle"
        configuration = {
            "cname": codec.removeprefix("blosc-"),
            "clevel": level if codec == "blosc-lz4" else _blosc_level(level),
            "shuffle": shuffle,
            "typesize": dtype.itemsize,
            "blocksize": 0,
        }
        chain.append({"name": "blosc", "configuration": configuration})
    elif codec == "gzip":
        chain.append({"name": "gzip", "configuration": {"level": level}})
    if checksum:
        chain.append({"name": "crc32c"})
    return chain


def _blosc_level(zstd_level: int) -> int:
    """Return the level at which Blosc's zstd has the level that is asked for, or the next higher.

    Blosc's level c is zstd's 2 c - 1, but for 9, which is zstd's 22; zstd's 0 is its default, 3.
    """
    return min(9, (zstd_level or 3) // 2 + 1)


def sharded(codecs: list[Json], inner_shape: Sequence[int]) -> list[Json]:
    """Wrap codecs so that a stored chunk is cut into inner chunks, each with its own crc32c."""
    if codecs[-1]["name"] != "crc32c":
        codecs = [*codecs, {"name": "crc32c"}]
    configuration = {
        "chunk_shape": list(inner_shape),
        "codecs": codecs,
        "index_codecs": INDEX_CODECS,
        "index_location": "end",
    }
    return [{"name": "sharding_indexed", "configuration": configuration}]


def array_document(
    shape: Sequence[int],
    chunk_shape: Sequence[int],
    dtype: np.dtype[np.generic],
    codecs: list[Json],
    dims: Sequence[str],
    *,
    fill_value: int | float | str = 0,
    attributes: Mapping[str, Any] | None = None,
) -> Json:
    """Return an array's ``zarr.json``; ``dims`` are its ``dimension_names``, for xarray too."""
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunk_shape)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fill_value,
        "codecs": codecs,
        "attributes": {**(attributes or {}), "_ARRAY_DIMENSIONS": list(dims)},
        "dimension_names": list(dims),
        "storage_transformers": [],
    }


def resized(document: Json, n_frames: int) -> Json:
    """Return an array's document with another length along time."""
    return {**document, "shape": [n_frames, *document["shape"][1:]]}


def chunk_path(array: str, index: int, n_dims: int) -> str:
    """Return the path of a chunk in a store: default chunk keys, y and x in one piece."""
    return f"{array}/c/{index}" + "/0" * (n_dims - 1)


def group_document(attributes: Mapping[str, Any] | None = None) -> Json:
    """Return a group's ``zarr.json``."""
    return {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes or {})}


def root_document(attributes: Mapping[str, Any], members: Mapping[str, Json]) -> Json:
    """Return the root's ``zarr.json`` with the documents of all members consolidated in it.

    Parameters
    ----------
    attributes : mapping
        The root attributes.
    members : mapping of str to dict
        The document of each array and group below the root, by path.
    """
    metadata = {
        path: {**document, "consolidated_metadata": _consolidated({})}
        if document["node_type"] == "group"
        else document
        for path, document in sorted(members.items())
    }
    return {**group_document(attributes), "consolidated_metadata": _consolidated(metadata)}


def _consolidated(metadata: Json) -> Json:
    return {"kind": "inline", "must_understand": False, "metadata": metadata}


def encode(document: Json) -> bytes:
    """Return a document as the bytes of its file.

    In one line: each commit writes every document, and with indents Python takes 5 times as long,
    while all other threads wait.
    """
    return json.dumps(document, allow_nan=False).encode()


def array_attributes(spec: ArraySpec) -> Json:
    """Return the attributes of an L0 array, by the CF conventions."""
    name = spec.path.rsplit("/", 1)[-1]
    if name == "images":
        return {"long_name": "pixel values as recorded", "units": "count"}
    if name == "timestamps":
        return {
            "long_name": "time of the frame",
            "standard_name": "time",
            "units": "nanoseconds since 1970-01-01",
            "calendar": "proleptic_gregorian",
            "_FillValue": TIME_MISSING_NS,
        }
    if name == "quality":
        return {
            "long_name": "quality of the frame",
            "flag_masks": [int(flag) for flag in Quality],
            "flag_meanings": " ".join(str(flag.name).lower() for flag in Quality),
        }
    units = {"units": _UNITS[name]} if name in _UNITS else {}
    return {"long_name": _LONG_NAMES[name], **units}
