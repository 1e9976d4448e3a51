"""The service follows a recording: stores that grow while files do, and close when it is over."""

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.reference_store import reference_arrays
from support.service_process import MARKERS, Station, environment, mark_finished
from support.stores import assert_equal_arrays, assert_same_store, frame_files, read_arrays
from support.waiting import PATIENCE_S

from panoseti_zarr.cluster import ThreadExecutor
from panoseti_zarr.config import PffToZarrConfig
from panoseti_zarr.io.l0.metadata import read_state
from panoseti_zarr.io.pff.listing import list_run
from panoseti_zarr.io.simulate import RunPlan, StreamPlan, simulate_run
from panoseti_zarr.pipeline.ingest import ingest_stream

pytestmark = pytest.mark.slow

KEYS = ("dp_img16.module_1", "dp_ph256.module_2")
STREAMS = (StreamPlan("img16", 1, 400), StreamPlan("ph256", 2, 900))
HASTE = {
    "follow": True,
    "tail_flush_s": 0.5,
    "min_free_gb": 0,
    "retry_s": 0.1,
    "recheck_s": 0.5,
    "rescan_s": 0.3,
}


@pytest.fixture
def station(tmp_path):
    """A station that follows; its service is killed in the end."""
    with Station(tmp_path, **HASTE) as place:
        yield place


class LiveRun:
    """A finished run that is written again, bit by bit, below a station's data root."""

    def __init__(self, station: Station, *, daq_node: bool = False, files_mb: float = 0.3) -> None:
        source = station.base / "source"
        source.mkdir()
        self.whole = simulate_run(source, RunPlan(STREAMS, max_file_size_mb=files_mb))
        self.run = station.data / self.whole.name
        self.daq_node = daq_node
        ignore = shutil.ignore_patterns("*.pff", *MARKERS)
        shutil.copytree(self.whole, self.run, ignore=ignore)

    def place(self, file: Path) -> Path:
        """Return where a frame file is written."""
        module = file.name.split(".module_")[1].split(".")[0]
        directory = self.run
        if self.daq_node:
            directory = self.run.parent / f"module_{module}" / self.run.name
        directory.mkdir(parents=True, exist_ok=True)
        return directory / file.name

    def write(self, part: float) -> None:
        """Write every stream up to a part of all its bytes."""
        for stream in ("dp_img16", "dp_ph256"):
            files = [file for file in frame_files(self.whole) if stream in file.name]
            left = int(part * sum(file.stat().st_size for file in files))
            for file in files:
                size_bytes = file.stat().st_size
                place = self.place(file)
                with open(file, "rb") as source, place.open("ab") as target:
                    source.seek(target.tell())
                    target.write(source.read(max(0, min(left, size_bytes) - target.tell())))
                left -= size_bytes
                if left <= 0:
                    break

    def stores(self, station: Station) -> list[Path]:
        """Return the L0 stores."""
        return [station.l0 / f"{self.run.name}.{key}.zarr" for key in KEYS]

    def assert_like_converted(self, station: Station) -> None:
        """Compare the stores with those of one undisturbed conversion of the finished run."""
        nodes = tuple(sorted(self.run.parent.glob(f"module_*/{self.run.name}")))
        listing = list_run(self.run, nodes)
        expected = station.base / "expected"
        expected.mkdir()
        with ThreadExecutor(2) as executor:
            for key in listing.keys:
                settings = PffToZarrConfig(time_chunk=256)
                made = ingest_stream(listing, key, expected, settings, executor).store_path
                assert_same_store(station.l0 / made.name, made)


def n_frames(station: Station, live: LiveRun) -> list[int]:
    """Return how many frames readers see in each store."""
    return [read_state(store).n_frames for store in live.stores(station)]


def test_stores_grow_with_the_recording(station):
    """Frames are there while the run is recorded; at its end the stores close and L1 is made."""
    live = LiveRun(station)
    station.start()
    seen = [[0, 0]]
    for part in (0.1, 0.35, 0.6, 0.95):
        live.write(part)
        station.wait_for("stream.committed", len(seen), stream=KEYS[0])
        station.wait_for("stream.committed", len(seen), stream=KEYS[1])
        wanted = [int(part * stream.n_frames) - 2 for stream in STREAMS]
        station.wait_until(
            lambda wanted=wanted: all(
                n >= least for n, least in zip(n_frames(station, live), wanted, strict=True)
            )
        )
        seen.append(n_frames(station, live))
        assert station.names("stream.closed") == []
    status = station.wait_for_status(lambda s: s["runs"] and s["runs"][0]["state"] == "recording")
    assert {s["state"] for s in status["runs"][0]["streams"]} <= {"open", "following"}
    assert all(s["lag_s"] is not None for s in status["runs"][0]["streams"])
    live.write(1)
    mark_finished(live.run)
    station.wait_for("run.completed", n_frames=sum(stream.n_frames for stream in STREAMS))
    assert station.names("run.changed", "stream.quarantined", "stream.postponed") == []
    assert len(station.find("l1.finished")) == 2
    live.assert_like_converted(station)
    assert station.stop() == 0


