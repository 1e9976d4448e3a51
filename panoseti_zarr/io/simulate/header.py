"""Blocks of simulated frames, and their bytes as the DAQ prints them.

Source of the header text: the two ``fprintf`` formats of the DAQ's output thread, one line for
a frame of one board (``%1u %10u %4u %9u %10li %6li``), one line a board for a module frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from panoseti_zarr.model import MODULE_FIELDS, N_QUABOS, HeaderForm, Product

NUMBER_WIDTHS = {
    "quabo_num": 1,
    "pkt_num": 10,
    "pkt_tai": 4,
    "pkt_nsec": 9,
    "tv_sec": 10,
    "tv_usec": 6,
}
"""Characters of each number in a header, blanks on the left."""


@dataclass(frozen=True)
class FrameBlock:
    """Consecutive frames of a stream; the arrays may be altered in place.

    Attributes
    ----------
    product : Product
    first_frame : int
        Index of the first frame in the stream.
    time_ns : numpy.ndarray
        (n,) int64: when each frame was taken, ns since 1970-01-01 UTC, whatever the headers say.
    fields : dict of str to numpy.ndarray
        Header field to its numbers, (n, boards) int64: 4 boards in a module frame, else 1.
    pixels : numpy.ndarray
        (n, y, x) in the product's dtype.
    """

    product: Product
    first_frame: int
    time_ns: NDArray[np.int64]
    fields: dict[str, NDArray[np.int64]]
    pixels: NDArray[Any]

    @property
    def n_frames(self) -> int:
        """Frames in the block."""
        return len(self.time_ns)

    def part(self, start: int, stop: int | None) -> slice:
        """Return the positions of frames ``[start, stop)`` of the stream in this block's arrays."""
        last = self.n_frames if stop is None else stop - self.first_frame
        return slice(max(start - self.first_frame, 0), max(last, 0))

    def head(self, n_frames: int) -> FrameBlock:
        """Return the first ``n_frames`` frames, as views."""
        fields = {name: numbers[:n_frames] for name, numbers in self.fields.items()}
        return FrameBlock(
            self.product,
            self.first_frame,
            self.time_ns[:n_frames],
            fields,
            self.pixels[:n_frames],
        )


@dataclass(frozen=True)
class HeaderText:
    """Where the numbers stand in a header of today's DAQ.

    Attributes
    ----------
    template : bytes
        A header with blanks for numbers, both newlines in.
    offsets : dict of str to int
        Field to the byte offset of its number of the first board.
    pitch : int
        Bytes from a number to the same one of the next board.
    n_boards : int
        1 or 4.
    """

    template: bytes
    offsets: dict[str, int]
    pitch: int
    n_boards: int

    def places(self) -> list[slice]:
        """Return where each number of a header stands."""
        starts = [
            (offset + board * self.pitch, NUMBER_WIDTHS[field])
            for board in range(self.n_boards)
            for field, offset in self.offsets.items()
        ]
        return [slice(start, start + width) for start, width in starts]


@cache
def header_text(form: HeaderForm) -> HeaderText:
    """Return the header that the DAQ prints for frames of a form."""
    quabo = form is HeaderForm.QUABO
    fields = ("quabo_num", *MODULE_FIELDS) if quabo else MODULE_FIELDS
    first = "" if quabo else '{\n   "quabo_0": '
    board, offsets = "{ ", {}
    for field in fields:
        board += f'"{field}": '
        offsets[field] = len(first) + len(board)
        board += " " * NUMBER_WIDTHS[field] + ("}" if field == fields[-1] else ", ")
    if quabo:
        return HeaderText(f"{board}\n\n".encode(), offsets, 0, 1)
    lines = [f'   "quabo_{i}": {board}' for i in range(N_QUABOS)]
    text = "{\n" + ", \n".join(lines) + "\n}\n\n"
    return HeaderText(text.encode(), offsets, len(lines[0] + ", \n"), N_QUABOS)


def encode_block(block: FrameBlock) -> NDArray[np.uint8]:
    """Print a block as the DAQ does.

    Returns
    -------
    numpy.ndarray
        (n, frame bytes) uint8: header, ``*``, pixels little-endian and row-major.
    """
    text = header_text(block.product.form)
    header_bytes = len(text.template)
    pixels = block.pixels.reshape(block.n_frames, -1).view(np.uint8)
    frames = np.empty((block.n_frames, header_bytes + 1 + pixels.shape[1]), np.uint8)
    frames[:, :header_bytes] = np.frombuffer(text.template, np.uint8)
    frames[:, header_bytes] = ord("*")
    frames[:, header_bytes + 1 :] = pixels
    for field, offset in text.offsets.items():
        _print_numbers(frames, offset, text, NUMBER_WIDTHS[field], block.fields[field])
    return frames


def _print_numbers(
    frames: NDArray[np.uint8], offset: int, text: HeaderText, width: int, numbers: NDArray[np.int64]
) -> None:
    """Print one field of all boards, digit by digit from the right, blanks before the first."""
    rest = numbers
    for column in range(offset + width - 1, offset - 1, -1):
        tens = rest // 10
        digits = rest - 10 * tens + ord("0")
        if column < offset + width - 1:
            digits[rest == 0] = ord(" ")
        last = column + (text.n_boards - 1) * text.pitch
        frames[:, column : last + 1 : text.pitch or 1] = digits
        rest = tens
