"""Checks of a store's arrays, groups and consolidated metadata. Part of `verify`.

Part of `verify`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from panoseti_zarr.errors import InvariantError
from panoseti_zarr.io.verify.layout import integer_range
from panoseti_zarr.io.verify.metadata import ROOT, SOURCE_COUNTS, shown
from panoseti_zarr.io.verify.report import Difference
from panoseti_zarr.model import (
    PRODUCTS,
    TIME_MISSING_NS,
    ArraySpec,
    Product,
    Quality,
    array_specs,
)

_EPOCH = "nanoseconds since 1970-01-01"


@dataclass(frozen=True)
class Source:
    """One entry of a store's ``source_files``: a frame file, and where its frames are."""

    name: str
    seqno: int
    size_bytes: int
    n_frames: int
    first_frame: int
    trailing_bytes: int


@dataclass(frozen=True)
class StoreDescription:
    """What a store's metadata say, once they have been found right."""

    product: Product
    module: int
    n_frames: int
    time_chunk: int
    closed: bool
    checksums: bool
    gaps: tuple[int, ...]
    sources: tuple[Source, ...]
    specs: tuple[ArraySpec, ...]


def metadata_paths(specs: tuple[ArraySpec, ...]) -> set[str]:
    """Return the place of every ``zarr.json`` of a store with these arrays."""
    return {ROOT} | {f"{node}/{ROOT}" for node in _nodes(specs)}


def _nodes(specs: tuple[ArraySpec, ...]) -> set[str]:
    nodes = {spec.path for spec in specs}
    for path in tuple(nodes):
        nodes |= {str(parent) for parent in Path(path).parents}
    return nodes - {"."}


def node_differences(store: Path, document: dict[str, Any]) -> Iterator[Difference]:
    """Find arrays and groups whose metadata are not an L0 store's, or not the consolidated ones.

    Parameters
    ----------
    store : Path
    document : dict
        The root ``zarr.json``, in which `root_differences` found nothing.

    Yields
    ------
    Difference
        Only the first is sure: later checks take for granted what it denies.
    """
    attributes = document["attributes"]
    specs = array_specs(PRODUCTS[attributes["product"]])
    consolidated = _object(_object(document.get("consolidated_metadata")).get("metadata"))
    nodes = _nodes(specs)
    if odd := set(consolidated) ^ nodes:
        what = f"{ROOT} consolidated_metadata"
        yield Difference(
            what, f"{len(consolidated)} nodes", f"{len(nodes)} nodes", f"{sorted(odd)}"
        )
    for node in sorted(nodes):
        yield from _own_differences(store, node, consolidated[node])
        own_type = "array" if any(spec.path == node for spec in specs) else "group"
        if consolidated[node].get("node_type") != own_type:
            yield Difference(f"{node}/{ROOT}", shown(consolidated[node].get("node_type")), own_type)
    time_chunk = _time_chunk(consolidated)
    if time_chunk is None:
        stored = shown(consolidated["timestamps"].get("chunk_grid"))
        yield Difference(f"timestamps/{ROOT} chunk_grid", stored, "a chunk length along time")
    for spec in specs:
        yield from _array_differences(
            spec, consolidated[spec.path], attributes["n_frames"], time_chunk
        )


def _own_differences(store: Path, node: str, in_root: object) -> Iterator[Difference]:
    """Compare a node's own ``zarr.json`` with what the root says of it."""
    place = f"{node}/{ROOT}"
    try:
        own = json.loads((store / place).read_bytes())
    except (OSError, ValueError) as error:
        yield Difference(place, "no readable JSON", "a node's metadata", str(error))
        return
    if not isinstance(own, dict) or not isinstance(in_root, dict):
        yield Difference(place, shown(own), shown(in_root), "not an object")
        return
    for key in sorted((set(own) | set(in_root)) - {"consolidated_metadata"}):
        if own.get(key) != in_root.get(key):
            note = "the root's consolidated metadata say otherwise"
            yield Difference(f"{place} {key}", shown(own.get(key)), shown(in_root.get(key)), note)


