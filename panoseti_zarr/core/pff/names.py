"""The names of runs and frame files: ``key_value`` parts joined by dots."""

from __future__ import annotations

import re
from dataclasses import dataclass

from panoseti_zarr.errors import CorruptDataError, one_line
from panoseti_zarr.model import PRODUCTS, StreamKey

MAX_RUN_NAME_BYTES = 200
"""Longer run names would make store and lock names that the file system refuses (255 bytes)."""

MAX_MODULE = 254

MAX_SEQNO = 99_999
"""Each missing seqno below the highest one is listed in a store's ``gaps``."""

_NUMBER = re.compile(r"[0-9]{1,9}")
_START = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d)[:_-](\d\d)[:_-](\d\d(?:\.\d+)?)Z", re.ASCII)


@dataclass(frozen=True)
class RunName:
    """What a run directory's name tells; None where it does not.

    Attributes
    ----------
    observatory, runtype : str or None
    run_start : str or None
        UTC, ISO 8601 with colons, whichever separators the copy's name has.
    """

    observatory: str | None
    run_start: str | None
    runtype: str | None


@dataclass(frozen=True)
class FrameFileName:
    """What a frame file's name tells."""

    key: StreamKey
    seqno: int
    bytes_per_pixel: int | None


def check_run_name(name: str) -> None:
    """Refuse a run name that cannot safely become part of store names and log lines.

    Raises
    ------
    CorruptDataError
        For control characters, bytes that are not UTF-8, or more than `MAX_RUN_NAME_BYTES`.
    """
    if not name or name in {".", ".."} or "/" in name:
        raise CorruptDataError(f"run name {name!r} is not a directory's name")
    if not name.isprintable():
        # Lone surrogates, which stand for bytes that are not UTF-8, are not printable either.
        raise CorruptDataError(
            f"run name has control characters or is not UTF-8: {one_line(name)!r}"
        )
    if len(name.encode()) > MAX_RUN_NAME_BYTES:
        raise CorruptDataError(
            f"run name is longer than {MAX_RUN_NAME_BYTES} bytes: {name[:60]}..."
        )


def parse_run_name(name: str) -> RunName:
    """Read observatory, start and run type out of a run directory's name.

    Examples
    --------
    >>> parse_run_name("obs_Lick.start_2024-07-25T04-34-06Z.runtype_sci-data.pffd")
    RunName(observatory='Lick', run_start='2024-07-25T04:34:06Z', runtype='sci-data')
    """
    parts = _parts(name)
    started = _START.fullmatch(parts.get("start", ""))
    run_start = None
    if started:
        year, month, day, hour, minute, second = started.groups()
        run_start = f"{year}-{month}-{day}T{hour}:{minute}:{second}Z"
    return RunName(parts.get("obs"), run_start, parts.get("runtype"))


def parse_frame_file_name(name: str) -> FrameFileName | None:
    """Read a frame file's name; ``start_`` and ``bpp_`` are optional, further parts are ignored.

    Returns
    -------
    FrameFileName or None
        None for names that are no frame file's: dot files, ``hk.pff``, other endings.

    Raises
    ------
    CorruptDataError
        For the name of a frame file that cannot be placed: an unknown product, a module or a
        seqno that is no number, a pixel size that is not the product's.
    """
    if name.startswith(".") or not name.endswith(".pff"):
        return None
    parts = _parts(name)
    if "dp" not in parts:
        return None
    if not name.isprintable():
        raise CorruptDataError("frame file name has control characters or is not UTF-8")
    product = PRODUCTS.get(parts["dp"])
    if product is None:
        raise CorruptDataError(f"unknown data product {parts['dp']!r}")
    module, seqno = (_number(parts, key) for key in ("module", "seqno"))
    if module > MAX_MODULE:
        raise CorruptDataError(f"module {module} is above {MAX_MODULE}")
    if seqno > MAX_SEQNO:
        raise CorruptDataError(f"seqno {seqno} is above {MAX_SEQNO}")
    bytes_per_pixel = _number(parts, "bpp") if "bpp" in parts else None
    if bytes_per_pixel not in (None, product.dtype.itemsize):
        raise CorruptDataError(
            f"name says {bytes_per_pixel} bytes per pixel, {product.name} has "
            f"{product.dtype.itemsize}"
        )
    return FrameFileName(StreamKey(product.name, module), seqno, bytes_per_pixel)


def store_name(run: str, key: StreamKey) -> str:
    """Return the directory name of a stream's L0 store."""
    return f"{run}.{key}.zarr"


def l1_store_name(run: str, key: StreamKey) -> str:
    """Return the directory name of a stream's L1 store."""
    return f"{run}.{key}_L1.zarr"


def missing_seqnos(present: set[int]) -> tuple[int, ...]:
    """Return the gaps: seqnos from 0 up to the highest one that no file has.

    ``present`` counts files without a frame too: the DAQ opens one at the start of every run.
    """
    return tuple(n for n in range(max(present, default=-1) + 1) if n not in present)


def _parts(name: str) -> dict[str, str]:
    """Split a name into its parts; the first of two equal keys counts."""
    parts: dict[str, str] = {}
    for part in name.split("."):
        key, underscore, value = part.partition("_")
        if underscore:
            parts.setdefault(key, value)
    return parts


def _number(parts: dict[str, str], key: str) -> int:
    value = parts.get(key, "")
    if not _NUMBER.fullmatch(value):
        raise CorruptDataError(f"{key} {value!r} in the file's name is no number")
    return int(value)
