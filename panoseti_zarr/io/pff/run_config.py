"""A run's configuration files without their passwords, as they may be published."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from panoseti_zarr.core.redact import redact
from panoseti_zarr.errors import SourceChangedError, TransientIOError, declared_errors
from panoseti_zarr.io.pff.source import open_source

MAX_FILE_BYTES = 16 * 1024
"""Larger files are recorded by size and sha256 alone."""


def read_run_config(run: Path) -> dict[str, Any]:
    """Read the JSON files of a run directory.

    Returns
    -------
    dict
        By file name: the document without user names and passwords in URLs, and without the
        values of keys that name a secret; for files over `MAX_FILE_BYTES`, and for those that are
        not JSON, their ``size_bytes`` and ``sha256``; for those that this user may not read,
        ``unreadable`` and why: no frame has to wait for them.

    Raises
    ------
    TransientIOError
        The directory or a file cannot be read at present.
    """
    with declared_errors("reading the run's configuration"), os.scandir(run) as entries:
        names = sorted(entry.name for entry in entries if _is_config(entry))
    documents = {}
    for name in names:
        try:
            documents[name] = _describe(run / name)
        except SourceChangedError:  # gone since the listing
            continue
        except TransientIOError as error:
            if not isinstance(error.__cause__, PermissionError):
                raise
            documents[name] = {"unreadable": error.__cause__.strerror}
    return documents


def max_file_bytes(run_config: dict[str, Any]) -> int:
    """Return the size at which the DAQ opened the next file; 0 where it is not told or unlimited.

    ``max_file_size_mb`` of ``data_config.json``, in units of 10^6 bytes.
    """
    data_config = run_config.get("data_config.json")
    size_mb = data_config.get("max_file_size_mb", 0) if isinstance(data_config, dict) else 0
    return int(size_mb * 1e6) if isinstance(size_mb, int | float) and 0 < size_mb < 1e9 else 0


def _is_config(entry: os.DirEntry[str]) -> bool:
    name = entry.name
    is_named_so = name.endswith(".json") and name.isprintable() and not name.startswith(".")
    return is_named_so and entry.is_file(follow_symlinks=False)


def _describe(path: Path) -> Any:
    digest = hashlib.sha256()
    size_bytes = 0
    content = b""
    with open_source(path) as fd:
        while block := os.read(fd, 1 << 20):
            digest.update(block)
            size_bytes += len(block)
            content = block if size_bytes <= MAX_FILE_BYTES else b""
    if content:
        try:
            document = redact(json.loads(content, parse_constant=str))
            json.dumps(document)
        except (ValueError, RecursionError):
            pass
        else:
            return document
    return {"size_bytes": size_bytes, "sha256": digest.hexdigest()}
