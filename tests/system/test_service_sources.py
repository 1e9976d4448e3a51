"""Sources that change after they were committed: each has one outcome, in the log too."""

import os
import shutil
from pathlib import Path

import pytest
from support.service_process import Station, make_run
from support.stores import (
    assert_same_store,
    chunk_digests,
    frame_files,
    ingest,
    overwrite,
    snapshot,
)

from panoseti_zarr.config import PffToZarrConfig
from panoseti_zarr.io.simulate import StreamPlan

pytestmark = pytest.mark.slow

IMG = "dp_img16.module_1"
N_FRAMES = 300
HASTE = {"min_free_gb": 0, "retry_s": 0.1, "recheck_s": 0.5}


@pytest.fixture(params=[False, True], ids=["finished", "followed"])
def haste(request):
    """Quick timing, for runs that are appended when finished, and from their first frame on."""
    return {**HASTE, "follow": request.param, "tail_flush_s": 0.5}


@pytest.fixture
def station(tmp_path, haste):
    """A station whose service is killed in the end."""
    with Station(tmp_path, **haste) as place:
        yield place


def night(station: Station, day: int) -> Path:
    """Simulate a run of one stream in three files."""
    run = make_run(station.data, StreamPlan("img16", 1, N_FRAMES), day=day, max_file_size_mb=0.3)
    assert len(frame_files(run)) == 3
    return run


def cut(file: Path, n_bytes: int) -> bytes:
    """Shorten a file; return what was in it."""
    whole = file.read_bytes()
    os.truncate(file, len(whole) - n_bytes)
    return whole


def arrive(file: Path, data: bytes) -> None:
    """Put a whole copy in a file's place, as rsync does."""
    copy = file.with_name(f".{file.name}.copy")
    copy.write_bytes(data)
    copy.rename(file)


def store(station: Station, run: Path) -> Path:
    return station.l0 / f"{run.name}.{IMG}.zarr"


def states(status: dict) -> dict[str, str]:
    """Return the state of every run."""
    return {run["name"]: run["state"] for run in status["runs"]}


def assert_like_converted(station: Station, run: Path) -> None:
    """Compare a run's L0 store with that of one undisturbed conversion of its files."""
    expected = station.base / "expected" / run.name
    expected.mkdir(parents=True)
    made = ingest(run, expected, PffToZarrConfig(time_chunk=256)).store_path
    assert_same_store(store(station, run), made)


def test_files_that_grow_shrink_or_change_after_the_close(station):
    """Grown: appended. Touched: compared, no more. Shrunk or other bytes: quarantined."""
    grown, touched, shrunk, rewritten, cut_first, cut_last = (
        night(station, day) for day in range(10, 16)
    )
    first, _, last = (frame_files(run) for run in (cut_first, shrunk, cut_last))
    rest = cut(frame_files(grown)[-1], 50_000)
    first_whole, last_whole = cut(first[0], 30_000), cut(last[-1], 30_000)
    station.start()
    station.wait_for("run.completed", 6)
    assert {e["run"] for e in station.find("file.cut_short")} >= {cut_first.name, cut_last.name}
    held = {run: snapshot(store(station, run)) for run in (touched, shrunk, rewritten, cut_first)}
    n_events = len(station.events)

    with frame_files(grown)[-1].open("ab") as file:
        file.write(rest[-50_000:])
    os.utime(frame_files(touched)[0])
    shrunk_whole = cut(frame_files(shrunk)[-1], 100_000)
    right = frame_files(rewritten)[1].read_bytes()
    overwrite(frame_files(rewritten)[1], right[:-1] + bytes([right[-1] ^ 1]))
    arrive(first[0], first_whole)
    arrive(last[-1], last_whole)
    for run, reason in (
        (shrunk, "shrank from"),
        (rewritten, "was committed with other images"),
        (cut_first, "frames when it was committed, now it has"),
    ):
        found = station.wait_for("stream.quarantined", run=run.name, stream=IMG)["reason"]
        assert reason in found
        station.wait_for("run.completed", run=run.name, n_quarantined=1)
    for run in (grown, cut_last):
        station.wait_for("stream.closed", run=run.name, n_frames=N_FRAMES)
        station.wait_for("l1.finished", 2, run=run.name)
        assert_like_converted(station, run)
    station.wait_for("run.completed", 2, run=touched.name, n_quarantined=0)
    later = station.events[n_events:]
    of_touched = [e["event"] for e in later if e.get("run") == touched.name]
    assert of_touched == [
        *("run.changed", "run.finished", "stream.queued", "stream.closed", "run.completed"),
    ]
    assert held == {run: snapshot(store(station, run)) for run in held}

    # The ways out: what was shrunk or rewritten is put back, what was cut is rebuilt.
    arrive(frame_files(shrunk)[-1], shrunk_whole)
    overwrite(frame_files(rewritten)[1], right)
    assert station.command("retry", "--rebuild", cut_first.name).returncode == 0
    for run in (shrunk, rewritten, cut_first):
        station.wait_for("run.completed", run=run.name, n_quarantined=0, n_frames=N_FRAMES)
        station.wait_for("stream.closed", run=run.name, n_frames=N_FRAMES)
    for run in (shrunk, rewritten):
        assert held[run] == snapshot(store(station, run))
    assert_like_converted(station, cut_first)
    assert station.stop() == 0


