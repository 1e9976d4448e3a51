"""sd_notify: datagrams as systemd reads them."""

import os
import secrets
import socket

import pytest
from support.waiting import PATIENCE_S

from panoseti_zarr.daemon.report.systemd import SystemdNotifier


@pytest.fixture(params=["path", "abstract"])
def listener(request, tmp_path, monkeypatch):
    """A socket as systemd's, and its address in the environment."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        server.settimeout(PATIENCE_S)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        monkeypatch.setenv("WATCHDOG_USEC", "60000000")
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
        yield server


def test_what_is_said_arrives(listener):
    """Paths and abstract names; every message in systemd's words."""
    notifier = SystemdNotifier.from_environment()
    notifier.ready()
    notifier.status("2 runs wait")
    notifier.watchdog()
    notifier.stopping()
    notifier.extend_timeout(1.5)
    assert [listener.recv(200).decode() for _ in range(5)] == [
        "READY=1",
        "STATUS=2 runs wait",
        "WATCHDOG=1",
        "STOPPING=1",
        "EXTEND_TIMEOUT_USEC=1500000",
    ]
    assert notifier.watchdog_s == 60


def test_words_are_one_line_without_a_password(listener):
    """What a name or a library puts into the state cannot become a message of its own."""
    SystemdNotifier.from_environment().status("waits for tls://me:word@host\nMAINPID=1")
    assert listener.recv(200).decode() == "STATUS=waits for tls://host\\nMAINPID=1"


def test_children_do_not_inherit_the_socket(listener):
    """The variables are gone once they were read."""
    SystemdNotifier.from_environment()
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & os.environ.keys()


def test_a_watchdog_of_another_process_is_not_ours(listener, monkeypatch):
    """WATCHDOG_PID names who is meant."""
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert SystemdNotifier.from_environment().watchdog_s is None


def test_without_a_socket_nothing_happens(monkeypatch, tmp_path):
    """Run by hand there is nobody to tell; a socket that is gone is no error."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    SystemdNotifier.from_environment().ready()
    SystemdNotifier(str(tmp_path / "gone")).ready()
