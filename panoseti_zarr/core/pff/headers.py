r"""Decode the headers of whole blocks of frames, as `parse_header` would.

A frame is decoded here only when its header is, byte for byte, the file's first readable header
with other plain decimal numbers in it, for which ``json.loads`` gives those numbers; every other
frame goes to `parse_header`.

Most bytes of a block are the same in every frame: the names of the fields, and the leading digits
of most numbers. Two passes over the block find the columns that vary, and only the ends of the
numbers, from their first such column on, are decoded frame by frame.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from panoseti_zarr.core.pff.framing import HEADER_END, parse_header
from panoseti_zarr.model import (
    MODULE_FIELDS,
    N_QUABOS,
    FrameLayout,
    HeaderForm,
    Product,
    header_specs,
)

_MAX_DIGITS = 18
_NUMBER = re.compile(rb'"([a-z_0-9]+)":( *[0-9]+)(?=[,}])')

Bytes2D = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Number:
    """A number of the header: its byte columns, blanks in, and the largest its dtype holds."""

    start: int
    stop: int
    limit: int


@dataclass(frozen=True)
class _Tail:
    """The end of a number whose bytes before ``start`` are the same in every frame of a block.

    ``lead`` is the value of the digits before it; None where there are none.
    """

    place: int
    start: int
    lead: int | None


@dataclass(frozen=True)
class HeaderDecoder:
    """Decodes the headers of whole blocks of frames of one file.

    Build with `HeaderDecoder.of`. ``fixed`` and ``fixed_values`` are the columns that are the
    same in every frame of the fast path; without numbers every frame is parsed on its own.
    """

    product: Product
    layout: FrameLayout
    fixed: npt.NDArray[np.intp]
    fixed_values: npt.NDArray[np.uint8]
    numbers: tuple[_Number, ...]

    @classmethod
    def of(cls, layout: FrameLayout, product: Product) -> HeaderDecoder:
        """Compile the decoder of a file from its first readable header."""
        line = layout.template[: layout.header_bytes - 2] + HEADER_END
        template = np.frombuffer(line, np.uint8)
        is_fixed = np.ones(template.size, bool)
        numbers = []
        for spec, (start, stop) in zip(
            header_specs(product), _number_spans(layout.template[:-2], product), strict=False
        ):
            is_fixed[start:stop] = False
            numbers.append(_Number(start, stop, int(np.iinfo(spec.dtype).max)))  # type: ignore[type-var]
        fixed = np.flatnonzero(is_fixed)
        return cls(product, layout, fixed, template[fixed], tuple(numbers))

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
        # Together they stay in the processor's cache, which the passes below read again and again.
        text = np.ascontiguousarray(frames[:, : self.layout.header_bytes + 1])
        odd = self._decode_like_template(text, out) if self.numbers else np.ones(len(text), bool)
        readable = np.ones(len(text), bool)
        for index in np.flatnonzero(odd):
            header = text[index].tobytes()
            ends_right = header.endswith(HEADER_END)
            values = parse_header(header[: -len(HEADER_END)], self.product) if ends_right else None
            readable[index] = values is not None
            for column, number in zip(out, values or (0,) * len(out), strict=True):
                column[index] = number
        return readable

    def _decode_like_template(
        self, text: Bytes2D, out: Sequence[npt.NDArray[np.generic]]
    ) -> npt.NDArray[np.bool_]:
        """Decode what is laid out as the template; return which frames are not."""
        lowest = np.bitwise_and.reduce(text, axis=0)
        varies = lowest != np.bitwise_or.reduce(text, axis=0)
        odd = np.zeros(len(text), bool)
        if varies[self.fixed].any() or (lowest[self.fixed] != self.fixed_values).any():
            odd = (text[:, self.fixed] != self.fixed_values).any(axis=1)
        for (width, has_lead), tails in self._tails(lowest.tobytes(), varies.tobytes()).items():
            columns = np.array([range(tail.start, tail.start + width) for tail in tails])
            digits = np.ascontiguousarray(text.T[columns]) - np.uint8(ord("0"))
            odd |= _not_digits(digits) if has_lead else _not_a_number(digits)
            for tail, value in zip(tails, _joined(digits), strict=True):
                if tail.lead:
                    value = value + np.uint64(tail.lead * 10**width)  # noqa: PLW2901
                limit = self.numbers[tail.place].limit
                if (10**width) * ((tail.lead or 0) + 1) - 1 > limit:
                    odd |= value > limit
                np.copyto(out[tail.place], value, casting="unsafe")
        return odd

    def _tails(self, lowest: bytes, varies: bytes) -> dict[tuple[int, bool], list[_Tail]]:
        """Return where the numbers have to be decoded, by width and whether digits go before."""
        tails: dict[tuple[int, bool], list[_Tail]] = {}
        for place, number in enumerate(self.numbers):
            start = varies.find(1, number.start, number.stop)
            start = number.stop - 1 if start < 0 else start
            before = lowest[number.start : start].lstrip(b" ")
            if before and not (before.isdigit() and before[0] != ord("0")):
                start, before = number.start, b""
            tail = _Tail(place, start, int(before) if before else None)
            tails.setdefault((number.stop - start, bool(before)), []).append(tail)
        return tails


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


def _not_digits(digits: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Return which frames hold anything but digits in (n_fields, width, n_frames)."""
    bad: npt.NDArray[np.bool_] = digits.max(axis=(0, 1)) > 9
    return bad


def _not_a_number(digits: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Return which frames hold anything but blanks and then a JSON integer without sign.

    Parameters
    ----------
    digits : ndarray of uint8, shape (n_fields, width, n_frames)
        The text less ``0``; its blanks are made 0.
    """
    is_blank = digits == np.uint8(ord(" ") - ord("0") & 0xFF)
    np.copyto(digits, 0, where=is_blank)
    bad = _not_digits(digits)
    bad |= is_blank[:, -1].any(axis=0)
    if digits.shape[1] > 1:
        # A blank after anything else, or a zero that another digit follows, begins no number.
        bad |= (is_blank[:, 1:] & ~is_blank[:, :-1]).any(axis=(0, 1))
        leading_zero = (digits[:, :-1] == 0) & ~is_blank[:, :-1]
        leading_zero[:, 1:] &= is_blank[:, :-2]
        bad |= leading_zero.any(axis=(0, 1))
    return bad


def _joined(digits: npt.NDArray[np.uint8]) -> npt.NDArray[np.unsignedinteger]:
    """Return the numbers (n_fields, n_frames) that digits (n_fields, width, n_frames) make.

    Neighbours are joined pairwise, in the narrowest dtype that holds them.
    """
    values: npt.NDArray[np.unsignedinteger] = digits
    n_digits = 1
    while values.shape[1] > 1:
        if values.shape[1] % 2:
            values = np.concatenate((np.zeros_like(values[:, :1]), values), axis=1)
        base, n_digits = 10**n_digits, 2 * n_digits
        dtype = np.min_scalar_type(min(10**n_digits - 1, 10**_MAX_DIGITS - 1))
        joined = values[:, 0::2].astype(dtype)
        joined *= dtype.type(base)
        joined += values[:, 1::2]
        values = joined
    return values[:, 0]
