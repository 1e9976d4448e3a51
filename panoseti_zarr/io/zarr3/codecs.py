"""Encodes and decodes chunks with the codecs of an array's ``zarr.json``.

A piece is a stored chunk, or an inner chunk of one. The codecs themselves are those of numcodecs
and google-crc32c, which zarr-python uses too.
"""

from __future__ import annotations

import threading
import zlib
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
from numcodecs import Blosc, GZip, Zstd, blosc

from panoseti_zarr.errors import CorruptDataError, StoreDamagedError
from panoseti_zarr.io.fs.malloc import tune_malloc
from panoseti_zarr.io.zarr3.metadata import Json

# Here, because every process that works on chunks comes by: commands, service, workers.
tune_malloc()

# One call compresses in its caller's thread: the output of several would depend on their timing.
blosc.use_threads = False
# What would guard its threads is a semaphore of the system, which a killed worker leaves behind and
# Python then complains of. There are no threads to guard.
blosc._MUTEX, blosc._MUTEX_IS_INIT = threading.Lock(), True

_CRC_BYTES = 4
_WHOLE = 0x48674BC7
"""The crc32c of any bytes that their own crc32c follows, little-endian."""

_SHUFFLES = {
    "noshuffle": Blosc.NOSHUFFLE,
    "shuffle": Blosc.SHUFFLE,
    "bitshuffle": Blosc.BITSHUFFLE,
}


@dataclass(frozen=True)
class ChunkCodec:
    """The codecs of a piece: little-endian bytes, one compression or none, crc32c or none.

    Build with `ChunkCodec.of`.
    """

    compression: Blosc | Zstd | GZip | None
    has_checksum: bool

    @classmethod
    def of(cls, codecs: list[Json]) -> ChunkCodec:
        """Make what a list of codecs of a ``zarr.json`` describes.

        Raises
        ------
        CorruptDataError
            They are not as `panoseti_zarr.io.zarr3.metadata.codec_chain` makes them, or made them
            (``zstd`` alone).
        """
        names = [codec["name"] for codec in codecs]
        has_checksum = names[-1] == "crc32c"
        compressions = codecs[1 : len(codecs) - has_checksum]
        if names[0] != "bytes" or len(compressions) > 1:
            raise CorruptDataError(f"the codecs {', '.join(names)} are not known here")
        return cls(_compression(compressions[0]) if compressions else None, has_checksum)

    def encode(self, values: npt.NDArray[Any]) -> tuple[bytes, ...]:
        """Return the stored bytes of a piece, in parts, of contiguous little-endian values."""
        data: bytes = self.compression.encode(values) if self.compression else values.tobytes()
        if not self.has_checksum:
            return (data,)
        return data, int(google_crc32c.value(data)).to_bytes(_CRC_BYTES, "little")

    def decode(self, data: bytes, out: npt.NDArray[Any]) -> None:
        """Fill a contiguous array with the values of a piece, of which it has number and dtype.

        Raises
        ------
        CorruptDataError
            The checksum is wrong, or the bytes are no such piece.
        """
        if self.has_checksum and google_crc32c.value(data) != _WHOLE:
            raise StoreDamagedError("its crc32c is wrong")
        held = memoryview(data)[: len(data) - _CRC_BYTES * self.has_checksum]
        flat = out.reshape(-1).view(np.uint8)
        try:
            if isinstance(self.compression, Blosc):
                # Looked at first: Blosc would leave the rest of a longer array as it is.
                _check_size(int.from_bytes(held[4:8], "little"), flat.size)
                self.compression.decode(held, out=flat)
            else:
                plain = self.compression.decode(held) if self.compression else held
                _check_size(len(plain), flat.size)
                flat[...] = np.frombuffer(plain, np.uint8)
        except (ValueError, RuntimeError, OSError, EOFError, zlib.error) as error:
            raise CorruptDataError(f"it cannot be decoded: {error}") from None


def _check_size(found: int, n_bytes: int) -> None:
    if found != n_bytes:
        raise ValueError(f"it has {found} bytes, not {n_bytes}")


def _compression(codec: Json) -> Blosc | Zstd | GZip:
    settings = codec.get("configuration", {})
    if codec["name"] == "blosc":
        shuffle = _SHUFFLES[settings["shuffle"]]
        return Blosc(settings["cname"], settings["clevel"], shuffle, settings["blocksize"])
    if codec["name"] == "zstd":
        return Zstd(settings["level"], settings["checksum"])
    if codec["name"] == "gzip":
        return GZip(settings["level"])
    raise CorruptDataError(f"the codec {codec['name']} is not known here")
