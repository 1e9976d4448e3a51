"""One writer per store, whatever is deleted or moved under it; a late task harms nothing."""

import json
import shutil
import time

import pytest
from nights import SETTINGS, make_night
from processes import SMALL_CHUNKS, IngestProcess, hold
from support.stores import chunk_digests, frame_files, ingest, snapshot
from traces import require_strace

from panoseti_zarr.errors import StoreLockedError


def start(night, l0_dir, *holds, **options):
    """Start an ingest that stops at these steps."""
    l0_dir.mkdir(exist_ok=True)
    return IngestProcess(
        run=night.run, l0_dir=l0_dir, settings=SMALL_CHUNKS, holds=list(holds), **options
    )


@pytest.mark.parametrize(
    ("step", "after_commits"),
    [("chunk.durable", 0), ("create.begun", 0), ("create.durable", 0), ("chunk.durable", 2),
     ("commit.chunks_moved", 2)],
)  # fmt: skip
@pytest.mark.parametrize("rebuild", [False, True])
def test_a_deleted_lock_file(night, place, step, after_commits, rebuild):
    """The second writer is refused all the same, and the first one goes on to the end."""
    l0_dir = place / "l0"
    with start(night, l0_dir, hold(step, after_commits)) as first:
        first.wait_until_held()
        (l0_dir / f".{night.name}.lock").unlink()
        with pytest.raises(StoreLockedError):
            ingest(night.run, l0_dir, SETTINGS, rebuild=rebuild)
        first.release()
        assert first.finish().keys() == {"done"}
    night.assert_finished(l0_dir)


def test_a_deleted_lock_file_of_a_writer_that_has_staged_nothing_yet(night, place):
    """The store's own directory is locked from the moment it is opened."""
    l0_dir = place / "l0"
    ingest(night.first_file, l0_dir, SETTINGS)
    with start(night, l0_dir, hold("recover.chunks_removed")) as first:
        first.wait_until_held()
        (l0_dir / f".{night.name}.lock").unlink()
        with pytest.raises(StoreLockedError):
            ingest(night.run, l0_dir, SETTINGS)
        first.release()
        assert first.finish().keys() == {"done"}
    night.assert_finished(l0_dir)


def test_a_lock_dies_with_its_process(night, place):
    """A held lock names its holder; killed, it holds nobody up."""
    l0_dir = place / "l0"
    with start(night, l0_dir, hold("chunk.durable", 2)) as first:
        first.wait_until_held()
        with pytest.raises(StoreLockedError, match=f"pid {first.pid} on"):
            ingest(night.run, l0_dir, SETTINGS)
    night.finish(l0_dir)


def delete_while_held(night, l0_dir, moment):
    """Delete the store under an ingest: that fails at present, and leaves nothing but the lock."""
    with start(night, l0_dir, moment) as process:
        process.wait_until_held()
        shutil.rmtree(l0_dir / night.name)
        process.release()
        told = process.finish()
    assert told["failed"] == "TransientIOError"
    assert {path.suffix for path in l0_dir.iterdir()} == {".lock"}


@pytest.mark.parametrize("step", ["chunk.read", "chunk.durable", "commit.checked",
                                  "commit.chunks_moved", "commit.arrays_durable"])  # fmt: skip
def test_a_store_deleted_while_it_is_written(night, place, step):
    """It is tried again later, and nothing of the store comes back in part."""
    l0_dir = place / "l0"
    delete_while_held(night, l0_dir, hold(step, 2))
    night.finish(l0_dir)


@pytest.mark.parametrize("step", ["chunk.read", "chunk.durable"])
def test_a_store_deleted_before_its_partial_chunk_is_compared(night, place, step):
    """The store is gone, not corrupt: it is tried again later."""
    l0_dir = place / "l0"
    ingest(night.first_file, l0_dir, SETTINGS)
    delete_while_held(night, l0_dir, hold(step))


@pytest.mark.parametrize("step", ["chunk.read", "chunk.durable"])
def test_a_store_moved_while_it_is_written(night, place, step):
    """The store that was moved stays as it was; the next ingest makes one in its place."""
    l0_dir, moved = place / "l0", place / "moved"
    moved.mkdir()
    with start(night, l0_dir, hold(step, 2)) as process:
        process.wait_until_held()
        (l0_dir / night.name).rename(moved / night.name)
        before = snapshot(moved)
        process.release()
        told = process.finish()
    assert told["failed"] == "TransientIOError"
    assert snapshot(moved) == before
    assert night.assert_readable(moved) == 16
    night.finish(l0_dir)


@pytest.mark.parametrize("step", ["chunk.durable", "commit.chunks_moved"])
def test_a_directory_of_stores_deleted_while_one_is_written(night, place, step):
    """Nothing of the store comes back."""
    l0_dir = place / "l0"
    with start(night, l0_dir, hold(step, 2)) as process:
        process.wait_until_held()
        shutil.rmtree(l0_dir)
        process.release()
        assert process.finish()["failed"] == "TransientIOError"
    assert not l0_dir.exists() or not any(l0_dir.iterdir())


