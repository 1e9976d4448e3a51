"""Checks of paths below a data root, and reasons why a directory cannot be read."""

from __future__ import annotations

import os
from pathlib import Path


def is_inside(path: Path, root: Path) -> bool:
    """Whether a path, with links resolved, is inside a directory and keeps its last name."""
    resolved = Path(os.path.realpath(path))
    return resolved.is_relative_to(os.path.realpath(root)) and resolved.name == path.name


def describe_os_error(error: OSError) -> str:
    """Say in a few words why a directory cannot be read."""
    if isinstance(error, FileNotFoundError):
        return "is missing"
    if isinstance(error, NotADirectoryError):
        return "is not a directory"
    return f"cannot be read: {error.strerror}"
