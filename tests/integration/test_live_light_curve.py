"""The example that plots a stream while it grows, as a process."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.arriving_run import N_FRAMES, ArrivingRun
from support.waiting import PATIENCE_S

from panoseti_zarr.errors import StopRequestedError

pytest.importorskip("matplotlib")

EXAMPLE = Path(__file__).parents[2] / "examples/live_light_curve.py"


def test_the_live_light_curve(tmp_path):
    """The example waits for the store, follows it, writes a picture and ends with the stream."""
    recording = ArrivingRun(tmp_path)
    stop, picture = threading.Event(), tmp_path / "light_curve.png"
    command = [sys.executable, "-W", "error:::__main__", EXAMPLE, recording.store]
    with subprocess.Popen(
        [*command, "--output", picture, "--interval", "0.05", "--seconds", "120"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as example:
        with pytest.raises(StopRequestedError):
            recording.commit(4, on_commit=lambda _: stop.set(), stop=stop)
        first = example.stdout.readline()
        recording.commit(4)
        rest, stderr = example.communicate(timeout=PATIENCE_S)
    assert (example.returncode, stderr) == (0, "")
    assert 0 < int(first.split()[0]) < N_FRAMES
    assert rest.splitlines()[-1] == f"{N_FRAMES} frames"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_live_light_curve_explains_itself(tmp_path):
    """``--help`` answers, and a store that does not come is one line."""
    command = [sys.executable, "-W", "error:::__main__", EXAMPLE]
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert "--output" in done.stdout
    done = subprocess.run(
        [*command, tmp_path / "x.zarr", "--output", tmp_path / "x.png", "--seconds", "0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("there is no store, or none yet")
    assert done.stderr.count("\n") == 1
