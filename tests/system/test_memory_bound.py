"""The memory of the commands is bounded by settings, not by the length of a stream."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

COMMAND = (sys.executable, "-m", "panoseti_zarr")
TIME_CHUNK = 4096
FRAME_BYTES = 2540
N_TASKS = min(2, len(os.sched_getaffinity(0)))
CONFIG = f"""
[pff_to_zarr]
time_chunk = {TIME_CHUNK}
num_workers = {N_TASKS}
[baseline_subtract]
baseline_window = 0
"""


# A process begins with the peak of the one that started it: a small one stands between.
PEAK = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


def peak_bytes(*words):
    """Run a command; return the most memory that its process had."""
    launcher = [sys.executable, "-c", PEAK, *COMMAND, *map(str, words)]
    done = subprocess.run(launcher, check=True, capture_output=True, text=True)
    return int(done.stdout) * 1024


@pytest.fixture(scope="module")
def peaks(tmp_path_factory):
    """Return the peaks of ``convert`` and ``baseline`` on a stream and on one 8 times as long."""
    place = tmp_path_factory.mktemp("memory")
    config = place / "config.toml"
    config.write_text(CONFIG)
    found = {}
    for n_frames in (4 * TIME_CHUNK, 32 * TIME_CHUNK):
        root = place / str(n_frames)
        words = ("simulate", root, "--product", "img16", "--frames", n_frames)
        done = subprocess.run(
            [*COMMAND, *map(str, words)], check=True, capture_output=True, text=True
        )
        run = done.stdout.strip()
        convert = peak_bytes("convert", run, root / "l0", config)
        (store,) = (root / "l0").glob("*.zarr")
        baseline = peak_bytes("baseline", store, root / "L1.zarr", "--config", config)
        found[n_frames] = (convert, baseline)
    return found


@pytest.mark.parametrize(("command", "most"), [(0, 1.1), (1, 1.25)], ids=["convert", "baseline"])
def test_a_longer_stream_takes_no_more(peaks, command, most):
    """Eight times the length: convert within 10 %, and a baseline of more values a little above."""
    short, long = (both[command] for both in peaks.values())
    assert long < most * short


def test_the_formula_of_the_readme(peaks):
    """80 MB, and for each task that runs at once 20 MB and 100 bytes a frame of its chunk."""
    bound = 80e6 + N_TASKS * (20e6 + 100 * TIME_CHUNK)
    assert max(convert for convert, _ in peaks.values()) < bound


def test_the_formula_of_the_readme_without_inner_chunks(tmp_path):
    """80 MB, and for each task that runs at once twice the bytes of a chunk's frames."""
    config = tmp_path / "config.toml"
    config.write_text(CONFIG.replace("num_workers", "inner_chunk = 0\nnum_workers"))
    words = ("simulate", tmp_path, "--product", "img16", "--frames", 4 * TIME_CHUNK)
    done = subprocess.run([*COMMAND, *map(str, words)], check=True, capture_output=True, text=True)
    peak = peak_bytes("convert", done.stdout.strip(), tmp_path / "l0", config)
    assert peak < 80e6 + N_TASKS * 2 * TIME_CHUNK * FRAME_BYTES
