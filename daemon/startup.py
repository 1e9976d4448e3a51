"""From the configuration file to a running service, and back to an exit code."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import sys
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from panoseti_zarr import __version__
from panoseti_zarr.config import Config, find_config, ineffective_keys, load_config
from panoseti_zarr.core.backoff import Backoff
from panoseti_zarr.daemon.status.lock import service_lock
from panoseti_zarr.daemon.status.requests import REQUESTS_NAME
from panoseti_zarr.daemon.watch.mounts import mount_of
from panoseti_zarr.errors import ConfigError, InputError, TransientIOError
from panoseti_zarr.io.fs.durable import ensure_directory

if TYPE_CHECKING:
    from panoseti_zarr.daemon.report.systemd import SystemdNotifier
    from panoseti_zarr.daemon.service import Service
    from panoseti_zarr.daemon.status.ledger import Ledger

_DIRECTORY_MODE = 0o750

_CONFIGURED_WRONGLY = frozenset(
    {
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT),
        *(errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP),
    }
)

_MAY_PASS = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})

_BACKOFF = Backoff(first_s=1.0, most_s=60.0)


def serve(argument: Path | None) -> int:
    """Run the service until it is stopped; return the exit code.

    Parameters
    ----------
    argument : Path or None
        The configuration file that was named.

    Raises
    ------
    ConfigError
        The configuration is wrong, or lacks what the service needs.
    InputError
        Another service uses the state directory, or it cannot be used.
    """
    from panoseti_zarr.daemon import log  # noqa: PLC0415 - so that other commands start fast
    from panoseti_zarr.daemon.report.systemd import SystemdNotifier  # noqa: PLC0415
    from panoseti_zarr.daemon.service import Service, ServicePaths  # noqa: PLC0415

    # Until the loop takes it: nothing was begun yet.
    signal.signal(signal.SIGTERM, _leave)
    config, path = load_service_config(argument)
    if not config.daemon.data_root:
        raise missing_key("data_root", path)
    l0_dir, l1_dir, state_dir = (
        directory(config, key, path) for key in ("l0_dir", "l1_dir", "state_dir")
    )
    # Whatever else the umask says, nothing may be writable for everybody.
    os.umask(os.umask(0o077) | 0o002)
    log.configure(config.logging.level, config.logging.format)
    logger = log.get_logger()
    _let_workers_log(config)
    notifier = SystemdNotifier.from_environment()
    _make(state_dir, "state_dir")
    with service_lock(state_dir):
        _make(state_dir / REQUESTS_NAME, "state_dir")
        ledger = _open_ledger(state_dir, notifier)
        for key, output in (("l0_dir", l0_dir), ("l1_dir", l1_dir)):
            # Different volume than last time: probably not mounted yet, so do not create it.
            volume = mount_of(output).volume
            if dict(ledger.volumes()).get(str(output), volume) == volume:
                _make(output, key)
        logger.info(
            "service.started",
            version=__version__,
            pid=os.getpid(),
            config=str(path) if path else None,
            state_dir=str(state_dir),
        )
        for note in ineffective_keys(config):
            logger.info("config.noted", note=note)
        paths = ServicePaths(l0_dir, l1_dir, state_dir)
        service = Service(config, path, paths, ledger, notifier)
        _install_signals(service)
        code = service.run()
    if service.has_abandoned:
        # Threads that hang in a file system would keep the process for ever.
        sys.stdout.flush()
        os._exit(code)
    return code


def load_service_config(argument: Path | None) -> tuple[Config, Path | None]:
    """Find and read the service's configuration; return it and the file used."""
    path = find_config(argument, service=True)
    return load_config(path), path


def directory(config: Config, key: str, path: Path | None) -> Path:
    """Return a directory of ``[daemon]`` that the service cannot do without.

    Raises
    ------
    ConfigError
        It is not configured; the message names the key.
    """
    found = getattr(config.daemon, key)
    if not isinstance(found, Path):
        raise missing_key(key, path)
    return found


def missing_key(key: str, path: Path | None) -> ConfigError:
    """Return the error for a key that the service needs and the configuration lacks."""
    file = str(path) if path else None
    where = "" if path else ", and there is no configuration file"
    return ConfigError(f"daemon.{key}: must be set for the service{where}", path=file)


def _let_workers_log(config: Config) -> None:
    """Have the worker processes that are started here log as this one does."""
    if config.cluster.use_cluster and config.cluster.type == "local":
        # Dask takes a while to import: only where it is used.
        import dask  # noqa: PLC0415

        dask.config.set(
            {"distributed.worker.preload": ["panoseti_zarr.daemon.jobs.worker_preload"]}
        )


def _make(path: Path, key: str) -> None:
    try:
        ensure_directory(path, _DIRECTORY_MODE)
    except OSError as error:
        # What a configuration does not mend may pass: systemd starts the service again.
        kind = ConfigError if error.errno in _CONFIGURED_WRONGLY else TransientIOError
        raise kind(
            f"daemon.{key}: cannot make the directory: {error.strerror}", path=str(path)
        ) from None


def _open_ledger(state_dir: Path, notifier: SystemdNotifier) -> Ledger:
    """Open the ledger; a disk that is full is waited for, for starting again would not help."""
    from panoseti_zarr.daemon.log import get_logger  # noqa: PLC0415
    from panoseti_zarr.daemon.status.ledger import Ledger  # noqa: PLC0415

    n_failures = 0
    while True:
        try:
            return Ledger(state_dir)
        except (sqlite3.Error, OSError) as error:
            # The low byte is the kind of the error: https://sqlite.org/rescode.html
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _MAY_PASS:
                raise InputError(f"cannot open the ledger: {error}", path=str(state_dir)) from None
            get_logger().error("ledger.failed", reason=str(error))
        n_failures += 1
        delay_s = _BACKOFF.delay_s(n_failures)
        notifier.extend_timeout(2 * delay_s)
        time.sleep(delay_s)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def _install_signals(service: Service) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda n, _: service.request_stop(signal.Signals(n).name))
    signal.signal(signal.SIGHUP, lambda *_: service.request_reload())
