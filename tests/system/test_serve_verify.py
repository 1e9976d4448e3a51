"""The service with `verify`: what it says of the files that may be deleted."""

import shutil
import signal

import pytest
from support.service_process import Station, make_run
from support.stores import frame_files, snapshot

from panoseti_zarr.io.simulate import StreamPlan

IMG = "dp_img16.module_1"


@pytest.fixture
def station(tmp_path):
    """A station whose service compares each closed store, and is killed in the end."""
    with Station(tmp_path, verify=True) as place:
        yield place


def test_status_says_which_files_may_be_deleted(station):
    """Verified after the close, kept over a kill; of a damaged store the difference is told."""
    run = make_run(station.data, StreamPlan("img16", 1, 600))
    station.start()
    told = station.wait_for("stream.verified", stream=IMG)
    assert told["n_frames"] == 600
    assert told["n_bytes"] == sum(file.stat().st_size for file in frame_files(run))
    (seen,) = station.wait_for_status(lambda s: s["totals"]["n_verified"])["runs"]
    first = seen["streams"][0]
    assert (seen["n_verified"], first["verify"]) == (1, "verified")
    assert first["verified_at"] >= told["timestamp"][:15]
    assert "all verified" in " ".join(station.command("status").stdout.split())
    station.stop(signal.SIGKILL)

    station.start()
    station.rescans()
    assert station.find("stream.verified") == []
    station.stop()

    # Without the ledger it is compared again, and what rotted meanwhile is found.
    chunk = station.l0 / f"{run.name}.{IMG}.zarr" / "images/c/1/0/0"
    content = bytearray(chunk.read_bytes())
    content[-1] ^= 1
    chunk.write_bytes(content)
    held = snapshot(station.base)
    shutil.rmtree(station.state)
    station.start()
    found = station.wait_for("stream.verify_failed", stream=IMG)
    assert found["reason"].startswith(f"checksum wrong: {chunk}")
    assert (found["frame"], found["file"]) == (256, str(chunk))
    status = station.wait_for_status(lambda s: s["totals"]["n_verify_failed"])
    assert status["exit_code"] == 1
    (failed,) = status["runs"][0]["streams"]
    assert (failed["state"], failed["verified_at"]) == ("done", None)
    assert "checksum wrong" in failed["last_error"]
    station.stop()
    kept = snapshot(station.base)
    assert all(kept[path] == held[path] for path in held if "/state/" not in f"/{path}")
