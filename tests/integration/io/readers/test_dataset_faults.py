"""What open_stream's dataset may meet while it reads: torn shards, other stores, missing chunks."""

import asyncio
import os
import shutil
import threading

import numpy as np
import pytest
import xarray
from support.arriving_run import N_FRAMES, ArrivingRun
from zarr.abc.store import RangeByteRequest
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import LocalStore

from panoseti_zarr import open_stream
from panoseti_zarr.errors import CorruptDataError, InputError, StoreReplacedError
from panoseti_zarr.io.readers import dataset
from panoseti_zarr.io.readers.snapshot_store import SnapshotStore


@pytest.fixture
def recording(tmp_path):
    return ArrivingRun(tmp_path)


@pytest.fixture
def at_range(monkeypatch):
    """A function that has something done before a part of a shard is read, but for its index.

    It returns the list of the keys that were read so.
    """

    def install(disturb, n_times=1):
        get, keys = LocalStore.get, []

        async def disturbed(self, key, prototype=None, byte_range=None):
            if isinstance(byte_range, RangeByteRequest):
                keys.append(key)
                if len(keys) <= n_times:
                    disturb()
            return await get(self, key, prototype, byte_range)

        monkeypatch.setattr(LocalStore, "get", disturbed)
        return keys

    return install


@pytest.fixture
def no_delays(monkeypatch):
    monkeypatch.setattr(dataset, "RETRY_DELAYS_S", (0, 0, 0, 0))


@pytest.mark.parametrize("chunks", [None, {}])
def test_a_shard_that_is_replaced_while_it_is_read(recording, at_range, chunks):
    """Between a shard's index and an inner chunk a longer shard comes: the frames are right.

    Without another try it is a wrong checksum, as `open_zarr` shows.
    """
    store = recording.commit(1)
    plain = xarray.open_zarr(store, chunks=None)
    dataset, other = open_stream(store, chunks=chunks), open_stream(store)
    # The last inner chunk has 8 frames, then 16: at the same place, and longer.
    shutil.copytree(store, recording.l0_dir / "before")
    recording.commit(2)
    long_shard = store / "images/c/0/0/0"
    short_shard = recording.l0_dir / "before/images/c/0/0/0"

    def torn(read):
        os.link(long_shard, recording.l0_dir / "long")
        os.link(short_shard, recording.l0_dir / "short")
        os.replace(recording.l0_dir / "short", long_shard)
        keys = at_range(lambda: os.replace(recording.l0_dir / "long", long_shard))
        return read(), keys

    expected = recording.arrays["images"][33:39]
    with pytest.raises(ValueError, match="checksum do not match"):
        torn(lambda: plain.images[33:39].values)
    found, keys = torn(lambda: dataset.images[33:39].values)
    np.testing.assert_array_equal(found, expected)
    assert len(keys) == 2
    np.testing.assert_array_equal(other.images[33:39], expected)


def test_a_commit_while_a_shard_is_read(recording, at_range):
    """The same with a commit of the writer itself, which replaces chunks and documents."""
    dataset = open_stream(recording.commit(1))
    keys = at_range(lambda: recording.commit(4))
    np.testing.assert_array_equal(dataset.images[33:39], recording.arrays["images"][33:39])
    assert len(keys) == 2
    assert dataset.refresh().n_frames == N_FRAMES


def test_rot_is_an_error(recording, at_range, no_delays):
    """A wrong checksum that stays is let through after the tries, and says where."""
    store = recording.commit(4)
    dataset = open_stream(store)
    shard = store / "images/c/0/0/0"
    data = bytearray(shard.read_bytes())
    data[40] ^= 4
    shard.write_bytes(data)
    keys = at_range(lambda: None)
    with pytest.raises(ValueError, match="checksum do not match") as caught:
        dataset.images[3:5].load()
    assert len(keys) == 5
    assert caught.value.__notes__ == [f"while reading images of {store}"]
    np.testing.assert_array_equal(dataset.images[70:90], recording.arrays["images"][70:90])


def test_a_missing_chunk_is_an_error(recording, no_delays):
    """Never a fill value, which `open_zarr` gives."""
    store = recording.commit(4)
    dataset = open_stream(store)
    (store / "images/c/1/0/0").unlink()
    assert not xarray.open_zarr(store).images[70:90].any()
    with pytest.raises(CorruptDataError, match=r"chunk is missing.*images/c/1/0/0"):
        dataset.images[70:90].load()


def test_a_part_beyond_the_end_is_an_error(recording):
    """Where a file has fewer bytes than its index says, these are not taken for no chunk."""
    store = SnapshotStore(recording.commit(1))
    size = (store.path / "images/c/0/0/0").stat().st_size
    for start in (size - 1, size):
        wanted = RangeByteRequest(start, start + 9)
        with pytest.raises(CorruptDataError, match="too short"):
            asyncio.run(store.get("images/c/0/0/0", default_buffer_prototype(), wanted))


def test_a_store_that_is_gone(recording, no_delays):
    """A refresh says so and leaves the dataset as it was; so says a read."""
    store = recording.commit(4)
    dataset = open_stream(store)
    shutil.rmtree(store)
    with pytest.raises(InputError, match="there is no store"):
        dataset.refresh()
    assert dataset.sizes["time"] == N_FRAMES
    with pytest.raises(FileNotFoundError, match=store.name):
        dataset.images.load()


def test_a_store_that_was_made_again(recording, at_range):
    """A refresh opens the new store; what was taken of the old is an error, not the new's."""
    store = recording.commit(4)
    dataset, later = open_stream(store), open_stream(store)
    old_id, images = dataset.store_id, dataset.images
    recording.commit(4, rebuild=True)
    with pytest.raises(StoreReplacedError, match="another store took the place"):
        images.load()
    assert dataset.refresh().store_id != old_id
    np.testing.assert_array_equal(dataset.images, recording.arrays["images"])
    later.refresh()
    at_range(lambda: recording.commit(4, rebuild=True))
    with pytest.raises(StoreReplacedError, match="another store took the place"):
        later.images[30:40].load()
    np.testing.assert_array_equal(later.refresh().images[30:40], recording.arrays["images"][30:40])


def test_a_store_that_is_made_again_while_it_is_opened(recording, monkeypatch):
    """The new one is opened: attributes, times and frames of one store."""
    store = recording.commit(4)
    get, old_id, is_done = LocalStore.get, open_stream(store).store_id, threading.Event()

    async def disturbed(self, key, prototype=None, byte_range=None):
        if key.startswith("timestamps/c/") and not is_done.is_set():
            is_done.set()
            recording.commit(4, rebuild=True)
        return await get(self, key, prototype, byte_range)

    monkeypatch.setattr(LocalStore, "get", disturbed)
    dataset = open_stream(store)
    assert dataset.store_id != old_id
    np.testing.assert_array_equal(dataset.images, recording.arrays["images"])
