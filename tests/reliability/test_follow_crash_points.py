"""SIGKILL at every step of a round: readers of a recording see no less than before, and go on."""

import pytest
from processes import SMALL_CHUNKS, IngestProcess, hold
from support.recording import Recording
from support.reference_store import reference_arrays
from support.stores import assert_equal_arrays, assert_same_store, ingest, read_arrays
from test_crash_points import CHUNK, COMMIT, CREATE, RECOVER, moments

from panoseti_zarr.config import PffToZarrConfig
from panoseti_zarr.io.l0.metadata import read_state
from panoseti_zarr.io.simulate import RunPlan, StreamPlan, max_file_size_mb, simulate_run
from panoseti_zarr.model import PRODUCTS

N_FRAMES, FILES_OF = 50, 30
FRAME_BYTES = PRODUCTS["ph256"].today_frame_bytes
HEADER_BYTES = PRODUCTS["ph256"].today_header_bytes + 1
SETTINGS = PffToZarrConfig(**SMALL_CHUNKS)


@pytest.fixture(scope="session")
def whole(memory_dir):
    """A finished run of two files."""
    size = max_file_size_mb("ph256", FILES_OF)
    plan = RunPlan((StreamPlan("ph256", 1, N_FRAMES),), max_file_size_mb=size)
    (memory_dir / "recorded").mkdir()
    return simulate_run(memory_dir / "recorded", plan)


def kill_a_round(recording, step, after_commits):
    """Kill a process at a step of a round; return what it told before."""
    with IngestProcess(
        run=recording.run,
        l0_dir=recording.l0,
        settings=SMALL_CHUNKS,
        follow=True,
        holds=[hold(step, after_commits)],
    ) as process:
        assert process.wait_until_held() == step
        return process.commits


def assert_goes_on(recording, told, place):
    """Check what readers see; go on as a new process, close, and compare with one conversion."""
    expected = reference_arrays(recording.files, "ph256")
    if told:
        found = read_arrays(recording.store)
        n_frames = len(found["timestamps"])
        assert n_frames >= max(told)
        assert_equal_arrays(found, {path: a[:n_frames] for path, a in expected.items()})
    recording.restart()
    recording.write(2 * FRAME_BYTES)
    # Frames that were committed may have come from a commit that was not reported.
    assert recording.follow().n_frames == (recording.size() - HEADER_BYTES) // FRAME_BYTES
    recording.finish()
    recording.close()
    assert read_state(recording.store).n_frames == N_FRAMES
    undisturbed = ingest(recording.run, place / "undisturbed", SETTINGS).store_path
    assert_same_store(recording.store, undisturbed)


FIRST = moments((("recover.swept", "append.planned", *CHUNK, *CREATE), 0), (COMMIT, 1))


@pytest.mark.parametrize(("step", "after_commits"), FIRST)
def test_the_first_round(whole, place, step, after_commits):
    """The store appears with its first commit, or not yet."""
    recording = Recording(whole, place / "live", SETTINGS)
    recording.write(14 * FRAME_BYTES + 100)
    told = kill_a_round(recording, step, after_commits)
    assert_goes_on(recording, told, place)


LATER = moments(((*RECOVER, "append.planned", *CHUNK, *COMMIT), 0), ((*CHUNK, *COMMIT), 1))


@pytest.mark.parametrize(("step", "after_commits"), LATER)
def test_a_later_round(whole, place, step, after_commits):
    """The partial chunk is replaced by a whole one, and a new partial one begins."""
    recording = Recording(whole, place / "live", SETTINGS)
    recording.write(14 * FRAME_BYTES)
    held = recording.follow().n_frames
    recording.write(7 * FRAME_BYTES + 300)
    told = kill_a_round(recording, step, after_commits)
    assert_goes_on(recording, [held, *told], place)
