"""The C library's allocator, and buffers that are used again."""

import ctypes
import platform
import subprocess
import sys
import threading

import numpy as np
import pytest

from panoseti_zarr.io.fs.malloc import tune_malloc
from panoseti_zarr.io.fs.scratch import scratch

FAULTS = """
import resource, sys
import numpy as np
if sys.argv[1] == "kept":
    from panoseti_zarr.io.fs.malloc import tune_malloc
    tune_malloc()
def touch():
    np.empty(3 << 20, np.uint8).fill(1)
touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def count_faults(kind):
    """Return the page faults of using freed memory twenty times, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, kind],
        capture_output=True,
        text=True,
        check=True,
        env={"MALLOC_MMAP_THRESHOLD_": "65536"} if kind == "plain" else None,
    )
    return int(done.stdout)


def test_without_mallopt_nothing_happens(monkeypatch):
    """A C library that is not glibc is left alone."""
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    tune_malloc()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_is_used_again():
    """Memory that was freed is not fetched again from the system."""
    assert count_faults("kept") < 100 < count_faults("plain")


def test_scratch_is_the_same_memory_each_time():
    """A thread gets one memory by one name, larger where it must be."""
    first = scratch("test", (4, 3), np.dtype(np.float32))
    second = scratch("test", (2, 6), np.dtype(np.uint16))
    assert (second.shape, second.dtype) == ((2, 6), np.uint16)
    assert np.shares_memory(first, second)
    assert not np.shares_memory(first, scratch("other", (4, 3), np.dtype(np.float32)))
    assert scratch("test", (100,), np.dtype(np.int64)).shape == (100,)


def test_threads_do_not_share_scratch():
    """Each thread has memory of its own."""
    mine = scratch("test", (8,), np.dtype(np.uint8))
    theirs = []
    thread = threading.Thread(target=lambda: theirs.append(scratch("test", (8,), mine.dtype)))
    thread.start()
    thread.join()
    assert not np.shares_memory(mine, theirs[0])
