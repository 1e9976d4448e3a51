"""A stream to its L0 store: round trips, going on, opening again, and what is refused."""

import errno
import json
import os
import shutil

import numpy as np
import pytest
import tensorstore
import xarray
import zarr
from support.reference_store import reference_arrays
from support.stores import (
    SMALL_CHUNKS,
    assert_equal_arrays,
    chunk_digests,
    frame_files,
    ingest,
    read_arrays,
    snapshot,
)

from panoseti_zarr.config import PffToZarrConfig
from panoseti_zarr.errors import (
    CorruptDataError,
    SourceChangedError,
    StopRequestedError,
    StoreLockedError,
    TransientIOError,
)
from panoseti_zarr.io.fs.locks import store_lock
from panoseti_zarr.io.l0.metadata import read_state
from panoseti_zarr.io.pff.listing import list_run
from panoseti_zarr.io.pff.source import check_unchanged
from panoseti_zarr.io.simulate import RunPlan, StreamPlan, max_file_size_mb, simulate_run
from panoseti_zarr.io.simulate.defects import (
    BrokenHeader,
    CutTail,
    MissingQuabo,
    OtherLayout,
    StubFile,
    UnlockedClock,
    ZeroFrames,
)
from panoseti_zarr.model import PRODUCTS
from panoseti_zarr.pipeline import appender as append


def simulate(root, n_frames=200, *, product="img16", files_of=0, **options):
    """Simulate a run of one stream; ``files_of`` frames to a file."""
    size = max_file_size_mb(product, files_of) if files_of else 0
    plan = RunPlan(streams=(StreamPlan(product, 1, n_frames),), max_file_size_mb=size, **options)
    return simulate_run(root, plan, overwrite=True)


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("n_frames", [1, 63, 64, 65, 200])
def test_round_trip(tmp_path, product, n_frames):
    """Every pixel, header field, time and quality bit is in the store, at the chunk edges too."""
    run = simulate(tmp_path, n_frames, product=product)
    result = ingest(run, tmp_path / "l0")
    assert result.n_frames == n_frames
    assert result.store_path.name == f"{run.name}.dp_{product}.module_1.zarr"
    expected = reference_arrays(frame_files(run), product)
    assert_equal_arrays(read_arrays(result.store_path), expected)


DEFECTS = (
    BrokenHeader(frame=0),
    BrokenHeader(frame=70),
    OtherLayout(frame=71),
    MissingQuabo(quabo=0, start=30, stop=90),
    ZeroFrames(start=5, stop=8),
    UnlockedClock(start=100, stop=150),
)


def test_round_trip_of_every_defect(tmp_path):
    """Broken and odd headers, missing quabos and unlocked clocks keep every frame in its place."""
    run = simulate(tmp_path, 200, files_of=75, defects=DEFECTS)
    result = ingest(run, tmp_path / "l0")
    found = read_arrays(result.store_path)
    assert_equal_arrays(found, reference_arrays(frame_files(run), "img16"))
    quality = found["quality"]
    assert (quality[[0, 70]] == 0b1100_0000).all()
    assert (quality[5:8] == 0b1000_1111).all()
    assert (quality[30:70] & 0b1 == 1).all()
    assert (quality[100:150] & 0b1_0000).all()


def test_attributes(tmp_path):
    """The root says what the store is made of, and holds no password."""
    run = simulate(tmp_path, 200, files_of=75, defects=(CutTail(n_bytes=100),))
    result = ingest(run, tmp_path / "l0")
    attributes = dict(zarr.open_group(result.store_path, mode="r").attrs)
    assert attributes["format"] == "panoseti-zarr-l0"
    assert (attributes["n_frames"], attributes["closed"]) == (199, True)
    assert attributes["observatory"] == "Lick"
    assert attributes["run_start"] == "2024-07-25T04:34:06Z"
    assert attributes["gaps"] == []
    sources = attributes["source_files"]
    assert [s["first_frame"] for s in sources] == [0, 75, 150]
    assert [s["n_frames"] for s in sources] == [75, 75, 49]
    assert sources[-1]["trailing_bytes"] == 2440
    for source, file in zip(sources, frame_files(run), strict=True):
        assert source["name"] == file.name
        assert source["mtime_ns"] == file.stat().st_mtime_ns
    obs_config = (run / "obs_config.json").read_text()
    assert "@" in obs_config
    assert "@" not in json.dumps(attributes["run_config"])
    assert result.cut_short


