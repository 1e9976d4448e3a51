"""Runs recorded in real time: how their files grow, and what is there at the end.

Where nothing but times matters, a clock that only sleeping moves stands in for the real one.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import numpy as np
import pytest
import typer
from support.waiting import PATIENCE_S
from typer.testing import CliRunner

from panoseti_zarr.cli.simulate import simulate
from panoseti_zarr.cluster.threads import ThreadExecutor
from panoseti_zarr.config import Config
from panoseti_zarr.errors import ConfigError, InputError, PanosetiZarrError
from panoseti_zarr.io.pff.listing import list_run
from panoseti_zarr.io.simulate import (
    RunPlan,
    StreamPlan,
    max_file_size_mb,
    record_run,
    simulate_run,
)
from panoseti_zarr.io.simulate.daq_file import BUFFER_BYTES, DaqFile
from panoseti_zarr.io.simulate.defects import BrokenHeader, CutTail
from panoseti_zarr.io.verify import verify_store
from panoseti_zarr.model import PRODUCTS, StreamKey
from panoseti_zarr.pipeline.convert import convert_run

IMAGE_BYTES, HEADER_BYTES = 2540, 491
START = datetime(2026, 7, 25, 4, 34, 6, tzinfo=UTC)
START_NS = int(START.timestamp()) * 10**9 + 900_000_000
MARKER_NAMES = {"recording_ended", "collect_complete", "run_complete"}
KEY = StreamKey("img16", 1)


class SteppingClock:
    """A clock that moves while somebody sleeps; ``watch`` is called before it does."""

    def __init__(self, watch=lambda now_ns: None):
        self.now_ns = START_NS
        self._watch = watch

    def __call__(self):
        return self.now_ns

    def sleep(self, seconds):
        self._watch(self.now_ns)
        self.now_ns += round(seconds * 1e9)


def record(root, plan, watch=lambda now_ns: None, **options):
    """Record with a clock that does not wait."""
    clock = SteppingClock(watch)
    return record_run(root, plan, clock=clock, sleep=clock.sleep, **options)


def plan_of(*streams, **options):
    """Plan a run; without streams, of 1,500 frames of img16 at 1000 Hz."""
    return RunPlan(streams or (StreamPlan("img16", 1, 1500),), start=START, **options)


def sizes(directory, product="img16"):
    """Return seqno to size of a product's files in a directory."""
    found = {}
    for path in directory.glob(f"*.dp_{product}.*"):
        found[int(re.search(r"seqno_(\d+)", path.name)[1])] = path.stat().st_size
    return dict(sorted(found.items()))


def markers_of(run_dir):
    return {name for name in MARKER_NAMES if (run_dir / name).exists()}


def times_of(data):
    """Return the WR times of the boards of img16 frames, and the DAQ's stamps, (n, 4) ns."""
    wr_ns, daq_ns = [], []
    for start in range(0, len(data), IMAGE_BYTES):
        header = json.loads(data[start : start + HEADER_BYTES])
        boards = [header[f"quabo_{i}"] for i in range(4)]
        late = [(b["tv_sec"] - b["pkt_tai"] + 37) % 1024 for b in boards]
        wr_ns.append(
            [(b["tv_sec"] - d) * 10**9 + b["pkt_nsec"] for b, d in zip(boards, late, strict=True)]
        )
        daq_ns.append([(b["tv_sec"] * 10**6 + b["tv_usec"]) * 1000 for b in boards])
    return np.array(wr_ns), np.array(daq_ns)


def image_bytes(run_dir):
    """Return all bytes of img16, in the order of seqno."""
    paths = sorted(run_dir.glob("*.dp_img16.*"), key=lambda p: int(p.stem.rpartition("_")[2]))
    return b"".join(path.read_bytes() for path in paths)


