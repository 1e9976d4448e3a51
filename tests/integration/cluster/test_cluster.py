"""Executors: the same work in threads, in worker processes, and on a cluster of others."""

import os
import signal
import tempfile
import threading
import time
from pathlib import Path
from queue import SimpleQueue

import psutil
import pytest
from distributed import Client
from support.stores import SMALL_CHUNKS, chunk_digests, ingest
from support.waiting import PATIENCE_S

from panoseti_zarr.cluster import ThreadExecutor, make_executor
from panoseti_zarr.cluster.dask_backend.scheduler_file import (
    read_scheduler_file,
    write_scheduler_file,
)
from panoseti_zarr.cluster.temporary import PREFIX, scratch_directory
from panoseti_zarr.config import Config
from panoseti_zarr.errors import ConfigError, CorruptDataError, TransientIOError
from panoseti_zarr.io.pff.listing import list_run
from panoseti_zarr.io.simulate import RunPlan, StreamPlan, simulate_run
from panoseti_zarr.pipeline.ingest import ingest_stream

LOCAL = Config.model_validate(
    {"cluster": {"use_cluster": True, "local": {"n_workers": 2, "dashboard_port": 0}}}
)


def executed_tasks(dask_worker):
    """Return what a worker's process is, and how many tasks it has run."""
    return os.getpid(), dask_worker.state.executed_count


def raise_corrupt(path):
    raise CorruptDataError("broken", path=path, frame_index=7)


def end_this_process():
    os.kill(os.getpid(), signal.SIGKILL)


def test_chunks_are_staged_by_two_worker_processes(tmp_path):
    """On a local cluster the tasks run in its two workers, and the store is the same."""
    run = simulate_run(tmp_path, RunPlan((StreamPlan("img16", 1, 1500),)))
    here = ingest(run, tmp_path / "here").store_path
    listing = list_run(run)
    l0_dir = tmp_path / "workers"
    l0_dir.mkdir()
    with make_executor(LOCAL) as executor:
        assert executor.n_slots == 2
        result = ingest_stream(listing, listing.keys[0], l0_dir, SMALL_CHUNKS, executor)
        with Client(executor.scheduler_address, set_as_default=False) as client:
            pids = dict(client.run(executed_tasks).values())
    assert os.getpid() not in pids
    assert len(pids) == 2
    assert all(n_tasks > 0 for n_tasks in pids.values())
    assert chunk_digests(result.store_path) == chunk_digests(here)


def test_errors_come_back_whole_and_losses_are_transient():
    """A task's error keeps its places; a task that kills its workers is a transient loss."""
    told = SimpleQueue()
    with make_executor(LOCAL, tell=told.put) as executor:
        with pytest.raises(CorruptDataError) as caught:
            executor.submit(raise_corrupt, "a.pff").result(timeout=PATIENCE_S)
        assert (caught.value.path, caught.value.frame_index) == ("a.pff", 7)
        with pytest.raises(TransientIOError, match="lost"):
            executor.submit(end_this_process).result(timeout=PATIENCE_S)
        assert told.get(timeout=PATIENCE_S).name == "cluster.worker_lost"
        assert executor.submit(os.getpid).result(timeout=PATIENCE_S) != os.getpid()


def test_a_cluster_of_others_is_found_by_its_file(tmp_path):
    """An executor made from a scheduler file uses that cluster, and leaves it running."""
    file = tmp_path / "scheduler.json"
    with make_executor(LOCAL) as owner:
        write_scheduler_file(file, owner.scheduler_address)
        with make_executor(Config(), scheduler=str(file)) as guest:
            assert guest.submit(os.getpid).result(timeout=PATIENCE_S) != os.getpid()
        assert owner.submit(os.getpid).result(timeout=PATIENCE_S) != os.getpid()


def test_a_cancelled_task_does_not_run(tmp_path):
    """What is cancelled before it starts leaves nothing behind."""
    with ThreadExecutor(1) as executor:
        gate = threading.Event()
        first = executor.submit(gate.wait)
        second = executor.submit(Path.touch, tmp_path / "ran")
        assert second.cancel()
        gate.set()
        assert first.result(timeout=PATIENCE_S)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", ["", "{"])
def test_a_scheduler_file_that_is_being_written_is_waited_for(tmp_path, content):
    """It is empty for a moment, or not whole; so it may be where a disk was full."""
    file = tmp_path / "scheduler.json"
    file.write_text(content)
    with pytest.raises(TransientIOError, match=r"scheduler\.json"):
        read_scheduler_file(file)


@pytest.mark.parametrize("content", ["{}", "hello", '{"address": 1}'])
def test_wrong_scheduler_files(tmp_path, content):
    """A file that is no scheduler file is a configuration error that names it."""
    file = tmp_path / "scheduler.json"
    file.write_text(content)
    with pytest.raises(ConfigError, match=r"scheduler\.json"):
        read_scheduler_file(file)


def test_no_scheduler_is_transient(tmp_path):
    """A scheduler that is not there yet may come."""
    with pytest.raises(TransientIOError):
        make_executor(Config(), scheduler=str(tmp_path / "none.json"))


def grow(size_bytes):
    """Hold much memory for longer than a nanny takes to look."""
    held = bytearray(size_bytes)
    time.sleep(60)
    return len(held)


def test_a_worker_that_grows_is_replaced():
    """Beyond its memory limit a worker is ended; its task is lost, others go on."""
    local = {"n_workers": 1, "memory_per_worker": "400MB", "dashboard_port": 0}
    config = Config.model_validate({"cluster": {"use_cluster": True, "local": local}})
    told = SimpleQueue()
    with make_executor(config, tell=told.put) as executor:
        pid = executor.submit(os.getpid).result(timeout=PATIENCE_S)
        task = executor.submit(grow, 600_000_000)
        assert told.get(timeout=PATIENCE_S).name == "cluster.worker_lost"
        task.cancel()
        assert executor.submit(os.getpid).result(timeout=PATIENCE_S) != pid


def test_a_local_cluster_listens_on_loopback_alone():
    """Scheduler, workers, nannies and their dashboards."""
    with make_executor(LOCAL):
        processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
        sockets = [c for p in processes for c in p.net_connections() if c.status == "LISTEN"]
    assert len(sockets) >= 5
    assert {socket.laddr.ip for socket in sockets} == {"127.0.0.1"}


def test_temporary_files_are_swept(tmp_path, monkeypatch):
    """They are removed at the end; what a killed process left, at the next start."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = tmp_path / f"{PREFIX}left"
    (left / "dask-scratch-space").mkdir(parents=True)
    foreign = tmp_path / "other"
    foreign.mkdir()
    with scratch_directory() as first, scratch_directory() as second:
        assert not left.exists()
        assert first.is_dir()
        assert second.is_dir()
        assert first != second
    assert list(tmp_path.iterdir()) == [foreign]


def test_a_local_cluster_keeps_its_files_in_its_directory(tmp_path, monkeypatch):
    """Nothing else is written for temporary use, and nothing stays."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with make_executor(LOCAL):
        assert [path.name.startswith(PREFIX) for path in tmp_path.iterdir()] == [True]
    assert list(tmp_path.iterdir()) == []
