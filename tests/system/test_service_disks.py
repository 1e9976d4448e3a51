"""Disks that are full, broken, read-only or hang, under the service: it waits, and goes on."""

import os
from pathlib import Path

import pytest
from support.disks import Ext4Disk, memory_disk, remount
from support.mirror import Mirror
from support.needs import need
from support.service_process import Station, make_run, mark_finished
from support.stores import assert_same_store, frame_files, ingest

from panoseti_zarr.config import PffToZarrConfig
from panoseti_zarr.io.simulate import StreamPlan

pytestmark = [pytest.mark.slow, pytest.mark.root]

IMG = "dp_img16.module_1"
PH = "dp_ph256.module_2"
LONG = StreamPlan("img16", 1, 6_000)
HASTE = {"min_free_gb": 0, "retry_s": 0.1, "hang_s": 1}


@pytest.fixture(autouse=True)
def _root_only():
    need(root=True)


@pytest.fixture
def ext4(tmp_path):
    """An ext4 in a file, where the service will put its L0 stores."""
    with Ext4Disk(tmp_path / "l0", tmp_path / "l0.ext4") as disk:
        yield disk


def assert_like_converted(station: Station, run: Path) -> None:
    """Compare a run's one L0 store with that of a conversion that nothing disturbed."""
    settings = PffToZarrConfig(time_chunk=256)
    expected = ingest(run, station.base / "expected", settings).store_path
    assert_same_store(station.l0 / expected.name, expected)
    assert station.names("stream.quarantined", "service.failed", "task.crashed") == []


def test_a_full_disk(tmp_path):
    """Out of space in a stream: tried again after growing delays, and done once there is room."""
    with memory_disk(tmp_path / "l0", "size=3m"), Station(tmp_path, **HASTE) as station:
        run = make_run(station.data, LONG)
        station.start()
        third = station.wait_for("stream.postponed", n_attempts=3)
        assert "No space left" in third["reason"]
        delays_s = [e["retry_in_s"] for e in station.find("stream.postponed")]
        assert delays_s[-3:] == [0.1, 0.2, 0.4]
        status = station.wait_for_status(lambda s: s["runs"][0]["streams"][0]["last_error"])
        (stream,) = status["runs"][0]["streams"]
        assert stream["state"] in {"retrying", "ingesting"}
        assert "No space left" in stream["last_error"]
        remount(station.l0, "size=64m")
        station.wait_for("run.completed", n_frames=6_000, n_quarantined=0)
        assert station.stop() == 0
        assert_like_converted(station, run)


@pytest.mark.parametrize("fault", ["cut_power", "fail"])
def test_a_disk_that_breaks(tmp_path, ext4, fault):
    """EIO from each call, or it makes itself read-only: the queue waits until it is mended."""
    with Station(tmp_path, **HASTE) as station:
        run = make_run(station.data, LONG)
        station.start()
        station.wait_for("stream.committed")
        getattr(ext4, fault)()
        assert "l0_dir cannot be" in station.wait_for("queue.paused")["reason"]
        station.wait_for("stream.postponed")
        status = station.wait_for_status(lambda s: s["queue"]["paused"])
        assert "l0_dir" in status["queue"]["paused"]
        told = station.find("stream.committed")[-1]["n_frames"]
        assert told < 6_000
        n_events = len(station.events)
        ext4.start_again()
        station.wait_for("queue.resumed")
        station.wait_for("run.completed", n_frames=6_000, n_quarantined=0)
        later = [e for e in station.events[n_events:] if e["event"] == "stream.committed"]
        assert later[0]["n_frames"] - later[0]["n_new_frames"] == told
        assert station.stop() == 0
        assert_like_converted(station, run)


def test_a_disk_whose_writes_hang(tmp_path, ext4):
    """Frozen: the queue is paused and says why, looks and status go on; thawed, so do the jobs."""
    with Station(tmp_path, **HASTE) as station:
        run = make_run(station.data, LONG)
        station.start()
        station.wait_for("stream.committed")
        with ext4.frozen():
            assert "gives no answer" in station.wait_for("queue.paused")["reason"]
            station.rescans()
            status = station.wait_for_status(lambda s: s["queue"]["paused"])
            assert status["service"]["up"]
            assert "gives no answer" in status["queue"]["paused"]
            assert status["runs"][0]["streams"][0]["state"] == "ingesting"
        station.wait_for("queue.resumed")
        station.wait_for("run.completed", n_frames=6_000, n_quarantined=0)
        assert station.stop() == 0
        assert station.find("stream.postponed") == []
        assert_like_converted(station, run)


