"""A power cut at the steps of the protocol: what was told is there, and the end is the same."""

import shutil

import pytest
from nights import SETTINGS
from processes import SMALL_CHUNKS, IngestProcess, hold
from subtractions import read_files
from support.disks import Ext4Disk
from support.needs import need
from support.stores import ingest
from traces import kill_at_sync, require_strace

from panoseti_zarr.io.fs.durable import sync_directory, sync_tree
from panoseti_zarr.io.fs.failpoints import L0_STEPS

pytestmark = pytest.mark.root

CREATE = [(step, 0) for step in L0_STEPS if step.startswith("create.")]
COMMIT = [step for step in L0_STEPS if step.startswith("commit.")]
SECOND = [(step, 1) for step in COMMIT]
CLOSE = [("commit.root_replaced", 6), ("commit.done", 6)]
REOPENED = [(step, 0) for step in (*COMMIT, "recover.chunks_removed")]


@pytest.fixture
def disk(place):
    """A disk whose power can be cut."""
    need(root=True)
    with Ext4Disk(place / "disk", place / "image") as made:
        yield made


def cut_at(disk, night, l0_dir, *moment):
    """Cut the power at a step; the process fails as it should. Return the reported frames."""
    with IngestProcess(
        run=night.run, l0_dir=l0_dir, settings=SMALL_CHUNKS, holds=[hold(*moment)]
    ) as process:
        process.wait_until_held()
        disk.cut_power()
        process.release()
        told = process.finish()
    disk.start_again()
    if moment != ("commit.done", 6):
        assert told["failed"] == "TransientIOError"
    return max(process.commits, default=0)


@pytest.mark.parametrize("moment", [*CREATE, *SECOND, *CLOSE])
def test_a_new_store(disk, night, moment):
    """Every frame of which somebody was told is there after the power is back."""
    l0_dir = disk.place / "l0"
    l0_dir.mkdir()
    told = cut_at(disk, night, l0_dir, *moment)
    l0_dir.mkdir(exist_ok=True)
    night.assert_readable(l0_dir, at_least=told)
    night.finish(l0_dir)


@pytest.mark.parametrize("moment", REOPENED)
def test_a_store_that_opens_again(disk, night, moment):
    """The closed store is there, whatever became of its partial chunk."""
    l0_dir = disk.place / "l0"
    n_first = ingest(night.first_file, l0_dir, SETTINGS).n_frames
    told = cut_at(disk, night, l0_dir, *moment)
    night.assert_readable(l0_dir, at_least=max(n_first, told))
    night.finish(l0_dir)


def test_a_rebuild(disk, night):
    """Cut after the exchange and before its sync: the store in its place is whole."""
    require_strace()
    l0_dir = disk.place / "l0"
    ingest(night.run, l0_dir, SETTINGS)
    with IngestProcess(
        before=kill_at_sync(l0_dir, 2),
        run=night.run,
        l0_dir=l0_dir,
        settings=SMALL_CHUNKS,
        rebuild=True,
    ) as process:
        assert process.wait_or_die() is None
    disk.cut_power()
    disk.start_again()
    night.assert_readable(l0_dir, at_least=night.n_frames)
    night.finish(l0_dir)


@pytest.mark.parametrize("moment", [("commit.root_replaced", 6), ("create.renamed", 0)])
def test_what_is_told_after_a_crash(disk, night, moment):
    """A start that finds a commit whose process was killed before its sync makes it durable."""
    l0_dir = disk.place / "l0"
    l0_dir.mkdir()
    with IngestProcess(
        run=night.run, l0_dir=l0_dir, settings=SMALL_CHUNKS, holds=[hold(*moment)]
    ) as killed:
        killed.wait_until_held()
    with IngestProcess(
        run=night.run, l0_dir=l0_dir, settings=SMALL_CHUNKS, holds=[hold("chunk.read")]
    ) as process:
        told = process.wait()
        disk.cut_power()
    disk.start_again()
    n_told = night.n_frames if "done" in told else 8
    night.assert_readable(l0_dir, at_least=n_told)
    night.finish(l0_dir)


@pytest.mark.parametrize("step", ["l1.durable", "swap.in_place", "swap.durable", "l1.done"])
def test_an_l1_store_that_is_made_again(disk, remade_l1, step):
    """Afterwards the old store stands, or the new one, whole; the new one if somebody was told."""
    l1_dir = disk.place / "l1"
    shutil.copytree(remade_l1.old.parent, l1_dir)
    sync_tree(l1_dir)
    sync_directory(disk.place)
    with IngestProcess(subtract=remade_l1.l0, l1_dir=l1_dir, holds=[hold(step)]) as process:
        process.wait_until_held()
        disk.cut_power()
        process.release()
        told = process.finish()["done"]
    disk.start_again()
    # Once its place is durable it is done: what it replaced may be removed later.
    assert told["outcome"] == ("done" if step in {"swap.durable", "l1.done"} else "failed")
    is_new = read_files(l1_dir / remade_l1.name) == remade_l1.files
    if not is_new:
        assert not told["changed"]
        remade_l1.assert_old(l1_dir)
    remade_l1.finish(l1_dir, changes=not is_new)
