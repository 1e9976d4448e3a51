"""The root document of an L0 or L1 store."""

from __future__ import annotations

import json
from pathlib import Path

from panoseti_zarr.errors import InputError
from panoseti_zarr.io.l0.metadata import L0_FORMAT, L0_FORMAT_VERSION
from panoseti_zarr.io.l1.metadata import L1_FORMAT, L1_FORMAT_VERSION
from panoseti_zarr.io.zarr3.metadata import Json, corrupt_if_malformed

_LEVELS = {(L0_FORMAT, L0_FORMAT_VERSION): 0, (L1_FORMAT, L1_FORMAT_VERSION): 1}


def parse_root(content: bytes, path: Path) -> tuple[int, Json]:
    """Take a root ``zarr.json`` apart.

    Returns
    -------
    level : int
        0 or 1.
    document : dict

    Raises
    ------
    InputError
        It is not of a store that is known here.
    CorruptDataError
        It is not whole.
    """
    with corrupt_if_malformed(str(path)):
        document: Json = json.loads(content)
        attributes = document["attributes"]
        level = _LEVELS.get((attributes.get("format"), attributes.get("format_version")))
        if level is None:
            raise InputError("not an L0 or L1 store that is known here", path=str(path))
        document["consolidated_metadata"]["metadata"]["images"]["shape"]
    return level, document
