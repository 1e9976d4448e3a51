"""open_stream: committed frames as a dataset that refreshes, and what it may meet."""

import asyncio
import json
import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
import xarray
from support.arriving_run import N_FIRST, N_FRAMES, ArrivingRun

from panoseti_zarr import StreamDataset, open_stream
from panoseti_zarr.cluster import ThreadExecutor
from panoseti_zarr.config import BaselineSubtractConfig
from panoseti_zarr.errors import (
    CorruptDataError,
    InputError,
    StopRequestedError,
    StoreReplacedError,
)
from panoseti_zarr.pipeline.l1 import make_l1


@pytest.fixture
def recording(tmp_path):
    return ArrivingRun(tmp_path)


def assert_same(dataset, store, **options):
    """Compare with what xarray gives by itself: values, names, attributes, encodings."""
    with xarray.open_zarr(store, **options) as expected:
        assert list(dataset.variables) == list(expected.variables)
        for name, variable in expected.variables.items():
            assert repr(dataset[name].encoding) == repr(variable.encoding), name
            assert dataset[name].chunks == variable.chunks, name
        xarray.testing.assert_identical(dataset.copy(), expected)


@pytest.mark.parametrize("chunks", [None, {}, {"time": 64}])
@pytest.mark.parametrize("product", ["img16", "ph256"])
def test_it_is_what_xarray_gives(tmp_path, chunks, product):
    """Variables, attributes, encodings and chunks of `open_zarr`, before and after a refresh."""
    recording = ArrivingRun(tmp_path, product)
    store = recording.commit(1)
    dataset = open_stream(store, chunks=chunks)
    assert_same(dataset, store, chunks=chunks)
    assert dataset.n_frames == N_FIRST
    recording.commit(4)
    assert dataset.refresh() is dataset
    assert_same(dataset, store, chunks=chunks)
    assert dataset.attrs["n_frames"] == N_FRAMES
    np.testing.assert_array_equal(dataset.images, recording.arrays["images"])


def test_it_grows_and_what_was_taken_stays(recording):
    """Only a refresh brings new frames; what was taken before keeps its own, unread too."""
    dataset = open_stream(recording.commit(1))
    images, part, loaded = dataset.images, dataset.isel(time=slice(35, None)), dataset.load()
    expected = recording.arrays["images"]
    for n_files in (2, 3, 4):
        recording.commit(n_files)
        n_before = dataset.sizes["time"]
        assert loaded is dataset.refresh()
        n_frames = min(n_files * N_FIRST, N_FRAMES)
        assert dataset.sizes == {"time": n_frames, "y": 32, "x": 32}
        assert dataset.n_frames == n_frames
        np.testing.assert_array_equal(dataset.images[n_before:], expected[n_before:n_frames])
    np.testing.assert_array_equal(images, expected[:N_FIRST])
    np.testing.assert_array_equal(part.images, expected[35:N_FIRST])


def test_the_lazy_ones_of_an_earlier_commit_can_be_read_later(recording):
    """An array that nobody read before its partial chunk was replaced gives its own frames."""
    store = recording.commit(1)
    images, by_dask = open_stream(store).images, open_stream(store, chunks={}).images
    recording.commit(4)
    for array in (images, by_dask):
        np.testing.assert_array_equal(array, recording.arrays["images"][:N_FIRST])


def test_two_commits_in_one_dask_graph(recording):
    """Dask takes the arrays of two commits for two, also when it computes both at once."""
    dataset = open_stream(recording.commit(1), chunks={})
    before = dataset.images
    recording.commit(4)
    after = dataset.refresh().images
    total = (before.sum() + after.sum()).compute()
    expected = recording.arrays["images"]
    assert total == expected[:N_FIRST].sum() + expected.sum()


def test_closed_says_whether_more_may_come(recording):
    """While the stream is open ``closed`` is false; a refresh after the close says true."""
    stop = threading.Event()
    with pytest.raises(StopRequestedError):
        recording.commit(4, on_commit=lambda _: stop.set(), stop=stop)
    dataset = open_stream(recording.store)
    assert not dataset.closed
    assert dataset.n_frames < N_FRAMES
    recording.commit(4)
    assert dataset.refresh().closed


@pytest.mark.parametrize("chunks", [None, {}])
@pytest.mark.parametrize(
    ("product", "prefixes"), [("img16", [f"quabo_{i}_" for i in range(4)]), ("ph256", [""])]
)
def test_headers_on_request(tmp_path, product, prefixes, chunks):
    """Header fields have flat names that are Python names too, and refresh with the rest."""
    recording = ArrivingRun(tmp_path, product)
    dataset = open_stream(recording.commit(1), headers=True, chunks=chunks)
    plain = {"images", "timestamps", "quality"}
    fields = {path for path in recording.arrays if path not in plain}
    names = {path.removeprefix("headers/").replace("/", "_"): path for path in fields}
    assert set(dataset.variables) == plain | names.keys()
    assert {f"{prefix}pkt_num" for prefix in prefixes} <= names.keys()
    recording.commit(4)
    dataset.refresh()
    for name, path in names.items():
        assert dataset[name].dtype == recording.arrays[path].dtype, name
        np.testing.assert_array_equal(dataset[name], recording.arrays[path], err_msg=name)


