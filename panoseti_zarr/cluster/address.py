"""A Dask cluster that others run, found by its address or its scheduler file."""

from __future__ import annotations

import json
from pathlib import Path

from distributed import Security

from panoseti_zarr.cluster.dask_client import DaskExecutor, WorkerLost
from panoseti_zarr.config import TlsConfig
from panoseti_zarr.errors import ConfigError, TransientIOError
from panoseti_zarr.io.durable import replace_file


def connect(
    scheduler: str, tls: TlsConfig, *, on_worker_lost: WorkerLost | None = None
) -> DaskExecutor:
    """Connect to a cluster.

    Parameters
    ----------
    scheduler : str
        An address (``tcp://127.0.0.1:8786``, ``tls://...``) or the path of a scheduler file.
    tls : TlsConfig
        Certificates, for an address that begins with ``tls://``.
    on_worker_lost : callable, optional
        As for `DaskExecutor`.

    Raises
    ------
    ConfigError
        A scheduler file that is neither Dask's nor an address.
    TransientIOError
        There is no such file yet, or nobody answers.
    """
    address = scheduler if "://" in scheduler else read_scheduler_file(Path(scheduler))
    security = None
    if tls.ca_file:
        security = Security(
            tls_ca_file=str(tls.ca_file),
            tls_client_cert=str(tls.cert),
            tls_client_key=str(tls.key),
            require_encryption=True,
        )
    return DaskExecutor(address, security=security, on_worker_lost=on_worker_lost)


def read_scheduler_file(path: Path) -> str:
    """Return the address in a scheduler file: Dask's JSON, or the address alone."""
    try:
        text = path.read_text().strip()
    except OSError as error:
        raise TransientIOError(
            f"cannot read the scheduler file: {error.strerror}", path=str(path)
        ) from None
    except UnicodeDecodeError:
        raise ConfigError("not a scheduler file", path=str(path)) from None
    if text.startswith("{"):
        try:
            text = json.loads(text)["address"]
        except (ValueError, KeyError):
            raise ConfigError("not a scheduler file: it has no address", path=str(path)) from None
    if not isinstance(text, str) or "://" not in text:
        raise ConfigError("not a scheduler file: it has no address", path=str(path))
    return text


def write_scheduler_file(path: Path, address: str) -> None:
    """Write a scheduler file as Dask's own tools read it, in one rename."""
    replace_file(path, json.dumps({"address": address}).encode() + b"\n")