def test_files_grow_by_whole_buffers_and_end_with_every_frame(tmp_path):
    """On disk are multiples of 1 MB while the run is recorded, so cut frames; at the end all."""
    plan = plan_of()
    run_dir = tmp_path / plan.run_name
    seen = []

    def watch(now_ns):
        assert not markers_of(run_dir)
        assert (run_dir / "data_config.json").stat().st_size > 0
        (size,) = sizes(run_dir).values()
        seen.append(size)
        n_due = (now_ns - START_NS) // 10**6 + 1
        assert size <= max(n_due, 0) * IMAGE_BYTES
        assert size >= (n_due - 1) * IMAGE_BYTES - BUFFER_BYTES

    recording = record(tmp_path, plan, watch)
    assert set(seen) == {0, BUFFER_BYTES, 2 * BUFFER_BYTES, 3 * BUFFER_BYTES}
    assert any(size % IMAGE_BYTES for size in seen)
    assert recording.run_dir == run_dir
    assert recording.start_ns == START_NS
    assert recording.n_frames == {KEY: 1500}
    assert sizes(run_dir) == {0: 1500 * IMAGE_BYTES}
    assert markers_of(run_dir) == MARKER_NAMES


def test_no_frame_is_written_before_its_time(tmp_path):
    """At each moment exactly the frames are written whose last packet has come."""
    told = {}

    def watch(now_ns):
        counts.append((now_ns, dict(told)[KEY]))

    counts = []
    record(tmp_path, plan_of(), watch, on_frames=told.__setitem__)
    _, daq_ns = times_of(image_bytes(tmp_path / plan_of().run_name))
    for now_ns, n_frames in counts:
        assert (daq_ns[:n_frames] <= now_ns).all()
        assert (daq_ns[n_frames:] > now_ns - 10**6).all()
    assert counts[0][1] == 0
    assert told == {KEY: 1500}


def test_module_has_an_empty_file_of_every_product_from_the_start(tmp_path):
    """They are there at once, named by the time, and stay at zero bytes; unless left out."""
    plan = plan_of(StreamPlan("img16", 1, 300), StreamPlan("ph256", 2, 20))
    run_dir = tmp_path / plan.run_name
    at_first = []

    def watch(now_ns):
        at_first.append({p.name: p.stat().st_size for p in run_dir.glob("*.dp_*")})

    record(tmp_path, plan, watch)
    assert at_first[0] == {
        f"start_2026-07-25T04:34:06Z.dp_{p.name}.bpp_{p.dtype.itemsize}.module_{m}.seqno_0.pff": 0
        for p in PRODUCTS.values()
        for m in (1, 2)
    }
    filled = {name for name in at_first[0] if (run_dir / name).stat().st_size}
    assert {name.partition(".")[2] for name in filled} == {
        "dp_img16.bpp_2.module_1.seqno_0.pff",
        "dp_ph256.bpp_2.module_2.seqno_0.pff",
    }
    alone = plan_of(*plan.streams, name="alone.pffd", empty_files=False)
    assert sizes(record(tmp_path, alone).run_dir, "*").keys() == {0}
    assert len(list((tmp_path / "alone.pffd").glob("*.dp_*"))) == 2


def test_file_that_passes_the_size_is_closed_and_the_next_opened(tmp_path):
    """The old file is whole then, the new one named by that time; the last may stay empty."""
    plan = plan_of(StreamPlan("img16", 1, 1500), max_file_size_mb=max_file_size_mb("img16", 500))
    run_dir = tmp_path / plan.run_name

    def watch(now_ns):
        *closed, growing = sizes(run_dir).values()
        assert closed in ([], [500 * IMAGE_BYTES], [500 * IMAGE_BYTES] * 2)
        assert growing in (0, BUFFER_BYTES)

    record(tmp_path, plan, watch)
    names = sorted(path.name for path in run_dir.glob("*.dp_img16.*"))
    tail = "dp_img16.bpp_2.module_1.seqno"
    assert names == [
        f"start_2026-07-25T04:34:06Z.{tail}_0.pff",
        f"start_2026-07-25T04:34:07Z.{tail}_1.pff",
        f"start_2026-07-25T04:34:07Z.{tail}_2.pff",
        f"start_2026-07-25T04:34:08Z.{tail}_3.pff",
    ]
    assert list(sizes(run_dir).values()) == [500 * IMAGE_BYTES] * 3 + [0]
    whole = record(tmp_path, plan_of(name="one.pffd"))
    assert image_bytes(run_dir) == image_bytes(whole.run_dir)
    left_out = plan_of(name="x.pffd", max_file_size_mb=plan.max_file_size_mb, empty_files=False)
    assert list(sizes(record(tmp_path, left_out).run_dir).values()) == [500 * IMAGE_BYTES] * 3


