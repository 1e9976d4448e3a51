"""What the service tells systemd: alive while there is progress, and otherwise why not."""

import json
import secrets
import socket
import threading
import time

import pytest
from structlog.testing import capture_logs
from support.waiting import PATIENCE_S

from panoseti_zarr.config import Config
from panoseti_zarr.daemon.report.publisher import LANE, STUCK_S, StatusPublisher
from panoseti_zarr.daemon.report.systemd import SystemdNotifier
from panoseti_zarr.daemon.serial_threads import SerialThreads
from panoseti_zarr.daemon.state.machine import ServiceStateMachine
from panoseti_zarr.daemon.state.records import Run, Stream, StreamStatus
from panoseti_zarr.daemon.state.settings import Settings
from panoseti_zarr.daemon.status.ledger import Ledger


@pytest.fixture
def listener():
    """A socket as systemd's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(f"\0{secrets.token_hex(8)}")
        server.setblocking(False)
        yield server


@pytest.fixture
def recorder(listener, tmp_path):
    """A recorder whose watchdog waits for a moment only."""
    lanes = SerialThreads()
    address = "@" + listener.getsockname()[1:].decode()
    notifier = SystemdNotifier(address, watchdog_s=0.001)
    state = ServiceStateMachine(Settings())
    done = []
    recorder = StatusPublisher(
        Config(), None, state, tmp_path, Ledger(tmp_path), lanes, notifier, done.append
    )
    recorder.phase = "running"
    recorder.lanes = lanes
    yield recorder
    recorder.close()
    assert lanes.close(LANE, 30)


def said(listener: socket.socket) -> list[str]:
    """Return the datagrams that have come."""
    found = []
    while True:
        try:
            found.append(listener.recv(1000).decode())
        except BlockingIOError:
            return found


def turn(recorder: StatusPublisher, listener: socket.socket) -> list[str]:
    """Let the recorder have a turn of the loop; return what it said."""
    time.sleep(0.002)
    recorder.turn()
    return said(listener)


def test_a_turn_of_the_loop_is_a_sign_of_life(recorder, listener):
    """WATCHDOG and the state in words."""
    assert set(turn(recorder, listener)) == {"WATCHDOG=1", "STATUS=idle; 0 runs done"}
    assert turn(recorder, listener) == ["WATCHDOG=1"]


def test_a_silent_cluster_is_none_unless_it_is_waited_for(recorder, listener):
    """A cluster that was lost is looked for; one that just hangs ends the signs of life."""
    turn(recorder, listener)
    recorder.cluster_silent_s = lambda: STUCK_S + 1
    (status,) = turn(recorder, listener)
    assert status == "STATUS=stuck: the cluster does not answer, and was not given up"
    assert turn(recorder, listener) == []
    recorder.waits_for = "no Dask scheduler answers"
    assert "WATCHDOG=1" in turn(recorder, listener)


def test_a_write_that_does_not_end_is_none(recorder, listener, tmp_path, monkeypatch):
    """Where the state directory hangs, nothing is remembered: a restart may help."""
    go_on = threading.Event()
    recorder.lanes.submit(LANE, lambda: go_on.wait(PATIENCE_S))
    turn(recorder, listener)
    monkeypatch.setattr("panoseti_zarr.daemon.report.publisher.STUCK_S", 0.001)
    assert turn(recorder, listener) == [f"STATUS=stuck: a write to {tmp_path} does not end"]
    go_on.set()


def test_an_idle_status_file_is_touched_and_not_written_again(recorder, listener, tmp_path):
    """Of an archive of years the document is large: its age is renewed, its content is not."""
    turn(recorder, listener)
    recorder.lanes.submit(LANE, lambda: None)
    path = tmp_path / "status.json"
    deadline_s = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert time.monotonic() < deadline_s
    before = path.stat()
    assert json.loads(path.read_bytes())["service"]["phase"] == "running"
    recorder._is_writing, recorder._has_news, recorder._idle_s = False, False, 1e9
    recorder._touched_s = -1e9
    turn(recorder, listener)
    done = threading.Event()
    recorder.lanes.submit(LANE, done.set)
    assert done.wait(PATIENCE_S)
    after = path.stat()
    assert after.st_ino == before.st_ino
    assert after.st_mtime_ns > before.st_mtime_ns


def test_a_run_with_two_jobs_is_told_of_once(recorder, listener):
    """How far a run is, is one line, however many of its streams are worked on."""
    streams = {
        key: Stream(key, StreamStatus.INGESTING, size_bytes=10)
        for key in ("dp_img16.module_1", "dp_img16.module_2")
    }
    state = recorder._state
    state.runs["a.pffd"] = Run("a.pffd", "/data", (0, 0, "a.pffd"), streams=streams)
    state.backlog.running |= {("a.pffd", key) for key in streams}
    recorder.progress.every_s = 0.001
    with capture_logs() as logs:
        turn(recorder, listener)
        turn(recorder, listener)
    assert [(line["event"], line["run"]) for line in logs] == [("run.progress", "a.pffd")]
    assert logs[0]["n_behind_bytes"] == 20
