"""Comparing frames of a PFF file with what the store holds of them.

Part of `verify`. The comparison goes backwards: the store's header values are printed as the
file would print them, and the bytes compared. A header that is not those bytes is read with
``json.loads``, which alone decides.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from panoseti_zarr.io.verify.layout import find_field_spans, parse_frame_header
from panoseti_zarr.io.verify.report import Difference
from panoseti_zarr.io.verify.times import UNREADABLE, expected_times
from panoseti_zarr.model import TIME_MISSING_NS, FrameLayout, Product, header_specs

Bytes2D = npt.NDArray[np.uint8]
Stored = Mapping[str, npt.NDArray[np.generic]]
"""Frames of the store: its arrays by path, all of one length along time."""

_UINT32_MAX = 0xFFFF_FFFF


@dataclass(frozen=True)
class FrameDifference:
    """A difference within a block of frames.

    Attributes
    ----------
    row : int
        Frame of the block.
    what : str
        Array, with the pixel where it is ``images``.
    stored, expected : int
        Both values.
    byte_offset : int
        Offset in the frame, bytes.
    note : str
    """

    row: int
    what: str
    stored: int
    expected: int
    byte_offset: int = 0
    note: str = ""

    def placed(self, frame_index: int, file: str, file_frame: int, frame_bytes: int) -> Difference:
        """Add where the block's first frame is in the store and in its file."""
        return Difference(
            self.what,
            self.stored,
            self.expected,
            self.note,
            frame_index=frame_index + self.row,
            file=file,
            file_frame_index=file_frame + self.row,
            byte_offset=(file_frame + self.row) * frame_bytes + self.byte_offset,
        )


class FrameComparer:
    """Compares blocks of one file's frames with the store.

    Parameters
    ----------
    layout : FrameLayout
        Of the file.
    product : Product
    """

    def __init__(self, layout: FrameLayout, product: Product) -> None:
        self._product = product
        self._header_paths = [spec.path for spec in header_specs(product)]
        self._spans = find_field_spans(layout.template, product)
        self._pixels_start = layout.header_bytes + 1
        self._first_printed = np.frombuffer(layout.template + b"*", np.uint8)
        self._printed: Bytes2D = np.empty((0, self._pixels_start), np.uint8)

    def first_difference(self, frames: Bytes2D, stored: Stored) -> FrameDifference | None:
        """Compare every byte of ``frames`` with the store.

        Parameters
        ----------
        frames : ndarray of uint8, shape (n_frames, frame_bytes)
            Consecutive frames of the file.
        stored : mapping of str to ndarray
            Every array of the store over the same frames.

        Returns
        -------
        FrameDifference or None
            Of the lowest frame that differs; within it of the header, then the pixels, then the
            time, then the quality.
        """
        unreadable, in_header = self._compare_headers(frames, stored)
        found = [
            in_header,
            self._compare_pixels(frames, stored["images"]),
            *self._compare_times(unreadable, stored),
        ]
        return min((d for d in found if d is not None), key=lambda d: d.row, default=None)

    def _compare_headers(
        self, frames: Bytes2D, stored: Stored
    ) -> tuple[npt.NDArray[np.bool_], FrameDifference | None]:
        """Return which headers are unreadable (up to the difference), and the first difference."""
        unreadable = np.zeros(len(frames), bool)
        for row in self._rows_printed_otherwise(frames, stored):
            fields = parse_frame_header(frames[row, : self._pixels_start].tobytes(), self._product)
            unreadable[row] = fields is None
            expected = fields or (0,) * len(self._header_paths)
            for index, path in enumerate(self._header_paths):
                value = int(stored[path][row])
                if value != expected[index]:
                    note = "the header cannot be read" if fields is None else ""
                    offset = self._field_offset(frames[row], index)
                    return unreadable, FrameDifference(
                        row, path, value, expected[index], offset, note
                    )
        return unreadable, None

    def _rows_printed_otherwise(self, frames: Bytes2D, stored: Stored) -> list[int]:
        """Return the frames whose headers are not the store's values, printed as the file does."""
        if self._spans is None:
            return list(range(len(frames)))
        if len(self._printed) < len(frames):
            self._printed = np.tile(self._first_printed, (len(frames), 1))
        printed = self._printed[: len(frames)]
        doubtful = np.zeros(len(frames), bool)
        for (start, stop), path in zip(self._spans, self._header_paths, strict=True):
            doubtful |= ~_print_right_aligned(stored[path], printed[:, start:stop])
        doubtful |= (printed != frames[:, : self._pixels_start]).any(axis=1)
        return [int(row) for row in np.flatnonzero(doubtful)]

    def _field_offset(self, frame: npt.NDArray[np.uint8], index: int) -> int:
        """Return where a frame prints a field: the header's first byte where that is not known."""
        spans = find_field_spans(frame[: self._pixels_start - 1].tobytes(), self._product)
        return 0 if spans is None else spans[index][0]

    def _compare_pixels(
        self, frames: Bytes2D, images: npt.NDArray[np.generic]
    ) -> FrameDifference | None:
        in_file = frames[:, self._pixels_start :]
        differs = in_file != images.view(np.uint8).reshape(in_file.shape)
        if not differs.any():
            return None
        row = int(np.flatnonzero(differs.any(axis=1))[0])
        pixel = int(np.flatnonzero(differs[row])[0]) // images.itemsize
        y, x = divmod(pixel, self._product.width)
        value = in_file[row].copy().view(self._product.dtype)[pixel]
        offset = self._pixels_start + pixel * images.itemsize
        return FrameDifference(row, f"images[{y}, {x}]", int(images[row, y, x]), int(value), offset)

    def _compare_times(
        self, unreadable: npt.NDArray[np.bool_], stored: Stored
    ) -> list[FrameDifference | None]:
        """Compare times and quality with those that the store's own header values give."""
        times, quality = expected_times({p: stored[p] for p in self._header_paths}, self._product)
        times[unreadable] = TIME_MISSING_NS
        quality[unreadable] = UNREADABLE
        return [
            _first_unequal("timestamps", stored["timestamps"], times),
            _first_unequal("quality", stored["quality"], quality),
        ]