def test_recorder_that_was_held_up_catches_up(tmp_path):
    """After three seconds without a turn no frame is missing, and no time is shifted."""
    clock = SteppingClock()
    naps = iter([0.1, 3.0])
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        clock.sleep(next(naps, seconds))

    plan = plan_of(StreamPlan("img16", 1, 3500), max_file_size_mb=2)
    recording = record_run(tmp_path, plan, clock=clock, sleep=sleep)
    assert len(slept) < 8
    wr_ns, _ = times_of(image_bytes(recording.run_dir))
    assert set(np.unique(wr_ns - START_NS - np.arange(3500)[:, np.newaxis] * 10**6)) <= {0, 4, 8}


def test_recording_that_is_stopped_ends_in_order(tmp_path):
    """The frames due by then are flushed, and the markers follow; it counts what it wrote."""
    stop = threading.Event()
    run_dir = tmp_path / plan_of().run_name

    def watch(now_ns):
        assert not markers_of(run_dir)
        if now_ns - START_NS >= 600_000_000:
            stop.set()

    recording = record(tmp_path, plan_of(markers=("recording_ended",)), watch, stop=stop)
    assert 600 < recording.n_frames[KEY] <= 701
    assert sizes(run_dir) == {0: recording.n_frames[KEY] * IMAGE_BYTES}
    assert markers_of(run_dir) == {"recording_ended"}
    assert (run_dir / "recording_ended").read_text() == "2026-07-24T21:34:07"


def test_second_image_mode_of_a_module_follows_the_first(tmp_path):
    """As without --live, img8 begins when img16 has ended, and counts its files on."""
    told = {}

    def watch(now_ns):
        if told[StreamKey("img8", 1)]:
            assert told[KEY] == 1100

    streams = (StreamPlan("img16", 1, 1100), StreamPlan("img8", 1, 1000))
    plan = plan_of(*streams, max_file_size_mb=1)
    recording = record(tmp_path, plan, watch, on_frames=told.__setitem__)
    run_dir = recording.run_dir
    assert list(sizes(run_dir)) == [0, 1, 2]
    assert list(sizes(run_dir, "img8")) == [0, 3]
    assert sum(sizes(run_dir, "img8").values()) == 1000 * 1516
    assert recording.n_frames == {stream.key: stream.n_frames for stream in streams}


def test_on_a_daq_node_files_grow_in_the_directory_of_their_module(tmp_path):
    """ROOT/module_<id>/<run> has the frame files; the run directory has all else."""
    plan = plan_of(StreamPlan("img16", 1, 1000), StreamPlan("img16", 8, 1000), daq_node=True)
    run_dir = tmp_path / plan.run_name
    node_dirs = [tmp_path / f"module_{module}" / plan.run_name for module in (1, 8)]
    grown = set()

    def watch(now_ns):
        grown.update(size for path in node_dirs for size in sizes(path).values())

    assert record(tmp_path, plan, watch).run_dir == run_dir
    assert grown == {0, BUFFER_BYTES, 2 * BUFFER_BYTES}
    assert [sizes(path) for path in node_dirs] == [{0: 1000 * IMAGE_BYTES}] * 2
    assert all(len(list(path.iterdir())) == len(PRODUCTS) for path in node_dirs)
    assert not list(run_dir.glob("*.dp_*"))
    assert markers_of(run_dir) == MARKER_NAMES
    assert (run_dir / "hk.pff").exists()


