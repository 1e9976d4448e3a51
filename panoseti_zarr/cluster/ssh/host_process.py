"""One process on one host: started over SSH, its output drained, alive as long as it answers."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import json
import os
import shlex
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh

from panoseti_zarr.cluster.dask_backend.internals import ProcessInterface
from panoseti_zarr.cluster.executor import ClusterEvent, Tell
from panoseti_zarr.cluster.ssh.log_lines import OutputLines
from panoseti_zarr.cluster.ssh.protocol import (
    GRACE_S,
    HEARTBEAT_S,
    SILENCE_S,
    StartRequest,
    version_difference,
    versions,
)
from panoseti_zarr.config import SshClusterConfig
from panoseti_zarr.errors import ConfigError, TransientIOError, one_line

_MODULE = "panoseti_zarr.cluster.ssh.host_agent"
_CONNECT_S = 10.0
_START_S = 60.0
"""How long a start may take, where ``connect_timeout`` is no longer."""

_DEAF_S = 2 * SILENCE_S
"""How long a process may send no heartbeat."""

_N_MISSED = 3
"""Keep-alive messages of SSH, `HEARTBEAT_S` apart, that a host may leave unanswered."""

_READ_BYTES = 65536
_NOT_FOUND = frozenset({126, 127})


class HostUnreachableError(TransientIOError):
    """Nobody answers at the host at present, or the connection broke."""


@dataclass(frozen=True)
class Started:
    """What a host says when its processes are up.

    Attributes
    ----------
    address : str
        Of the scheduler, or of the first worker's nanny.
    n_workers, n_threads : int
        Threads of each worker.
    """

    address: str
    n_workers: int
    n_threads: int


class HostProcess(ProcessInterface):
    """A Dask scheduler, or the workers of one host; awaiting it starts it.

    Parameters
    ----------
    host : str
    settings : SshClusterConfig
    order : StartRequest
    tell : callable
        Takes ``cluster.host_said``.
    """

    def __init__(
        self, host: str, settings: SshClusterConfig, order: StartRequest, tell: Tell
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.started: Started | None = None
        self._host = host
        self._settings = settings
        self._order = order
        self._connection: asyncssh.SSHClientConnection | None = None
        self._process: asyncssh.SSHClientProcess[str] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._group = 0
        self._last_lines: deque[str] = deque(maxlen=3)
        self._output = OutputLines(
            lambda line: tell(
                ClusterEvent("cluster.host_said", "info", {"host": host, "line": line})
            )
        )

    async def start(self) -> None:
        """Connect, compare versions, give the order, and wait until it is carried out.

        Raises
        ------
        ConfigError
            The host is not the one that is known, does not let us in, or runs other versions.
        TransientIOError
            It cannot be reached, cannot do it, or sees other directories than we do.
        """
        try:
            async with asyncio.timeout(max(_START_S, self._settings.connect_timeout)):
                await self._connect()
                await self._begin()
        except TimeoutError:
            raise HostUnreachableError(f"{self._host}: did not start in time") from None
        except (asyncssh.Error, OSError) as error:
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            raise HostUnreachableError(f"{self._host}: {one_line(str(reason))}") from None
        await super().start()  # type: ignore[no-untyped-call]

    async def lost(self) -> str:
        """Wait until the process ended or its host is lost; return the reason."""
        try:
            while True:
                async with asyncio.timeout(_DEAF_S):
                    line = await self._stdout().readline()
                if not line:
                    return await self._why_ended()
        except TimeoutError:
            return "it sent no heartbeat"
        except (asyncssh.Error, OSError) as error:
            return f"the connection was lost: {one_line(str(error))}"

    async def close(self) -> None:
        """End the process: it has some seconds, then its connection is closed.

        Whatever becomes of the connection, the host ends it within `SILENCE_S` and `GRACE_S`.
        """
        if self._process is not None:
            with contextlib.suppress(asyncssh.Error, OSError):
                self._process.stdin.write_eof()
                if not await self._ends_within(2 * GRACE_S):
                    await self._kill()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._connection is not None:
            self._connection.abort()
        self._output.end()
        await super().close()  # type: ignore[no-untyped-call]

    async def _kill(self) -> None:
        """Kill what hangs, or was stopped, and so cannot end itself."""
        if self._connection is not None and self._group:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GRACE_S):
                    await self._connection.run(f"kill -KILL -- -{self._group}")

    async def _ends_within(self, timeout_s: float) -> bool:
        assert self._process is not None  # noqa: S101 - started before
        try:
            async with asyncio.timeout(timeout_s):
                await self._process.wait_closed()
        except TimeoutError:
            return False
        return True

    async def _connect(self) -> None:
        settings = self._settings
        chosen: dict[str, Any] = {}
        if settings.username is not None:
            chosen["username"] = settings.username
        if settings.identity_file is not None:
            chosen["client_keys"] = [str(_readable(settings.identity_file, "identity_file"))]
        try:
            self._connection = await asyncssh.connect(
                self._host,
                # Never None, which would turn the verification off.
                known_hosts=known_hosts(settings.known_hosts),
                preferred_auth="publickey",
                keepalive_interval=HEARTBEAT_S,
                keepalive_count_max=_N_MISSED,
                connect_timeout=min(_CONNECT_S, settings.connect_timeout),
                **chosen,
            )
        except asyncssh.HostKeyNotVerifiable as error:
            raise ConfigError(
                f"{self._host}: its SSH host key is not the one that known_hosts has for it "
                f"({one_line(error.reason)})"
            ) from None
        except asyncssh.PermissionDenied:
            name = settings.username or getpass.getuser()
            raise ConfigError(f"{self._host}: SSH does not let {name} in with a key") from None
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError) as error:
            raise ConfigError(f"[cluster.ssh] {one_line(str(error))}") from None

    async def _begin(self) -> None:
        assert self._connection is not None  # noqa: S101 - connected before
        python = self._settings.remote_python or sys.executable
        self._process = await self._connection.create_process(
            f"exec {shlex.quote(python)} -m {_MODULE}", encoding="utf-8", errors="replace"
        )
        self._tasks.append(asyncio.create_task(self._drain()))
        hello = await self._answer()
        if difference := version_difference(versions(), hello.get("versions", {})):
            raise ConfigError(f"{self._host}: versions differ: {difference}")
        self._group = int(hello["group"])
        self._process.stdin.write(self._order.line())
        self._tasks.append(asyncio.create_task(self._beat()))
        # Between them come signs of life.
        while not (answer := await self._answer()):
            pass
        if "failed" in answer:
            raise TransientIOError(f"{self._host}: {one_line(str(answer['failed']))}")
        self.started = Started(**answer)

    async def _answer(self) -> dict[str, Any]:
        line = await self._stdout().readline()
        if not line:
            reason = await self._why_ended()
            status = self._process.exit_status if self._process else None
            text = f"{self._host}: {reason}"
            if status in _NOT_FOUND or "No module named" in reason:
                raise ConfigError(f"{text}: is [cluster.ssh] remote_python right?")
            raise TransientIOError(text)
        words = None
        with contextlib.suppress(ValueError):
            words = json.loads(line)
        if not isinstance(words, dict):
            raise ConfigError(
                f"{self._host}: its login shell says something where {_MODULE} should: "
                f"{one_line(line.strip())[:200]}"
            )
        return words

    def _stdout(self) -> asyncssh.SSHReader[str]:
        assert self._process is not None  # noqa: S101 - started before
        return self._process.stdout

    async def _beat(self) -> None:
        """Send heartbeats until the connection breaks."""
        assert self._process is not None  # noqa: S101 - started before
        with contextlib.suppress(asyncssh.Error, OSError):
            while True:
                await asyncio.sleep(HEARTBEAT_S)
                self._process.stdin.write("\n")
                await self._process.stdin.drain()

    async def _drain(self) -> None:
        """Read what the host writes to stderr, so that it never has to wait for us."""
        assert self._process is not None  # noqa: S101 - started before
        with contextlib.suppress(asyncssh.Error, OSError):
            while text := await self._process.stderr.read(_READ_BYTES):
                self._last_lines.extend(self._output.take(text))

    async def _why_ended(self) -> str:
        """Say why there is no more output."""
        assert self._process is not None  # noqa: S101 - started before
        with contextlib.suppress(asyncssh.Error, OSError, TimeoutError):
            async with asyncio.timeout(GRACE_S):
                await self._process.wait_closed()
                await self._tasks[0]
        said = " | ".join(self._last_lines)
        signal = self._process.exit_signal
        how = f"by signal {signal[0]}" if signal else f"with status {self._process.exit_status}"
        return f"the process ended {how}" + (f": {said}" if said else "")


def known_hosts(configured: Path | None) -> list[str]:
    """Return the files of host keys; an empty list knows no host.

    Raises
    ------
    ConfigError
        The configured file cannot be read.
    """
    if configured is not None:
        return [str(_readable(configured, "known_hosts"))]
    usual = ("~/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts")
    return [path for path in map(os.path.expanduser, usual) if os.access(path, os.R_OK)]


def _readable(path: Path, key: str) -> Path:
    if not os.access(path, os.R_OK):
        raise ConfigError(f"cannot read [cluster.ssh] {key}", path=str(path))
    return path
