"""SIGKILL at any moment of the real command ``run``, again and again until it is done."""

import random
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from nights import Night
from processes import start_command
from subtractions import Subtraction
from support.stores import snapshot
from support.waiting import PATIENCE_S

from panoseti_zarr.io.l0.metadata import read_state
from panoseti_zarr.io.simulate import RunPlan, StreamPlan, max_file_size_mb, simulate_run

SEED = 20240725
N_FRAMES = 320
AT_WORK = 0.8
"""Share of the kills that come once a store is locked; the others may come at any moment."""


@pytest.fixture(scope="module")
def config(memory_dir):
    file = memory_dir / "kills.toml"
    file.write_text("[pff_to_zarr]\ntime_chunk = 16\n[baseline_subtract]\nbaseline_window = 50\n")
    return file


@dataclass(frozen=True)
class Undisturbed:
    """A run, the stores that are made of it undisturbed, and how long that takes."""

    run: Path
    nights: list[Night]
    subtractions: list[Subtraction]
    seconds: float


@pytest.fixture(scope="module")
def undisturbed(memory_dir, config):
    """Two streams of several files."""
    root = memory_dir / "kills"
    plan = RunPlan(
        streams=(StreamPlan("img16", 1, N_FRAMES), StreamPlan("ph256", 2, N_FRAMES)),
        max_file_size_mb=max_file_size_mb("ph256", 250),
    )
    run = simulate_run(root / "data", plan)
    began = time.monotonic()
    with start_run(run, root / "undisturbed", config) as process:
        _, stderr = process.communicate(timeout=PATIENCE_S)
    seconds = time.monotonic() - began
    assert process.returncode == 0, stderr
    l0s, l1s = (sorted((root / "undisturbed" / level).glob("*.zarr")) for level in ("l0", "l1"))
    nights = [Night(run, l0) for l0 in l0s]
    subtractions = [Subtraction(l0, l1) for l0, l1 in zip(l0s, l1s, strict=True)]
    return Undisturbed(run, nights, subtractions, seconds)


def start_run(run, base, config):
    return start_command("run", run, base / "l0", base / "l1", "--config", config)


def wait_until_at_work(process, l0_dir):
    """Wait until a process has locked its first store, or has ended."""
    while process.poll() is None:
        locks = [lock.read_text() for lock in l0_dir.glob(".*.lock")]
        if any(lock.startswith(f"pid {process.pid} ") for lock in locks):
            return
        time.sleep(0.002)


def run_with_kills(undisturbed, base, config, moments):
    """Run, killed at a random moment each time, until done; yield how far it was then.

    That is the frames committed, and the number of L1 stores.
    """
    nights = undisturbed.nights
    counts, made = [0] * len(nights), {}
    while True:
        with start_run(undisturbed.run, base, config) as process:
            if moments.random() < AT_WORK:
                wait_until_at_work(process, base / "l0")
            try:
                timeout = moments.uniform(0, 0.6 * undisturbed.seconds)
                _, stderr = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
            else:
                assert process.returncode == 0, stderr
                assert_finished(undisturbed, base, made)
                return
        counts = [
            night.assert_readable(base / "l0", at_least=count)
            for night, count in zip(nights, counts, strict=True)
        ]
        made = assert_l1_kept(undisturbed, base, made)
        yield sum(counts), len(made)


def assert_l1_kept(undisturbed, base, before):
    """Check that each L1 store that stands is whole and was made once; return them."""
    made = {}
    for subtraction in undisturbed.subtractions:
        if (path := base / "l1" / subtraction.name).exists():
            l0 = base / "l0" / subtraction.l0.name
            assert read_state(l0).closed
            subtraction.assert_new(path.parent, l0)
            made[path.name] = snapshot(path)
    assert before.items() <= made.items(), "an L1 store was made twice"
    return made


BESIDE = {".zarr", ".lock", ".parquet", ".files"}
"""Suffixes of what `run` leaves in L1_DIR."""


def assert_finished(undisturbed, base, before):
    for night in undisturbed.nights:
        night.assert_finished(base / "l0")
    assert len(assert_l1_kept(undisturbed, base, before)) == len(undisturbed.subtractions)
    assert {path.suffix for path in (base / "l1").iterdir()} <= BESIDE


def test_kills_at_random_moments(undisturbed, config, place, request, count):
    """Readers see whole commits and whole L1 stores, and every end equals the undisturbed one."""
    n_kills = request.config.getoption("kills", 30)
    moments = random.Random(SEED)  # noqa: S311 - moments, not secrets
    n_done = n_run = n_in_l0 = n_in_l1 = 0
    n_frames = len(undisturbed.nights) * N_FRAMES
    # How many come midway depends on the machine; those are the ones that count.
    while n_done < n_kills or (
        n_done < 4 * n_kills and (n_in_l0 <= n_kills / 5 or n_in_l1 <= n_kills / 10)
    ):
        base = place / f"run_{n_run}"
        for n_committed, n_made in run_with_kills(undisturbed, base, config, moments):
            n_done += 1
            n_in_l0 += 0 < n_committed < n_frames
            n_in_l1 += n_committed == n_frames and n_made < len(undisturbed.subtractions)
        shutil.rmtree(base)
        n_run += 1
    count(n_kills=n_done, n_kills_in_l0=n_in_l0, n_kills_in_l1=n_in_l1, n_runs=n_run)
    assert n_in_l0 > 0
    assert n_in_l1 > 0
