"""Stored chunks as we write them are what zarr and TensorStore read, and the other way round."""

import json

import numpy as np
import pytest
import tensorstore
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from panoseti_zarr.config import PffToZarrConfig
from panoseti_zarr.errors import CorruptDataError, StoreDamagedError
from panoseti_zarr.io.l0.metadata import empty_store_documents
from panoseti_zarr.io.zarr3.metadata import resized
from panoseti_zarr.io.zarr3.shards import new_chunk, open_chunk
from panoseti_zarr.model import PRODUCTS

CODECS = ("blosc-lz4", "zstd", "gzip", "none")
CHUNK = 12


def image_document(n_frames=CHUNK, **options):
    config = PffToZarrConfig(time_chunk=CHUNK, **options)
    return resized(empty_store_documents(PRODUCTS["img8"], config)["images"], n_frames)


def images(n_frames, seed=1):
    return np.random.default_rng(seed).integers(0, 9, (n_frames, 32, 32)).astype(np.uint8)


def write(directory, document, values):
    """Write an array of one chunk, in runs of whole pieces."""
    (directory / "c/0/0").mkdir(parents=True)
    (directory / "zarr.json").write_text(json.dumps(document))
    path = directory / "c/0/0/0"
    with new_chunk(str(path), document) as chunk:
        step = 2 * chunk.layout.piece_frames
        for start in range(0, len(values), step):
            chunk.add(values[start : start + step])
    return path


def opened(directory):
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{directory}/"}}
    return tensorstore.open({**spec, "fill_missing_data_reads": False}).result()


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("checksum", [True, False])
@pytest.mark.parametrize("inner_chunk", [0, 1, 4, 12])
@pytest.mark.parametrize("n_frames", [1, 4, 7, 12])
def test_others_read_what_we_write(tmp_path, codec, checksum, inner_chunk, n_frames):
    """zarr-python and TensorStore read a full and a partial chunk, whatever its codecs."""
    document = image_document(n_frames, codec=codec, checksum=checksum, inner_chunk=inner_chunk)
    values = images(n_frames)
    write(tmp_path, document, values)
    assert np.array_equal(opened(tmp_path).read().result(), values)
    assert np.array_equal(zarr.open_array(tmp_path)[:], values)


@settings(max_examples=60)
@given(
    codec=st.sampled_from(CODECS),
    inner_chunk=st.sampled_from([0, 1, 3, 4, 12]),
    n_frames=st.integers(1, CHUNK),
    data=st.data(),
)
def test_we_read_any_frames_of_what_others_write(
    tmp_path_factory, codec, inner_chunk, n_frames, data
):
    """Any run of frames of a chunk that TensorStore wrote is read as it was written."""
    directory = tmp_path_factory.mktemp("array")
    document = image_document(n_frames, codec=codec, inner_chunk=inner_chunk)
    (directory / "zarr.json").write_text(json.dumps(document))
    values = images(n_frames)
    opened(directory).write(values).result()
    first = data.draw(st.integers(0, n_frames - 1))
    found = np.empty_like(values[first : data.draw(st.integers(first, n_frames))])
    with open_chunk(str(directory / "c/0/0/0"), document) as chunk:
        chunk.read(first, found)
    assert np.array_equal(found, values[first : first + len(found)])


def test_zstd_without_blosc_goes_on(tmp_path):
    """Stores of earlier versions have zstd alone; their chunks are still written and read."""
    document = image_document(7, inner_chunk=0)
    zstd = {"name": "zstd", "configuration": {"level": 3, "checksum": False}}
    document["codecs"] = [document["codecs"][0], zstd, document["codecs"][-1]]
    values = images(7)
    path = write(tmp_path, document, values)
    assert np.array_equal(opened(tmp_path).read().result(), values)
    found = np.empty_like(values)
    with open_chunk(str(path), document) as chunk:
        chunk.read(0, found)
    assert np.array_equal(found, values)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("inner_chunk", [0, 4])