def _print_right_aligned(
    values: npt.NDArray[np.generic], columns: Bytes2D
) -> npt.NDArray[np.bool_]:
    """Print integers into byte columns as ``%10u`` does: right-aligned, blanks before.

    Parameters
    ----------
    values : ndarray of an integer dtype, shape (n_frames,)
    columns : ndarray of uint8, shape (n_frames, width)
        Overwritten.

    Returns
    -------
    ndarray of bool, shape (n_frames,)
        Which values fit: not negative, no longer than the columns are wide.
    """
    fits = np.ones(len(values), bool)
    if values.dtype == np.int64:
        fits = (values >= 0) & (values <= _UINT32_MAX)  # type: ignore[operator]
    rest = values.astype(np.uint32)
    stop = columns.shape[1]
    last_four, upper_four = _four_digits("   0"), _four_digits("    ")
    texts = last_four
    while stop > 0:
        if (rest == rest[:1]).all():
            # The same digits in every frame, as of most seconds: printed once.
            text = f"{rest[0]:{stop}d}" if rest[0] or texts is last_four else " " * stop
            columns[:, :stop] = np.frombuffer(text[:stop].encode(), np.uint8)
            fits &= len(text) == stop
            return fits
        higher = rest // np.uint32(10_000)
        four = rest - higher * np.uint32(10_000)
        width = min(stop, 4)
        fits &= (four < 10**width) | (width == 4)
        # Blanks, not zeros, where no digit is to the left.
        printed = texts.take(four + (higher == 0) * np.uint32(10_000), mode="clip")
        columns[:, stop - width : stop] = printed.view(np.uint8).reshape(-1, 4)[:, 4 - width :]
        rest, stop, texts = higher, stop - width, upper_four
    fits &= rest == 0
    return fits


@functools.cache
def _four_digits(no_number: str) -> npt.NDArray[np.uint32]:
    """Return the four bytes of each number to 9999 with zeros before, then with blanks before.

    Of the latter 0 is printed as ``no_number``.
    """
    lines = [f"{number:04d}" for number in range(10_000)]
    lines += [no_number, *(f"{number:4d}" for number in range(1, 10_000))]
    return np.frombuffer("".join(lines).encode(), np.uint32)


def _first_unequal(
    path: str, stored: npt.NDArray[np.generic], expected: npt.NDArray[np.generic]
) -> FrameDifference | None:
    rows = np.flatnonzero(stored != expected)
    if not len(rows):
        return None
    row = int(rows[0])
    return FrameDifference(row, path, int(stored[row]), int(expected[row]))
