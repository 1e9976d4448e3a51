"""The documents of an L0 store as written, and its state as read back."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from panoseti_zarr.config import PffToZarrConfig
from panoseti_zarr.core.append_plan import CommittedSource
from panoseti_zarr.errors import InputError, TransientIOError, is_missing
from panoseti_zarr.io.zarr3.metadata import (
    ZARR_JSON,
    Json,
    array_attributes,
    array_document,
    codec_chain,
    corrupt_if_malformed,
    group_document,
    sharded,
)
from panoseti_zarr.model import TIME_MISSING_NS, Product, array_specs

L0_FORMAT = "panoseti-zarr-l0"
L0_FORMAT_VERSION = 1


@dataclass(frozen=True)
class L0State:
    """What the root ``zarr.json`` of an L0 store says: the last commit.

    Attributes
    ----------
    store_id : str
        Random, made with the store.
    commit : int
        Counts the commits.
    n_frames : int
        Committed frames.
    closed : bool
    run, product : str
    module : int
    source_files : tuple of CommittedSource
        By seqno.
    time_chunk : int
        Frames per chunk.
    attributes : dict
        The root attributes as they stand.
    documents : dict of str to dict
        The ``zarr.json`` of every array and group below the root, by path.
    """

    store_id: str
    commit: int
    n_frames: int
    closed: bool
    run: str
    product: str
    module: int
    source_files: tuple[CommittedSource, ...]
    time_chunk: int
    attributes: Json
    documents: dict[str, Json]

    @property
    def array_documents(self) -> dict[str, Json]:
        """The documents of the arrays alone."""
        return {p: d for p, d in self.documents.items() if d["node_type"] == "array"}


def read_state(store: Path) -> L0State:
    """Read the state of an L0 store.

    Raises
    ------
    InputError
        There is no store, or not one of ours.
    CorruptDataError
        It is ours, but its root document is not whole.
    TransientIOError
        It cannot be read at present.
    """
    try:
        with open(store / ZARR_JSON, "rb") as file:
            return parse_state(file.read(), str(store))
    except OSError as error:
        kind = InputError if is_missing(error) else TransientIOError
        raise kind(f"cannot read the L0 store: {error.strerror}", path=str(store)) from None


def parse_state(root: bytes, store: str) -> L0State:
    """Take the state out of the bytes of a root ``zarr.json``; errors as `read_state`."""
    with corrupt_if_malformed(store):
        document = json.loads(root)
        attributes = document["attributes"]
        if attributes.get("format") != L0_FORMAT:
            raise InputError("not an L0 store of panoseti-zarr", path=store)
        if attributes["format_version"] != L0_FORMAT_VERSION:
            raise InputError(
                f"L0 format version {attributes['format_version']} is not known here", path=store
            )
        members: dict[str, Json] = {
            path: {key: value for key, value in member.items() if key != "consolidated_metadata"}
            for path, member in document["consolidated_metadata"]["metadata"].items()
        }
        return L0State(
            store_id=attributes["store_id"],
            commit=attributes["commit"],
            n_frames=attributes["n_frames"],
            closed=attributes["closed"],
            run=attributes["run"],
            product=attributes["product"],
            module=attributes["module"],
            source_files=tuple(CommittedSource(**entry) for entry in attributes["source_files"]),
            time_chunk=members["images"]["chunk_grid"]["configuration"]["chunk_shape"][0],
            attributes=attributes,
            documents=members,
        )


def empty_store_documents(product: Product, settings: PffToZarrConfig) -> dict[str, Json]:
    """Return the documents of every array and group of a new, empty store, by path."""
    documents: dict[str, Json] = {}
    for spec in array_specs(product):
        chunk_shape = (settings.time_chunk, *spec.frame_shape)
        # Measured on the real runs: transposed bits pack pulse height and bytes better, transposed
        # bytes are read faster for images of 16 bits.
        bitshuffle = spec.path == "images" and (
            product.is_pulse_height or product.dtype.itemsize == 1
        )
        codecs = codec_chain(
            spec.dtype,
            settings.codec,
            settings.level,
            checksum=settings.checksum,
            bitshuffle=bitshuffle,
        )
        if spec.path == "images" and settings.n_inner_frames:
            codecs = sharded(codecs, (settings.n_inner_frames, *spec.frame_shape))
        documents[spec.path] = array_document(
            (0, *spec.frame_shape),
            chunk_shape,
            spec.dtype,
            codecs,
            ("time", *spec.frame_dims),
            fill_value=TIME_MISSING_NS if spec.path == "timestamps" else 0,
            attributes=array_attributes(spec),
        )
        parent = os.path.dirname(spec.path)
        while parent:
            documents.setdefault(parent, group_document())
            parent = os.path.dirname(parent)
    return documents


def source_entries(sources: tuple[CommittedSource, ...]) -> list[dict[str, Any]]:
    """Return ``source_files`` as it stands in the root attributes."""
    return [
        {
            "name": source.name,
            "seqno": source.seqno,
            "size_bytes": source.size_bytes,
            "mtime_ns": source.mtime_ns,
            "ctime_ns": source.ctime_ns,
            "n_frames": source.n_frames,
            "first_frame": source.first_frame,
            "trailing_bytes": source.trailing_bytes,
        }
        for source in sources
    ]