def test_no_flipped_bit_is_read(tmp_path, codec, inner_chunk):
    """Whichever byte of a chunk is wrong, it is an error and no data."""
    document = image_document(codec=codec, inner_chunk=inner_chunk)
    path = write(tmp_path, document, images(CHUNK))
    whole = path.read_bytes()
    for place in {*range(0, len(whole), 97), *range(len(whole) - 60, len(whole))}:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with (
            pytest.raises(StoreDamagedError, match=r"damaged|missing"),
            open_chunk(str(path), document) as chunk,
        ):
            chunk.read(0, np.empty((CHUNK, 32, 32), np.uint8))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("n_bytes", [0, 3, 30])
@pytest.mark.parametrize("inner_chunk", [0, 4])
def test_a_chunk_that_is_cut_is_an_error(tmp_path, codec, n_bytes, inner_chunk):
    """A file that is too short for its index or its pieces is named."""
    document = image_document(codec=codec, inner_chunk=inner_chunk)
    path = write(tmp_path, document, images(CHUNK))
    path.write_bytes(path.read_bytes()[:n_bytes])
    with (
        pytest.raises(StoreDamagedError, match=r"damaged.*images|damaged.*c/0/0/0"),
        open_chunk(str(path), document) as chunk,
    ):
        chunk.read(0, np.empty((CHUNK, 32, 32), np.uint8))


def test_missing_pieces_are_no_zeros(tmp_path):
    """An inner chunk that is not there, and a chunk that is not there, are errors."""
    document = image_document(inner_chunk=4)
    path = write(tmp_path, document, images(5))
    with open_chunk(str(path), document) as chunk:
        chunk.read(0, np.empty((8, 32, 32), np.uint8))
        with pytest.raises(StoreDamagedError, match="inner chunk is missing"):
            chunk.read(8, np.empty((1, 32, 32), np.uint8))
    with (
        pytest.raises(StoreDamagedError, match="chunk is missing"),
        open_chunk(str(path.with_name("1")), document),
    ):
        pass


@pytest.mark.parametrize("codec", CODECS)
def test_a_chunk_of_another_length_is_an_error(tmp_path, codec):
    """Bytes that decode to fewer or more frames than the chunk has are refused, checksum or not."""
    short = image_document(codec=codec, checksum=False, inner_chunk=0)
    path = write(tmp_path, short, images(CHUNK))
    for n_frames in (CHUNK - 1, CHUNK + 1):
        other = PffToZarrConfig(time_chunk=n_frames, codec=codec, checksum=False, inner_chunk=0)
        document = empty_store_documents(PRODUCTS["img8"], other)["images"]
        with (
            pytest.raises(StoreDamagedError, match="damaged"),
            open_chunk(str(path), document) as chunk,
        ):
            chunk.read(0, np.empty((n_frames, 32, 32), np.uint8))


def test_codecs_that_are_not_ours_are_named(tmp_path):
    """A store with other codecs is refused with their names, not misread."""
    document = image_document(inner_chunk=0)
    transposed = {**document, "codecs": [{"name": "transpose"}, *document["codecs"]]}
    with pytest.raises(CorruptDataError, match="transpose, bytes, blosc, crc32c"):
        open_chunk(str(tmp_path), transposed).__enter__()
    other = [*document["codecs"][:1], {"name": "lzma"}]
    with pytest.raises(CorruptDataError, match="lzma"):
        open_chunk(str(tmp_path), {**document, "codecs": other}).__enter__()


def test_the_same_frames_give_the_same_bytes(tmp_path):
    """However they are cut into runs, so that stores of disturbed runs equal others."""
    document = image_document(inner_chunk=2)
    values = images(CHUNK)
    written = []
    for step in (2, 4, 12):
        path = tmp_path / str(step)
        with new_chunk(str(path), document) as chunk:
            for start in range(0, CHUNK, step):
                chunk.add(values[start : start + step])
        written.append(path.read_bytes())
    assert written[0] == written[1] == written[2]
