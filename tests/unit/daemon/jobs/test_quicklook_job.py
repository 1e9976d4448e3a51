"""The service's quick-looks: when none are drawn, and how failures are reported."""

import importlib.util
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from support.waiting import PATIENCE_S

from panoseti_zarr.config import Config
from panoseti_zarr.daemon.jobs import child_process, quicklook
from panoseti_zarr.daemon.jobs.quicklook import Quicklooks
from panoseti_zarr.daemon.state.events import QuicklookEnded

STREAM = ("obs_a.pffd", "dp_img16.module_1")


class Inbox:
    """The events that were posted, and a way to wait for more."""

    def __init__(self) -> None:
        self.events: list[QuicklookEnded] = []
        self._more = threading.Semaphore(0)

    def __call__(self, event: QuicklookEnded) -> None:
        self.events.append(event)
        self._more.release()

    def wait(self) -> QuicklookEnded:
        """Wait for the next."""
        assert self._more.acquire(timeout=PATIENCE_S)
        return self.events[-1]


class FakeProcess:
    """Stands for a process; ``ends`` says how."""

    started: list[list[str]]

    def __init__(self, words, **_) -> None:
        self.started.append(words)
        self.pid, self.returncode = 2**30, None
        self.killed = threading.Event()

    def communicate(self, timeout=None):
        if "slow" in self.started[-1][4] and timeout is not None:
            if self.killed.wait(min(timeout, 60)):
                self.returncode = -9
                return "", ""
            raise subprocess.TimeoutExpired("quicklook", timeout)
        self.returncode = 1
        return "", "config: none\nerror: it is broken\n"

    def kill(self):
        self.killed.set()


@pytest.fixture
def started(monkeypatch):
    """Start no real process; give the words of those that were asked for."""
    monkeypatch.setattr(FakeProcess, "started", [], raising=False)
    monkeypatch.setattr(child_process.subprocess, "Popen", FakeProcess)
    return FakeProcess.started


def config(**quicklook: str) -> Config:
    """Return a configuration with directories."""
    places = {"data_root": "/data", "l0_dir": "/l0", "l1_dir": "/l1", "state_dir": "/state"}
    return Config.model_validate({"daemon": places, "quicklook": quicklook})


def test_a_picture_is_asked_of_a_process_of_its_own(started):
    """It runs our own command with the stores; in the state directory unless another is set."""
    for settings, directory in (({}, "/state/quicklook"), ({"dir": "/pictures"}, "/pictures")):
        inbox = Inbox()
        maker = Quicklooks(config(**settings), Path("/state"), inbox)
        maker.enqueue(*STREAM)
        event = inbox.wait()
        maker.close()
        assert (event.run, event.stream, event.problem) == (*STREAM, "it is broken")
        assert started[-1] == [
            *(sys.executable, "-m", "panoseti_zarr", "quicklook"),
            "/l0/obs_a.pffd.dp_img16.module_1.zarr",
            f"{directory}/obs_a.pffd.dp_img16.module_1.png",
            *("--l1", "/l1"),
        ]


def test_one_that_takes_too_long_is_given_up(started, monkeypatch):
    """It is killed, and the next one made."""
    monkeypatch.setattr(quicklook, "TIMEOUT_S", 0.05)
    inbox = Inbox()
    maker = Quicklooks(config(), Path("/state"), inbox)
    maker.enqueue("slow.pffd", "dp_img16.module_1")
    maker.enqueue(*STREAM)
    inbox.wait()
    inbox.wait()
    maker.close()
    assert [event.problem for event in inbox.events] == [
        "it took longer than 0.05 s",
        "it is broken",
    ]


def test_the_end_of_the_service_does_not_wait(started):
    """What is under way is killed, what waits is left, and nothing more is said."""
    inbox = Inbox()
    maker = Quicklooks(config(), Path("/state"), inbox)
    maker.enqueue("slow.pffd", "dp_img16.module_1")
    maker.enqueue(*STREAM)
    maker.close()
    assert len(started) <= 1
    assert inbox.events == []


def test_a_process_that_cannot_be_started_is_said(monkeypatch):
    """No memory for it: one warning."""

    def fail(*_, **__):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(child_process.subprocess, "Popen", fail)
    inbox = Inbox()
    maker = Quicklooks(config(), Path("/state"), inbox)
    maker.enqueue(*STREAM)
    assert "Cannot allocate memory" in inbox.wait().problem
    maker.close()


def test_none_are_made_where_none_are_wanted(started):
    """An empty ``dir``: no process, no word."""
    inbox = Inbox()
    maker = Quicklooks(config(dir=""), Path("/state"), inbox)
    maker.enqueue(*STREAM)
    maker.close()
    assert (started, inbox.events) == ([], [])


def test_without_matplotlib_it_is_said_once(started, monkeypatch):
    """At the start, with the way out; then nothing is tried."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    inbox = Inbox()
    with capture_logs() as logs:
        maker = Quicklooks(config(), Path("/state"), inbox)
    maker.enqueue(*STREAM)
    maker.close()
    (log,) = logs
    assert (log["event"], log["log_level"]) == ("quicklook.unavailable", "info")
    assert "pip install" in log["reason"]
    assert (started, inbox.events) == ([], [])
