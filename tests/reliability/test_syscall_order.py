"""What is written is durable before what refers to it, by the system calls themselves."""

import shutil
import subprocess

import pytest
from nights import SETTINGS, make_night
from processes import CONVERT, SMALL_CHUNKS, IngestProcess, environment, hold
from support.stores import ingest
from traces import (
    MAKES,
    SYNCS,
    Disk,
    read_calls,
    record,
    renamed_between_tellings,
    replay,
    require_strace,
)

pytestmark = pytest.mark.usefixtures("traced")


@pytest.fixture(scope="module")
def traced():
    require_strace()


@pytest.fixture(scope="module")
def short_night(memory_dir):
    """Three files, three chunks."""
    return make_night(memory_dir / "short_night", n_frames=22, files_of=10)


def recorded(night, l0_dir, **options):
    """Record an ingest; return the frames it reported, and its system calls."""
    trace = l0_dir.with_name("trace")
    with IngestProcess(
        before=record(trace), run=night.run, l0_dir=l0_dir, settings=SMALL_CHUNKS, **options
    ) as process:
        assert process.finish().keys() == {"done"}
        return process.commits, read_calls(trace)


def assert_commits_in_order(commits, night):
    """Each of these commits renamed chunks, then every array's document, then the root."""
    arrays = sorted(f"{path}/zarr.json" for path in night.arrays)
    for renamed in commits:
        chunks, root = renamed[: -len(arrays) - 1], renamed[-1]
        assert root == "zarr.json"
        assert sorted(renamed[-len(arrays) - 1 : -1]) == arrays
        assert all("/c/" in path for path in chunks)


def test_a_new_store(short_night, place):
    """Staged files, directories, documents, root, store, L0_DIR: each synced before it counts."""
    l0_dir = place / "l0"
    l0_dir.mkdir()
    told, calls = recorded(short_night, l0_dir)
    assert told == [8, 16, 22]
    assert replay(calls, l0_dir / short_night.name) == []
    renamed = renamed_between_tellings(calls, l0_dir / short_night.name)
    assert [bool(commit) for commit in renamed] == [True, True, True, False, False]
    assert_commits_in_order(renamed[1:3], short_night)


def test_a_store_that_opens_again(short_night, place):
    """The same holds where a partial chunk is replaced."""
    l0_dir = place / "l0"
    ingest(short_night.first_file, l0_dir, SETTINGS)
    told, calls = recorded(short_night, l0_dir)
    assert told == [16, 22]
    assert replay(calls, l0_dir / short_night.name) == []
    renamed = renamed_between_tellings(calls, l0_dir / short_night.name)
    assert_commits_in_order(renamed[:2], short_night)


def test_a_rebuild(short_night, place):
    """The new store is durable before it takes the old one's place, and that before the end."""
    l0_dir = place / "l0"
    ingest(short_night.run, l0_dir, SETTINGS)
    told, calls = recorded(short_night, l0_dir, rebuild=True)
    assert told == [8, 16, 22]
    assert replay(calls, l0_dir / short_night.name) == []
    assert any("RENAME_EXCHANGE" in call.text for call in calls)


@pytest.mark.parametrize(
    ("step", "after_commits"),
    [("create.renamed", 0), ("commit.arrays_replaced", 1), ("commit.root_replaced", 1),
     ("commit.root_replaced", 2)],
)  # fmt: skip
def test_after_a_crash(short_night, place, step, after_commits):
    """What a killed process renamed last is durable before its follower says anything."""
    l0_dir = place / "l0"
    l0_dir.mkdir()
    with IngestProcess(
        run=short_night.run,
        l0_dir=l0_dir,
        settings=SMALL_CHUNKS,
        holds=[hold(step, after_commits)],
    ) as process:
        process.wait_until_held()
    _, calls = recorded(short_night, l0_dir)
    store = l0_dir / short_night.name
    assert replay(calls, store, renamed_before=[str(store), f"{store}/zarr.json"]) == []


def test_no_sync_is_superfluous_or_unseen(short_night, place, count):
    """Each fsync of a recording counts: without it the replay names what a power cut can take.

    But for those of the first commit's staged chunks, which are synced with the new store again.
    """
    l0_dir = place / "l0"
    l0_dir.mkdir()
    _, calls = recorded(short_night, l0_dir)
    syncs = [call for call in calls if call.name in SYNCS]
    unseen = [
        sync.file
        for sync in syncs
        if not replay([call for call in calls if call is not sync], l0_dir / short_night.name)
    ]
    count(n_syncs=len(syncs), n_unseen=len(unseen))
    assert len(syncs) > 100
    assert len(unseen) == 2 * len(short_night.arrays)
    staged = [path for path in unseen if f"/.staging/{short_night.name}/" in path]
    assert len(staged) == len(short_night.arrays)
    assert all("/c/0" in path for path in set(unseen) - set(staged))


def recorded_l1(subtraction, place):
    """Record the making of an L1 store; return its system calls, its place and how it ended."""
    trace, l1_dir = place / "trace", place / "l1"
    if not l1_dir.exists():
        shutil.copytree(subtraction.old.parent, l1_dir)
    with IngestProcess(before=record(trace), subtract=subtraction.l0, l1_dir=l1_dir) as process:
        done = process.finish()["done"]
    subtraction.assert_new(l1_dir)
    return read_calls(trace), l1_dir / subtraction.name, done


def test_a_new_l1_store(first_l1, place):
    """It is durable before it appears, and its name before somebody is told."""
    (place / "l1").mkdir()
    calls, store, done = recorded_l1(first_l1, place)
    assert done["changed"]
    assert replay(calls, store) == []


def test_an_l1_store_that_is_made_again(remade_l1, place, count):
    """It takes the old one's place when it is durable; that is removed when its place is.

    Each fsync counts, but for the last: it is there for what a crash left.
    """
    calls, store, done = recorded_l1(remade_l1, place)
    assert done["changed"]
    assert replay(calls, store) == []
    assert any("RENAME_EXCHANGE" in call.text for call in calls)
    syncs = [call for call in calls if call.name in SYNCS]
    unseen = [sync.file for sync in syncs if not replay([c for c in calls if c is not sync], store)]
    count(n_syncs=len(syncs), n_unseen=len(unseen))
    assert len(syncs) > 60
    assert unseen == [str(store.parent)]


@pytest.mark.parametrize("step", ["swap.in_place", "l1.durable"])
def test_an_l1_store_after_a_crash(remade_l1, place, step):
    """A killed process's rename is durable before the old store is removed, or it is reported."""
    shutil.copytree(remade_l1.old.parent, place / "l1")
    with IngestProcess(subtract=remade_l1.l0, l1_dir=place / "l1", holds=[hold(step)]) as process:
        process.wait_until_held()
    calls, store, done = recorded_l1(remade_l1, place)
    assert done["changed"] == (step == "l1.durable")
    assert replay(calls, store, renamed_before=[str(store)]) == []


def test_a_new_directory_of_stores(short_night, place):
    """Where L0_DIR is new, its name is durable too before the command ends."""
    l0_dir, trace = place / "made" / "l0", place / "trace"
    words = [*record(trace), *CONVERT, str(short_night.run), str(l0_dir)]
    subprocess.run(words, check=True, env=environment(), cwd="/", capture_output=True)
    disk = Disk()
    for call in read_calls(trace):
        if call.name in MAKES:
            disk.make(call.paths[0])
        elif call.name in SYNCS:
            disk.sync(call.file)
    assert not disk.names & {str(l0_dir), str(l0_dir.parent)}
