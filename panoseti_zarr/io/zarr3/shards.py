"""Writes and reads stored chunks in parts, so that no whole chunk need be in memory.

A chunk with inner chunks (Zarr's ``sharding_indexed``, index at the end) is their encoded bytes
one after another, then for each its offset and length (uint64, little-endian; all bits set for a
missing one), then the crc32c of these. A chunk without is one piece.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from panoseti_zarr.errors import CorruptDataError, StoreDamagedError
from panoseti_zarr.io.fs.durable import start_writeback, write_all
from panoseti_zarr.io.zarr3.codecs import ChunkCodec
from panoseti_zarr.io.zarr3.metadata import INDEX_CODECS, Json

_NONE = (1 << 64) - 1
_INDEX_CODEC = ChunkCodec.of(INDEX_CODECS)


@dataclass(frozen=True)
class ChunkLayout:
    """How the chunks of an array are stored.

    Attributes
    ----------
    piece_shape : tuple of int
        Of an inner chunk, or of the chunk where there are none; the first number is frames.
    n_pieces : int
        Along time.
    dtype : numpy.dtype
    fill_value : numpy scalar
        What stands above the frames of a chunk that is not full.
    codec : ChunkCodec
        Of a piece.
    is_sharded : bool
        Whether an index follows the pieces.
    """

    piece_shape: tuple[int, ...]
    n_pieces: int
    dtype: np.dtype[Any]
    fill_value: Any
    codec: ChunkCodec
    is_sharded: bool

    @classmethod
    def of(cls, document: Json) -> ChunkLayout:
        """Read it from an array's ``zarr.json``.

        Raises
        ------
        CorruptDataError
            The codecs are not those of our stores.
        """
        chunk_shape = document["chunk_grid"]["configuration"]["chunk_shape"]
        codecs, piece_shape = document["codecs"], chunk_shape
        is_sharded = codecs[0]["name"] == "sharding_indexed"
        if is_sharded:
            settings = codecs[0]["configuration"]
            piece_shape, codecs = settings["chunk_shape"], settings["codecs"]
            if settings["index_codecs"] != INDEX_CODECS or settings["index_location"] != "end":
                raise CorruptDataError("the index of its inner chunks is not as ours")
        dtype = np.dtype(document["data_type"])
        return cls(
            piece_shape=tuple(piece_shape),
            n_pieces=chunk_shape[0] // piece_shape[0],
            dtype=dtype,
            fill_value=dtype.type(document["fill_value"]),
            codec=ChunkCodec.of(codecs),
            is_sharded=is_sharded,
        )

    @property
    def piece_frames(self) -> int:
        """Frames of a piece."""
        return self.piece_shape[0]

    @property
    def chunk_frames(self) -> int:
        """Frames of a chunk."""
        return self.n_pieces * self.piece_frames

    def run_frames(self, most_bytes: int) -> int:
        """Return the frames of whole pieces that take about this many bytes; at least of one."""
        piece_bytes = math.prod(self.piece_shape) * self.dtype.itemsize
        return max(1, min(most_bytes // piece_bytes, self.n_pieces)) * self.piece_frames

    @property
    def index_bytes(self) -> int:
        """Length of the index, its crc32c in."""
        return 16 * self.n_pieces + 4 if self.is_sharded else 0


class ChunkWriter:
    """Writes one chunk; made by `new_chunk`."""

    def __init__(self, fd: int, layout: ChunkLayout, slots: AbstractContextManager[Any]) -> None:
        self.layout = layout
        self._fd = fd
        self._slots = slots
        self._spans: list[tuple[int, int]] = []
        self._n_bytes = 0

    def add(self, frames: npt.NDArray[Any]) -> None:
        """Encode and write the next frames.

        Parameters
        ----------
        frames : ndarray of the array's dtype, shape (n, ...)
            Contiguous; whole pieces, but for the last that is added.
        """
        begin = self._n_bytes
        for start in range(0, len(frames), self.layout.piece_frames):
            piece = self._filled(frames[start : start + self.layout.piece_frames])
            with self._slots:
                parts = self.layout.codec.encode(piece)
            self._spans.append((self._n_bytes, sum(map(len, parts))))
            self._write(parts)
        start_writeback(self._fd, begin, self._n_bytes - begin)

    def finish(self) -> None:
        """Write the index, where there is one; no piece comes after it."""
        if self.layout.is_sharded:
            absent = [(_NONE, _NONE)] * (self.layout.n_pieces - len(self._spans))
            self._write(_INDEX_CODEC.encode(np.array(self._spans + absent, "<u8")))

    def _filled(self, frames: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a whole piece that begins with these frames."""
        layout = self.layout
        if len(frames) == layout.piece_frames:
            return frames
        whole = np.full(layout.piece_shape, layout.fill_value, layout.dtype)
        whole[: len(frames)] = frames
        return whole

    def _write(self, parts: tuple[bytes, ...]) -> None:
        write_all(self._fd, *parts)
        self._n_bytes += sum(map(len, parts))


