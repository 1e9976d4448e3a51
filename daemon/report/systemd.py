"""Tell systemd how the service is: the datagram protocol of sd_notify(3), in a few lines."""

from __future__ import annotations

import contextlib
import os
import socket

from panoseti_zarr.core.redact import redact_urls
from panoseti_zarr.errors import one_line


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
        """Say that the service is watching and connected."""
        self._send("READY=1")

    def status(self, words: str) -> None:
        """Give the state in words; a line break in them would begin another message."""
        self._send(f"STATUS={one_line(redact_urls(words))}")

    def watchdog(self) -> None:
        """Say that the loop made progress."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that the service is on its way out."""
        self._send("STOPPING=1")

    def extend_timeout(self, seconds: float) -> None:
        """Ask for more time to start or stop."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        # Nobody who listens is no reason to fail.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
        ):
            sender.setblocking(False)
            sender.connect(self._address)
            sender.send(message.encode())
