"""A reader in a loop sees whole, committed frames at every moment."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import xarray
import zarr
from ingest_process import subtract
from nights import SETTINGS as SMALL_CHUNKS
from nights import link_run, simulate
from support.reference_store import reference_arrays
from support.stores import frame_files, ingest
from support.waiting import PATIENCE_S

from panoseti_zarr import open_stream
from panoseti_zarr.config import PffToZarrConfig
from panoseti_zarr.io.l0.metadata import read_state

READER = Path(__file__).with_name("reader_process.py")
SETTINGS = PffToZarrConfig(time_chunk=4, max_concurrent_writes=1)


def read_l1(store):
    """Read an L1 store by its path: its images, and as which of two it presents itself.

    That is None where another took its place meanwhile.
    """
    before = os.stat(store)
    group = zarr.open_group(store, mode="r")
    scale, images = group.attrs["settings"]["img_adc_to_pe"], group["images"][...]
    after = os.stat(store)
    is_one = (before.st_ino, before.st_ctime_ns) == (after.st_ino, after.st_ctime_ns)
    return images, scale if is_one else None


def test_a_reader_while_an_l1_store_is_made_again(first_l1, place, request, count):
    """The old store or the new one, never none; who reads across the change, chunks of both."""
    store, scales, wanted = place / "l1" / first_l1.name, (1.5, 3.0), {}

    def make(scale):
        settings = {"baseline_window": 10, "img_adc_to_pe": scale}
        assert subtract(first_l1.l0, store.parent, settings).is_changed

    for scale in scales:
        make(scale)
        wanted[scale], _ = read_l1(store)
    n_stores = 250 if request.config.getoption("long", False) else 25
    is_over, counts = threading.Event(), {"n_reads": 0, "n_across": 0}

    def read_on():
        while not is_over.is_set():
            images, scale = read_l1(store)
            counts["n_reads"] += 1
            counts["n_across"] += scale is None
            for start in range(0, len(images), 8):
                chunk = slice(start, start + 8)
                either = scales if scale is None else (scale,)
                assert any(np.array_equal(images[chunk], wanted[s][chunk]) for s in either)

    with ThreadPoolExecutor(1) as thread:
        reading = thread.submit(read_on)
        for number in range(n_stores):
            make(scales[number % 2])
        is_over.set()
        reading.result()
    count(n_stores=n_stores, **counts)
    assert counts["n_reads"] - counts["n_across"] > n_stores


def ingest_file_by_file(run, growing, l0_dir, reader, place):
    """Ingest a run whose files come one by one: the store opens again for each.

    After every third file a reader is waited for, however slow it is, to have read once more.
    """
    shutil.copytree(run, growing, ignore=shutil.ignore_patterns("*dp_*.pff"))
    n_commits = 0
    for number, file in enumerate(frame_files(run)):
        shutil.copy2(file, growing)
        result = ingest(growing, l0_dir, SETTINGS)
        n_commits = read_state(result.store_path).commit
        n_reads = reads_of(place)
        while number % 3 == 2 and reads_of(place) == n_reads:
            assert reader.poll() is None, reader.communicate()[1]
            time.sleep(0.001)
    return n_commits


def reads_of(place):
    """Return how often the reader has read."""
    try:
        return int((place / "n_reads").read_text() or 0)
    except FileNotFoundError:
        return 0


def test_a_reader_of_an_earlier_commit(night, place):
    """Who opened the store before reads the same frames after its partial chunk was replaced."""
    store = ingest(night.first_file, place / "l0", SMALL_CHUNKS).store_path
    opened = zarr.open_group(store, mode="r", use_consolidated=True)
    ingest(night.run, place / "l0", SMALL_CHUNKS)
    assert read_state(store).n_frames == night.n_frames
    for path, values in night.arrays.items():
        np.testing.assert_array_equal(opened[path][...], values[:20], err_msg=path)


@pytest.mark.parametrize(("product", "n_wanted"), [("ph256", 700), ("img16", 300)])
def test_a_reader_through_a_thousand_commits(place, product, n_wanted, request, count):
    """Never a fill value, a ragged length, a frame less than before, or a wrong number."""
    run = simulate(place / "data", n_frames=72, product=product, files_of=9)
    np.savez(place / "reference.npz", **reference_arrays(frame_files(run), product))
    n_commits = n_stores = 0
    n_wanted *= 10 if request.config.getoption("long", False) else 1
    with subprocess.Popen(
        [sys.executable, "-W", "error", READER, place],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as reader:
        while n_commits < n_wanted:
            growing = place / f"growing_{n_stores}" / run.name
            l0_dir = place / f"l0_{n_stores}"
            n_commits += ingest_file_by_file(run, growing, l0_dir, reader, place)
            n_stores += 1
        (place / "stop").touch()
        told, stderr = reader.communicate(timeout=PATIENCE_S)
    assert reader.returncode == 0, stderr
    seen = json.loads(told)
    count(n_commits=n_commits, **seen)
    assert seen["n_stores"] > n_stores // 2
    assert seen["n_advances"] > n_stores


REPLACE = """
import os, sys, time
shard, *versions = sys.argv[1:]
while True:
    for version in versions:
        os.link(version, shard + ".next")
        os.replace(shard + ".next", shard)
        time.sleep(0.05)
"""


def test_a_reader_of_shards_that_are_replaced(place, count):
    """Where a plain reader meets wrong checksums, open_stream's dataset reads every frame right.

    Another process replaces the shard of the tail by a longer one and back, 20 times a second. A
    service does it once a commit, seconds apart; much faster than this, and a loaded machine would
    tear each of the dataset's five tries, which are spread over 0.8 s.
    """
    settings = PffToZarrConfig(time_chunk=64, inner_chunk=16)
    run = simulate(place / "data", n_frames=60, product="img16", files_of=40)
    images = reference_arrays(frame_files(run), "img16")["images"]
    store = ingest(link_run(run, place / "first", 1), place / "l0", settings).store_path
    plain, steady = xarray.open_zarr(store, chunks=None), open_stream(store)
    shard = store / "images/c/0/0/0"
    short, long = place / "short", place / "long"
    shutil.copy(shard, short)
    ingest(run, place / "l0", settings)
    shutil.copy(shard, long)
    n_torn = n_reads = 0
    with subprocess.Popen([sys.executable, "-c", REPLACE, shard, short, long]) as replacing:
        try:
            while n_torn < 3 or n_reads < 200:
                try:
                    np.testing.assert_array_equal(plain.images[33:39], images[33:39])
                except ValueError:
                    n_torn += 1
                np.testing.assert_array_equal(steady.images[33:39], images[33:39])
                n_reads += 1
        finally:
            replacing.kill()
    count(n_torn=n_torn, n_reads=n_reads)
