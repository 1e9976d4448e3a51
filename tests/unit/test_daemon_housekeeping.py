"""The service's maker of what lies beside the L1 stores: a process that takes too long, the end."""

import pytest
from structlog.testing import capture_logs

from panoseti_zarr.daemon.jobs import sidecar
from panoseti_zarr.daemon.jobs.sidecar import LANE, SidecarJob
from panoseti_zarr.daemon.serial_threads import SerialThreads
from panoseti_zarr.daemon.state.instructions import MakeHousekeeping

RUN = "obs_Lick.start_2024-07-25T04:34:06Z.runtype_sci-data.pffd"


@pytest.fixture
def keeper(tmp_path, monkeypatch):
    """A maker whose process is too slow whatever it does, and what has it make a run."""
    monkeypatch.setattr(sidecar, "MOST_S", 0.001)
    for place in (f"raw/{RUN}", "l1"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "raw" / RUN / "data_config.json").write_text("{}")
    lanes = SerialThreads()
    made = SidecarJob(tmp_path / "l1", lanes, lambda: True)

    def make():
        with capture_logs() as logs:
            made.want(MakeHousekeeping(str(tmp_path / "raw"), None, None, RUN))
            assert lanes.close(LANE, 60)
        return logs

    made.make = make
    return made


def test_one_that_takes_too_long_says_so(keeper):
    """Not with which code it was killed."""
    (log,) = keeper.make()
    assert log["event"] == "housekeeping.failed"
    assert log["reason"].startswith("it took longer than 0.001 s")


def test_what_waits_at_the_end_is_not_begun(keeper, monkeypatch):
    """Nor are its disks asked: hundreds may wait behind one that takes long."""
    asked = []
    monkeypatch.setattr(sidecar, "check_device", lambda *_: asked.append(1))
    keeper.close()
    assert keeper.make() == []
    assert asked == []