@pytest.mark.parametrize("codec", ["blosc-lz4", "zstd", "gzip", "none"])
@pytest.mark.parametrize("inner_chunk", [0, 16])
def test_every_codec_opens_in_every_reader(tmp_path, codec, inner_chunk):
    """Xarray, zarr-python and TensorStore read the same numbers, with and without sharding."""
    run = simulate(tmp_path, 100)
    settings = PffToZarrConfig(time_chunk=64, codec=codec, level=3, inner_chunk=inner_chunk)
    store = ingest(run, tmp_path / "l0", settings).store_path
    expected = reference_arrays(frame_files(run), "img16")
    assert_equal_arrays(read_arrays(store), expected)
    for consolidated in (True, False):
        with xarray.open_zarr(store, consolidated=consolidated) as dataset:
            np.testing.assert_array_equal(dataset.images, expected["images"])
            times = dataset.timestamps.to_numpy()
            assert times.dtype == "datetime64[ns]"
            np.testing.assert_array_equal(times.view("i8"), expected["timestamps"])
    with xarray.open_datatree(store, engine="zarr") as tree:
        path = "headers/quabo_2/pkt_nsec"
        np.testing.assert_array_equal(tree[path], expected[path])
    kvstore = {"driver": "file", "path": str(store / "images")}
    images = tensorstore.open({"driver": "zarr3", "kvstore": kvstore}).result()
    np.testing.assert_array_equal(images.read().result(), expected["images"])


def test_missing_times_are_nat_in_xarray(tmp_path):
    """A frame without a time is NaT, not a date in 1677."""
    run = simulate(tmp_path, 10, defects=(ZeroFrames(start=3, stop=4),))
    with xarray.open_zarr(ingest(run, tmp_path / "l0").store_path) as dataset:
        assert np.isnat(dataset.timestamps.to_numpy()).tolist() == [i == 3 for i in range(10)]


def test_done_is_done(tmp_path):
    """A second conversion changes no file, and leaves nothing but stores and lock files."""
    run = simulate(tmp_path, 150)
    l0_dir = tmp_path / "l0"
    ingest(run, l0_dir)
    before = snapshot(l0_dir)
    result = ingest(run, l0_dir)
    assert not result.changed
    assert snapshot(l0_dir) == before
    assert {path.suffix for path in l0_dir.iterdir()} == {".zarr", ".lock"}


@pytest.mark.parametrize("n_first", [64, 70, 128])
def test_a_second_file_opens_the_store_again(tmp_path, n_first):
    """A file that comes after the close is appended; the store ends as if it had always been."""
    whole = simulate(tmp_path / "whole", 200, files_of=n_first)
    late = tmp_path / "late" / whole.name
    shutil.copytree(whole, late)
    held_back = tmp_path / "held"
    held_back.mkdir()
    for file in frame_files(late)[1:]:
        shutil.move(file, held_back)
    first = ingest(late, tmp_path / "l0_late")
    assert first.n_frames == n_first
    state = read_state(first.store_path)
    for file in held_back.iterdir():
        shutil.move(file, late)
    second = ingest(late, tmp_path / "l0_late")
    assert (second.n_frames, second.n_new_frames) == (200, 200 - n_first)
    again = read_state(second.store_path)
    assert (again.store_id, again.closed) == (state.store_id, True)
    assert again.commit > state.commit
    undisturbed = ingest(whole, tmp_path / "l0_whole").store_path
    assert chunk_digests(second.store_path) == chunk_digests(undisturbed)


def test_a_touched_source_is_no_change(tmp_path):
    """The same bytes with another mtime are compared, and nothing is written."""
    run = simulate(tmp_path, 150)
    ingest(run, tmp_path / "l0")
    before = snapshot(tmp_path / "l0")
    os.utime(frame_files(run)[0], ns=(1, 1))
    assert not ingest(run, tmp_path / "l0").changed
    assert snapshot(tmp_path / "l0") == before


def overwrite(path, offset, data):
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def change_pixel(run):
    overwrite(frame_files(run)[0], 2540 * 100 + 600, b"\xab\xcd")


def shrink(run):
    os.truncate(frame_files(run)[0], 2540 * 60)