@pytest.mark.parametrize("stop_after_ns", [None, 450_000_000])
def test_cut_tail_never_reaches_the_disk(tmp_path, stop_after_ns):
    """The last file ends in the middle of its last frame, also when stopped; it never shrinks."""
    stop = threading.Event()
    defects = (CutTail(n_bytes=700), BrokenHeader(frame=3))
    plan = plan_of(StreamPlan("img16", 1, 825), defects=defects)
    run_dir = tmp_path / plan.run_name
    seen = [0]

    def watch(now_ns):
        seen.append(sizes(run_dir)[0])
        if stop_after_ns is not None and now_ns - START_NS >= stop_after_ns:
            stop.set()

    recording = record(tmp_path, plan, watch, stop=stop)
    seen.append(sizes(run_dir)[0])
    assert seen == sorted(seen)
    assert seen[-1] == recording.n_frames[KEY] * IMAGE_BYTES - 700
    broken = (run_dir / next(run_dir.glob("*.dp_img16*")).name).read_bytes()
    with pytest.raises(ValueError, match=r"codec|Invalid|Expecting|delimiter"):
        json.loads(broken[3 * IMAGE_BYTES : 3 * IMAGE_BYTES + HEADER_BYTES])


def test_cut_tail_is_of_the_frame_that_fills_a_file_too(tmp_path):
    """Where the last frame passes the largest size, its file is cut, and the next is empty."""
    plan = plan_of(
        StreamPlan("img16", 1, 200),
        max_file_size_mb=max_file_size_mb("img16", 100),
        defects=(CutTail(n_bytes=7),),
    )
    run_dir = record(tmp_path, plan).run_dir
    assert sizes(run_dir) == {0: 100 * IMAGE_BYTES, 1: 100 * IMAGE_BYTES - 7, 2: 0}


def test_daq_file_is_cut_also_where_less_than_the_cut_is_in_the_buffer(tmp_path):
    """Many buffers at once are written at once; what is to be missing is never more than that."""
    file = DaqFile(tmp_path / "file")
    file.write(memoryview(bytes(2 * BUFFER_BYTES + 30)))
    assert file.path.stat().st_size == 2 * BUFFER_BYTES
    file.close(100)
    assert file.path.stat().st_size == 2 * BUFFER_BYTES - 70
    other = DaqFile(tmp_path / "other")
    other.close(100)
    assert other.path.stat().st_size == 0


def test_recording_whose_disk_fails_ends_without_markers(tmp_path):
    """The error is a declared one, and files stay as they are on disk, as when a DAQ dies."""
    plan = plan_of()
    run_dir = tmp_path / plan.run_name
    moved = tmp_path / "moved"

    def watch(now_ns):
        if run_dir.exists() and now_ns - START_NS >= 500_000_000:
            shutil.move(run_dir, moved)

    with pytest.raises(PanosetiZarrError, match="recording the simulated run"):
        record(tmp_path, plan, watch)
    assert not markers_of(moved)
    assert sizes(moved) == {0: 2 * BUFFER_BYTES}


def test_existing_run_is_recorded_over_only_when_asked(tmp_path):
    """Without ``overwrite`` a run of the name stays as it is."""
    plan = plan_of(StreamPlan("img16", 1, 5))
    run_dir = simulate_run(tmp_path, plan)
    before = image_bytes(run_dir)
    with pytest.raises(InputError, match="there already"):
        record(tmp_path, plan)
    assert image_bytes(run_dir) == before
    record(tmp_path, plan, overwrite=True)
    assert image_bytes(run_dir) != before


