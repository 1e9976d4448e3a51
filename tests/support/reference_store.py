"""An oracle for L0 stores: PFF files decoded frame by frame with ``json.loads``, in plain Python.

Slow, and shares no decoding code with the package. `reference_arrays` gives the arrays that a
store of some files must hold, `write_reference_store` such a store, written with zarr-python, and
`print_frame` a frame as the DAQ prints it.
"""

from __future__ import annotations

import json
import uuid
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

FIELDS = ("pkt_num", "pkt_tai", "pkt_nsec", "tv_sec", "tv_usec")
RANGES = {
    "quabo_num": range(2**8),
    "pkt_num": range(2**32),
    "pkt_tai": range(2**16),
    "pkt_nsec": range(2**32),
    "tv_sec": range(-(2**63), 2**63),
    "tv_usec": range(2**32),
}
DTYPES = dict(zip(RANGES, ("u1", "u4", "u2", "u4", "i8", "u4"), strict=True))
PIXELS: dict[str, tuple[str, int]] = {
    "img16": ("<u2", 32),
    "img8": ("<u1", 32),
    "ph1024": ("<i2", 32),
    "ph256": ("<i2", 16),
}
TODAY_FRAME_BYTES = {"img16": 2540, "img8": 1516, "ph1024": 2540, "ph256": 636}
NAT = -(2**63)
MAX_HEADER_BYTES = 4096

BOARD = '"pkt_num": %10u, "pkt_tai": %4u, "pkt_nsec": %9u, "tv_sec": %10d, "tv_usec": %6u}'
Board = tuple[int, int, int, int, int]
Arrays = dict[str, npt.NDArray[Any]]


def print_header(product: str, boards: Sequence[Board], quabo_num: int = 0) -> bytes:
    """Return a header as the DAQ prints it, with its two newlines.

    ``boards`` holds `FIELDS` of the four quabos, or (``ph256``) of the one that sent.
    """
    if product == "ph256":
        return (f'{{ "quabo_num": {quabo_num}, ' + BOARD % boards[0] + "\n\n").encode()
    lines = [f'   "quabo_{i}": {{ ' + BOARD % board for i, board in enumerate(boards)]
    return ("{\n" + ", \n".join(lines) + "\n}\n\n").encode()


def print_frame(header: bytes, pixels: npt.NDArray[Any]) -> bytes:
    """Return a whole frame."""
    return header + b"*" + pixels.tobytes()


def pixel_bytes(product: str) -> int:
    """Return the bytes of a frame's pixels."""
    dtype, side = PIXELS[product]
    return side * side * np.dtype(dtype).itemsize


def array_paths(product: str) -> list[str]:
    """Return the header arrays of a product, in the order in which a header prints them."""
    if product == "ph256":
        return [f"headers/{field}" for field in ("quabo_num", *FIELDS)]
    return [f"headers/quabo_{i}/{field}" for i in range(4) for field in FIELDS]


def read_header(text: bytes, product: str) -> list[int] | None:
    """Return a header's fields; None where it is unreadable."""
    try:
        document = json.loads(text)
        values = []
        for path in array_paths(product):
            value = document
            for key in path.split("/")[1:]:
                value = value[key]
            if type(value) is not int or value not in RANGES[path.split("/")[-1]]:
                return None
            values.append(value)
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
    return values


def frame_length(data: bytes, product: str) -> int | None:
    """Return the frame length by the file's first readable header; None without one.

    Where blanks before a header would make it longer, the shortest is right.
    """
    mark = data.find(b"\n\n*")
    while mark >= 0:
        for header_bytes in range(2, MAX_HEADER_BYTES + 1):
            start = mark + 2 - header_bytes
            length = header_bytes + 1 + pixel_bytes(product)
            if start < 0 or start % length:
                continue
            if read_header(data[start:mark], product) is not None:
                return length
        mark = data.find(b"\n\n*", mark + 1)
    return None


def time_and_quality(product: str, fields: list[int] | None) -> tuple[int, int]:
    """Return the time in ns (`NAT`: none) and the quality of a frame, by the rules, one by one."""
    if fields is None:
        return NAT, 0b1100_0000
    values = fields[1:] if product == "ph256" else fields
    boards = [values[i : i + 5] for i in range(0, len(values), 5)]
    quality, time_ns = 0, None
    for quabo, board in enumerate(boards):
        if not any(board):
            quality |= 0 if product == "ph256" else 1 << quabo
            continue
        _, pkt_tai, pkt_nsec, tv_sec, tv_usec = board
        if pkt_nsec == 999_999_999:
            quality |= 1 << 5
        if time_ns is None:
            steps = {0: 0, 1: -1, 1023: 1}
            difference = (tv_sec - pkt_tai + 37) % 1024
            if difference in steps:
                time_ns = (tv_sec + steps[difference]) * 1_000_000_000 + pkt_nsec
            else:
                quality |= 1 << 4
                time_ns = tv_sec * 1_000_000_000 + tv_usec * 1000
    if time_ns is None or not NAT < time_ns < 2**63:
        return NAT, quality | 1 << 7
    return time_ns, quality


