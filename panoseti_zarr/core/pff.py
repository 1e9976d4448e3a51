r"""Decode PFF frames: ``<JSON header>\n\n*<pixels>``, frame after frame, no separator.

The definition of a readable header is `parse_header`: ``json.loads`` accepts it and every field
is an integer that fits. `HeaderDecoder` is its fast path. It takes a frame only when the header
is, byte for byte, the file's first readable header with other plain decimal numbers in it, for
which ``json.loads`` gives those numbers; every other frame goes to `parse_header`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from panoseti_zarr.model import (
    MODULE_FIELDS,
    N_QUABOS,
    FrameLayout,
    HeaderForm,
    Product,
    header_specs,
)

HEADER_END = b"\n\n*"
MIN_HEADER_BYTES = 40
MAX_HEADER_BYTES = 4096
"""Header lengths that are looked for. Today's are 123 and 491; five fields need over 40 bytes."""

_SEARCH_BYTES = 1 << 20
_MAX_DIGITS = 18
_NUMBER = re.compile(rb'"([a-z_0-9]+)":( *[0-9]+)(?=[,}])')

Bytes2D = npt.NDArray[np.uint8]


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
            if parse_header(header, product) is not None:
                return FrameLayout(header_bytes, frame_bytes, header)
    return None


def _header_ends(read: Callable[[int, int], bytes], size_bytes: int) -> Iterator[int]:
    r"""Yield the offset after each ``\n\n*`` that may end a JSON object."""
    overlap = len(HEADER_END)
    for offset in range(0, size_bytes, _SEARCH_BYTES):
        block_start = max(0, offset - overlap)
        block = read(block_start, offset - block_start + _SEARCH_BYTES)
        position = block.find(HEADER_END, 1)
        while position >= 0:
            if block[position - 1] in b"} \t\r\n":
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


@dataclass(frozen=True)
class _NumberGroup:
    """The number fields of one width: decoded together.

    ``columns`` (n_fields, width) are byte columns of the header; ``places`` the fields' places
    in `header_specs`; ``limits`` the largest value each dtype holds.
    """

    columns: npt.NDArray[np.intp]
    places: tuple[int, ...]
    limits: npt.NDArray[np.uint64]


@dataclass(frozen=True)
class HeaderDecoder:
    """Decodes the headers of whole blocks of frames of one file.

    Build with `HeaderDecoder.of`. ``fixed`` and ``fixed_values`` are the columns that are the
    same in every frame of the fast path; without groups every frame is parsed on its own.
    """

    product: Product
    layout: FrameLayout
    fixed: npt.NDArray[np.intp]
    fixed_values: npt.NDArray[np.uint8]
    groups: tuple[_NumberGroup, ...]

    @classmethod
    def of(cls, layout: FrameLayout, product: Product) -> HeaderDecoder:
        """Compile the decoder of a file from its first readable header."""
        spans = _number_spans(layout.template, product)
        line = layout.template[: layout.header_bytes - 2] + HEADER_END
        template = np.frombuffer(line, np.uint8)
        is_fixed = np.ones(template.size, bool)
        by_width: dict[int, list[int]] = {}
        for place, (start, stop) in enumerate(spans):
            is_fixed[start:stop] = False
            by_width.setdefault(stop - start, []).append(place)
        specs = header_specs(product)
        groups = tuple(
            _NumberGroup(
                np.array([range(*spans[p]) for p in places], np.intp),
                tuple(places),
                np.array([np.iinfo(specs[p].dtype).max for p in places], np.uint64),  # type: ignore[type-var]
            )
            for places in by_width.values()
        )
        fixed = np.flatnonzero(is_fixed)
        return cls(product, layout, fixed, template[fixed], groups)

    def decode(
        self, frames: Bytes2D, out: Sequence[npt.NDArray[np.generic]]
    ) -> npt.NDArray[np.bool_]:
        """Decode the headers of a block of frames.

        Parameters
        ----------
        frames : ndarray of uint8, shape (n_frames, frame_bytes)
            May be a strided view; must not change meanwhile.
        out : sequence of ndarray, each of shape (n_frames,)
            Filled, in the order of `panoseti_zarr.model.header_specs`; 0 where unreadable.

        Returns
        -------
        ndarray of bool, shape (n_frames,)
            Whether each header is readable.
        """
        odd = np.ones(len(frames), bool)
        if self.groups:
            # Columns become rows, so that every step below runs over contiguous bytes.
            rows = np.ascontiguousarray(frames[:, : self.layout.header_bytes + 1].T)
            odd = (rows[self.fixed] != self.fixed_values[:, None]).any(axis=0)
            for group in self.groups:
                values, bad = _decode_numbers(rows[group.columns], group.limits)
                odd |= bad
                for place, value in zip(group.places, values, strict=True):
                    np.copyto(out[place], value, casting="unsafe")
        readable = np.ones(len(frames), bool)
        for index in np.flatnonzero(odd):
            header = frames[index, : self.layout.header_bytes + 1].tobytes()
            ends_right = header.endswith(HEADER_END)
            values_here = parse_header(header[:-3], self.product) if ends_right else None
            readable[index] = values_here is not None
            for column, number in zip(out, values_here or (0,) * len(out), strict=True):
                column[index] = number
        return readable


