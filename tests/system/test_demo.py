"""``panoseti-zarr demo``: what it shows, and what it leaves."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.service_process import environment
from support.waiting import PATIENCE_S


def run_demo(*words, **env):
    """Run the demo in a directory of its own; return what it did."""
    return subprocess.run(
        [sys.executable, "-m", "panoseti_zarr", "demo", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=environment(**env),
        check=False,
    )


def test_it_shows_the_service_at_work_and_its_results_can_be_plotted(tmp_path: Path):
    """The log of a run, the status, each L0 store verified; the printed lines draw a picture."""
    pytest.importorskip("matplotlib")
    done = run_demo("--keep", tmp_path / "demo", FORCE_COLOR="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\x1b[" in done.stdout
    assert "run.completed" in done.stdout
    assert "total: 1 run, 2 streams, 2 done, 0 quarantined, 25,000 frames" in done.stdout
    assert done.stdout.count("\nok: ") == 2
    assert f"The results are in {tmp_path / 'demo'}" in done.stdout
    lines = done.stdout.splitlines()[-3:]
    code = "\n".join(lines)
    subprocess.run(
        [sys.executable, "-c", code], env=environment(MPLBACKEND="agg"), check=True, cwd="/"
    )
    assert (tmp_path / "demo/light-curve.png").stat().st_size > 1000


def test_it_leaves_a_directory_that_exists_alone(tmp_path: Path):
    """One clear line, exit code 1."""
    done = run_demo("--keep", tmp_path)
    assert (done.returncode, os.listdir(tmp_path)) == (1, [])
    assert done.stderr.startswith(f"error: {tmp_path} exists already")
