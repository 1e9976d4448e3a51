"""The program that runs on each host of an SSH cluster: ``python -m panoseti_zarr.cluster.ssh.host_agent``.

It takes one order on stdin, runs a Dask scheduler or workers, and ends with its connection:
when stdin ends or nothing comes for `SILENCE_S`, it has `GRACE_S` to end, then its whole process
group is killed.
"""  # noqa: E501

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import select
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from panoseti_zarr.cluster.shared_paths import PathProbe, differences
from panoseti_zarr.cluster.ssh.protocol import GRACE_S, SILENCE_S, StartRequest, versions
from panoseti_zarr.cluster.temporary import scratch_directory
from panoseti_zarr.config import capped
from panoseti_zarr.errors import one_line

if TYPE_CHECKING:
    from distributed import Nanny, Scheduler, Security

_UMASK = 0o027
_READ_BYTES = 65536


def main() -> None:
    """Run what the order on stdin says, to the end of the connection."""
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    os.umask(_UMASK)
    # What others print must not come between our lines.
    answers = os.dup(1)
    os.dup2(2, 1)
    os.environ["DASK_LOGGING__DISTRIBUTED"] = "warning"

    def say(**words: Any) -> None:
        with contextlib.suppress(OSError):
            os.write(answers, json.dumps(words).encode() + b"\n")

    say(versions=versions(), group=os.getpgrp())
    lines = _Lines()
    first = lines.next(SILENCE_S)
    if first is None:
        return
    with scratch_directory() as scratch:
        # Of everything here and in the workers: Dask loads its certificates through files.
        tempfile.tempdir = os.environ["TMPDIR"] = str(scratch)
        asyncio.run(_serve(StartRequest.from_line(first), str(scratch), lines, say))
    _end_now()


class _Lines:
    """The lines of stdin, each waited for no longer than this many seconds."""

    def __init__(self) -> None:
        self._rest = b""

    def next(self, timeout_s: float) -> str | None:
        """Return the next line; None where stdin ends or nothing comes."""
        while b"\n" not in self._rest:
            if not select.select([0], [], [], timeout_s)[0]:
                return None
            if not (data := os.read(0, _READ_BYTES)):
                return None
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()


async def _serve(
    order: StartRequest, scratch: str, lines: _Lines, say: Callable[..., None]
) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def listen() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            # The loop answers, so that an answer means that it turns.
            while lines.next(SILENCE_S) is not None:
                loop.call_soon_threadsafe(say)
            loop.call_soon_threadsafe(stop.set)
        time.sleep(GRACE_S)
        _end_now()

    threading.Thread(target=listen, daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    difference = await asyncio.to_thread(differences, PathProbe(**order.sight))
    if difference:
        say(failed=difference)
        return
    try:
        servers = await _start(order, scratch, stop)
    except Exception as error:  # noqa: BLE001 - every error is reported to the other end
        say(failed=one_line(f"{error}: {error.__cause__ or type(error).__name__}"))
        return
    if servers is None:
        return
    say(address=servers[0].address, n_workers=len(servers), n_threads=_n_threads(order))
    ends = [asyncio.ensure_future(_finished(server)) for server in servers]
    await asyncio.wait(
        [*ends, asyncio.ensure_future(stop.wait())], return_when=asyncio.FIRST_COMPLETED
    )
    with contextlib.suppress(Exception):
        async with asyncio.timeout(GRACE_S):
            await asyncio.gather(*(server.close() for server in servers))


async def _start(order: StartRequest, scratch: str, stop: asyncio.Event) -> list[Any] | None:
    """Start the scheduler or the workers; None where the end came first."""
    import dask  # noqa: PLC0415 - so that the hello is quick

    dask.config.set({**order.dask, "temporary-directory": scratch})
    from panoseti_zarr.cluster.tls import Certificates  # noqa: PLC0415

    security = Certificates(**order.certificates).security()
    start: Callable[..., Coroutine[Any, Any, list[Any]]]
    start = _start_scheduler if order.scheduler is None else _start_workers
    starting = asyncio.create_task(start(order, scratch, security))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        return None
    stopping.cancel()
    return starting.result()


async def _start_scheduler(order: StartRequest, scratch: str, security: Security) -> list[Any]:
    from distributed import Scheduler  # noqa: PLC0415

    def make(port: int) -> Scheduler:
        return Scheduler(
            host=own_address(),
            port=port,
            protocol="tls",
            security=security,
            dashboard_address=f"127.0.0.1:{order.dashboard_port}",
        )

    # The dashboard's port may be taken: Dask then takes any.
    warnings.filterwarnings("ignore", "Port .* is already in use", UserWarning)
    try:
        return [await make(order.port)]
    except (OSError, RuntimeError) as error:
        # Dask wraps what went wrong at the start.
        cause = error.__cause__ or error
        if not (order.any_port and getattr(cause, "errno", None) == errno.EADDRINUSE):
            raise
        return [await make(0)]


async def _start_workers(order: StartRequest, scratch: str, security: Security) -> list[Any]:
    from distributed import Nanny  # noqa: PLC0415

    nannies = [
        Nanny(
            order.scheduler,
            name=f"{order.name}.{number}",
            nthreads=_n_threads(order),
            memory_limit=order.memory_bytes,
            host=own_address(),
            protocol="tls",
            security=security,
            local_directory=scratch,
            dashboard_address="127.0.0.1:0",
            death_timeout=2 * SILENCE_S,
        )
        for number in range(order.n_workers)
    ]
    await asyncio.gather(*nannies)
    return nannies


async def _finished(server: Scheduler | Nanny) -> None:
    await server.finished()  # type: ignore[no-untyped-call]


def own_address() -> str:
    """Return the address at which this host was reached, as sshd gives it.

    Raises
    ------
    OSError
        It does not.
    """
    words = os.environ.get("SSH_CONNECTION", "").split()
    if len(words) != 4:
        raise OSError("not started by sshd: SSH_CONNECTION is not set")
    return words[2].partition("%")[0]


def _n_threads(order: StartRequest) -> int:
    return min(order.n_threads, max(1, capped(sys.maxsize) // order.n_workers))


def _end_now() -> None:
    """Kill the process group: this process, its workers, and whatever they started."""
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    main()