def add_below(run):
    file = frame_files(run)[1]
    shutil.copy(file, str(file).replace("seqno_1", "seqno_0.copy"))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [(change_pixel, "frame 100 "), (shrink, "shrank"), (add_below, "two files have seqno 0")],
)
def test_changed_sources_are_never_appended(tmp_path, damage, reason):
    """Changed, shrunk, doubled: the stream is refused with the reason and the store stays."""
    run = simulate(tmp_path, 200, files_of=110)
    ingest(run, tmp_path / "l0")
    before = snapshot(tmp_path / "l0")
    damage(run)
    with pytest.raises(CorruptDataError, match=reason):
        ingest(run, tmp_path / "l0")
    assert snapshot(tmp_path / "l0") == before


def test_a_rewrite_that_keeps_size_and_mtime_is_seen(tmp_path):
    """A rewrite in place with the old mtime put back differs in ctime, and is compared."""
    run = simulate(tmp_path, 200)
    ingest(run, tmp_path / "l0")
    file = frame_files(run)[0]
    status = file.stat()
    overwrite(file, 2540 * 5 + 700, b"\xab\xcd")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(SourceChangedError, match="frame 5 "):
        ingest(run, tmp_path / "l0")


def test_rebuild_takes_the_sources_as_they_are(tmp_path):
    """A rebuild makes the store again from changed sources, with another identity."""
    run = simulate(tmp_path, 200)
    first = ingest(run, tmp_path / "l0")
    old = read_state(first.store_path)
    change_pixel(run)
    rebuilt = ingest(run, tmp_path / "l0", rebuild=True)
    assert read_state(rebuilt.store_path).store_id != old.store_id
    assert_equal_arrays(
        read_arrays(rebuilt.store_path), reference_arrays(frame_files(run), "img16")
    )
    assert {path.suffix for path in (tmp_path / "l0").iterdir()} == {".zarr", ".lock"}


def test_a_file_without_a_header_keeps_the_stream_open(tmp_path):
    """Frames before an unreadable file are committed; the stream goes on once it is replaced."""
    run = simulate(tmp_path, 200, files_of=75)
    bad = frame_files(run)[1]
    good_bytes = bad.read_bytes()
    bad.write_bytes(b"\0" * len(good_bytes))
    with pytest.raises(CorruptDataError, match="no readable img16 header"):
        ingest(run, tmp_path / "l0")
    (store,) = (tmp_path / "l0").glob("*.zarr")
    state = read_state(store)
    assert (state.n_frames, state.closed) == (75, False)
    bad.write_bytes(good_bytes)
    assert ingest(run, tmp_path / "l0").n_frames == 200
    assert_equal_arrays(read_arrays(store), reference_arrays(frame_files(run), "img16"))
    assert read_state(store).closed


def test_a_file_shorter_than_a_frame(tmp_path):
    """It has no frames and is reported as cut short; the stream closes empty."""
    run = simulate(tmp_path, 10, defects=(StubFile(size_bytes=300),))
    result = ingest(run, tmp_path / "l0")
    assert result.n_frames == 0
    assert len(result.cut_short) == 1
    assert read_state(result.store_path).closed
    with xarray.open_zarr(result.store_path) as dataset:
        assert dataset.images.shape == (0, 32, 32)


def test_a_grown_last_file_goes_on(tmp_path):
    """A cut file whose rest arrives later: the store ends as if it had always been whole."""
    run = simulate(tmp_path / "a", 200)
    file = frame_files(run)[0]
    whole = file.read_bytes()
    os.truncate(file, 2540 * 130 + 1000)
    assert ingest(run, tmp_path / "l0").cut_short
    file.write_bytes(whole)
    result = ingest(run, tmp_path / "l0")
    assert (result.n_frames, result.cut_short) == (200, ())
    other = ingest(run, tmp_path / "other").store_path
    assert chunk_digests(result.store_path) == chunk_digests(other)


def test_two_writers(tmp_path):
    """The second writer of a store is told who holds it."""
    run = simulate(tmp_path, 10)
    l0_dir = tmp_path / "l0"
    l0_dir.mkdir()
    name = f"{run.name}.dp_img16.module_1.zarr"
    with store_lock(l0_dir, name), pytest.raises(StoreLockedError, match=f"pid {os.getpid()} on"):
        ingest(run, l0_dir)


