"""Defects of real runs, for simulated ones.

A defect alters numbers and pixels before they are printed (`ValueDefect`), bytes of printed
frames (`ByteDefect`), or files when they are complete (`FileDefect`). Frames are addressed by
their index in the stream, counted over all its files.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from panoseti_zarr.errors import ConfigError
from panoseti_zarr.io.simulate.header import FrameBlock, header_text
from panoseti_zarr.model import (
    N_QUABOS,
    PRODUCTS,
    QUABO_QUARTERS,
    HeaderForm,
    Product,
    StreamKey,
)

_NSEC_MAX = 999_999_999
_NSEC_RANGE = 2**31


@dataclass(frozen=True, kw_only=True)
class Defect:
    """One thing that is wrong with a stream.

    Attributes
    ----------
    stream : StreamKey, optional
        The stream concerned; without it, every stream of the run that can have the defect.
    """

    stream: StreamKey | None = None

    def concerns(self, key: StreamKey) -> bool:
        """Whether the defect is in a stream."""
        return self.stream is None or self.stream == key

    def reach(self) -> int:
        """Return how many frames the stream must have for the defect to show."""
        return 1

    def check(self, product: Product) -> None:
        """Refuse numbers that make no sense for a product, with `ConfigError`."""


class ValueDefect(Defect):
    """Alters header numbers and pixels."""

    def alter_values(self, block: FrameBlock, rng: np.random.Generator) -> None:
        """Alter a block in place; ``rng`` belongs to this block and defect."""
        raise NotImplementedError


class ByteDefect(Defect):
    """Alters printed frames."""

    def alter_bytes(self, block: FrameBlock, frames: NDArray[np.uint8]) -> None:
        """Alter the printed frames of a block, (n, frame bytes), in place."""
        raise NotImplementedError


class FileDefect(Defect):
    """Alters the files of a stream when they are complete."""

    def alter_files(self, files: dict[int, Path]) -> None:
        """Alter the files, seqno to path, all with frames in them."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class MissingQuabo(ValueDefect):
    """No packet of one board in frames ``[start, stop)``: zero fields, zero quarter."""

    quabo: int
    start: int = 0
    stop: int | None = None

    def concerns(self, key: StreamKey) -> bool:
        """Whether the defect is in a stream: in every one whose frames are of four boards."""
        is_of_module = PRODUCTS[key.product].form is HeaderForm.MODULE
        return super().concerns(key) and (is_of_module or self.stream is not None)

    def reach(self) -> int:
        """Return how many frames the stream must have for the defect to show."""
        return _checked_reach(self.start, self.stop)

    def check(self, product: Product) -> None:
        """Refuse boards that there are not, and products whose frames are of one board."""
        _check_quabo(self.quabo)
        if product.form is HeaderForm.QUABO:
            raise ConfigError(
                f"missing-quabo: a {product.name} frame has one board; name a module stream"
            )

    def alter_values(self, block: FrameBlock, rng: np.random.Generator) -> None:
        """Set the board's fields and pixels to 0."""
        part = block.part(self.start, self.stop)
        for numbers in block.fields.values():
            numbers[part, self.quabo] = 0
        rows, columns = QUABO_QUARTERS[self.quabo]
        block.pixels[part, rows, columns] = 0


@dataclass(frozen=True, kw_only=True)
class ZeroFrames(ValueDefect):
    """Frames ``[start, stop)`` have nothing but zeros in header fields and pixels."""

    start: int = 0
    stop: int | None = 1

    def reach(self) -> int:
        """Return how many frames the stream must have for the defect to show."""
        return _checked_reach(self.start, self.stop)

    def alter_values(self, block: FrameBlock, rng: np.random.Generator) -> None:
        """Set everything to 0."""
        part = block.part(self.start, self.stop)
        for numbers in block.fields.values():
            numbers[part] = 0
        block.pixels[part] = 0


@dataclass(frozen=True, kw_only=True)
class UnlockedClock(ValueDefect):
    """The WR clock of one board, or of all, is not locked in frames ``[start, stop)``.

    As in a real run: the WR second is off by ``d``, one more in part of each second, and the
    nanoseconds have any phase, counted up to 2**31, so that the DAQ clamps 53 to 54 % of them.
    The DAQ's own clock stays right.

    Attributes
    ----------
    quabo : int, optional
        The board; without it, all.
    d : int
        ``(tv_sec - pkt_tai + 37) mod 1024``, 2 to 1021.
    """

    start: int = 0
    stop: int | None = None
    quabo: int | None = None
    d: int = 536

    def reach(self) -> int:
        """Return how many frames the stream must have for the defect to show."""
        return _checked_reach(self.start, self.stop)

    def check(self, product: Product) -> None:
        """Refuse boards that there are not, and a ``d`` that a locked clock may have."""
        if self.quabo is not None:
            _check_quabo(self.quabo)
        if not 2 <= self.d <= 1021:
            raise ConfigError(f"unlocked: d is {self.d}, must be 2 to 1021")

    def alter_values(self, block: FrameBlock, rng: np.random.Generator) -> None:
        """Set ``pkt_tai`` and ``pkt_nsec`` of the packets that there are."""
        fields = block.fields
        nsec = np.minimum(rng.integers(0, _NSEC_RANGE, fields["tv_sec"].shape), _NSEC_MAX)
        d = self.d + (fields["tv_usec"] >= 500_000)
        tai = (fields["tv_sec"] + 37 - d) % 1024
        chosen = np.zeros(nsec.shape, bool)
        chosen[block.part(self.start, self.stop)] = True
        chosen &= fields["tv_sec"] != 0
        if self.quabo is not None:
            boards = fields.get("quabo_num", np.arange(N_QUABOS))
            chosen &= boards == self.quabo
        np.copyto(fields["pkt_nsec"], nsec, where=chosen)
        np.copyto(fields["pkt_tai"], tai, where=chosen)