def test_real_recording_has_the_times_of_the_clock_and_verifies(tmp_path):
    """Half a second of real time: header times are those of the wall clock; it converts whole."""
    plan = RunPlan(
        (StreamPlan("img16", 1, 600), StreamPlan("ph256", 1, 50, 100.0)), start=datetime.now(UTC)
    )
    before_ns = time.time_ns()
    recording = record_run(tmp_path, plan)
    after_ns = time.time_ns()
    assert after_ns - before_ns >= 599_000_000
    wr_ns, daq_ns = times_of(image_bytes(recording.run_dir))
    assert before_ns <= recording.start_ns <= wr_ns.min()
    assert daq_ns.max() <= after_ns
    assert set(np.unique(np.diff(wr_ns, axis=0))) == {1_000_000}
    (tmp_path / "l0").mkdir()
    with ThreadExecutor(2) as executor:
        outcomes = convert_run(list_run(recording.run_dir), tmp_path / "l0", Config(), executor)
    assert {o.key: o.result.n_frames for o in outcomes} == recording.n_frames
    for outcome in outcomes:
        assert outcome.is_whole
        assert verify_store(outcome.result.store_path, recording.run_dir).ok


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_ends_a_recording_in_order_at_a_signal(tmp_path, number):
    """Exit code 0, the JSON counts the frames written, files have them all, markers are there."""
    options = ("--live", "--frames", "1000000", "--json", "--markers", "recording_ended")
    command = [sys.executable, "-m", "panoseti_zarr", "simulate", str(tmp_path), *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as recorder:
        deadline = time.monotonic() + PATIENCE_S
        while not any(size for run in tmp_path.iterdir() for size in sizes(run).values()):
            assert time.monotonic() < deadline
            assert recorder.poll() is None
            time.sleep(0.05)
        (run_dir,) = tmp_path.iterdir()
        assert sizes(run_dir)[0] % BUFFER_BYTES == 0
        assert not markers_of(run_dir)
        recorder.send_signal(number)
        out, err = recorder.communicate(timeout=PATIENCE_S)
    assert recorder.returncode == 0, err
    assert not err
    made = json.loads(out)
    n_frames = made["streams"]["dp_img16.module_1"]
    assert 412 < n_frames < 1_000_000
    assert sizes(run_dir) == {0: n_frames * IMAGE_BYTES}
    assert markers_of(run_dir) == {"recording_ended"}


def invoke(*args):
    app = typer.Typer()
    app.command()(simulate)
    return CliRunner().invoke(app, [str(arg) for arg in args])


def test_command_records_now_unless_a_start_is_given(tmp_path):
    """The run is named by the current time; with --start by that, and its files by the time."""
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    before_s = int(time.time())
    result = invoke(tmp_path / "a", "--live", "--frames", 3)
    assert result.exit_code == 0, result.output
    (run_dir,) = (tmp_path / "a").iterdir()
    assert result.stdout == f"{run_dir}\n"
    start = re.search(r"start_([^.]*)\.", run_dir.name)[1]
    assert before_s <= datetime.fromisoformat(start).timestamp() <= time.time()
    options = ("--start", "2024-07-25T04:34:06Z", "--daq-node", "--json")
    made = json.loads(invoke(tmp_path / "b", "--live", "--frames", 3, *options).stdout)
    assert made["run"] == "obs_Lick.start_2024-07-25T04:34:06Z.runtype_sci-data.pffd"
    frames = {name: size for name, size in made["files"].items() if size and ".dp_" in name}
    assert list(frames.values()) == [3 * IMAGE_BYTES]
    assert not any("2024" in name.rpartition("/")[2] for name in frames)
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_command_refuses_what_a_recording_cannot_have(tmp_path):
    """A defect of copied files ends with exit code 2 and one line, before anything is written."""
    result = invoke(tmp_path, "--live", "--defect", "missing-seqno:seqno=0")
    assert isinstance(result.exception, ConfigError)
    assert result.exception.exit_code == 2
    assert "\n" not in str(result.exception)
    assert not os.listdir(tmp_path)
