"""SIGKILL at any moment of the real command, again and again until it is done."""

import random
import shutil
import subprocess
import time

import pytest
from nights import Night
from processes import convert, start_convert

from panoseti_zarr.io.simulate import RunPlan, StreamPlan, max_file_size_mb, simulate_run

SEED = 20240725
N_FRAMES = 320
AT_WORK = 0.8
"""Share of the kills that come once a store is locked; the others may come at any moment."""


@pytest.fixture(scope="module")
def config(memory_dir):
    file = memory_dir / "kills.toml"
    file.write_text("[pff_to_zarr]\ntime_chunk = 16\n")
    return file


@pytest.fixture(scope="module")
def nights(memory_dir, config):
    """Two streams of several files, ingested undisturbed; and how long that takes, seconds."""
    root = memory_dir / "kills"
    plan = RunPlan(
        streams=(StreamPlan("img16", 1, N_FRAMES), StreamPlan("ph256", 2, N_FRAMES)),
        max_file_size_mb=max_file_size_mb("ph256", 250),
    )
    run = simulate_run(root / "data", plan)
    began = time.monotonic()
    done = convert(run, root / "undisturbed", config)
    seconds = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    stores = sorted((root / "undisturbed").glob("*.zarr"))
    return [Night(run, store) for store in stores], seconds


def wait_until_at_work(process, l0_dir):
    """Wait until a process has locked its first store, or has ended."""
    while process.poll() is None:
        locks = [lock.read_text() for lock in l0_dir.glob(".*.lock")]
        if any(lock.startswith(f"pid {process.pid} ") for lock in locks):
            return
        time.sleep(0.002)


def convert_with_kills(nights, seconds, l0_dir, config, moments):
    """Convert, killed at a random moment each time, until done; yield the frames committed."""
    (run,) = {night.run for night in nights}
    counts = [0] * len(nights)
    while True:
        with start_convert(run, l0_dir, config) as process:
            if moments.random() < AT_WORK:
                wait_until_at_work(process, l0_dir)
            try:
                _, stderr = process.communicate(timeout=moments.uniform(0, 0.6 * seconds))
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
            else:
                assert process.returncode == 0, stderr
                return
        counts = [
            night.assert_readable(l0_dir, at_least=count)
            for night, count in zip(nights, counts, strict=True)
        ]
        yield sum(counts)


def test_kills_at_random_moments(nights, config, place, request, count):
    """Readers see whole commits after each kill, and every end equals the undisturbed one."""
    nights, seconds = nights
    n_kills = request.config.getoption("kills", 40)
    moments = random.Random(SEED)  # noqa: S311 - moments, not secrets
    n_done = n_run = n_midway = 0
    while n_done < n_kills:
        l0_dir = place / f"l0_{n_run}"
        for n_committed in convert_with_kills(nights, seconds, l0_dir, config, moments):
            n_done += 1
            n_midway += 0 < n_committed < len(nights) * N_FRAMES
        for night in nights:
            night.assert_finished(l0_dir)
        shutil.rmtree(l0_dir)
        n_run += 1
    count(n_kills=n_done, n_kills_midway=n_midway, n_stores=n_run)
    assert n_midway > n_kills / 4
