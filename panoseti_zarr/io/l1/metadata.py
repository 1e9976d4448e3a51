"""The documents and attributes of an L1 store."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from panoseti_zarr import __version__
from panoseti_zarr.config import BaselineSubtractConfig
from panoseti_zarr.errors import InputError
from panoseti_zarr.io.l0.metadata import L0State
from panoseti_zarr.io.zarr3.metadata import (
    ZARR_JSON,
    Json,
    array_document,
    codec_chain,
    group_document,
    sharded,
)
from panoseti_zarr.model import N_QUABOS, PRODUCTS, HeaderForm, Product

L1_FORMAT = "panoseti-zarr-l1"
L1_FORMAT_VERSION = 1

BASELINE = "baseline"
PIXEL_DTYPE = np.dtype("<f4")

_BASELINE_DTYPE = np.dtype("<f8")
_POSITION_DTYPE = np.dtype("<i8")
_WINDOWS_PER_CHUNK = 1024
_MAX_BLOSC_BYTES = 2**31 - 17
_FROM_L0 = (
    "run",
    "observatory",
    "run_start",
    "runtype",
    "product",
    "module",
    "bytes_per_pixel",
    "gaps",
)


@dataclass(frozen=True)
class L1Source:
    """The commit of the L0 store that an L1 store was made from."""

    store_id: str
    commit: int
    n_frames: int


def source_of(state: L0State) -> L1Source:
    """Return what an L1 store made from this commit would say of it."""
    return L1Source(state.store_id, state.commit, state.n_frames)


def read_source(l1_path: Path) -> L1Source:
    """Read which commit of which L0 store an L1 store was made from.

    Raises
    ------
    InputError
        There is no store, or another kind of store.
    """
    try:
        with open(l1_path / ZARR_JSON, "rb") as file:
            attributes = json.load(file)["attributes"]
        if attributes["format"] == L1_FORMAT:
            return L1Source(
                attributes["l0_store_id"], attributes["l0_commit"], attributes["l0_n_frames"]
            )
    except OSError as error:
        raise InputError(f"cannot read the L1 store: {error.strerror}", path=str(l1_path)) from None
    except (ValueError, KeyError, TypeError):
        pass
    raise InputError("not an L1 store of panoseti-zarr", path=str(l1_path))


def l1_attributes(state: L0State, settings: BaselineSubtractConfig) -> Json:
    """Return the root attributes of the L1 store of an L0 commit."""
    is_pulse_height = PRODUCTS[state.product].is_pulse_height
    return {
        "format": L1_FORMAT,
        "format_version": L1_FORMAT_VERSION,
        "l0_store_id": state.store_id,
        "l0_commit": state.commit,
        "l0_n_frames": state.n_frames,
        "n_frames": state.n_frames,
        **{key: state.attributes.get(key) for key in _FROM_L0},
        "algorithm": "pixel_pedestal" if is_pulse_height else "block_median_supermedian",
        "settings": settings.model_dump(mode="json"),
        "writer": {"name": "panoseti-zarr", "version": __version__},
    }


def l1_documents(
    state: L0State, settings: BaselineSubtractConfig, n_windows: int
) -> dict[str, Json]:
    """Return the documents of every array and group of an L1 store, by path.

    Those of arrays that are carried over are the L0 store's own.
    """
    product = PRODUCTS[state.product]
    documents = dict(state.documents)
    documents["images"] = image_document(state.documents["images"], product, settings)
    documents[BASELINE] = group_document()
    for name, (shape, dims, dtype, attributes) in _baseline_arrays(
        product, settings, n_windows
    ).items():
        chunk = [min(shape[0], _WINDOWS_PER_CHUNK), *shape[1:]] if dims[0] == "window" else shape
        codecs = codec_chain(dtype, settings.codec, settings.level, checksum=True)
        fill_value = "NaN" if dtype.kind == "f" else 0
        documents[f"{BASELINE}/{name}"] = array_document(
            shape, chunk, dtype, codecs, dims, fill_value=fill_value, attributes=attributes
        )
    return documents


def image_document(l0_images: Json, product: Product, settings: BaselineSubtractConfig) -> Json:
    """Return the document of ``images``: the chunks of L0, float32, compressed as set."""
    chunk_shape = l0_images["chunk_grid"]["configuration"]["chunk_shape"]
    codec_names = {codec["name"] for codec in l0_images["codecs"]}
    is_sharded = "sharding_indexed" in codec_names
    codecs = codec_chain(
        PIXEL_DTYPE,
        settings.codec,
        settings.level,
        checksum=is_sharded or "crc32c" in codec_names,
        bitshuffle=not product.is_pulse_height,
    )
    inner_shape = None
    if is_sharded:
        inner_shape = l0_images["codecs"][0]["configuration"]["chunk_shape"]
    elif np.prod(chunk_shape) * PIXEL_DTYPE.itemsize > _MAX_BLOSC_BYTES:
        inner_shape = [_largest_part(chunk_shape), *chunk_shape[1:]]
    return array_document(
        l0_images["shape"],
        chunk_shape,
        PIXEL_DTYPE,
        sharded(codecs, inner_shape) if inner_shape else codecs,
        l0_images["dimension_names"],
        fill_value="NaN",
        attributes=_IMAGE_ATTRIBUTES[product.is_pulse_height],
    )


_IMAGE_ATTRIBUTES = {
    False: {"long_name": "signal above the baseline", "units": "photoelectron"},
    True: {"long_name": "pulse height above the pedestal", "units": "count"},
}


def _largest_part(chunk_shape: list[int]) -> int:
    """Return the most frames that divide a chunk and that blosc can take at once."""
    n_frames, *pixels = chunk_shape
    most = _MAX_BLOSC_BYTES // (int(np.prod(pixels)) * PIXEL_DTYPE.itemsize)
    return next(part for part in range(most, 0, -1) if n_frames % part == 0)


_Array = tuple[list[int], list[str], np.dtype[np.generic], Json]


def _baseline_arrays(
    product: Product, settings: BaselineSubtractConfig, n_windows: int
) -> dict[str, _Array]:
    """Return shape, dimensions, dtype and attributes of each array of ``baseline/``."""
    window_shape, window_dims = [n_windows], ["window"]
    if product.form is HeaderForm.QUABO:
        window_shape, window_dims = [n_windows, N_QUABOS], ["window", "quabo"]
    arrays: dict[str, _Array] = {
        name: (window_shape, window_dims, _POSITION_DTYPE, {"long_name": long_name})
        for name, long_name in {
            "window_start": "frame at which the window begins",
            "window_stop": "one past the last frame that counts in the window",
        }.items()
    }
    frame = [product.height, product.width]
    if product.is_pulse_height:
        for name, long_name in {
            "pedestal": "median over the window's frames",
            "sigma": "population standard deviation over the window's frames",
        }.items():
            arrays[name] = (
                [*window_shape, *frame],
                [*window_dims, "y", "x"],
                _BASELINE_DTYPE,
                {"long_name": long_name, "units": "count"},
            )
        return arrays
    blocks = [side // settings.img_block_size for side in frame]
    arrays["block_median"] = (
        [n_windows, *blocks],
        ["window", "block_y", "block_x"],
        _BASELINE_DTYPE,
        {"long_name": "median of the block over the window's frames", "units": "count"},
    )
    arrays["supermedian"] = (
        frame,
        ["y", "x"],
        _BASELINE_DTYPE,
        {"long_name": "median over time of what the block medians leave", "units": "count"},
    )
    return arrays


def is_l1_store(path: Path) -> bool:
    """Say whether an L1 store of ours is at a path, and not a link to one."""
    if os.path.islink(path):
        return False
    try:
        read_source(path)
    except InputError:
        return False
    return True
