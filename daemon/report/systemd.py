"""Reports to systemd with the datagram protocol of sd_notify(3): ready, status, watchdog."""

from __future__ import annotations

import contextlib
import os
import socket

from panoseti_zarr.core.redact import redact_urls
from panoseti_zarr.daemon.log import get_logger
from panoseti_zarr.daemon.state.instructions import Log
from panoseti_zarr.daemon.status.document import StatusDocument
from panoseti_zarr.daemon.status.summary import summarize
from panoseti_zarr.errors import one_line

_STARTING_S = 30.0
"""Seconds by which a start that waits for its cluster extends systemd's limit."""


class SystemdNotifier:
    """Sends state to the socket that ``NOTIFY_SOCKET`` names; does nothing without one.

    Parameters
    ----------
    address : str
        A path, or an abstract name that begins with ``@``; empty for none.
    watchdog_s : float or None
        How long systemd waits for `watchdog`; None where it does not.
    """

    def __init__(self, address: str = "", watchdog_s: float | None = None) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.watchdog_s = watchdog_s

    @classmethod
    def from_environment(cls) -> SystemdNotifier:
        """Take the variables that systemd set, so that no child process inherits them."""
        address = os.environ.pop("NOTIFY_SOCKET", "")
        usec = os.environ.pop("WATCHDOG_USEC", "")
        pid = os.environ.pop("WATCHDOG_PID", "")
        is_for_us = pid in {"", str(os.getpid())}
        watchdog_s = int(usec) / 1e6 if usec.isdecimal() and is_for_us else None
        return cls(address, watchdog_s)

    def ready(self) -> None:
        """Report that the service is watching and connected."""
        self._send("READY=1")

    def status(self, words: str) -> None:
        """Report the state in words, in one line: a line break would begin another message."""
        self._send(f"STATUS={one_line(redact_urls(words))}")

    def watchdog(self) -> None:
        """Report that the loop made progress."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Report that the service is stopping."""
        self._send("STOPPING=1")

    def extend_timeout(self, seconds: float) -> None:
        """Ask for more time to start or stop."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        # Ignore errors: systemd may not be listening.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
        ):
            sender.setblocking(False)
            sender.connect(self._address)
            sender.send(message.encode())


class SystemdSink:
    """Shows the state in ``systemctl status``, and feeds the watchdog while there is progress.

    Parameters
    ----------
    notifier : SystemdNotifier
    """

    def __init__(self, notifier: SystemdNotifier) -> None:
        self._notifier = notifier
        self._is_stuck = False
        self._notified_s = 0.0

    def on_log(self, log: Log, *, is_news: bool) -> None:
        """Take in a log event; systemd has them from the journal."""

    def publish(self, document: StatusDocument) -> None:
        """Show the state in words."""
        if not self._is_stuck:
            self._notifier.status(summarize(document))

    def run_due(self, now_s: float, phase: str, stuck_reason: str) -> None:
        """Send the watchdog its signal while there is progress; otherwise log why not.

        Parameters
        ----------
        now_s : float
            Monotonic time.
        phase : str
            Of the service.
        stuck_reason : str
            Why systemd should restart the service; empty while it makes progress. That the loop
            calls this is progress of its own.
        """
        if now_s - self._notified_s < min(1.0, (self._notifier.watchdog_s or 4.0) / 4):
            return
        self._notified_s = now_s
        if not stuck_reason:
            self._notifier.watchdog()
        elif not self._is_stuck:
            get_logger().critical("service.stuck", reason=stuck_reason)
            self._notifier.status(f"stuck: {stuck_reason}")
        self._is_stuck = bool(stuck_reason)
        if phase == "starting":
            self._notifier.extend_timeout(_STARTING_S)

    def close(self) -> None:
        """End; systemd sees the process end."""
