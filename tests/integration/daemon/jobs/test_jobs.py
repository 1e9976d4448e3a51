"""The service's jobs, each run to its end here: what they post, whatever becomes of their data."""

import os
import shutil
import threading
from pathlib import Path

import pytest
from support.service_process import make_run
from support.stores import frame_files

from panoseti_zarr.cluster.threads import ThreadExecutor
from panoseti_zarr.config import Config
from panoseti_zarr.core.pff.names import l1_store_name, store_name
from panoseti_zarr.daemon.jobs.context import JobContext
from panoseti_zarr.daemon.jobs.l0 import run_ingest
from panoseti_zarr.daemon.jobs.l1 import run_l1
from panoseti_zarr.daemon.jobs.verify import run_verify
from panoseti_zarr.daemon.state.events import (
    Committed,
    IngestEnded,
    L1Ended,
    L1Started,
    Outcome,
    VerifyEnded,
)
from panoseti_zarr.daemon.state.instructions import (
    JobTarget,
    StartIngest,
    StartL1,
    StartVerify,
)
from panoseti_zarr.daemon.watch.live_runs import LiveRuns
from panoseti_zarr.daemon.watch.run_scan import stream_digest
from panoseti_zarr.io.pff.listing import list_run
from panoseti_zarr.io.simulate import StreamPlan

N_FRAMES = 300


class Bench:
    """A run with one stream, directories for its stores, and the context of a job."""

    def __init__(self, base: Path, executor: ThreadExecutor) -> None:
        self.root, self.l0_dir, self.l1_dir = base / "data", base / "l0", base / "l1"
        for place in (self.root, self.l0_dir, self.l1_dir):
            place.mkdir()
        self.run = make_run(self.root, StreamPlan("img16", 1, N_FRAMES))
        (self.key,) = list_run(self.run).keys
        self.l0 = self.l0_dir / store_name(self.run.name, self.key)
        self.l1 = self.l1_dir / l1_store_name(self.run.name, self.key)
        self.digest = stream_digest(list_run(self.run), self.key)
        self.events: list[object] = []
        self.stop = threading.Event()
        config = Config.model_validate({"pff_to_zarr": {"time_chunk": 128}})
        self.context = JobContext(
            config,
            self.l0_dir,
            self.l1_dir,
            executor,
            self.stop,
            self.events.append,
            LiveRuns(config.daemon),
        )
        self.context.may_verify.set()

    def target(self, output: Path, **changes: int) -> JobTarget:
        """Return the target of a job, with the devices as they are."""
        devices = {
            "root_device": os.stat(self.root).st_dev,
            "output_device": os.stat(output).st_dev,
        }
        return JobTarget(self.run.name, str(self.key), str(self.root), **(devices | changes))

    def ingest(self, **changes: int) -> IngestEnded:
        """Run the L0 job; return its last event."""
        run_ingest(StartIngest(self.target(self.l0_dir, **changes), self.digest), self.context)
        return self.last(IngestEnded)

    def make_l1(self, *, refresh: bool = False, **changes: int) -> L1Ended:
        """Run the L1 job; return its last event."""
        run_l1(StartL1(self.target(self.l1_dir, **changes), refresh), self.context)
        return self.last(L1Ended)

    def verify(self, **changes: int) -> VerifyEnded:
        """Run the comparison; return its last event."""
        run_verify(StartVerify(self.target(self.l0_dir, **changes), self.digest), self.context)
        return self.last(VerifyEnded)

    def last(self, kind: type) -> object:
        """Return the last event, which names the stream."""
        event = self.events[-1]
        assert isinstance(event, kind)
        assert (event.run, event.stream) == (self.run.name, str(self.key))
        return event


@pytest.fixture
def bench(tmp_path):
    """A run that was not converted yet."""
    with ThreadExecutor(2) as executor:
        yield Bench(tmp_path, executor)


@pytest.fixture
def closed(bench):
    """A run whose stream was converted."""
    assert bench.ingest().outcome is Outcome.DONE
    return bench


def test_an_ingest_posts_its_commits_and_its_end(bench):
    """What was committed adds up; a second one finds nothing to do."""
    ended = bench.ingest()
    commits = [event for event in bench.events if isinstance(event, Committed)]
    assert (ended.outcome, ended.is_changed) == (Outcome.DONE, True)
    assert (ended.n_frames, ended.n_new_frames) == (N_FRAMES, N_FRAMES)
    assert sum(commit.n_new_frames for commit in commits) == N_FRAMES
    assert commits[-1].n_frames == N_FRAMES
    assert sum(commit.n_bytes for commit in commits) == ended.n_bytes > 0
    again = bench.ingest()
    assert (again.outcome, again.is_changed, again.n_new_frames) == (Outcome.DONE, False, 0)


def test_an_ingest_of_other_files_than_were_listed_does_nothing(bench):
    """The run waits until it is finished again."""
    (file,) = frame_files(bench.run)
    os.utime(file, ns=(1, 1))
    assert bench.ingest().outcome is Outcome.CHANGED
    assert not bench.l0.exists()


