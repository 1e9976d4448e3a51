"""Check of the output directories: whether they exist and can be written to."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

from panoseti_zarr.daemon.state.events import CheckedOutput
from panoseti_zarr.daemon.watch.mounts import mount_of
from panoseti_zarr.daemon.watch.paths import describe_os_error


def stat_outputs(l0_dir: Path, l1_dir: Path) -> tuple[CheckedOutput, ...]:
    """Look at the output directories."""
    return (_look_at_output("l0_dir", l0_dir), _look_at_output("l1_dir", l1_dir))


def probe_outputs(l0_dir: Path, l1_dir: Path) -> tuple[CheckedOutput, ...]:
    """Look at the output directories, and try to write; hangs where a file system is frozen."""
    return tuple(
        seen if seen.problem else replace(seen, problem=_try_to_write(Path(seen.path)))
        for seen in stat_outputs(l0_dir, l1_dir)
    )


def _try_to_write(path: Path) -> str:
    """Make a file without a name, where the file system can; say why it fails."""
    try:
        os.close(os.open(path, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except OSError as error:
        if error.errno not in {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL}:
            return f"cannot be written to: {error.strerror}"
    return ""


def _look_at_output(label: str, path: Path) -> CheckedOutput:
    try:
        device = os.stat(path).st_dev
        volume = os.statvfs(path)
        with os.scandir(path) as entries:
            is_empty = next(entries, None) is None
    except OSError as error:
        return CheckedOutput(label, str(path), describe_os_error(error))
    if not os.access(path, os.W_OK | os.X_OK):
        return CheckedOutput(label, str(path), "cannot be written to")
    free_bytes = volume.f_bavail * volume.f_frsize
    return CheckedOutput(label, str(path), "", mount_of(path).volume, device, free_bytes, is_empty)
