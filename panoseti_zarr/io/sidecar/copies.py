"""A run's JSON and logs, kept beside its stores without passwords: ``{run}.files/``.

Only small text files of the run directory itself are copied; never frames, never through a link.
``_manifest.json`` says what each was, and what was done to it.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from panoseti_zarr.core.redact import redact, without_secrets_in_text
from panoseti_zarr.errors import InputError
from panoseti_zarr.io.fs.durable import (
    ensure_directory,
    open_directory,
    recover_replace,
    remove_tree,
    replace_directory,
    sync_tree,
    write_file,
)
from panoseti_zarr.io.pff.source import pread
from panoseti_zarr.io.sidecar.hk_table import HK_NAME

MANIFEST = "_manifest.json"
FILES_FORMAT = "panoseti-zarr-files"
FILES_FORMAT_VERSION = 1

MAX_FILE_BYTES = 16_000_000
"""A larger file is not copied; the manifest names it."""

MAX_FILES = 1000

_PATTERNS = (
    "*.json",
    "*.log",
    "*.txt",
    "*.toml",
    "hp_stdout_*",
    "stop_errors*",
    "recording_ended",
    "collect_complete",
    "run_complete",
)


@dataclass(frozen=True)
class SideFile:
    """What a run directory has beside its frames, as a listing shows it."""

    name: str
    size_bytes: int
    mtime_ns: int


def list_side_files(run: Path) -> tuple[tuple[SideFile, ...], SideFile | None]:
    """List the small files of a run that are kept, and its ``hk.pff``, or None.

    Links are passed over, as are files that are none.

    Raises
    ------
    InputError
        The run cannot be read.
    OSError
        One of its files cannot be looked at.
    """
    try:
        names = sorted(os.listdir(run))
    except OSError as error:
        raise InputError(f"cannot read the run: {error.strerror}", path=str(run)) from None
    kept = [name for name in names if _is_kept(name)][:MAX_FILES]
    found: dict[str, SideFile] = {}
    for name in (*kept, HK_NAME):
        try:
            status = os.lstat(run / name)
        except FileNotFoundError:
            continue
        if stat.S_ISREG(status.st_mode):
            found[name] = SideFile(name, status.st_size, status.st_mtime_ns)
    housekeeping = found.pop(HK_NAME, None)
    return tuple(found.values()), housekeeping


def write_side_files(
    run: Path, files: tuple[SideFile, ...], place: Path, about_table: dict[str, Any]
) -> None:
    """Make the directory of copies, in its place in one durable step.

    Parameters
    ----------
    run : Path
        The run directory.
    files : tuple of SideFile
        Of `list_side_files`. What a run had before, and has no more, is kept.
    place : Path
        The directory; replaced where there is one of ours.
    about_table : dict
        For the manifest: the outcome for ``hk.pff``.

    Raises
    ------
    InputError
        Something else is in its place.
    OSError
        A file cannot be read, or a copy not be written.
    """
    aside, new = (place.with_name(f".{place.name}.{end}") for end in ("old", "new"))
    recover_replace(place, aside, new)
    before = read_manifest(place)
    if before is None and os.path.lexists(place):
        raise InputError("something else is where the run's files shall be", path=str(place))
    ensure_directory(new)
    try:
        entries = [_copy(run, file, new) for file in files]
        entries += _keep_former({file.name for file in files}, before, place, new)
        manifest = {
            "format": FILES_FORMAT,
            "format_version": FILES_FORMAT_VERSION,
            "run": run.name,
            "files": sorted(entries, key=lambda entry: str(entry["name"])),
            "housekeeping": about_table,
        }
        write_file(new / MANIFEST, json.dumps(manifest, indent=2).encode())
        sync_tree(new)
        replace_directory(new, place, aside)
    finally:
        remove_tree(new)


def read_manifest(place: Path) -> dict[str, Any] | None:
    """Return the manifest of a directory of copies; None if it is missing or not ours."""
    try:
        with open_directory(place) as fd:
            manifest_fd = os.open(MANIFEST, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            with open(manifest_fd, "rb") as file:
                manifest: dict[str, Any] = json.load(file)
        is_ours = manifest["format"] == FILES_FORMAT
        return manifest if is_ours and isinstance(manifest["files"], list) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def has_copies(manifest: dict[str, Any], files: tuple[SideFile, ...]) -> bool:
    """Say whether every file is in a manifest as it is now."""
    keys = SideFile.__dataclass_fields__
    held = [{key: entry.get(key) for key in keys} for entry in manifest["files"]]
    return all(asdict(file) in held for file in files)


def _keep_former(
    names: set[str], before: dict[str, Any] | None, place: Path, new: Path
) -> list[dict[str, Any]]:
    """Keep the copies of what the run had and has no more; return what the manifest said of it."""
    former = [] if before is None else before["files"]
    kept = []
    for entry in former:
        name = entry["name"]
        if name in names or not _is_kept(name):
            continue
        if entry["copy"]:
            try:
                shutil.copyfile(place / name, new / name, follow_symlinks=False)
            except FileNotFoundError:
                continue
        kept.append(entry)
    return kept


def _is_kept(name: str) -> bool:
    if name.startswith(".") or name == MANIFEST or not name.isprintable():
        return False
    return any(fnmatchcase(name, pattern) for pattern in _PATTERNS) and not name.endswith(".pff")


def _copy(run: Path, file: SideFile, directory: Path) -> dict[str, Any]:
    """Copy a file without its secrets; return what the manifest says of it."""
    content, remark = None, f"left out: larger than {MAX_FILE_BYTES} bytes"
    if file.size_bytes <= MAX_FILE_BYTES:
        fd = os.open(run / file.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            content, remark = _clean(pread(fd, 0, file.size_bytes), file.name.endswith(".json"))
        finally:
            os.close(fd)
    if content is not None:
        write_file(directory / file.name, content)
    return {**asdict(file), "copy": content is not None, "remark": remark}


def _clean(content: bytes, is_json: bool) -> tuple[bytes | None, str]:
    """Return what may be copied of a file, and what was done to it."""
    if b"\0" in content:
        return None, "left out: no text"
    if is_json and content.strip():
        return _clean_json(content)
    text = content.decode(errors="surrogateescape")
    clean = without_secrets_in_text(text).encode(errors="surrogateescape")
    return clean, "as it was" if clean == content else "credentials removed"


def _clean_json(content: bytes) -> tuple[bytes | None, str]:
    has_twins = False

    def take(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal has_twins
        taken = dict(pairs)
        has_twins = has_twins or len(taken) < len(pairs)
        return taken

    try:
        document = json.loads(content, object_pairs_hook=take)
        clean = redact(document)
        if clean == document and not has_twins:
            return content, "as it was"
        return json.dumps(clean, indent=4).encode(), "credentials removed"
    except (ValueError, RecursionError):
        return None, "left out: no JSON, so that what is secret in it cannot be told"