def test_an_ingest_of_a_run_that_is_gone_is_missing(bench):
    """So is one of which only the stream is gone."""
    (file,) = frame_files(bench.run)
    file.unlink()
    assert bench.ingest().outcome is Outcome.MISSING
    shutil.rmtree(bench.run)
    assert bench.ingest().outcome is Outcome.MISSING


@pytest.mark.parametrize("device", ["output_device", "root_device"])
def test_nothing_is_blamed_on_data_that_were_unmounted(bench, device):
    """Another file system than before: nothing is written there, and the job is retried."""
    (file,) = frame_files(bench.run)
    # With its own root away the stream looks corrupt.
    file.write_bytes(b"x" * file.stat().st_size)
    bench.digest = stream_digest(list_run(bench.run), bench.key)
    ended = bench.ingest(**{device: 0})
    assert ended.outcome is Outcome.FAILED
    assert "another file system" in ended.reason
    assert not bench.l0.exists()


def test_a_file_that_is_not_pff_is_corrupt_with_its_code(bench):
    """The code decides what an operator is advised to do."""
    (file,) = frame_files(bench.run)
    file.write_bytes(b"x" * file.stat().st_size)
    bench.digest = stream_digest(list_run(bench.run), bench.key)
    ended = bench.ingest()
    assert (ended.outcome, ended.code) == (Outcome.CORRUPT, "not_pff")


def test_a_job_that_is_stopped_says_so(closed):
    """Its data are not blamed."""
    closed.stop.set()
    shutil.rmtree(closed.l0)
    assert closed.ingest().outcome is Outcome.STOPPED


def test_an_l1_is_made_once_and_again_where_it_was_asked_for(closed):
    """It matches its L0 store; a refresh makes it again only where its settings differ."""
    made = closed.make_l1()
    assert isinstance(closed.events[-2], L1Started)
    assert (made.outcome, made.is_changed, made.n_frames) == (Outcome.DONE, True, N_FRAMES)
    assert made.n_bytes > 0
    for refresh in (False, True):
        again = closed.make_l1(refresh=refresh)
        assert (again.outcome, again.is_changed) == (Outcome.DONE, False)
        assert not isinstance(closed.events[-2], L1Started)
    (closed.l1 / "zarr.json").write_text(
        (closed.l1 / "zarr.json").read_text().replace('"baseline_window": ', '"baseline_window": 1')
    )
    assert not closed.make_l1().is_changed
    assert closed.make_l1(refresh=True).is_changed


def test_an_l1_without_its_l0_is_missing(closed):
    """It was removed meanwhile; one on another file system than before waits."""
    assert closed.make_l1(output_device=0).outcome is Outcome.FAILED
    shutil.rmtree(closed.l0)
    assert closed.make_l1().outcome is Outcome.MISSING
    assert os.listdir(closed.l1_dir) == []


def test_a_comparison_finds_that_all_is_well(closed):
    """With what was compared: the store, its commit, frames and bytes."""
    ended = closed.verify()
    assert ended.outcome is Outcome.DONE
    assert ended.n_frames == N_FRAMES
    (file,) = frame_files(closed.run)
    assert ended.n_bytes == file.stat().st_size
    assert ended.store_id
    assert ended.commit > 0
    assert ended.verified_ns > 0


def test_a_comparison_finds_a_difference(closed):
    """Frame, file and byte are named; the times of the file say that nothing changed."""
    (file,) = frame_files(closed.run)
    status = file.stat()
    with file.open("r+b") as opened:
        opened.seek(-1, os.SEEK_END)
        byte = opened.read(1)[0]
        opened.seek(-1, os.SEEK_END)
        opened.write(bytes([byte ^ 1]))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    closed.digest = stream_digest(list_run(closed.run), closed.key)
    ended = closed.verify()
    assert (ended.outcome, ended.frame_index, ended.file) == (
        Outcome.CORRUPT,
        N_FRAMES - 1,
        file.name,
    )
    assert ended.byte_offset is not None
    assert "images" in ended.reason


def test_a_comparison_of_what_is_gone_or_other_is_none(closed):
    """Files other than listed; another file system; then no store; then no run."""
    assert closed.verify(output_device=0).outcome is Outcome.FAILED
    (file,) = frame_files(closed.run)
    os.utime(file, ns=(1, 1))
    assert closed.verify().outcome is Outcome.CHANGED
    shutil.rmtree(closed.l0)
    assert closed.verify().outcome is Outcome.MISSING
    shutil.rmtree(closed.run)
    assert closed.verify().outcome is Outcome.MISSING


def test_a_comparison_that_is_paused_goes_on(closed):
    """It waits while jobs run; stopped meanwhile, it ends."""
    closed.context.may_verify.clear()
    thread = threading.Thread(target=closed.verify)
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    closed.context.may_verify.set()
    thread.join()
    assert closed.last(VerifyEnded).outcome is Outcome.DONE
    closed.context.may_verify.clear()
    thread = threading.Thread(target=closed.verify)
    thread.start()
    closed.stop.set()
    thread.join()
    assert closed.last(VerifyEnded).outcome is Outcome.STOPPED