def test_files_that_come_late_or_go(station):
    """A seqno below the last: quarantined. Deleted: removed. Moved away and back: found again."""
    late, waiting, deleted, renamed, moved = (night(station, day) for day in range(10, 15))
    aside = station.base / "aside"
    aside.mkdir()
    late_file, missing = frame_files(late)[1], frame_files(waiting)[1]
    late_file.rename(aside / "late")
    missing.rename(aside / "missing")
    broken = frame_files(waiting)[-1]
    right = broken.read_bytes()
    broken.write_bytes(b"x" * len(right))
    station.start()
    station.wait_for("run.completed", 5)
    n_first = station.find("stream.committed", run=waiting.name)[-1]["n_frames"]
    assert "no readable" in station.wait_for("stream.quarantined", run=waiting.name)["reason"]
    held = {run: snapshot(store(station, run)) for run in (late, deleted, renamed, moved)}

    (aside / "late").rename(late_file)
    (aside / "missing").rename(missing)
    arrive(broken, right)
    frame_files(deleted)[0].unlink()
    new_name = renamed.with_name(renamed.name.replace("-13T", "-20T"))
    renamed.rename(new_name)
    moved.rename(aside / moved.name)
    reason = station.wait_for("stream.quarantined", run=late.name)["reason"]
    assert "arrived after seqno 2 was committed" in reason
    # The store was still open and ended below the file that was missing: nothing is out of order.
    closed = station.wait_for("stream.closed", run=waiting.name, n_frames=N_FRAMES)
    assert closed["n_new_frames"] == N_FRAMES - n_first
    station.wait_for("run.completed", run=waiting.name, n_quarantined=0)
    assert_like_converted(station, waiting)
    removed = station.wait_for("stream.removed", run=deleted.name, stream=IMG)
    assert removed["reason"] == "frame files are gone"
    station.wait_for("run.removed", run=renamed.name)
    station.wait_for("run.completed", run=new_name.name, n_frames=N_FRAMES)
    station.wait_for("run.removed", run=moved.name)
    (aside / moved.name).rename(moved)
    station.wait_for("run.discovered", 2, run=moved.name)
    status = station.wait_for_status(lambda s: states(s)[moved.name] == "done")
    assert states(status)[renamed.name] == "removed"
    assert held == {run: snapshot(store(station, run)) for run in held}
    assert len(station.find("stream.queued", run=moved.name)) == 1

    station.command("retry", "--rebuild", late.name)
    station.wait_for("run.completed", run=late.name, n_quarantined=0, n_frames=N_FRAMES)
    assert_like_converted(station, late)
    assert station.stop() == 0


def test_a_retry_looks_at_the_files_first(station, haste):
    """Bytes that changed unnoticed in a done run: a retry finds them, a rebuild queues once."""
    station.write_config(**{**haste, "recheck_s": 3600})
    run = night(station, 10)
    station.start()
    station.wait_for("run.completed")
    held = chunk_digests(store(station, run))
    file = frame_files(run)[0]
    data = file.read_bytes()
    with file.open("r+b") as opened:
        opened.seek(-1, os.SEEK_END)
        opened.write(bytes([data[-1] ^ 1]))
    station.rescans()
    assert station.find("run.changed") == []

    station.command("retry", run.name)
    station.wait_for("stream.quarantined", run=run.name)
    station.wait_for("run.completed", run=run.name, n_quarantined=1)
    assert chunk_digests(store(station, run)) == held
    with file.open("r+b") as opened:
        opened.write(data[:1])
    station.command("retry", "--rebuild", run.name)
    station.wait_for("l1.finished", 2)
    # A rescan may have found the written file, and tried the stream again, before the retry came.
    told = station.names("run.retried", "stream.queued")
    assert told[-2:] == ["run.retried", "stream.queued"]
    assert_like_converted(station, run)
    assert station.stop() == 0


def test_a_copy_under_way_looks_finished_too_early(station):
    """A marker beside a copy that goes on: what came is committed, the rest is appended."""
    source = station.base / "source"
    source.mkdir()
    whole = make_run(source, StreamPlan("img16", 1, N_FRAMES), max_file_size_mb=0.3)
    run = station.data / whole.name
    shutil.copytree(whole, run, ignore=shutil.ignore_patterns("*seqno_[12].*"))
    station.start()
    for n_files in (1, 2, 3):
        station.wait_for("run.completed", n_files)
        if n_files < 3:
            shutil.copy2(frame_files(whole)[n_files], run)
    assert station.find("run.completed")[-1]["n_frames"] == N_FRAMES
    assert station.names("stream.quarantined") == []
    assert_like_converted(station, run)
