"""Others who write the same stores, and names that could do harm, under the service."""

import os
import shutil
import socket
import subprocess
import sys

import pytest
from support.service_process import Station, environment, make_run, mark_finished
from support.stores import assert_same_store, ingest
from support.waiting import PATIENCE_S

from panoseti_zarr.config import PffToZarrConfig
from panoseti_zarr.io.fs.locks import store_lock
from panoseti_zarr.io.simulate import StreamPlan

pytestmark = pytest.mark.slow

IMG = "dp_img16.module_1"
HASTE = {"min_free_gb": 0, "retry_s": 0.1}


def test_a_store_that_another_process_writes_is_waited_for(tmp_path):
    """The service says who has it, does the others, and goes on when it is free."""
    with Station(tmp_path, **HASTE) as station:
        run = make_run(station.data)
        station.l0.mkdir()
        with store_lock(station.l0, f"{run.name}.{IMG}.zarr"):
            station.start()
            reason = station.wait_for("stream.postponed", 2, stream=IMG)["reason"]
            assert f"pid {os.getpid()} on {socket.gethostname()}" in reason
            station.wait_for("stream.closed", stream="dp_ph256.module_2")
        station.wait_for("run.completed", n_quarantined=0, n_frames=500)
        assert station.stop() == 0


def test_two_services_and_a_conversion_on_one_directory_of_stores(tmp_path):
    """Each stream has one writer at a time, the others are told which; nothing is lost."""
    run_plan = (StreamPlan("img16", 1, 6_000),)
    with Station(tmp_path, **HASTE) as first, Station(tmp_path, **HASTE) as second:
        run = make_run(first.data, *run_plan)
        second.state, second.l1 = tmp_path / "state2", tmp_path / "l1_2"
        second.config = tmp_path / "config2.toml"
        second.write_config(**HASTE)
        first.start()
        first.wait_for("stream.committed")
        holder = f"pid {first.pid} on {socket.gethostname()}"
        words = [sys.executable, "-m", "panoseti_zarr", "convert", str(run), str(first.l0)]
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            env=environment(),
            timeout=PATIENCE_S,
            check=False,
        )
        second.start()
        second.wait_for("run.completed", n_quarantined=0, n_frames=6_000)
        first.wait_for("run.completed", n_quarantined=0, n_frames=6_000)
        # The first may be done before the others have begun.
        assert done.returncode == 0 or holder in done.stderr
        told = [e["reason"] for e in second.find("stream.postponed")]
        assert all("is being written by pid" in reason for reason in told)
        for station in (first, second):
            assert station.stop() == 0
            assert station.names("stream.quarantined", "task.crashed") == []
        settings = PffToZarrConfig(time_chunk=256)
        expected = ingest(run, tmp_path / "expected", settings).store_path
        assert_same_store(first.l0 / expected.name, expected)


def make_device(path: str) -> None:
    try:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))
    except PermissionError:
        os.mkfifo(path)


def make_socket(path: str) -> None:
    # A socket's own path must be short.
    before = os.open(".", os.O_RDONLY)
    os.chdir(os.path.dirname(path))
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind("s")
        os.rename("s", os.path.basename(path))
    finally:
        os.fchdir(before)
        os.close(before)


def test_names_in_a_run_that_could_do_harm(tmp_path):
    """Each is refused with one line and never opened; the good stream beside them is done."""
    frame_file = "start_2024-07-25T04:34:06Z.dp_{}.bpp_2.module_{}.seqno_{}.pff"
    blamed = {
        "dp_img16.module_11": os.mkfifo,
        "dp_img16.module_12": make_device,
        "dp_img16.module_13": make_socket,
        "dp_img16.module_14": lambda path: os.symlink("/etc/passwd", path),
        "dp_img16.module_15": lambda path: os.symlink(os.path.basename(path), path),
        "dp_img16.module_16": os.mkdir,
    }
    refused = [
        os.fsencode(frame_file.format("img16", "1\nevil", 0)),
        os.fsencode(frame_file.format("img16", "1", 0)) + b".\xff\xfe.pff",
        os.fsencode(frame_file.format("../../../img16", 1, 0).replace("/", "\u2215")),
        os.fsencode(frame_file.format("img16", 1, "..")),
        os.fsencode(frame_file.format("img16", 1, "9" * 190)),
        os.fsencode(frame_file.format("\x1b[31mimg16", 1, 0)),
    ]
    with Station(tmp_path, **HASTE) as station:
        run = make_run(station.data, StreamPlan("img16", 1, 100), markers=())
        for stream, make in blamed.items():
            make(str(run / frame_file.format("img16", stream.rpartition("_")[2], 0)))
        for name in refused:
            with open(os.path.join(os.fsencode(run), name), "wb") as file:
                file.write(b"x")
        mark_finished(run)
        station.start()
        station.wait_for("run.completed", n_quarantined=len(blamed))
        assert {e["stream"] for e in station.find("stream.quarantined")} == {*blamed}
        station.rescans()
        assert len(station.find("stream.quarantined")) == len(blamed)
        lines = [e["reason"] for e in station.find("file.refused", run=run.name)]
        assert len(lines) == len(refused)
        assert all(line.isprintable() for line in lines)
        station.wait_for_states(**{IMG: "done"}, others="quarantined")
        station.wait_for_status(lambda s: len(s["runs"][0]["warnings"]) == len(refused))
        assert station.stop() == 0


def test_names_in_a_root_that_could_do_harm(tmp_path):
    """No directory, a link to itself or to nothing, dots, 255 bytes: refused or no run at all."""
    with Station(tmp_path, **HASTE) as station:
        place = station.data
        os.mkfifo(place / "fifo.pffd")
        make_socket(str(place / "socket.pffd"))
        make_device(str(place / "device.pffd"))
        (place / "..pffd").mkdir()
        (place / "itself.pffd").symlink_to("itself.pffd")
        (place / "nothing.pffd").symlink_to("elsewhere.pffd")
        (place / "up.pffd").symlink_to("..")
        (place / ("n" * 250 + ".pffd")).mkdir()
        run = make_run(place, StreamPlan("img16", 1, 100))
        station.start()
        station.wait_for("run.completed", run=run.name)
        station.rescans()
        refused = [e["run"] for e in station.find("run.refused")]
        assert len(refused) == len(set(refused))
        assert {*refused} == {"itself.pffd", "nothing.pffd", "up.pffd", "n" * 240}
        assert station.names("run.discovered") == ["run.discovered"]
        assert station.stop() == 0
        shutil.rmtree(place)