def _time_chunk(consolidated: dict[str, Any]) -> int | None:
    """Return the chunk length of ``timestamps``, which all arrays must share."""
    try:
        length = consolidated["timestamps"]["chunk_grid"]["configuration"]["chunk_shape"][0]
    except (KeyError, IndexError, TypeError):
        return None
    return length if type(length) is int and length > 0 else None


def _array_differences(
    spec: ArraySpec, own: dict[str, Any], n_frames: int, time_chunk: int | None
) -> Iterator[Difference]:
    """Compare an array's metadata with what its place in the format demands."""
    dims = ["time", *spec.frame_dims]
    attributes = _object(own.get("attributes"))
    grid = {"chunk_shape": [time_chunk, *spec.frame_shape]}
    keys = _object(own.get("chunk_key_encoding"))
    entries: list[tuple[str, Any, Any]] = [
        ("zarr_format", own.get("zarr_format"), 3),
        ("shape", own.get("shape"), [n_frames, *spec.frame_shape]),
        ("data_type", own.get("data_type"), spec.dtype.name),
        ("chunk_grid", own.get("chunk_grid"), {"name": "regular", "configuration": grid}),
        ("chunk_key_encoding", keys.get("name"), "default"),
        ("chunk_key_encoding", _object(keys.get("configuration")).get("separator", "/"), "/"),
        ("dimension_names", own.get("dimension_names"), dims),
        ("attributes/_ARRAY_DIMENSIONS", attributes.get("_ARRAY_DIMENSIONS"), dims),
        ("attributes/_FillValue", attributes.get("_FillValue"), None),
    ]
    if spec.path == "timestamps":
        entries[-1] = ("attributes/_FillValue", attributes.get("_FillValue"), TIME_MISSING_NS)
        units = str(attributes.get("units"))
        entries.append(("attributes/units", units[: len(_EPOCH)], _EPOCH))
    if spec.path == "quality":
        names = " ".join(bit.name.lower() for bit in Quality if bit.name)
        entries.append(("attributes/flag_masks", attributes.get("flag_masks"), list(Quality)))
        meanings = str(attributes.get("flag_meanings")).lower()
        entries.append(("attributes/flag_meanings", meanings, names))
    for name, stored, expected in entries:
        if stored != expected:
            yield Difference(f"{spec.path}/{ROOT} {name}", shown(stored), shown(expected))
    fill = own.get("fill_value")
    if type(fill) is not int or fill not in integer_range(spec.dtype):
        yield Difference(f"{spec.path}/{ROOT} fill_value", shown(fill), f"a {spec.dtype.name}")


def describe(document: dict[str, Any]) -> StoreDescription:
    """Return what the metadata say, once `root_differences` and `node_differences` found none."""
    attributes = document["attributes"]
    product = PRODUCTS[attributes["product"]]
    specs = array_specs(product)
    consolidated = document["consolidated_metadata"]["metadata"]
    time_chunk = _time_chunk(consolidated)
    if time_chunk is None:
        raise InvariantError("the chunk length was found right, and is not there")
    return StoreDescription(
        product=product,
        module=attributes["module"],
        n_frames=attributes["n_frames"],
        time_chunk=time_chunk,
        closed=attributes["closed"],
        checksums=all(_has_checksum(consolidated[spec.path].get("codecs")) for spec in specs),
        gaps=tuple(attributes["gaps"]),
        sources=tuple(
            Source(entry["name"], entry["seqno"], *(entry[name] for name in SOURCE_COUNTS))
            for entry in attributes["source_files"]
        ),
        specs=specs,
    )


def _has_checksum(codecs: object) -> bool:
    """Whether every stored chunk (with sharding, every inner chunk) carries a crc32c."""
    return any(
        codec.get("name") == "crc32c"
        or _has_checksum(_object(codec.get("configuration")).get("codecs"))
        for codec in map(_object, codecs if isinstance(codecs, list) else ())
    )


def _object(value: object) -> dict[str, Any]:
    """Return a JSON object, or an empty one instead of anything else."""
    return value if isinstance(value, dict) else {}
