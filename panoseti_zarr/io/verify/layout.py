r"""Finding and reading headers in a PFF file, one at a time, with ``json.loads``.

Part of `verify`, so nothing here comes from the code that `convert` decodes with. Source of the
format: the PANOSETI DAQ software. A frame is ``<header> "\n\n" "*" <pixels>``; all headers of
a file have one length, and nothing separates the frames.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator

import numpy as np

from panoseti_zarr.errors import SourceChangedError
from panoseti_zarr.model import (
    HEADER_DTYPES,
    MODULE_FIELDS,
    N_QUABOS,
    FrameLayout,
    HeaderForm,
    Product,
)

HEADER_END = b"\n\n*"
MAX_HEADER_BYTES = 4096
"""Longer headers are not looked for; today's have 491 bytes at most."""

_FIRST_READ_BYTES = 1 << 16
_READ_BYTES = 1 << 20
_NUMBER = re.compile(rb":( *)([0-9]+)")


def parse_header(text: bytes, product: Product) -> tuple[int, ...] | None:
    """Read the fields of one header.

    Parameters
    ----------
    text : bytes
        The header, without the two newlines.
    product : Product

    Returns
    -------
    tuple of int or None
        In the order of `panoseti_zarr.model.header_specs`. None where the header is unreadable:
        no JSON, a field is missing, is no JSON integer, or does not fit its dtype.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if product.form is HeaderForm.QUABO:
        return _integers(document, ("quabo_num", *MODULE_FIELDS))
    if not isinstance(document, dict):
        return None
    fields: list[int] = []
    for quabo in range(N_QUABOS):
        board = _integers(document.get(f"quabo_{quabo}"), MODULE_FIELDS)
        if board is None:
            return None
        fields += board
    return tuple(fields)


def parse_frame_header(head: bytes, product: Product) -> tuple[int, ...] | None:
    r"""Read the fields of a frame's first bytes: the header with its ``\n\n*``."""
    if not head.endswith(HEADER_END):
        return None
    return parse_header(head[: -len(HEADER_END)], product)


def _integers(document: object, names: tuple[str, ...]) -> tuple[int, ...] | None:
    if not isinstance(document, dict):
        return None
    values = []
    for name in names:
        value = document.get(name)
        if type(value) is not int or value not in integer_range(HEADER_DTYPES[name]):
            return None
        values.append(value)
    return tuple(values)


def integer_range(dtype: np.dtype[np.generic]) -> range:
    """Return the integers that an integer dtype holds.

    Examples
    --------
    >>> integer_range(np.dtype("uint8"))
    range(0, 256)
    """
    bits = 8 * dtype.itemsize
    return range(-(1 << bits - 1), 1 << bits - 1) if dtype.kind == "i" else range(1 << bits)


def find_layout(fd: int, size_bytes: int, product: Product) -> FrameLayout | None:
    """Measure the frames of a file by its first readable header.

    A header that ends at byte ``e`` (after the ``*``) belongs to a frame that ends at
    ``e + pixel_bytes``, and that must be a multiple of the frame length.

    Parameters
    ----------
    fd : int
        Of the file, open for reading.
    size_bytes : int
        Its size.
    product : Product

    Returns
    -------
    FrameLayout or None
        None where no header of the file can be read.
    """
    for header_end in _header_ends(fd, size_bytes):
        frame_end = header_end + product.pixel_bytes
        shortest = len(HEADER_END) + product.pixel_bytes
        longest = MAX_HEADER_BYTES + 1 + product.pixel_bytes
        lengths = np.arange(shortest, min(frame_end, longest) + 1)
        for frame_bytes in lengths[frame_end % lengths == 0].tolist():
            start = frame_end - frame_bytes
            template = read_bytes(fd, start, header_end - start - 1)
            if parse_frame_header(template + b"*", product) is not None:
                return FrameLayout(len(template), frame_bytes, template)
    return None


def _header_ends(fd: int, size_bytes: int) -> Iterator[int]:
    r"""Yield the offset after each ``\n\n*`` of a file, in order, whatever it belongs to."""
    overlap = len(HEADER_END) - 1
    offset, length = 0, _FIRST_READ_BYTES
    while offset + overlap < size_bytes:
        block = read_bytes(fd, offset, min(length, size_bytes - offset))
        yield from (offset + match.end() for match in re.finditer(re.escape(HEADER_END), block))
        offset += len(block) - overlap
        length = _READ_BYTES


def read_bytes(fd: int, offset: int, length: int) -> bytes:
    """Read exactly ``length`` bytes.

    Raises
    ------
    SourceChangedError
        When the file ends before.
    """
    data = b""
    while len(data) < length:
        part = os.pread(fd, length - len(data), offset + len(data))
        if not part:
            raise SourceChangedError("frame file shrank while it was read", byte_offset=offset)
        data += part
    return data


def find_field_spans(header: bytes, product: Product) -> list[tuple[int, int]] | None:
    """Find where a readable header prints each field: the blanks after the colon, and the digits.

    Each number is replaced by another in turn, to see which field changes; so a header's own
    order, further keys and repeated keys need no rules.

    Parameters
    ----------
    header : bytes
        With its two newlines.
    product : Product

    Returns
    -------
    list of tuple of int or None
        Half-open byte ranges, in the order of `panoseti_zarr.model.header_specs`; None where a
        field is not printed right-aligned in blanks.
    """
    text = header[: -len(HEADER_END) + 1]
    before = parse_header(text, product)
    if before is None:
        return None
    spans: dict[int, tuple[int, int]] = {}
    for match in _NUMBER.finditer(text):
        probe = b"1" if int(match[2]) != 1 else b"2"
        start, stop = match.span(1)[0], match.span(2)[1]
        after = parse_header(text[:start] + probe.rjust(stop - start) + text[stop:], product)
        changed = [i for i, value in enumerate(before) if after and after[i] != value]
        if len(changed) == 1:
            spans[changed[0]] = (start, stop)
    if len(spans) != len(before):
        return None
    return [spans[i] for i in range(len(before))]
