"""The systemd unit, judged by systemd's own tools."""

import re
import subprocess
from pathlib import Path

import pytest
from support.needs import lack

UNIT = Path(__file__).parents[2] / "systemd" / "panoseti-zarr.service"

WHY_NOT = lack("systemd-analyze")
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)


def analyze(*words):
    return subprocess.run(
        ["systemd-analyze", *map(str, words)], capture_output=True, text=True, check=False
    )


def test_systemd_has_nothing_to_say_about_the_unit(tmp_path):
    """No unknown key, no bad value: verify exits 0 on those and only prints them."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text())
    done = analyze("verify", "--man=no", unit)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_wrong_key_would_be_seen(tmp_path):
    """The check above can fail."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("UMask=", "UMsk="))
    assert "UMsk" in analyze("verify", "--man=no", unit).stderr


def test_exposure_is_at_most_2():
    """The hardening is rated 2.0 or better."""
    done = analyze("security", "--offline=true", "--threshold=20", "--no-pager", UNIT)
    rating = re.search(r"Overall exposure level[^:]*: ([0-9.]+)", done.stdout)
    assert done.returncode == 0, done.stdout
    assert float(rating[1]) <= 2.0
