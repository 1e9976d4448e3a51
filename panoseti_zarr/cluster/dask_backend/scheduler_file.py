"""A Dask cluster that others run, found by its address or its scheduler file."""

from __future__ import annotations

import json
from pathlib import Path

from panoseti_zarr.cluster.dask_backend.client import Contact, DaskExecutor
from panoseti_zarr.cluster.executor import Tell, tell_nobody
from panoseti_zarr.cluster.tls import (
    Certificates,
    certificates_beside,
    certificates_directory,
    configured_certificates,
    remove_certificates,
)
from panoseti_zarr.config import TlsConfig
from panoseti_zarr.errors import ConfigError, TransientIOError
from panoseti_zarr.io.fs.durable import replace_file


def connect(scheduler: str, tls: TlsConfig, *, tell: Tell = tell_nobody) -> DaskExecutor:
    """Connect to a cluster, and again when it was started again.

    Parameters
    ----------
    scheduler : str
        An address (``tcp://127.0.0.1:8786``, ``tls://...``) or the path of a scheduler file,
        which is read again for each connection.
    tls : TlsConfig
        Certificates; without any, those beside the scheduler file.
    tell : callable, optional
        As for `DaskExecutor`.

    Raises
    ------
    ConfigError
        A scheduler file that is neither Dask's nor an address, or certificates that cannot be
        read.
    TransientIOError
        There is no such file yet, or no scheduler answers.
    """
    return DaskExecutor(lambda: find_scheduler(scheduler, tls), tell=tell)


def find_scheduler(scheduler: str, tls: TlsConfig) -> Contact:
    """Return where a scheduler is now; parameters and errors as for `connect`."""
    certificates = configured_certificates(tls)
    if "://" in scheduler:
        return Contact(scheduler, certificates.security() if certificates else None)
    file = Path(scheduler)
    address = read_scheduler_file(file)
    certificates = certificates or certificates_beside(file)
    return Contact(address, certificates.security() if certificates else None)


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
    if not text:
        raise TransientIOError("the scheduler file is empty, or not written yet", path=str(path))
    if text.startswith("{"):
        try:
            text = json.loads(text)["address"]
        except ValueError:
            raise TransientIOError("the scheduler file is not whole", path=str(path)) from None
        except KeyError:
            raise ConfigError("not a scheduler file: it has no address", path=str(path)) from None
    if not isinstance(text, str) or "://" not in text:
        raise ConfigError("not a scheduler file: it has no address", path=str(path))
    return text


def write_scheduler_file(
    path: Path, address: str, certificates: Certificates | None = None
) -> None:
    """Write a scheduler file as Dask's own tools read it, in one rename.

    The certificates, if any, lie in ``{path}.tls`` before the file is there.
    """
    if certificates is not None:
        certificates.write(certificates_directory(path))
    replace_file(path, json.dumps({"address": address}).encode() + b"\n")


def remove_scheduler_file(path: Path) -> None:
    """Remove a scheduler file and the certificates beside it."""
    path.unlink(missing_ok=True)
    remove_certificates(certificates_directory(path))
