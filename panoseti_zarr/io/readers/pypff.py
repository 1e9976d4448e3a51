"""A store under the names that readers of ``pypff.zarr`` know.

Those names, and the attributes, are those of pypff 1.0 (``panoseti_pff_zarr_version`` 1.1); none
of its code is used. Needs xarray: ``pip install 'panoseti-zarr[read]'``.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import xarray as xr

from panoseti_zarr.io.readers.dataset import Chunks, open_stream
from panoseti_zarr.model import PRODUCTS, HeaderForm, Product

_VERSION = "1.1"


def open_pypff(
    path: str | os.PathLike[str], *, chunks: Chunks = "auto", wait_s: float = 0.0
) -> xr.Dataset:
    """Open a store as ``pypff.zarr.PanosetiZarrStore(path).to_dataset()`` opens one of pypff.

    Variables and attributes have pypff's names; the values are the store's. So a frame whose WR
    clock was not locked has the DAQ's time, and one without a time the int64 minimum, where pypff
    takes the boards' nanoseconds as they are.

    Parameters
    ----------
    path : str or path-like
        An L0 store; of an L1 store, ``images`` are float32.
    chunks, wait_s
        As of `open_stream`. By default Dask arrays, as with pypff.

    Returns
    -------
    xarray.Dataset
        ``images`` (time, y, x), ``unix_t_ns`` (time, int64, nanoseconds since 1970-01-01 UTC),
        the header fields (``pkt_num`` of ph256, ``quabo_0_pkt_num`` of the others), and
        ``quality``, which pypff has not. The frames committed so far: it does not refresh.

    Raises
    ------
    InputError
        There is no store (yet), or the directory holds something else.
    CorruptDataError
        Its root document is not whole.

    Examples
    --------
    >>> from panoseti_zarr import convert
    >>> outcomes = convert("obs_Lick.start_2024-07-25T04:34:06Z.runtype_sci-data.pffd", "l0")
    >>> ds = open_pypff(outcomes[1].store)
    >>> ds.unix_t_ns.dtype, ds.attrs["header_fields"][:2], ds.sizes["time"]
    (dtype('int64'), ['pkt_nsec', 'pkt_num'], 300)
    """
    stream = open_stream(path, chunks=chunks, headers=True, wait_s=wait_s)
    times = stream.timestamps.astype(np.int64).drop_attrs()
    times.attrs = {
        "ns_since_epoch": "1970-01-01T00:00:00Z",
        "long_name": "UNIX timestamp in nanoseconds",
    }
    dataset = stream.drop_vars("timestamps").assign(unix_t_ns=times)
    product = PRODUCTS[stream.attrs["product"]]
    fields = sorted(str(name) for name in dataset if _is_header_field(str(name)))
    for name in fields:
        dataset[name].attrs["pff_header_field"] = _field(name)
    dataset.attrs = _attributes(stream.attrs, product, stream.sizes["time"], fields)
    return dataset


def _is_header_field(name: str) -> bool:
    return name not in {"images", "quality", "unix_t_ns"}


def _field(name: str) -> str:
    """Name a header field as pypff does within a frame: ``quabo_0.pkt_num``."""
    quabo, field = name[: len("quabo_0")], name[len("quabo_0_") :]
    return f"{quabo}.{field}" if quabo[-1:].isdigit() else name


def _attributes(
    held: dict[str, Any], product: Product, n_frames: int, fields: list[str]
) -> dict[str, Any]:
    is_module = product.form is HeaderForm.MODULE
    files = held.get("source_files", [])
    frame_bytes = _frame_bytes(files)
    return {
        "panoseti_pff_zarr_version": _VERSION,
        "data_product": product.name,
        "bytes_per_pixel": product.dtype.itemsize,
        "module": str(held["module"]),
        "source_pff_files": [file["name"] for file in files],
        "total_frames": n_frames,
        "header_format": "module" if is_module else "single",
        "header_fields": [] if is_module else fields,
        "quabo_fields": fields if is_module else [],
        "frame_config": {
            "header_size": frame_bytes and frame_bytes - product.pixel_bytes - 1,
            "payload_size": product.pixel_bytes,
            "frame_size": frame_bytes,
            "image_shape": [product.height, product.width],
            "dtype_str": product.dtype.name,
            "bytes_per_pixel": product.dtype.itemsize,
            "format_name": product.name,
        },
        "run_configs": {
            name.removesuffix(".json"): document
            for name, document in held.get("run_config", {}).items()
        },
    }


def _frame_bytes(files: list[dict[str, Any]]) -> int | None:
    """Return the bytes of a frame in the first file that has one: headers have one length."""
    for file in files:
        if file["n_frames"]:
            return int(file["size_bytes"] - file["trailing_bytes"]) // int(file["n_frames"])
    return None
