"""A command of this program beside the service: a process of low priority that ends with it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_LOWEST_PRIORITY = 19


@dataclass(frozen=True)
class CommandResult:
    """How a command ended.

    Attributes
    ----------
    code : int
        Its exit code; negative for a signal.
    stdout, stderr : str
    timed_out : bool
        It took too long, and was killed.
    """

    code: int
    stdout: str
    stderr: str
    timed_out: bool

    @property
    def reason(self) -> str:
        """What it said last, or with which code it ended."""
        last = self.stderr.strip().rpartition("\n")[2].removeprefix("error: ")
        return last or f"its process ended with code {self.code}"


class CommandRunner:
    """Runs commands, one at a time.

    Parameters
    ----------
    environment : mapping of str to str
        What a command has beside the service's own.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = dict(environment or {})
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        """Nothing is begun any more."""
        return self._is_closed

    def run(self, words: Sequence[str], timeout_s: float) -> CommandResult | None:
        """Run a command to its end; None once this is closed.

        Raises
        ------
        OSError, ValueError
            It cannot be started.
        """
        with self._lock:
            if self._is_closed:
                return None
            process = self._process = subprocess.Popen(  # noqa: S603 - this program
                [sys.executable, "-m", "panoseti_zarr", *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                env=os.environ | self._environment,
            )
        # What a unit forbids, and a process that has ended, are no matter.
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process.pid, _LOWEST_PRIORITY)
        timed_out = False
        try:
            stdout, stderr = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            timed_out = True
            process.kill()
            # Until it is gone, which on a disk that hangs may be never: no other one is started.
            stdout, stderr = process.communicate()
        if self._is_closed:
            return None
        return CommandResult(process.returncode, stdout, stderr, timed_out)

    def close(self) -> None:
        """End what is under way, from any thread, and begin nothing more."""
        with self._lock:
            self._is_closed = True
            if self._process is not None:
                self._process.kill()
