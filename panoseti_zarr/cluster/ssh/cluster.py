"""A Dask cluster on several hosts: a scheduler, workers, and a thread that keeps them up."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import threading
from concurrent.futures import Future
from dataclasses import asdict
from typing import Any

from panoseti_zarr.cluster.dask_backend.client import Contact
from panoseti_zarr.cluster.dask_backend.dask_config import DASK_SETTINGS
from panoseti_zarr.cluster.executor import ClusterEvent, Tell
from panoseti_zarr.cluster.shared_paths import SharedPaths, write_probe_files
from panoseti_zarr.cluster.ssh.host_process import HostProcess, Started
from panoseti_zarr.cluster.ssh.protocol import StartRequest
from panoseti_zarr.cluster.ssh.supervisor import HostSupervisor, SchedulerAddress
from panoseti_zarr.cluster.tls import Certificates
from panoseti_zarr.config import SshClusterConfig
from panoseti_zarr.errors import ConfigError, TransientIOError


class SshCluster:
    """The scheduler on the first host, workers on the others; alone, a host has both.

    Parameters
    ----------
    settings : SshClusterConfig
    certificates : Certificates
    places : SharedPaths
        What every host of workers must see as we do.
    tell : callable
        Takes ``cluster.scheduler_started``, ``cluster.host_joined``, ``cluster.host_lost`` and
        ``cluster.host_said``.
    """

    def __init__(
        self,
        settings: SshClusterConfig,
        certificates: Certificates,
        places: SharedPaths,
        tell: Tell,
    ) -> None:
        check_hosts(settings.hosts)
        self._settings = settings
        self._certificates = certificates
        self._places = places
        self._tell = tell
        self._port = settings.scheduler_port
        self._address = ""
        self._n_starts = 0
        self._begun: Future[None] = Future()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="ssh cluster", daemon=True)

    def start(self) -> None:
        """Start it: the scheduler, and all workers, or those that came within ``connect_timeout``.

        Raises
        ------
        ConfigError
            A host is not the one that is known, does not let us in, or runs other versions.
        TransientIOError
            The scheduler or all workers did not start, or a host sees other directories.
        """
        self._thread.start()
        try:
            self._begun.result()
        except BaseException:
            self.close()
            raise

    def contact(self) -> Contact:
        """Return where the scheduler is now.

        Raises
        ------
        TransientIOError
            It is being started again.
        """
        if not (address := self._address):
            raise TransientIOError(f"the scheduler on {self._settings.hosts[0]} is not up yet")
        return Contact(address, self._certificates.security())

    def close(self) -> None:
        """End everything on all hosts."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._keep_all())
        except BaseException as error:  # the waiting start must learn of it
            if self._begun.done():
                raise
            self._begun.set_exception(error)
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    async def _keep_all(self) -> None:
        rendezvous, changed = SchedulerAddress(), asyncio.Event()
        first, *others = self._settings.hosts
        scheduler = HostSupervisor(
            first,
            functools.partial(self._make_scheduler, first, rendezvous),
            on_up=functools.partial(self._scheduler_up, first, rendezvous),
            on_change=changed.set,
            until=None,
            tell=self._tell,
        )
        workers = [
            HostSupervisor(
                host,
                functools.partial(self._make_workers, host, number, rendezvous),
                on_up=functools.partial(self._workers_up, host),
                on_change=changed.set,
                until=rendezvous.wait_until_closed,
                tell=self._tell,
            )
            for number, host in enumerate(others or [first])
        ]
        tasks = [asyncio.create_task(keeper.keep()) for keeper in (*workers, scheduler)]
        stop = asyncio.create_task(self._stop.wait())
        begin = asyncio.create_task(self._begin(scheduler, workers, changed))
        try:
            await _first_of(begin, stop, *tasks)
            if begin.done():
                self._begun.set_result(begin.result())
                await _first_of(stop, *tasks)
        finally:
            # Workers first: the scheduler would report each as lost.
            await _end(begin, stop, *tasks[:-1])
            await _end(tasks[-1])

    async def _begin(
        self, scheduler: HostSupervisor, workers: list[HostSupervisor], changed: asyncio.Event
    ) -> None:
        """Wait until all are up; after ``connect_timeout``, until one is."""
        keepers = (scheduler, *workers)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.connect_timeout):
                while not all(keeper.is_up for keeper in keepers):
                    for keeper in keepers:
                        if keeper.problem is not None and keeper.is_permanent:
                            raise keeper.problem
                    changed.clear()
                    await changed.wait()
                return
        if scheduler.is_up and any(keeper.is_up for keeper in workers):
            return
        missing = [keeper for keeper in keepers if not keeper.is_up]
        why = [str(keeper.problem or f"{keeper.host}: no answer yet") for keeper in missing]
        within = f"within {self._settings.connect_timeout:g} s"
        raise TransientIOError(
            f"the SSH cluster did not start {within}: {'; '.join(dict.fromkeys(why))}"
        )

    async def _make_scheduler(
        self, host: str, rendezvous: SchedulerAddress, stack: contextlib.AsyncExitStack
    ) -> HostProcess:
        order = StartRequest(
            scheduler=None,
            name=host,
            certificates=asdict(self._certificates),
            # Who waits for it finds it where it was.
            port=self._port,
            any_port=not self._settings.scheduler_port,
            dashboard_port=self._settings.dashboard_port,
            dask=DASK_SETTINGS,
        )
        stack.callback(self._scheduler_down, rendezvous)
        return await self._start(host, order, stack)

    async def _make_workers(
        self, host: str, number: int, rendezvous: SchedulerAddress, stack: contextlib.AsyncExitStack
    ) -> HostProcess:
        scheduler = await rendezvous.wait_until_open()
        settings = self._settings
        self._n_starts += 1
        with contextlib.ExitStack() as tokens:
            sight = await asyncio.to_thread(tokens.enter_context, write_probe_files(self._places))
            order = StartRequest(
                scheduler=scheduler,
                # Never one that was used before: the scheduler may still have the old worker.
                name=f"{host}.{number}.{self._n_starts}",
                certificates=asdict(self._certificates),
                n_workers=settings.workers_per_host,
                n_threads=settings.threads_per_worker,
                memory_bytes=settings.memory_per_worker_bytes,
                dask=DASK_SETTINGS,
                sight=asdict(sight),
            )
            return await self._start(host, order, stack)

    async def _start(
        self, host: str, order: StartRequest, stack: contextlib.AsyncExitStack
    ) -> HostProcess:
        process = HostProcess(host, self._settings, order, self._tell)
        stack.push_async_callback(process.close)
        await process
        return process

    def _scheduler_up(self, host: str, rendezvous: SchedulerAddress, started: Started) -> None:
        self._address = started.address
        self._port = int(started.address.rpartition(":")[2])
        fields = {"host": host, "address": started.address}
        self._tell(ClusterEvent("cluster.scheduler_started", "info", fields))
        rendezvous.open(started.address)

    def _scheduler_down(self, rendezvous: SchedulerAddress) -> None:
        self._address = ""
        rendezvous.close()

    def _workers_up(self, host: str, started: Started) -> None:
        fields = {"host": host, "n_workers": started.n_workers, "n_threads": started.n_threads}
        self._tell(ClusterEvent("cluster.host_joined", "info", fields))


async def _first_of(*tasks: asyncio.Task[Any]) -> None:
    """Wait for the first task to end; raise what it raised."""
    ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in ended:
        task.result()


async def _end(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def check_hosts(hosts: tuple[str, ...]) -> None:
    """Refuse hosts that cannot find each other.

    Raises
    ------
    ConfigError
        One is this machine by a name that means another machine elsewhere.
    """
    loopback = [host for host in hosts if _is_loopback(host)]
    if loopback and len(loopback) < len(hosts):
        raise ConfigError(
            f"[cluster.ssh] hosts: the other hosts cannot reach {loopback[0]}: give its name "
            "in the network"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