def test_another_writers_commit_is_not_built_on(night, place):
    """Where locks do not hold (some network file systems), another's commit is still noticed."""
    l0_dir = place / "l0"
    with start(night, l0_dir, hold("chunk.durable", 2)) as process:
        process.wait_until_held()
        root = l0_dir / night.name / "zarr.json"
        document = json.loads(root.read_text())
        document["attributes"]["commit"] += 1
        root.write_text(json.dumps(document))
        before = snapshot(l0_dir / night.name)
        process.release()
        told = process.finish()
    assert told["failed"] == "TransientIOError"
    assert "another writer" in told["message"]
    assert snapshot(l0_dir / night.name) == before
    night.finish(l0_dir)


def hand_over(run, l0_dir, task):
    """Have a coordinator write its first task to a file, and kill it."""
    with IngestProcess(
        run=run, l0_dir=l0_dir, settings=SMALL_CHUNKS, hand_over=task
    ) as coordinator:
        assert coordinator.wait() == {"handed_over": str(task)}


@pytest.mark.parametrize("step", ["chunk.read", "chunk.written", "chunk.durable"])
def test_a_task_that_outlives_its_coordinator(night, place, step):
    """It ends after another coordinator has finished: the store is untouched, its folder goes."""
    l0_dir, task = place / "l0", place / "task"
    ingest(night.first_file, l0_dir, SETTINGS)
    hand_over(night.run, l0_dir, task)
    with IngestProcess(task=task, holds=[hold(step)]) as late:
        late.wait_until_held()
        night.finish(l0_dir)
        before = snapshot(l0_dir / night.name)
        late.release()
        told = late.finish()
    assert snapshot(l0_dir / night.name) == before
    if step != "chunk.durable":
        # What it had staged was swept, and it makes no folder a second time.
        assert told["failed"] == "TransientIOError"
    assert not (l0_dir / ".staging").exists()
    assert not ingest(night.run, l0_dir, SETTINGS).changed
    night.assert_finished(l0_dir)


def test_what_others_stage_is_theirs(night, place):
    """A writer sweeps what its own store has in staging, and nothing else."""
    l0_dir = place / "l0"
    staged = l0_dir / ".staging" / "other.zarr" / "attempt"
    staged.mkdir(parents=True)
    ingest(night.run, l0_dir, SETTINGS)
    assert night.assert_readable(l0_dir) == night.n_frames
    assert list((l0_dir / ".staging").iterdir()) == [staged.parent]
    assert staged.is_dir()


def test_late_tasks_hold_nobody_up(night, place):
    """A start sweeps what late tasks staged, also while they are at it."""
    l0_dir, task = place / "l0", place / "task"
    l0_dir.mkdir()
    hand_over(night.run, l0_dir, task)
    with IngestProcess(task=task, for_ever=True) as late:
        assert late.wait().keys() == {"round"}
        for _ in range(10):
            ingest(night.run, l0_dir, SETTINGS)
            assert night.assert_readable(l0_dir) == night.n_frames
    night.finish(l0_dir)


def test_another_writer_ends_while_one_begins(night, place):
    """The one that ends removes an empty ``.staging``; the one that begins makes it again."""
    require_strace()
    l0_dir = place / "l0"
    l0_dir.mkdir()
    staging = l0_dir / ".staging"
    slowly = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=mkdir", "-P", str(staging),
              "-e", "inject=mkdir:delay_exit=300000:when=1")  # fmt: skip
    with IngestProcess(
        before=slowly, run=night.run, l0_dir=l0_dir, settings=SMALL_CHUNKS
    ) as process:
        while not staging.exists():
            time.sleep(0.001)
        staging.rmdir()
        assert process.finish().keys() == {"done"}
    night.assert_finished(l0_dir)


def test_a_late_task_of_a_file_that_was_replaced(place):
    """It cannot mix what it read into the chunk that another task of the same place stages."""
    night = make_night(place)
    l0_dir, task = place / "l0", place / "task"
    l0_dir.mkdir()
    flip_a_byte(frame_files(night.run)[0])
    hand_over(night.run, l0_dir, task)
    with IngestProcess(task=task, holds=[hold("chunk.read")]) as late:
        late.wait_until_held()
        flip_a_byte(frame_files(night.run)[0])
        with start(night, l0_dir, hold("chunk.read")) as process:
            process.wait_until_held()
            late.release()
            assert late.finish()["failed"] == "TransientIOError"
            process.release()
            assert process.finish().keys() == {"done"}
    assert night.assert_readable(l0_dir) == night.n_frames
    assert chunk_digests(l0_dir / night.name) == night.digests


def flip_a_byte(file):
    """Change a pixel in place; twice, and it is as it was."""
    content = bytearray(file.read_bytes())
    content[400] ^= 0xFF
    file.write_bytes(content)
