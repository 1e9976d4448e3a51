"""The directories of a simulated run, and the files in them that hold no frames."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from panoseti_zarr.errors import InputError
from panoseti_zarr.io.simulate.config import (
    SIMULATED_AUTHOR,
    config_files,
    housekeeping,
    marker_text,
)
from panoseti_zarr.io.simulate.plan import MAX_MODULE, RunPlan
from panoseti_zarr.model import PRODUCTS, StreamKey


def frames_dir(root: Path, plan: RunPlan, module: int) -> Path:
    """Return where the frame files of a module are."""
    if plan.daq_node:
        return _node_dir(root, plan.run_name, module)
    return root / plan.run_name


def run_dirs(root: Path, plan: RunPlan) -> list[Path]:
    """Return the directories of a run: its own first, then those of its modules, if they have."""
    dirs = [root / plan.run_name, *(frames_dir(root, plan, module) for module in plan.modules)]
    return list(dict.fromkeys(dirs))


def make_run_dirs(root: Path, plan: RunPlan, *, overwrite: bool) -> Path:
    """Make the directories of a run, with its configuration; return its own.

    Raises
    ------
    InputError
        Where something of that name is there that may not be replaced.
    """
    run_dir, *module_dirs = run_dirs(root, plan)
    for path in (run_dir, *module_dirs):
        if path.is_symlink() or path.exists():
            _remove_simulated(root, plan.run_name, path, overwrite=overwrite)
    run_dir.mkdir(parents=True)
    for name, text in config_files(plan).items():
        (run_dir / name).write_text(text)
    for path in module_dirs:
        path.mkdir(parents=True)
    return run_dir


def add_housekeeping(run_dir: Path, plan: RunPlan, after_start_s: int) -> None:
    """Append to ``hk.pff`` what the boards said some seconds after the start of the run."""
    with (run_dir / "hk.pff").open("a") as file:
        file.write(housekeeping(plan, after_start_s))


def open_files(root: Path, plan: RunPlan, after_start_s: int) -> None:
    """Make the files that the DAQ opens at its start: one for each product of each module."""
    for module in plan.modules:
        for product in PRODUCTS:
            name = plan.frame_file_name(StreamKey(product, module), 0, after_start_s)
            (frames_dir(root, plan, module) / name).touch()


def write_marker(run_dir: Path, plan: RunPlan, name: str, after_start_s: int) -> None:
    """Write a marker as it is written some seconds after the start of the run."""
    (run_dir / name).write_text(marker_text(plan, after_start_s))


def _node_dir(root: Path, run_name: str, module: int) -> Path:
    return root / f"module_{module}" / run_name


def _all_dirs(root: Path, run_name: str) -> Iterator[Path]:
    """Yield the directories that a run of that name has, whichever its layout and modules."""
    yield from (_node_dir(root, run_name, module) for module in range(MAX_MODULE + 1))
    yield root / run_name


def _remove_simulated(root: Path, run_name: str, found: Path, *, overwrite: bool) -> None:
    """Remove a simulated run; refuse where that is not wanted, or it may be a real one."""
    if not overwrite:
        raise InputError("the run is there already", path=str(found))
    try:
        author = json.loads((root / run_name / "sw_info.json").read_bytes())["author"]
    except (OSError, ValueError, KeyError, TypeError):
        author = None
    if author != SIMULATED_AUTHOR or found.is_symlink():
        raise InputError("what is there was not simulated: not replaced", path=str(found))
    for path in _all_dirs(root, run_name):
        if path.is_dir():
            shutil.rmtree(path)
