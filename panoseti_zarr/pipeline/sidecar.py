"""Sidecar files of a run: its housekeeping table, and copies of its JSON files and logs.

``{run}.hk.parquet``, its housekeeping as a table, and ``{run}.files/``, its JSON and logs without
passwords. The manifest in the latter is written last and says what both were made from, so that
what is done is not done again.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from panoseti_zarr.core.pff.names import check_run_name
from panoseti_zarr.errors import CorruptDataError, declared_errors
from panoseti_zarr.io.fs.durable import ensure_directory
from panoseti_zarr.io.fs.locks import store_lock
from panoseti_zarr.io.sidecar.copies import (
    SideFile,
    has_copies,
    list_side_files,
    read_manifest,
    write_side_files,
)
from panoseti_zarr.io.sidecar.hk_table import write_table

NEEDS_PYARROW = "hk.pff needs pyarrow: pip install 'panoseti-zarr[hk]'"


@dataclass(frozen=True)
class HousekeepingResult:
    """The outcome of a run's housekeeping.

    Attributes
    ----------
    table : Path or None
        None where the run has no ``hk.pff``, an empty one, or a problem.
    files : Path
        The directory of its JSON and logs.
    n_rows, n_bad_lines : int
        Of the table, and lines of ``hk.pff`` that are no records.
    n_files : int
        Copied.
    problem : str or None
        Why there is no table though there is an ``hk.pff``.
    changed : bool
        False when there was nothing to do.
    seconds : float
    """

    table: Path | None
    files: Path
    n_rows: int
    n_bad_lines: int
    n_files: int
    problem: str | None
    changed: bool
    seconds: float


def make_housekeeping(obs: Path, l1_dir: Path) -> HousekeepingResult:
    """Make the table and the copies of a run, unless they are there as the run stands.

    Parameters
    ----------
    obs : Path
        The run directory.
    l1_dir : Path
        Where they are made; made itself where it is missing.

    Raises
    ------
    InputError
        The run cannot be read, or something else is where its files shall be.
    CorruptDataError
        The run's name cannot safely become part of other names.
    TransientIOError
        A transient failure of the disk, or another process makes them.
    """
    started = time.monotonic()
    with declared_errors("making the housekeeping"):
        run = obs.resolve()
        check_run_name(run.name)
        files, housekeeping = list_side_files(run)
        ensure_directory(l1_dir)
        table, place = _places(run.name, l1_dir)
        with store_lock(l1_dir, place.name):
            manifest = _manifest_as_run(place, table, files, housekeeping)
            changed = manifest is None
            if manifest is None:
                about = _make_table(run, housekeeping, table)
                write_side_files(run, files, place, about)
                manifest = read_manifest(place) or {"files": [], "housekeeping": about}
    about = manifest["housekeeping"]
    return HousekeepingResult(
        table=table if about.get("table") else None,
        files=place,
        n_rows=about.get("n_rows", 0),
        n_bad_lines=about.get("n_bad_lines", 0),
        n_files=sum(bool(entry["copy"]) for entry in manifest["files"]),
        problem=about.get("problem"),
        changed=changed,
        seconds=time.monotonic() - started,
    )


def is_housekeeping_made(run: Path, l1_dir: Path, *, with_table: bool = True) -> bool:
    """Say whether table and copies are there that were made from the run as it stands.

    Parameters
    ----------
    run, l1_dir : Path
    with_table : bool
        False where there is no pyarrow: then the copies alone count.

    Raises
    ------
    InputError
        The run cannot be read.
    OSError
        A disk failed.
    """
    files, housekeeping = list_side_files(run)
    table, place = _places(run.name, l1_dir)
    if with_table:
        return _manifest_as_run(place, table, files, housekeeping) is not None
    manifest = read_manifest(place)
    return manifest is not None and has_copies(manifest, files)


def _places(run_name: str, l1_dir: Path) -> tuple[Path, Path]:
    return l1_dir / f"{run_name}.hk.parquet", l1_dir / f"{run_name}.files"


def _manifest_as_run(
    place: Path, table: Path, files: tuple[SideFile, ...], housekeeping: SideFile | None
) -> dict[str, Any] | None:
    """Return the manifest of copies and a table that were made from these files, if there are."""
    manifest = read_manifest(place)
    if manifest is None or not has_copies(manifest, files):
        return None
    about = manifest.get("housekeeping")
    if not isinstance(about, dict):
        return None
    if housekeeping is not None and housekeeping.size_bytes:
        if about.get("source") != asdict(housekeeping):
            return None
        if not about.get("problem") and not table.is_file():
            return None
    return manifest


def _make_table(run: Path, housekeeping: SideFile | None, table: Path) -> dict[str, Any]:
    """Make the table; return what the manifest says of it.

    Where there is no ``hk.pff`` any more, a table that was made of it stays.
    """
    if housekeeping is None or not housekeeping.size_bytes:
        return {"source": None, "table": table.name if table.is_file() else None}
    source = asdict(housekeeping)
    try:
        summary = write_table(run / housekeeping.name, housekeeping.size_bytes, table, source)
    except ModuleNotFoundError as error:
        if error.name != "pyarrow":
            raise
        # Of no source: it is made as soon as there is a pyarrow.
        return {"source": None, "table": None, "problem": NEEDS_PYARROW}
    except CorruptDataError as error:
        return {"source": source, "table": None, "problem": str(error)}
    return {"source": source, "table": table.name, **asdict(summary)}