def staged_path(folder: str, array: str) -> str:
    """Return where a task stages its chunk of an array."""
    return f"{folder}/{array.replace('/', '.')}"


@contextmanager
def new_chunk(
    path: str, document: Json, slots: AbstractContextManager[Any] | None = None
) -> Iterator[ChunkWriter]:
    """Write the file of a new chunk; it is whole, but not yet durable, when the block ends.

    Parameters
    ----------
    path : str
        Where nothing is yet.
    document : dict
        The array's ``zarr.json``.
    slots : context manager, optional
        Entered while a piece is encoded.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    layout = ChunkLayout.of(document)
    fd = os.open(path, flags, 0o666)
    try:
        writer = ChunkWriter(fd, layout, slots or nullcontext())
        yield writer
        writer.finish()
    finally:
        os.close(fd)


class ChunkReader:
    """Reads one chunk; made by `open_chunk`."""

    def __init__(self, fd: int, layout: ChunkLayout, path: str) -> None:
        self.layout = layout
        self._fd = fd
        self._path = path
        n_bytes = os.fstat(fd).st_size
        self._spans = [(0, n_bytes)]
        if layout.is_sharded:
            spans = np.empty((layout.n_pieces, 2), "<u8")
            self._decode(_INDEX_CODEC, n_bytes - layout.index_bytes, layout.index_bytes, spans)
            self._spans = [(int(offset), int(length)) for offset, length in spans]

    def read(self, first_frame: int, out: npt.NDArray[Any]) -> None:
        """Read frames of the chunk.

        Parameters
        ----------
        first_frame : int
            Within the chunk.
        out : ndarray of the array's dtype, shape (n, ...)
            Contiguous; filled.

        Raises
        ------
        CorruptDataError
            A piece is missing or damaged.
        OSError
            Reading failed.
        """
        layout, step = self.layout, self.layout.piece_frames
        position = 0
        while position < len(out):
            place, skipped = divmod(first_frame + position, step)
            part = out[position : position + step - skipped]
            if len(part) == step:
                self._decode(layout.codec, *self._spans[place], part)
            else:
                whole = np.empty(layout.piece_shape, layout.dtype)
                self._decode(layout.codec, *self._spans[place], whole)
                part[...] = whole[skipped : skipped + len(part)]
            position += len(part)

    def _decode(self, codec: ChunkCodec, offset: int, length: int, out: npt.NDArray[Any]) -> None:
        if offset == _NONE:
            raise StoreDamagedError("an inner chunk is missing", path=self._path)
        data = os.pread(self._fd, length, offset) if offset >= 0 else b""
        try:
            if len(data) != length:
                raise StoreDamagedError("its file is too short")
            codec.decode(data, out)
        except CorruptDataError as error:
            raise StoreDamagedError(
                f"a chunk is damaged: {error.message}", path=self._path, byte_offset=offset
            ) from None


@contextmanager
def open_chunk(path: str, document: Json) -> Iterator[ChunkReader]:
    """Open a chunk for reading.

    Parameters
    ----------
    path : str
    document : dict
        The array's ``zarr.json``.

    Raises
    ------
    CorruptDataError
        It is missing, or its index is damaged.
    OSError
        It cannot be read.
    """
    layout = ChunkLayout.of(document)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise StoreDamagedError("a chunk is missing", path=path) from None
    try:
        yield ChunkReader(fd, layout, path)
    finally:
        os.close(fd)