def test_a_daq_nodes_directories_are_followed(station):
    """Frame files that grow in module_<id>/<run>/ belong to the run that has the markers."""
    station.write_config(**HASTE, verify=True)
    live = LiveRun(station, daq_node=True)
    station.start()
    live.write(0.5)
    for key in KEYS:
        station.wait_for("stream.committed", stream=key)
    live.write(1)
    mark_finished(live.run)
    station.wait_for("run.completed", n_frames=sum(stream.n_frames for stream in STREAMS))
    for key in KEYS:
        station.wait_for("stream.verified", stream=key)
    assert station.names("run.refused", "stream.quarantined") == []
    live.assert_like_converted(station)
    # Collected, and cleaned up: the same bytes in another place are no change.
    closed = [read_state(store).store_id for store in live.stores(station)]
    for file in [file for node in station.data.glob("module_*") for file in node.glob("*/*.pff")]:
        shutil.copy2(file, live.run / file.name)
    shutil.rmtree(station.data / "module_1")
    shutil.rmtree(station.data / "module_2")
    station.wait_for("run.completed", 2)
    assert [read_state(store).store_id for store in live.stores(station)] == closed
    assert station.names("stream.quarantined", "stream.removed") == []
    assert station.stop() == 0


def test_kills_while_it_is_recorded(station):
    """Killed and started again in the middle of it, the stores are those of one conversion."""
    live = LiveRun(station)
    station.start()
    seen = [0, 0]
    for part in (0.2, 0.4, 0.5, 0.7, 0.8):
        live.write(part)
        station.wait_for("stream.committed", stream=KEYS[1])
        station.kill()
        now = n_frames(station, live) if all(s.exists() for s in live.stores(station)) else seen
        assert all(after >= before for before, after in zip(seen, now, strict=True))
        seen = now
        station.start()
    live.write(1)
    mark_finished(live.run)
    station.wait_for("run.completed", n_frames=sum(stream.n_frames for stream in STREAMS))
    assert station.names("stream.quarantined") == []
    live.assert_like_converted(station)
    assert station.stop() == 0


def test_what_was_recorded_badly_is_quarantined_and_mended(station):
    """A file that was rewritten while it grew: the other stream goes on; put right, it closes."""
    live = LiveRun(station, files_mb=100)
    station.start()
    live.write(0.4)
    for key in KEYS:
        station.wait_for("stream.committed", stream=key)
    (file,) = [file for file in frame_files(live.run) if "img16" in file.name]
    right = file.read_bytes()
    station.kill()
    held = read_state(live.stores(station)[0]).n_frames
    file.write_bytes(right[:2000] + bytes([right[2000] ^ 1]) + right[2001:])
    station.start()
    found = station.wait_for("stream.quarantined", stream=KEYS[0])
    assert "was committed with other images" in found["reason"]
    assert len(station.find("stream.postponed", stream=KEYS[0])) == 2
    n_before = len(station.find("stream.committed", stream=KEYS[1]))
    live.write(0.8)
    station.wait_for("stream.committed", n_before + 1, stream=KEYS[1])
    assert read_state(live.stores(station)[0]).n_frames == held
    with file.open("r+b") as opened:
        opened.write(right[:2001])
    live.write(1)
    mark_finished(live.run)
    frames = sum(stream.n_frames for stream in STREAMS)
    station.wait_for("run.completed", n_frames=frames, n_quarantined=0)
    live.assert_like_converted(station)
    assert station.stop() == 0


def test_a_reader_sees_growing_whole_right_data(station):
    """Somebody who reads in a loop sees more frames each time, and the right ones."""
    live = LiveRun(station)
    expected = reference_arrays(
        [file for file in frame_files(live.whole) if "img16" in file.name], "img16"
    )
    store = live.stores(station)[0]
    over, counts, problems = threading.Event(), [0], []

    def read() -> None:
        while not over.is_set():
            if not store.exists():
                continue
            try:
                found = read_arrays(store)
                counts.append(len(found["timestamps"]))
                assert_equal_arrays(found, {k: a[: counts[-1]] for k, a in expected.items()})
                assert counts[-1] >= counts[-2]
            except BaseException as error:  # noqa: BLE001 - told to the test's own thread
                problems.append(error)
                return

    reader = threading.Thread(target=read)
    station.start()
    reader.start()
    try:
        for step in range(1, 13):
            live.write(step / 12)
            if step == 1:
                station.wait_for("stream.committed", stream=KEYS[0])
            station.rescans(2)
        mark_finished(live.run)
        station.wait_for("stream.closed", stream=KEYS[0])
        station.rescans(2)
    finally:
        over.set()
        reader.join()
    assert problems == []
    assert counts[-1] == STREAMS[0].n_frames
    assert len(set(counts)) >= 5
    assert station.stop() == 0


def test_a_recording_in_real_time(station):
    """Recorded as the DAQ does, through its buffers: frames are there soon, and all at the end."""
    words = ["--live", "--daq-node", "--frames", "4000", "--rate", "1000", "--product", "img16"]
    modules = ["--module", "1", "--module", "2"]
    station.start()
    made = subprocess.run(
        [sys.executable, "-m", "panoseti_zarr", "simulate", str(station.data), *words, *modules],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=PATIENCE_S,
        check=True,
    )
    station.wait_for("run.completed", run=Path(made.stdout.strip()).name, n_frames=8000)
    commits = station.find("stream.committed")
    lags_s = [event["lag_s"] + event["n_new_frames"] / 1000 for event in commits]
    assert len(commits) >= 6
    assert max(lags_s[:-2]) < HASTE["tail_flush_s"] + 10
    assert station.names("stream.quarantined", "stream.postponed", "run.changed") == []
    for key in ("dp_img16.module_1", "dp_img16.module_2"):
        run = Path(made.stdout.strip())
        beside = run.parent / f"module_{key[-1]}" / run.name
        assert station.command_verify(key, beside) == 0
    assert station.stop() == 0
