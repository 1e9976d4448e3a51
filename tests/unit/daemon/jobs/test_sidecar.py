"""The service's sidecar files: a process that takes too long, and the end of the service."""

import pytest

from panoseti_zarr.daemon.jobs import sidecar
from panoseti_zarr.daemon.jobs.sidecar import QUEUE, SidecarJob
from panoseti_zarr.daemon.serial_threads import SerialThreads
from panoseti_zarr.daemon.state.instructions import JobTarget

RUN = "obs_Lick.start_2024-07-25T04:34:06Z.runtype_sci-data.pffd"


@pytest.fixture
def keeper(tmp_path, monkeypatch):
    """A maker whose process is too slow whatever it does, and what has it make a run."""
    monkeypatch.setattr(sidecar, "MOST_S", 0.001)
    for place in (f"raw/{RUN}", "l1"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "raw" / RUN / "data_config.json").write_text("{}")
    threads = SerialThreads()
    events = []
    made = SidecarJob(tmp_path / "l1", threads, lambda: True, events.append)

    def make():
        made.enqueue(JobTarget(RUN, "", str(tmp_path / "raw")))
        assert threads.close(QUEUE, 60)
        return events

    made.make = make
    return made


def test_one_that_takes_too_long_says_so(keeper):
    """Not with which code it was killed."""
    (event,) = keeper.make()
    assert (event.run, event.made) == (RUN, None)
    assert event.problem.startswith("it took longer than 0.001 s")


def test_what_waits_at_the_end_is_not_begun(keeper, monkeypatch):
    """Nor are its disks asked: hundreds may wait behind one that takes long."""
    asked = []
    monkeypatch.setattr(sidecar, "check_device", lambda *_: asked.append(1))
    keeper.close()
    assert keeper.make() == []
    assert asked == []