def reference_arrays(files: list[Path], product: str) -> Arrays:
    """Decode frame files as a store must hold them.

    Parameters
    ----------
    files : list of Path
        Of one stream, by seqno; empty ones are passed over.
    product : str

    Returns
    -------
    dict of str to ndarray
        Every array of the L0 store by its path, one row a frame.
    """
    dtype, side = PIXELS[product]
    rows: list[list[int]] = []
    images, times, qualities = [], [], []
    for file in files:
        data = file.read_bytes()
        length = frame_length(data, product)
        for k in range(len(data) // length if length else 0):
            frame = data[k * length : (k + 1) * length]
            head, pixels = frame[: -pixel_bytes(product)], frame[-pixel_bytes(product) :]
            fields = read_header(head[:-3], product) if head.endswith(b"\n\n*") else None
            time_ns, quality = time_and_quality(product, fields)
            rows.append(fields or [0] * len(array_paths(product)))
            images.append(np.frombuffer(pixels, dtype).reshape(side, side))
            times.append(time_ns)
            qualities.append(quality)
    arrays: Arrays = {
        "images": np.array(images, dtype).reshape(-1, side, side),
        "timestamps": np.array(times, "i8"),
        "quality": np.array(qualities, "u2"),
    }
    for i, path in enumerate(array_paths(product)):
        arrays[path] = np.array([row[i] for row in rows], DTYPES[path.split("/")[-1]])
    return arrays


def source_entries(files: list[Path], product: str) -> list[dict[str, Any]]:
    """Return ``source_files`` as the root attributes must have it: the non-empty files."""
    entries: list[dict[str, Any]] = []
    first_frame = 0
    for file in files:
        status = file.stat()
        if status.st_size == 0:
            continue
        length = frame_length(file.read_bytes(), product)
        n_frames = status.st_size // length if length else 0
        entries.append(
            {
                "name": file.name,
                "seqno": int(file.name.split("seqno_")[1].split(".")[0]),
                "size_bytes": status.st_size,
                "mtime_ns": status.st_mtime_ns,
                "ctime_ns": status.st_ctime_ns,
                "n_frames": n_frames,
                "first_frame": first_frame,
                "trailing_bytes": status.st_size - n_frames * (length or 0),
            }
        )
        first_frame += n_frames
    return entries


def write_reference_store(
    store: Path,
    files: list[Path],
    product: str,
    *,
    module: int = 1,
    time_chunk: int = 4,
    closed: bool = True,
) -> Path:
    """Write an L0 store of frame files with zarr-python.

    Parameters
    ----------
    store : Path
        To be made.
    files : list of Path
        All frame files of the stream, by seqno, empty ones too; of one run directory.
    product : str
    module : int
    time_chunk : int
        Frames of a chunk.
    closed : bool

    Returns
    -------
    Path
        ``store``.
    """
    run = files[0].parent.name
    parts = dict(part.split("_", 1) for part in run.split(".") if "_" in part)
    arrays = reference_arrays(files, product)
    entries = source_entries(files, product)
    seqnos = {int(file.name.split("seqno_")[1].split(".")[0]) for file in files}
    attributes = {
        "format": "panoseti-zarr-l0",
        "format_version": 1,
        "store_id": uuid.uuid4().hex,
        "commit": 1,
        "n_frames": len(arrays["timestamps"]),
        "closed": closed,
        "run": run,
        "observatory": parts.get("obs"),
        "run_start": parts.get("start"),
        "runtype": parts.get("runtype"),
        "product": product,
        "module": module,
        "bytes_per_pixel": np.dtype(PIXELS[product][0]).itemsize,
        "source_files": entries,
        "gaps": [n for n in range(max(seqnos)) if n not in seqnos],
        "run_config": {},
        "writer": {"version": "reference"},
    }
    zarr.create_group(store, attributes=attributes)
    for path, array in arrays.items():
        _write_array(store, path, array, time_chunk)
    with warnings.catch_warnings():
        # Consolidated metadata are not in the Zarr v3 specification, which zarr-python says.
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(store)
    return store


def _write_array(store: Path, path: str, values: npt.NDArray[Any], time_chunk: int) -> None:
    dims = ["time", "y", "x"][: values.ndim]
    attributes: dict[str, Any] = {"_ARRAY_DIMENSIONS": dims}
    if path == "timestamps":
        attributes |= {"units": "nanoseconds since 1970-01-01", "_FillValue": NAT}
    if path == "quality":
        names = [f"quabo_{i}_missing" for i in range(4)]
        names += ["wr_not_locked", "nsec_clamped", "header_unreadable", "no_time"]
        attributes |= {
            "flag_masks": [1 << bit for bit in range(8)],
            "flag_meanings": " ".join(names),
        }
    array = zarr.create_array(
        store,
        name=path,
        shape=values.shape,
        chunks=(time_chunk, *values.shape[1:]),
        dtype=values.dtype,
        compressors=[BloscCodec(cname="lz4", clevel=1), Crc32cCodec()],
        fill_value=NAT if path == "timestamps" else 0,
        dimension_names=dims,
        attributes=attributes,
        config={"write_empty_chunks": True},
    )
    array[:] = values
