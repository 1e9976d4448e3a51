"""The status file: the status document, which the service replaces in one step.

A file, not a socket: whoever may read the results can read it, with the service up or down, and
it is then the last that is known.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from pydantic import ValidationError

from panoseti_zarr.daemon.status.document import StatusDocument, iso
from panoseti_zarr.errors import InputError
from panoseti_zarr.io.fs.failpoints import reached

STATUS_NAME = "status.json"


def write_status_file(state_dir: Path, document: StatusDocument) -> None:
    """Replace the status file in one step; it need not be durable."""
    temporary = state_dir / f".{STATUS_NAME}.tmp"
    temporary.write_text(json.dumps(document.as_json(), separators=(",", ":")))
    reached("snapshot.written")
    temporary.replace(state_dir / STATUS_NAME)
    reached("snapshot.replaced")


def touch_status_file(state_dir: Path) -> None:
    """Update the time of the status file: its content is still current."""
    with contextlib.suppress(OSError):
        os.utime(state_dir / STATUS_NAME)


def read_status_file(state_dir: Path) -> StatusDocument:
    """Read the status file; an empty document if it is missing or has another schema.

    ``written_at`` is the time of the file, which `touch_status_file` updates.

    Raises
    ------
    InputError
        It cannot be read.
    """
    path = state_dir / STATUS_NAME
    try:
        with open(path, "rb") as file:
            written_ns = os.fstat(file.fileno()).st_mtime_ns
            document = StatusDocument.model_validate_json(file.read())
    except (FileNotFoundError, ValidationError):
        return StatusDocument()
    except OSError as error:
        message = f"cannot read the status: {error.strerror}"
        raise InputError(message, path=str(path)) from None
    return document.model_copy(update={"written_at": iso(written_ns)})
