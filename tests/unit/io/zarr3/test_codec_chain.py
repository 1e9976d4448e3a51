"""The codecs that a setting stands for."""

import numpy as np
import pytest

from panoseti_zarr.io.zarr3.metadata import codec_chain


def test_zstd_is_shuffled():
    """Its bytes are transposed first, by Blosc: smaller, and several times faster."""
    chain = codec_chain(np.dtype(np.uint16), "zstd", 3, checksum=True)
    assert [codec["name"] for codec in chain] == ["bytes", "blosc", "crc32c"]
    assert chain[1]["configuration"] == {
        "cname": "zstd",
        "clevel": 2,
        "shuffle": "shuffle",
        "typesize": 2,
        "blocksize": 0,
    }


@pytest.mark.parametrize(
    ("level", "clevel"),
    [(0, 2), (1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (14, 8), (15, 8), (16, 9), (19, 9), (22, 9)],
)
def test_levels_of_zstd_are_blosc_s_or_the_next(level, clevel):
    """Blosc's level c is zstd's 2 c - 1, its 9 is zstd's 22; zstd's 0 is its default, 3."""
    (codec,) = codec_chain(np.dtype(np.uint16), "zstd", level, checksum=False)[1:]
    assert codec["configuration"]["clevel"] == clevel
