"""The publisher: files, and watchdog pings while there is progress."""

import json
import secrets
import socket
import threading
import time

import pytest
from structlog.testing import capture_logs
from support.waiting import PATIENCE_S, wait_until

from panoseti_zarr.cluster.threads import ThreadExecutor
from panoseti_zarr.config import Config
from panoseti_zarr.core.backoff import Backoff
from panoseti_zarr.daemon.report import publisher as publisher_module
from panoseti_zarr.daemon.report.publisher import QUEUE, STUCK_S, StatusPublisher
from panoseti_zarr.daemon.report.systemd import SystemdNotifier
from panoseti_zarr.daemon.serial_threads import SerialThreads
from panoseti_zarr.daemon.state.events import Connected, Disconnected
from panoseti_zarr.daemon.state.machine import ServiceStateMachine
from panoseti_zarr.daemon.state.records import Run, Stream, StreamStatus
from panoseti_zarr.daemon.state.settings import Settings
from panoseti_zarr.daemon.status.file import read_status_file
from panoseti_zarr.daemon.status.ledger import Ledger


class SilentExecutor(ThreadExecutor):
    """An executor whose cluster gives no answer."""

    def silent_s(self) -> float:
        return STUCK_S + 1


@pytest.fixture
def listener():
    """A socket as systemd's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(f"\0{secrets.token_hex(8)}")
        server.setblocking(False)
        yield server


@pytest.fixture
def publisher(listener, tmp_path):
    """A publisher whose watchdog waits for a moment only."""
    threads = SerialThreads()
    address = "@" + listener.getsockname()[1:].decode()
    notifier = SystemdNotifier(address, watchdog_s=0.001)
    state = ServiceStateMachine(Settings())
    state.handle(Connected(0.0, n_slots=1))
    publisher = StatusPublisher(
        Config(), None, state, tmp_path, Ledger(tmp_path), threads, notifier, lambda _: None
    )
    publisher.state = state
    publisher.threads = threads
    yield publisher
    publisher.close()
    assert threads.close(QUEUE, 30)


def said(listener: socket.socket) -> list[str]:
    """Return the datagrams that have come."""
    found = []
    while True:
        try:
            found.append(listener.recv(1000).decode())
        except BlockingIOError:
            return found


def turn(publisher: StatusPublisher, listener: socket.socket) -> list[str]:
    """Let the publisher have a turn of the loop; return what it said."""
    time.sleep(0.002)
    publisher.run_due()
    return said(listener)


def test_a_pass_of_the_loop_pings_the_watchdog(publisher, listener):
    """And shows the state in words."""
    assert set(turn(publisher, listener)) == {"WATCHDOG=1", "STATUS=idle; 0 runs done"}
    assert turn(publisher, listener) == ["WATCHDOG=1"]


def test_an_unresponsive_cluster_stops_watchdog_pings(publisher, listener):
    """A cluster that was lost is looked for; one that just hangs ends the signs of life."""
    turn(publisher, listener)
    publisher.on_connected(SilentExecutor(1), n_slots=1, n_workers=1)
    (status,) = turn(publisher, listener)
    assert status == "STATUS=stuck: the cluster does not answer, and was not given up"
    assert turn(publisher, listener) == []
    publisher.state.handle(Disconnected(0.0, "no Dask scheduler answers"))
    assert "WATCHDOG=1" in turn(publisher, listener)


def test_a_write_that_hangs_stops_watchdog_pings(publisher, listener, tmp_path, monkeypatch):
    """Where the state directory hangs, nothing is remembered: a restart may help."""
    go_on = threading.Event()
    publisher.threads.submit(QUEUE, lambda: go_on.wait(PATIENCE_S))
    turn(publisher, listener)
    monkeypatch.setattr("panoseti_zarr.daemon.report.publisher.STUCK_S", 0.001)
    assert turn(publisher, listener) == [f"STATUS=stuck: a write to {tmp_path} does not end"]
    go_on.set()


def test_what_could_not_be_written_is_written_again(publisher, listener, tmp_path, monkeypatch):
    """The ledger, request files and the status file, once the disk takes them; without news."""
    soon = Backoff(first_s=0.01, most_s=0.02)
    monkeypatch.setattr(publisher_module, "FAILURES", soon)
    request = tmp_path / "1.json"
    request.touch()
    publisher.state.runs["a.pffd"] = Run("a.pffd", "/data", (0, 0, "a.pffd"))
    with capture_logs() as logs, monkeypatch.context() as broken:
        broken.setattr(publisher.ledger._ledger, "save", _fail)
        broken.setattr(publisher_module, "write_status_file", _fail)
        publisher.save("a.pffd")
        publisher.ledger.delete_when_saved(request)
        assert publisher._n_failures == 0
        wait_until(lambda: turn(publisher, listener) and publisher._n_failures)
        assert publisher._pause_s == soon.delay_s(1)
        wait_until(lambda: turn(publisher, listener) and publisher._n_failures >= 2)
        assert publisher._pause_s == soon.delay_s(2)
    assert {line["event"] for line in logs} == {"ledger.failed", "status.failed"}
    assert request.exists()
    wait_until(lambda: turn(publisher, listener) and not request.exists())
    assert [run.name for run in publisher.ledger._ledger.load(0)] == ["a.pffd"]
    wait_until((tmp_path / "status.json").exists)
    assert read_status_file(tmp_path).runs[0].name == "a.pffd"
    wait_until(lambda: turn(publisher, listener) and publisher._n_failures == 0)


def test_a_status_that_could_not_be_written_does_not_wait_for_news(
    publisher, listener, tmp_path, monkeypatch
):
    """Nothing else is to be written: it is tried again all the same, and not only when idle."""
    monkeypatch.setattr(publisher_module, "FAILURES", Backoff(first_s=0.01, most_s=0.01))
    with capture_logs() as logs, monkeypatch.context() as broken:
        broken.setattr(publisher_module, "write_status_file", _fail)
        wait_until(lambda: turn(publisher, listener) and publisher._n_failures)
    assert logs[0]["event"] == "status.failed"
    publisher._idle_s = 1e9
    wait_until(lambda: turn(publisher, listener) and (tmp_path / "status.json").exists())


def _fail(*_):
    raise OSError(28, "No space left on device")


def test_an_idle_status_file_is_touched_and_not_written_again(publisher, listener, tmp_path):
    """Of an archive of years the document is large: its age is renewed, its content is not."""
    turn(publisher, listener)
    publisher.threads.submit(QUEUE, lambda: None)
    path = tmp_path / "status.json"
    deadline_s = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert time.monotonic() < deadline_s
    before = path.stat()
    assert json.loads(path.read_bytes())["service"]["phase"] == "running"
    publisher._is_writing, publisher._has_news, publisher._idle_s = False, False, 1e9
    publisher._touched_s = -1e9
    turn(publisher, listener)
    done = threading.Event()
    publisher.threads.submit(QUEUE, done.set)
    assert done.wait(PATIENCE_S)
    after = path.stat()
    assert after.st_ino == before.st_ino
    assert after.st_mtime_ns > before.st_mtime_ns


def test_a_run_with_two_jobs_is_logged_once(publisher, listener):
    """How far a run is, is one line, however many of its streams are worked on."""
    streams = {
        key: Stream(key, StreamStatus.INGESTING, size_bytes=10)
        for key in ("dp_img16.module_1", "dp_img16.module_2")
    }
    state = publisher._state
    state.runs["a.pffd"] = Run("a.pffd", "/data", (0, 0, "a.pffd"), streams=streams)
    state.job_queue.running |= {("a.pffd", key) for key in streams}
    publisher.progress.every_s = 0.001
    with capture_logs() as logs:
        turn(publisher, listener)
        turn(publisher, listener)
    assert [(line["event"], line["run"]) for line in logs] == [("run.progress", "a.pffd")]
    assert logs[0]["n_behind_bytes"] == 20
