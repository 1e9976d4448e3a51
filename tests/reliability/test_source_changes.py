"""A source that changes between plan and commit: refused, and what is committed stays."""

import json
import os
import shutil

import pytest
from nights import SETTINGS, Night, make_night, night_of, simulate
from processes import SMALL_CHUNKS, IngestProcess, hold
from support.stores import (
    assert_equal_arrays,
    chunk_digests,
    frame_files,
    ingest,
    read_arrays,
    snapshot,
)

from panoseti_zarr.errors import SourceChangedError

FRAME_BYTES = 636


def flip_a_pixel(file, frame):
    """Change one byte of a frame's pixels, in place."""
    with file.open("r+b") as opened:
        opened.seek(frame * FRAME_BYTES + 400)
        (byte,) = opened.read(1)
        opened.seek(-1, os.SEEK_CUR)
        opened.write(bytes([byte ^ 0xFF]))


def grow(run):
    *_, last = frame_files(run)
    with last.open("ab") as opened:
        opened.write(last.read_bytes()[:FRAME_BYTES])


def shrink(run):
    *_, last = frame_files(run)
    os.truncate(last, last.stat().st_size - FRAME_BYTES)


def rewrite_with_the_old_mtime(run):
    """As ``rsync -t --inplace`` does."""
    *_, last = frame_files(run)
    status = last.stat()
    flip_a_pixel(last, 3)
    os.utime(last, ns=(status.st_atime_ns, status.st_mtime_ns))


def rewrite_the_first(run):
    """The file whose frames are committed or planned first."""
    flip_a_pixel(frame_files(run)[0], 1)


def replace(run):
    """By another file of the same bytes, size and mtime."""
    *_, last = frame_files(run)
    copy = last.with_name(".copy")
    shutil.copy2(last, copy)
    copy.rename(last)


def delete(run):
    frame_files(run)[-1].unlink()


def add_a_seqno_between(run):
    first, *_ = frame_files(run)
    shutil.copy2(first, str(first).replace("seqno_0", "seqno_1"))


def add_a_seqno_above(run):
    first, *_ = frame_files(run)
    shutil.copy2(first, str(first).replace("seqno_0", "seqno_9"))


CHANGES = (grow, shrink, rewrite_with_the_old_mtime, rewrite_the_first, replace, delete,
           add_a_seqno_between, add_a_seqno_above)  # fmt: skip


@pytest.fixture
def gappy_night(place) -> Night:
    """A night of this test's own: seqnos 0 and 2, 32 frames."""
    run = simulate(place / "data")
    frame_files(run)[1].unlink()
    return night_of(run, place)


def start(night, l0_dir, *holds):
    l0_dir.mkdir(exist_ok=True)
    return IngestProcess(run=night.run, l0_dir=l0_dir, settings=SMALL_CHUNKS, holds=list(holds))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("step", "after_commits"), [("append.planned", 0), ("chunk.durable", 2)])
def test_a_change_between_plan_and_commit(gappy_night, place, change, step, after_commits):
    """Nothing of the changed stream is committed; put back as it was, the end is the same."""
    l0_dir, held_back = place / "l0", place / "held_back"
    gappy_night.arrays  # noqa: B018 - read before the change
    shutil.copytree(gappy_night.run, held_back)
    with start(gappy_night, l0_dir, hold(step, after_commits)) as process:
        process.wait_until_held()
        change(gappy_night.run)
        process.release()
        told = process.finish()
    assert told["failed"] == "SourceChangedError"
    assert "changed" in told["message"]
    n_frames = gappy_night.assert_readable(l0_dir)
    assert [n_frames] == (process.commits[-1:] or [0])
    shutil.rmtree(gappy_night.run)
    shutil.copytree(held_back, gappy_night.run)
    ingest(gappy_night.run, l0_dir, SETTINGS)
    assert gappy_night.assert_readable(l0_dir) == gappy_night.n_frames
    assert chunk_digests(l0_dir / gappy_night.name) == gappy_night.digests


def test_a_run_that_is_another_while_it_is_read(place):
    """Another run under the name, and the right one back before the commit: the task sees it."""
    night = make_night(place)
    other = simulate(place / "other", seed=1)
    l0_dir, aside = place / "l0", place / "aside"
    with start(night, l0_dir, hold("append.planned"), hold("chunk.read")) as process:
        process.wait_until_held()
        night.run.rename(aside)
        other.rename(night.run)
        process.release()
        told = process.wait()
        night.run.rename(other)
        aside.rename(night.run)
        if "held" in told:
            process.release()
            told = process.finish()
    assert told["failed"] == "SourceChangedError"
    assert night.assert_readable(l0_dir) == 0
    night.finish(l0_dir)


def test_committed_frames_are_compared_also_where_times_say_nothing(place):
    """A chunk with committed frames is replaced only by one that begins with them.

    The store is told the times of the changed file, as on a disk whose clock stood still.
    """
    night = make_night(place)
    l0_dir = place / "l0"
    ingest(night.first_file, l0_dir, SETTINGS)
    before = read_arrays(l0_dir / night.name)
    file = frame_files(night.run)[0]
    flip_a_pixel(file, 17)
    root = l0_dir / night.name / "zarr.json"
    document = json.loads(root.read_text())
    (source,) = document["attributes"]["source_files"]
    source.update(mtime_ns=file.stat().st_mtime_ns, ctime_ns=file.stat().st_ctime_ns)
    root.write_text(json.dumps(document, indent=2))
    files = snapshot(l0_dir)
    with pytest.raises(SourceChangedError, match="frame 17 "):
        ingest(night.run, l0_dir, SETTINGS)
    assert snapshot(l0_dir) == files
    assert_equal_arrays(read_arrays(l0_dir / night.name), before)
    flip_a_pixel(file, 17)
    ingest(night.run, l0_dir, SETTINGS)
    assert chunk_digests(l0_dir / night.name) == night.digests
