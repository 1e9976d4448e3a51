"""SIGKILL at every step of the protocol: start again, and it is as if nothing had happened."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from nights import SETTINGS, Night, link_run, make_night, night_of, simulate
from processes import SMALL_CHUNKS, IngestProcess, hold
from support.stores import chunk_digests, frame_files, ingest

import panoseti_zarr
from panoseti_zarr import daemon
from panoseti_zarr.errors import CorruptDataError
from panoseti_zarr.io.fs.failpoints import L0_STEPS, L1_STEPS, SERVICE_STEPS, SWAP_STEPS
from panoseti_zarr.io.l0.metadata import read_state

RECOVER = tuple(step for step in L0_STEPS if step.startswith("recover."))
CHUNK = tuple(step for step in L0_STEPS if step.startswith("chunk."))
CREATE = tuple(step for step in L0_STEPS if step.startswith("create."))
COMMIT = tuple(step for step in L0_STEPS if step.startswith("commit."))


@dataclass(frozen=True)
class Scenario:
    """What lies in ``l0_dir`` before the ingest that is killed, and what readers see of it."""

    night: Night
    l0_dir: Path
    n_frames: int = 0


def moments(*steps_after):
    """Return (step, commits before it) for each step of each (steps, commits before)."""
    return [(step, after) for steps, after in steps_after for step in steps]


def kill_at(scenario, place, step, after_commits, **options):
    """Kill an ingest at a step, on a copy of the scenario; return the directory and commits."""
    l0_dir = place / "l0"
    if not l0_dir.exists():
        shutil.copytree(scenario.l0_dir, l0_dir, symlinks=True)
    with IngestProcess(
        run=scenario.night.run,
        l0_dir=l0_dir,
        settings=SMALL_CHUNKS,
        holds=[hold(step, after_commits)],
        **options,
    ) as process:
        assert process.wait_until_held() == step
        return l0_dir, process.commits


NEW = moments(
    (("recover.swept", "append.planned", *CHUNK, *CREATE), 0),
    (("chunk.durable", *COMMIT), 1),
    (("commit.chunks_moved", "commit.arrays_durable", "commit.root_replaced", "commit.done"), 6),
)


@pytest.fixture(scope="session")
def new(memory_dir, night):
    """No store yet: seven chunks, so the first commit makes it and the seventh closes it."""
    (memory_dir / "new").mkdir()
    return Scenario(night, memory_dir / "new")


@pytest.mark.parametrize(("step", "after_commits"), NEW)
def test_a_new_store(new, place, step, after_commits):
    """First commit, second commit, close: readers see what was told, and the end is the same."""
    l0_dir, told = kill_at(new, place, step, after_commits)
    new.night.assert_readable(l0_dir, at_least=max(told, default=0))
    new.night.finish(l0_dir)


@pytest.fixture(scope="session")
def nested(memory_dir):
    """No store yet, of a product whose headers lie in groups."""
    (memory_dir / "nested").mkdir()
    night = make_night(memory_dir / "module_night", product="img16", n_frames=20, files_of=7)
    return Scenario(night, memory_dir / "nested")


@pytest.mark.parametrize(("step", "after_commits"), moments((("create.written",), 0), (COMMIT, 1)))
def test_a_new_store_of_a_module_product(nested, place, step, after_commits):
    """The same, where arrays lie in groups."""
    l0_dir, told = kill_at(nested, place, step, after_commits)
    nested.night.assert_readable(l0_dir, at_least=max(told, default=0))
    nested.night.finish(l0_dir)


REOPENED = moments(((*RECOVER, "append.planned", *CHUNK, *COMMIT), 0))


@pytest.fixture(scope="session")
def reopened(memory_dir, night):
    """A closed store of the first file, with a partial chunk; the other two files came since."""
    first = ingest(night.first_file, memory_dir / "reopened", SETTINGS)
    assert first.n_frames == 20
    return Scenario(night, memory_dir / "reopened", first.n_frames)


@pytest.mark.parametrize(("step", "after_commits"), REOPENED)
def test_a_store_that_opens_again(reopened, place, step, after_commits):
    """The partial chunk at its end is replaced, and nothing that was committed is unseen."""
    l0_dir, _ = kill_at(reopened, place, step, after_commits)
    reopened.night.assert_readable(l0_dir, at_least=reopened.n_frames)
    reopened.night.finish(l0_dir)


CLOSING = moments(((*RECOVER, "append.planned", *COMMIT), 0))


@pytest.fixture(scope="session")
def closing(memory_dir):
    """A store that a bad file kept open: all its chunks are whole, and the bad file is gone."""
    root = memory_dir / "closing"
    run = simulate(root / "data", n_frames=17, files_of=16)
    kept, bad = frame_files(run)
    bad.unlink()
    with_bad = link_run(run, root / "with_bad", 1)
    (with_bad / bad.name).write_bytes(b"\0" * kept.stat().st_size)
    with pytest.raises(CorruptDataError, match="no readable ph256 header"):
        ingest(with_bad, root / "l0", SETTINGS)
    return Scenario(night_of(run, root), root / "l0", 16)


@pytest.mark.parametrize(("step", "after_commits"), CLOSING)
def test_a_close_without_a_chunk(closing, place, step, after_commits):
    """Closing is a commit, also when there is no chunk to write."""
    l0_dir, _ = kill_at(closing, place, step, after_commits)
    assert closing.night.assert_readable(l0_dir) == closing.n_frames
    closing.night.finish(l0_dir)
    assert read_state(l0_dir / closing.night.name).closed


REBUILT = moments((("recover.swept", *CHUNK, *CREATE), 0), (COMMIT, 1), (("commit.done",), 6))


@pytest.fixture(scope="session")
def old_night(memory_dir):
    """A run of the same name with other frames."""
    return make_night(memory_dir / "old_night", seed=1)


@pytest.mark.parametrize(("step", "after_commits"), REBUILT)
def test_a_rebuild(night, old_night, place, step, after_commits):
    """The old store stands, whole, until the new one takes its place."""
    scenario = Scenario(night, old_night.undisturbed.parent)
    l0_dir, _ = kill_at(scenario, place, step, after_commits, rebuild=True)
    assert old_night.assert_readable(l0_dir) == old_night.n_frames
    night.finish(l0_dir, rebuild=True)


@pytest.mark.parametrize("step", SWAP_STEPS[1:])
def test_a_rebuild_killed_after_the_exchange(night, old_night, place, step):
    """The new store is in place; the next start removes the old one, asked for a rebuild or not."""
    scenario = Scenario(night, old_night.undisturbed.parent)
    l0_dir, _ = kill_at(scenario, place, step, 7, rebuild=True)
    assert (l0_dir / f".{night.name}.rebuilt").exists()
    assert night.assert_readable(l0_dir) == night.n_frames
    night.finish(l0_dir)


@pytest.mark.parametrize("moment", [("create.durable", 0), ("commit.done", 6)])
def test_a_rebuild_that_is_given_up(night, old_night, place, moment):
    """Killed, and not asked for again: the old store is as it was, and alone."""
    scenario = Scenario(night, old_night.undisturbed.parent)
    l0_dir, _ = kill_at(scenario, place, *moment, rebuild=True)
    old_night.finish(l0_dir)


def test_a_partial_chunk_ahead_of_the_commit(place):
    """Killed after a longer chunk took its place, its new file gone: made again at the close."""
    run = simulate(place / "data")
    _, second, third = frame_files(run)
    third.unlink()
    first_file, l0_dir = link_run(run, place / "first_file", 1), place / "l0"
    bad = first_file / second.name
    bad.write_bytes(b"\0" * second.stat().st_size)
    with pytest.raises(CorruptDataError, match="no readable ph256 header"):
        ingest(first_file, l0_dir, SETTINGS)
    bad.unlink()
    night = Night(first_file, ingest(first_file, place / "undisturbed", SETTINGS).store_path)
    before = chunk_digests(l0_dir / night.name)
    scenario = Scenario(Night(run, night.undisturbed), l0_dir)
    kill_at(scenario, place, "commit.chunks_moved", 0)
    assert chunk_digests(l0_dir / night.name) != before
    assert night.assert_readable(l0_dir) == 20
    night.finish(l0_dir)


@pytest.mark.parametrize("second", [*RECOVER, "append.planned"])
@pytest.mark.parametrize("first", ["commit.chunks_moved", "commit.arrays_durable"])
def test_a_crash_while_a_crash_is_mended(reopened, place, first, second):
    """A start that is killed in its turn leaves nothing worse behind."""
    kill_at(reopened, place, first, 0)
    l0_dir, _ = kill_at(reopened, place, second, 0)
    assert reopened.night.assert_readable(l0_dir) == reopened.n_frames
    reopened.night.finish(l0_dir)


def test_every_step_is_killed_at():
    """A step that joins the protocol joins these tests."""
    assert {step for step, _ in (*NEW, *REOPENED, *CLOSING, *REBUILT)} == set(L0_STEPS)


def test_the_steps_are_listed():
    """The lists hold the steps that the code takes, and no others."""
    steps = re.compile(r'reached\("([a-z_0-9.]+)"\)')
    roots = [Path(package.__file__).parent for package in (panoseti_zarr, daemon)]
    files = [file for root in roots for file in root.rglob("*.py")]
    taken = {step for file in files for step in steps.findall(file.read_text())}
    assert taken == {*L0_STEPS, *SWAP_STEPS, *L1_STEPS, *SERVICE_STEPS}