@pytest.mark.parametrize("chunks", [None, {}])
def test_every_way_to_index(recording, chunks):
    """Slices, steps, single frames, lists, masks and points give what numpy gives."""
    dataset = open_stream(recording.commit(4), chunks=chunks)
    images = recording.arrays["images"]
    mask = images.mean((1, 2)) > np.median(images.mean((1, 2)))
    for key in (slice(10, 90), slice(140, 5, -7), 77, -1, [3, 64, 3, 149], mask):
        np.testing.assert_array_equal(dataset.images[key], images[key])
    times, rows = xarray.DataArray([1, 70, 149], dims="p"), xarray.DataArray([0, 5, 31], dims="p")
    np.testing.assert_array_equal(
        dataset.images.isel(time=times, y=rows, x=rows), images[times, rows, rows]
    )


def test_it_loads_asynchronously(recording):
    """Asynchronous loading works as with xarray's own."""
    dataset = open_stream(recording.commit(4))
    loaded = asyncio.run(dataset.images.load_async())
    np.testing.assert_array_equal(loaded, recording.arrays["images"])


def test_it_survives_pickling(recording):
    """It may be sent to another process, where it reads and refreshes; Dask's arrays too."""
    sent = [
        pickle.loads(pickle.dumps(open_stream(recording.commit(1), chunks=chunks)))  # noqa: S301 - ours
        for chunks in (None, {})
    ]
    recording.commit(4)
    for dataset in sent:
        np.testing.assert_array_equal(dataset.images, recording.arrays["images"][:N_FIRST])
        np.testing.assert_array_equal(dataset.refresh().images, recording.arrays["images"])


def test_what_is_derived_does_not_refresh(recording):
    """A selection, a sum and a copy are plain datasets; what is not says that it cannot refresh."""
    dataset = open_stream(recording.commit(1))
    for derived in (dataset.isel(time=0), dataset[["images"]], dataset.copy(), dataset + 1):
        assert type(derived) is xarray.Dataset
    with pytest.raises(InputError, match="only a dataset that open_stream gave"):
        StreamDataset({"a": 1}).refresh()


def test_no_store_yet(recording, tmp_path):
    """A store that is not there is an error that says so; with ``wait_s`` it is waited for."""
    store = recording.commit(1)
    hidden = tmp_path / "later.zarr"
    with pytest.raises(InputError, match=r"none yet.*later.zarr"):
        open_stream(hidden)
    with pytest.raises(InputError, match=r"none yet.*later.zarr"):
        open_stream(hidden, wait_s=0.2)
    timer = threading.Timer(0.3, os.rename, (store, hidden))
    timer.start()
    assert open_stream(str(hidden), wait_s=60).n_frames == N_FIRST
    timer.join()


def test_what_is_no_store_of_ours(tmp_path):
    """A file, another's Zarr group and a damaged root are one line each, and not waited for."""
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot read the store: Not a directory"):
        open_stream(tmp_path / "file", wait_s=60)
    document = {"zarr_format": 3, "node_type": "group", "attributes": {}}
    (tmp_path / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="not an L0 or L1 store"):
        open_stream(tmp_path, wait_s=60)
    (tmp_path / "zarr.json").write_text(json.dumps(document)[:-9])
    with pytest.raises(CorruptDataError, match=r"zarr.json is damaged"):
        open_stream(tmp_path, wait_s=60)


def test_an_l1_store(recording, tmp_path):
    """An L1 store opens alike, and refreshes to one that was made again."""
    l0, l1 = recording.commit(1), tmp_path / "x_L1.zarr"

    def subtract(**settings):
        with ThreadExecutor(2) as executor:
            make_l1(l0, l1, BaselineSubtractConfig(**settings), executor)

    subtract()
    dataset = open_stream(l1)
    assert_same(dataset, l1, chunks=None)
    images = dataset.copy().images
    recording.commit(4)
    subtract()
    with pytest.raises(StoreReplacedError):
        images.load()
    assert_same(dataset.refresh(), l1, chunks=None)
    assert dataset.n_frames == N_FRAMES


def test_importing_the_package_imports_nothing():
    """The package alone needs no other module; open_stream says what it needs, where it lacks."""
    program = """
import sys
before = {*sys.modules}
import panoseti_zarr
print(sorted({*sys.modules} - before))
sys.modules["xarray"] = None
try:
    panoseti_zarr.open_stream
except ImportError as error:
    print(error)
try:
    panoseti_zarr.open_streams
except AttributeError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "['panoseti_zarr']",
        "panoseti_zarr.open_stream needs xarray: pip install 'panoseti-zarr[read]'",
        "module 'panoseti_zarr' has no attribute 'open_streams'",
    ]
