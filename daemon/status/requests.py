"""Requests to the running service: small files in its state directory, deleted when done."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from panoseti_zarr.config import DaemonConfig
from panoseti_zarr.daemon.status.file import read_status_file
from panoseti_zarr.errors import InputError, one_line

REQUESTS_NAME = "requests"

_MAX_BYTES = 4096


@dataclass(frozen=True)
class RetryRequest:
    """A request to retry a run, or to rebuild its stores."""

    run: str
    rebuild: bool


def request_retry(settings: DaemonConfig, state_dir: Path, run: str, *, rebuild: bool) -> None:
    """Ask the service to try a run again, now or at its next start.

    Parameters
    ----------
    settings : DaemonConfig
    state_dir : Path
        The service's.
    run : str
        Name of a run that the service knows, or that is in a data root.
    rebuild : bool
        Make its stores again.

    Raises
    ------
    InputError
        There is no such run, or the request cannot be written.
    """
    is_known = run in {known.name for known in read_status_file(state_dir).runs}
    is_there = run.endswith(".pffd") and any((r / run).is_dir() for r in settings.data_root)
    if not (is_known or is_there):
        raise InputError(f"no run named {one_line(run)} is known, or in a data root")
    directory = state_dir / REQUESTS_NAME
    name = f"{time.time_ns()}-{os.getpid()}.json"
    temporary = directory / f".{name}.tmp"
    try:
        temporary.write_text(json.dumps({"request": "retry", "run": run, "rebuild": rebuild}))
        # Whatever the umask of who asks: the service must read it.
        temporary.chmod(0o644)
        temporary.replace(directory / name)
    except OSError as error:
        raise InputError(
            f"cannot leave a request: {error.strerror}; ask with sudo, once the service has run",
            path=str(directory),
        ) from None


def find_requests(state_dir: Path) -> dict[Path, RetryRequest | str]:
    """Read the waiting request files, oldest first.

    Returns
    -------
    dict of Path to RetryRequest or str
        The request of each file, or why it is not one.
    """
    directory = state_dir / REQUESTS_NAME
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return {}
    return {directory / name: _read(directory / name) for name in names if name[0] != "."}


def _read(path: Path) -> RetryRequest | str:
    try:
        with path.open("rb") as file:
            document = json.loads(file.read(_MAX_BYTES))
        run, rebuild = document["run"], document["rebuild"]
        if document["request"] == "retry" and isinstance(run, str) and isinstance(rebuild, bool):
            return RetryRequest(run, rebuild)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        return f"{type(error).__name__}: {error}"
    return "not a request"
