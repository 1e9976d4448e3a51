r"""The layout of PFF files: ``<JSON header>\n\n*<pixels>``, frame after frame, no separator.

The definition of a readable header is `parse_header`: ``json.loads`` accepts it and every field
is an integer that fits. The fast way for blocks of frames is `panoseti_zarr.core.pff.headers`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import numpy as np

from panoseti_zarr.model import FrameLayout, Product, header_specs

HEADER_END = b"\n\n*"
MIN_HEADER_BYTES = 40
MAX_HEADER_BYTES = 4096
"""Header lengths that are looked for. Today's are 123 and 491; five fields need over 40 bytes."""

_SEARCH_BYTES = 1 << 20


def parse_header(header: bytes, product: Product) -> tuple[int, ...] | None:
    """Read one header the slow and certain way.

    Parameters
    ----------
    header : bytes
        The JSON text, with or without the newlines that end it.
    product : Product
        Tells the form.

    Returns
    -------
    tuple of int or None
        The fields in the order of `panoseti_zarr.model.header_specs`; None where the header is
        not readable: not JSON, a field missing, not a JSON integer, or beyond its dtype.
    """
    try:
        document = json.loads(header)
    except (ValueError, RecursionError):
        return None
    values: list[int] = []
    for spec in header_specs(product):
        value = document
        for name in spec.path.split("/")[1:]:
            if not isinstance(value, dict) or name not in value:
                return None
            value = value[name]
        limits = np.iinfo(spec.dtype)  # type: ignore[type-var]
        if type(value) is not int or not limits.min <= value <= limits.max:
            return None
        values.append(value)
    return tuple(values)


def find_layout(
    read: Callable[[int, int], bytes], size_bytes: int, product: Product
) -> FrameLayout | None:
    """Measure a file's frame layout on its first readable header.

    A header that ends at byte ``e`` of frame ``k`` fixes the frame length ``F``, because frame k
    starts at ``k F`` and ``e + pixels = (k + 1) F``. So a broken first header, even one whose end
    is gone, costs nothing but a longer search.

    Parameters
    ----------
    read : callable
        ``read(byte_offset, n_bytes)`` gives those bytes of the file, fewer at its end.
    size_bytes : int
        Size of the file.
    product : Product

    Returns
    -------
    FrameLayout or None
        None where no header in the file is readable.
    """
    for header_end in _header_ends(read, size_bytes):
        after_pixels = header_end + product.pixel_bytes
        for frame_bytes in _divisors(
            after_pixels,
            MIN_HEADER_BYTES + 1 + product.pixel_bytes,
            MAX_HEADER_BYTES + 1 + product.pixel_bytes,
        ):
            header_bytes = frame_bytes - 1 - product.pixel_bytes
            start = after_pixels - frame_bytes
            header = read(start, header_bytes)
            if parse_header(header[:-2], product) is not None:
                return FrameLayout(header_bytes, frame_bytes, header)
    return None


def _header_ends(read: Callable[[int, int], bytes], size_bytes: int) -> Iterator[int]:
    r"""Yield the offset after each ``\n\n*`` that may end a JSON object (\0: in UTF-16)."""
    overlap = len(HEADER_END)
    for offset in range(0, size_bytes, _SEARCH_BYTES):
        block_start = max(0, offset - overlap)
        block = read(block_start, offset - block_start + _SEARCH_BYTES)
        position = block.find(HEADER_END, 1)
        while position >= 0:
            if block[position - 1] in b"} \t\r\n\0":
                yield block_start + position + len(HEADER_END)
            position = block.find(HEADER_END, position + 1)


def _divisors(number: int, low: int, high: int) -> Iterator[int]:
    """Yield the divisors of ``number`` in [low, high], the smallest first.

    A longer frame would begin inside the pixels before the header; where these are blanks or
    newlines, ``json.loads`` would not object.
    """
    for quotient in range(number // low, max(1, -(-number // high)) - 1, -1):
        if number % quotient == 0:
            yield number // quotient