@dataclass(frozen=True, kw_only=True)
class BrokenHeader(ByteDefect):
    """Bytes of one frame are overwritten; by default so that its header is not JSON.

    Attributes
    ----------
    frame : int
    byte_offset : int
        Where in the frame, bytes.
    text : bytes
        What is written there.
    """

    frame: int
    byte_offset: int = 8
    text: bytes = b"\x00\xff#bad"

    def reach(self) -> int:
        """Return how many frames the stream must have for the defect to show."""
        return _checked_reach(self.frame, None)

    def check(self, product: Product) -> None:
        """Refuse bytes outside the frame."""
        end = self.byte_offset + len(self.text)
        if self.byte_offset < 0 or end > product.today_frame_bytes:
            raise ConfigError(
                f"broken-header: bytes {self.byte_offset} to {end} are not in a frame"
            )

    def alter_bytes(self, block: FrameBlock, frames: NDArray[np.uint8]) -> None:
        """Overwrite the bytes."""
        part = block.part(self.frame, self.frame + 1)
        where = slice(self.byte_offset, self.byte_offset + len(self.text))
        frames[part, where] = np.frombuffer(self.text, np.uint8)


@dataclass(frozen=True, kw_only=True)
class OtherLayout(ByteDefect):
    """One frame's numbers stand at the left of their places: same length, same JSON values."""

    frame: int

    def reach(self) -> int:
        """Return how many frames the stream must have for the defect to show."""
        return _checked_reach(self.frame, None)

    def alter_bytes(self, block: FrameBlock, frames: NDArray[np.uint8]) -> None:
        """Move the blanks behind the digits."""
        for frame in frames[block.part(self.frame, self.frame + 1)]:
            for place in header_text(block.product.form).places():
                digits = frame[place].tobytes().strip()
                frame[place] = np.frombuffer(digits.ljust(place.stop - place.start), np.uint8)


@dataclass(frozen=True, kw_only=True)
class CutTail(FileDefect):
    """The last frame of the last file lacks its last ``n_bytes`` bytes."""

    n_bytes: int = 100

    def check(self, product: Product) -> None:
        """Refuse to cut nothing, or more than one frame."""
        if not 1 <= self.n_bytes < product.today_frame_bytes:
            raise ConfigError(
                f"cut-tail: n_bytes is {self.n_bytes}, must be 1 to "
                f"{product.today_frame_bytes - 1} for {product.name}"
            )

    def alter_files(self, files: dict[int, Path]) -> None:
        """Cut the last file."""
        path = files[max(files)]
        os.truncate(path, path.stat().st_size - self.n_bytes)


@dataclass(frozen=True, kw_only=True)
class StubFile(FileDefect):
    """Of one file there is only the beginning, less than a frame."""

    seqno: int = 0
    size_bytes: int = 100

    def check(self, product: Product) -> None:
        """Refuse a size of one frame or more, or of nothing."""
        if not 1 <= self.size_bytes < product.today_frame_bytes:
            raise ConfigError(
                f"stub-file: size_bytes is {self.size_bytes}, must be 1 to "
                f"{product.today_frame_bytes - 1} for {product.name}"
            )

    def alter_files(self, files: dict[int, Path]) -> None:
        """Cut the file."""
        os.truncate(files[self.seqno], self.size_bytes)


@dataclass(frozen=True, kw_only=True)
class MissingSeqno(FileDefect):
    """One file was not copied."""

    seqno: int

    def alter_files(self, files: dict[int, Path]) -> None:
        """Remove the file."""
        files[self.seqno].unlink()


def _checked_reach(start: int, stop: int | None) -> int:
    """Return how many frames there must be for ``[start, stop)`` to hold one."""
    if start < 0 or (stop is not None and stop <= start):
        raise ConfigError(f"frames {start} to {stop} of a defect are none")
    return start + 1


def _check_quabo(quabo: int) -> None:
    """Refuse a board that there is not."""
    if not 0 <= quabo < N_QUABOS:
        raise ConfigError(f"quabo {quabo} of a defect is not 0 to {N_QUABOS - 1}")