def test_a_data_root_that_hangs(tmp_path):
    """Its jobs wait and those of another root are done; when it answers again, so are its own."""
    source, other = tmp_path / "source", tmp_path / "other"
    for place in (source, other):
        place.mkdir()
    with Mirror(source, tmp_path / "data") as mirror, Station(tmp_path) as station:
        roots = [str(station.data), str(other)]
        station.write_config(data_root=roots, max_streams=1, watch="polling", **HASTE)
        run = make_run(source, LONG, day=20)
        station.start()
        station.wait_for("stream.committed")
        mirror.hang()
        paused = station.wait_for("root.paused")
        assert (paused["root"], paused["reason"]) == (roots[0], "gives no answer")
        second = make_run(other, day=21)
        station.wait_for("run.completed", run=second.name, n_quarantined=0)
        status = station.wait_for_status(lambda s: [r["state"] for r in s["runs"]][1:] == ["done"])
        assert status["roots"][0]["paused"] == "gives no answer"
        assert [r["state"] for r in status["runs"]] == ["working", "done"]
        mirror.answer()
        station.wait_for("root.resumed", root=roots[0])
        station.wait_for("run.completed", run=run.name, n_frames=6_000, n_quarantined=0)
        assert station.stop() == 0
        assert_like_converted(station, run)


def test_a_data_root_that_hangs_from_the_start(tmp_path):
    """The service is ready all the same, says what it waits for, and stops when it is told."""
    (tmp_path / "source").mkdir()
    with Mirror(tmp_path / "source", tmp_path / "data") as mirror, Station(tmp_path) as station:
        station.write_config(watch="polling", **HASTE)
        mirror.hang()
        station.start()
        assert station.wait_for("root.paused")["reason"] == "gives no answer"
        assert station.stop() == 0
        assert station.names("service.")[-1] == "service.stopped"


def fill(place: Path) -> Path:
    """Take all the room of a file system."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return filler
    raise AssertionError


def test_a_full_state_directory(tmp_path):
    """Runs are done without the ledger, which catches up; a start waits for room."""
    with memory_disk(tmp_path / "state", "size=1m") as state, Station(tmp_path, **HASTE) as station:
        run = make_run(station.data, markers=())
        (broken,) = [file for file in frame_files(run) if "ph256" in file.name]
        broken.write_bytes(b"x" * broken.stat().st_size)
        station.start()
        station.wait_for_status(lambda s: s["runs"])
        filler = fill(state)
        mark_finished(run)
        station.wait_for("run.completed", n_quarantined=1)
        assert "full" in station.wait_for("ledger.failed", 2)["reason"]
        assert station.command("retry", run.name).returncode == 1
        filler.unlink()
        station.wait_for_status(lambda s: s["totals"]["n_quarantined"] == 1)
        station.kill()

        filler = fill(state)
        station.start(ready=False)
        station.wait_for("ledger.failed")
        filler.unlink()
        station.wait_for("service.ready")
        station.rescans()
        assert station.names("run.", "stream.", "l1.") == []
        station.wait_for_states(**{IMG: "done", PH: "quarantined"})
        assert station.stop() == 0


def test_a_state_directory_that_makes_itself_read_only(tmp_path):
    """It goes on without; a start names the reason; mended, nothing is lost or done twice."""
    place = tmp_path / "state"
    with Ext4Disk(place, tmp_path / "state.ext4") as disk, Station(tmp_path, **HASTE) as station:
        first = make_run(station.data, day=20)
        station.start()
        station.wait_for("run.completed", run=first.name)
        station.wait_for_status(lambda s: s["totals"]["n_done"] == 2)
        disk.fail()
        second = make_run(station.data, day=21)
        station.wait_for("run.completed", run=second.name, n_quarantined=0)
        station.wait_for("ledger.failed")
        assert station.stop() == 0
        refused = station.command("serve")
        assert refused.returncode == 1
        assert "Read-only file system" in refused.stderr.splitlines()[-1]
        disk.start_again()
        station.start()
        station.wait_for("run.completed", run=second.name, n_quarantined=0)
        assert station.names("stream.committed", "l1.started") == []
        station.wait_for_states(others="done")
        assert station.stop() == 0
    assert os.listdir(place) == []
