"""Kills of a Dask cluster's processes: of a worker, and of everything at once."""

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest
from nights import Night
from processes import convert, start_convert
from support.waiting import PATIENCE_S

from panoseti_zarr.io.simulate import RunPlan, StreamPlan, simulate_run

CLUSTER = """
[pff_to_zarr]
time_chunk = 16
[cluster]
use_cluster = true
type = "local"
[cluster.local]
n_workers = 2
threads_per_worker = 1
dashboard_port = 0
"""


@pytest.fixture(scope="module")
def config(memory_dir):
    file = memory_dir / "cluster.toml"
    file.write_text(CLUSTER)
    return file


@pytest.fixture(scope="module")
def night(memory_dir):
    """A run of 100 chunks, ingested undisturbed without a cluster."""
    root = memory_dir / "cluster"
    run = simulate_run(root / "data", RunPlan((StreamPlan("ph256", 1, 1600),)))
    config = root / "config.toml"
    config.write_text("[pff_to_zarr]\ntime_chunk = 16\n")
    assert convert(run, root / "undisturbed", config).returncode == 0
    (store,) = (root / "undisturbed").glob("*.zarr")
    return Night(run, store)


def wait_for_commits(process, night, l0_dir, n_frames):
    """Wait until a reader sees this many frames; fail where the command ends before."""
    while night.n_committed(l0_dir) < n_frames:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


def session(command):
    """Return the processes of a command's session, and their command lines."""
    found = {}
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            pid = int(directory.name)
            if os.getsid(pid) == command.pid:
                found[pid] = (directory / "cmdline").read_bytes()
    return found


def end(command):
    """Kill a command and its workers at once, all but what frees Python's semaphores after it."""
    for pid, words in sorted(session(command).items()):
        if b"resource_tracker" not in words:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    command.communicate()


def test_a_killed_worker(night, config, place):
    """Its tasks run again elsewhere; the command finishes as if nothing had happened."""
    l0_dir = place / "l0"
    process = start_convert(night.run, l0_dir, config)
    try:
        wait_for_commits(process, night, l0_dir, 160)
        workers = [pid for pid, words in session(process).items() if b"spawn_main" in words]
        os.kill(workers[0], signal.SIGKILL)
        _, stderr = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, stderr
    finally:
        end(process)
    night.assert_finished(l0_dir)


def test_everything_is_killed(night, config, place):
    """Coordinator and workers at once: the next start goes on from the last commit."""
    l0_dir = place / "l0"
    process = start_convert(night.run, l0_dir, config)
    try:
        wait_for_commits(process, night, l0_dir, 320)
    finally:
        end(process)
    assert 320 <= night.assert_readable(l0_dir) < night.n_frames
    done = convert(night.run, l0_dir, config)
    assert done.returncode == 0, done.stderr
    night.assert_finished(l0_dir)


def test_a_coordinator_is_killed_and_its_workers_are_not(night, config, place):
    """What workers still write goes to folders of their own; the next start is not disturbed."""
    l0_dir = place / "l0"
    process = start_convert(night.run, l0_dir, config)
    try:
        wait_for_commits(process, night, l0_dir, 320)
        process.kill()
        done = convert(night.run, l0_dir, config)
        assert done.returncode == 0, done.stderr
    finally:
        end(process)
    night.assert_finished(l0_dir)