def _number_spans(header: bytes, product: Product) -> tuple[tuple[int, int], ...]:
    """Return where the numbers of a header stand, leading blanks in, in field order.

    Empty where the header has other keys or another order than the DAQ prints, a key twice, or a
    number not directly followed by ``,`` or ``}``: such a header is no template.
    """
    if json.loads(header, object_pairs_hook=_keys_in_order) != _expected_keys(product):
        return ()
    found = list(_NUMBER.finditer(header))
    values = tuple(int(match[2]) for match in found)
    spans = tuple(match.span(2) for match in found)
    if values != parse_header(header, product) or any(b - a > _MAX_DIGITS for a, b in spans):
        return ()
    return spans


def _keys_in_order(pairs: list[tuple[str, object]]) -> tuple[tuple[str, object], ...]:
    return tuple((key, value if isinstance(value, tuple) else None) for key, value in pairs)


def _expected_keys(product: Product) -> tuple[tuple[str, object], ...]:
    fields = tuple((field, None) for field in MODULE_FIELDS)
    if product.form is HeaderForm.QUABO:
        return (("quabo_num", None), *fields)
    return tuple((f"quabo_{quabo}", fields) for quabo in range(N_QUABOS))


def _decode_numbers(
    text: npt.NDArray[np.uint8], limits: npt.NDArray[np.uint64]
) -> tuple[npt.NDArray[np.unsignedinteger], npt.NDArray[np.bool_]]:
    """Decode decimal text (n_fields, width, n_frames), blank padded on the left.

    Returns the values (n_fields, n_frames) and which frames hold text that is not blanks and
    then a JSON integer without sign, or a value above its field's limit.
    """
    width = text.shape[1]
    digits = text - np.uint8(ord("0"))
    is_digit = digits < 10
    bad = (~is_digit & (text != ord(" "))).any(axis=(0, 1))
    bad |= ~is_digit[:, -1].all(axis=0)
    if width > 1:
        bad |= (is_digit[:, :-1] & ~is_digit[:, 1:]).any(axis=(0, 1))
        leading_zero = digits[:, :-1] == 0
        leading_zero[:, 1:] &= ~is_digit[:, :-2]
        bad |= leading_zero.any(axis=(0, 1))
    digits *= is_digit
    dtype = np.uint32 if width <= 9 else np.uint64
    values: npt.NDArray[np.unsignedinteger] = digits[:, 0].astype(dtype)
    for place in range(1, width):
        values *= dtype(10)
        values += digits[:, place]
    if (10**width - 1 > limits).any():
        bad |= (values > limits[:, None]).any(axis=0)
    return values, bad
