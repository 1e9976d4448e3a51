"""What is written is durable before what refers to it, by the system calls themselves."""

import subprocess

import pytest
from nights import SETTINGS, make_night
from processes import CONVERT, SMALL_CHUNKS, IngestProcess, environment, hold
from stores import ingest
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
    """Record an ingest; return the frames it told of, and its system calls."""
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
    assert replay(calls, l0_dir / short_night.name, crashed=True) == []


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
    assert all("/c/0" in path for path in unseen)


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
