"""The quick-look images in a directory, and their bytes."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from panoseti_zarr.daemon.web.presenter import RunPictures

_NAME = re.compile(
    r"(?P<run>.+)\.(?P<stream>dp_[a-z0-9]+\.module_[0-9]+)(?:_L1)?(?:\.zarr)?(?:\.[a-z0-9_-]+)?\.png"
)
_PNG = b"\x89PNG\r\n\x1a\n"
_MOST_BYTES = 8_000_000


@dataclass(frozen=True)
class Pictures:
    """The images of a directory.

    Attributes
    ----------
    changed_ns : int
        When the directory changed last; 0 where it is not there.
    names : frozenset of str
        File names, those that may be asked for.
    by_run : dict
        The same, by run and stream.
    """

    changed_ns: int = 0
    names: frozenset[str] = frozenset()
    by_run: dict[str, RunPictures] = field(default_factory=dict)


def list_pictures(directory: Path, known: Pictures) -> Pictures:
    """List the images ``{run}.{stream}.png`` and the like.

    What is known is given back where the directory did not change. It does when a file is made,
    renamed or removed in it: images are replaced, never written to in place.
    """
    try:
        changed_ns = directory.stat().st_mtime_ns
        if changed_ns == known.changed_ns:
            return known
        with os.scandir(directory) as entries:
            found = sorted(
                (entry.name, entry.stat(follow_symlinks=False).st_mtime_ns)
                for entry in entries
                if entry.is_file(follow_symlinks=False)
            )
    except OSError:
        return Pictures()
    names = set()
    by_run: dict[str, RunPictures] = {}
    for name, modified_ns in found:
        if match := _NAME.fullmatch(name):
            names.add(name)
            streams = by_run.setdefault(match["run"], {})
            version = modified_ns // 1_000_000
            streams[match["stream"]] = (*streams.get(match["stream"], ()), (name, version))
    return Pictures(changed_ns, frozenset(names), by_run)


def read_picture(directory: Path, name: str) -> bytes | None:
    """Read an image that `list_pictures` listed; None if it is no longer one."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with open(os.open(directory / name, flags), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_BYTES:
                return None
            content = file.read(_MOST_BYTES)
    except OSError:
        return None
    return content if content.startswith(_PNG) else None