def test_stop_keeps_what_is_committed(tmp_path):
    """A stopped append leaves a whole store, and the next one goes on from there."""
    import threading

    run = simulate(tmp_path, 1000)
    stop = threading.Event()
    with pytest.raises(StopRequestedError):
        ingest(run, tmp_path / "l0", on_commit=lambda _: stop.set(), stop=stop)
    (store,) = (tmp_path / "l0").glob("*.zarr")
    n_committed = read_state(store).n_frames
    assert 0 < n_committed < 1000
    arrays = read_arrays(store)
    assert len(arrays["images"]) == n_committed
    result = ingest(run, tmp_path / "l0")
    assert result.n_new_frames == 1000 - n_committed
    undisturbed = ingest(run, tmp_path / "other").store_path
    assert chunk_digests(store) == chunk_digests(undisturbed)


def test_nothing_is_staged_without_a_writer(tmp_path, monkeypatch):
    """A task that comes late, or to a host without the file system, makes no directories."""
    made = {}
    work = append.write_chunk

    def late(job):
        made["job"] = job
        return work(job)

    monkeypatch.setattr(append, "write_chunk", late)
    ingest(simulate(tmp_path), tmp_path / "l0", SMALL_CHUNKS)
    assert not (tmp_path / "l0" / ".staging").exists()
    with pytest.raises(TransientIOError, match="No such file"):
        work(made["job"])
    assert not (tmp_path / "l0" / ".staging").exists()


@pytest.mark.parametrize("what", ["source", "root"])
def test_what_cannot_be_looked_at_for_now_is_tried_again(tmp_path, monkeypatch, what):
    """A network file system that stumbles puts no stream in quarantine."""
    run, stat = simulate(tmp_path), os.stat
    store = ingest(run, tmp_path / "l0", SMALL_CHUNKS).store_path
    listing, n_files = list_run(run), len(frame_files(run))
    if what == "root":
        (store / "zarr.json").unlink()
        (store / "zarr.json").symlink_to("zarr.json")
        with pytest.raises(TransientIOError, match="cannot read the L0 store"):
            read_state(store)
        return

    def stumble(path, *args, **options):
        if str(path).endswith(".pff"):
            raise OSError(errno.ESTALE, "Stale file handle", str(path))
        return stat(path, *args, **options)

    monkeypatch.setattr(os, "stat", stumble)
    with pytest.raises(TransientIOError, match="cannot be looked at: Stale file handle"):
        check_unchanged(listing, *listing.keys)
    assert len(list_run(run).refused) == n_files + len(listing.empty_files)


def test_leftovers_of_a_crash_are_dropped(tmp_path):
    """Staged files, a half made store, arrays ahead of the commit and extra chunks all go."""
    run = simulate(tmp_path, 150)
    l0_dir = tmp_path / "l0"
    store = ingest(run, l0_dir).store_path
    digests = chunk_digests(store)
    (l0_dir / ".staging" / store.name / "attempt").mkdir(parents=True)
    (l0_dir / f".{store.name}.new" / "images").mkdir(parents=True)
    shutil.copytree(store / "images/c/0", store / "images/c/3")
    shutil.copy(store / "quality/c/0", store / "quality/c/3")
    document = json.loads((store / "quality/zarr.json").read_text())
    (store / "quality/zarr.json").write_text(json.dumps({**document, "shape": [256]}))
    assert not ingest(run, l0_dir).changed
    assert chunk_digests(store) == digests
    assert json.loads((store / "quality/zarr.json").read_text())["shape"] == [150]
    assert {path.suffix for path in l0_dir.iterdir()} == {".zarr", ".lock"}


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/etc/passwd")])
def test_frame_files_that_are_none(tmp_path, make):
    """A FIFO, or a link out of the data root, with a frame file's name is refused, not opened."""
    run = simulate(tmp_path, 100)
    make(run / "start_2024-07-25T04:34:06Z.dp_img16.bpp_2.module_1.seqno_1.pff")
    with pytest.raises(CorruptDataError, match="seqno_1"):
        ingest(run, tmp_path / "l0")


def test_settings_of_a_store_are_its_own(tmp_path):
    """Another time_chunk or codec in the config applies to new stores only."""
    run = simulate(tmp_path, 200, files_of=100)
    second = frame_files(run)[1]
    held = second.read_bytes()
    second.unlink()
    ingest(run, tmp_path / "l0")
    second.write_bytes(held)
    store = ingest(run, tmp_path / "l0", PffToZarrConfig(time_chunk=32, codec="gzip")).store_path
    assert read_state(store).time_chunk == SMALL_CHUNKS.time_chunk
    assert_equal_arrays(read_arrays(store), reference_arrays(frame_files(run), "img16"))
