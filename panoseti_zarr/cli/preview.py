"""``panoseti-zarr serve --preview``."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from panoseti_zarr.cli.console import echo_json, format_table, note
from panoseti_zarr.core.text import count, format_size

if TYPE_CHECKING:
    from panoseti_zarr.daemon.dry_run import DryRun

_SUMS = ("n_streams", "size_bytes", "l0_bytes", "l1_bytes")


def show_preview(config_path: Path | None, *, as_json: bool) -> None:
    """Say what a start of the service would do; nothing is written, no cluster is used."""
    from panoseti_zarr.daemon.dry_run import preview
    from panoseti_zarr.daemon.service import machine_settings
    from panoseti_zarr.daemon.startup import directory, load_service_config, missing_key

    config, path = load_service_config(config_path)
    if not config.daemon.data_root:
        raise missing_key("data_root", path)
    l0_dir, l1_dir = (directory(config, key, path) for key in ("l0_dir", "l1_dir"))
    settings = machine_settings(config.daemon)
    note(f"config: {path or 'built-in defaults'}")
    note(f"looking at the runs twice, settle_s = {settings.settle_s:g} s apart")
    found = preview(config.daemon.data_root, l0_dir, l1_dir, settings)
    sums = {state: _sum(found, state) for state in _states()}
    disks = _disks(found, sums["to convert"], settings.min_free_bytes)
    if as_json:
        runs = [asdict(run) for run in found.runs]
        echo_json({"runs": runs, "paused": found.paused, "states": sums, "disks": disks})
    else:
        _print(found, sums, disks)


def _states() -> tuple[str, ...]:
    from panoseti_zarr.daemon.dry_run import STATES

    return STATES


def _sum(found: DryRun, state: str) -> dict[str, int]:
    runs = [run for run in found.runs if run.state == state]
    return {"n_runs": len(runs), **{k: sum(getattr(run, k) for run in runs) for k in _SUMS}}


def _disks(found: DryRun, to_do: dict[str, int], min_free_bytes: int) -> list[dict[str, Any]]:
    """Hold the free disk of each output directory against what is needed on its file system."""
    needed = {"l0_dir": to_do["l0_bytes"], "l1_dir": to_do["l1_bytes"]}
    disks = []
    for output in found.outputs:
        sharing = [other.label for other in found.outputs if other.device == output.device]
        needed_bytes = sum(needed[label] for label in sharing)
        disks.append(
            {
                "directory": output.label,
                "path": output.path,
                "free_bytes": output.free_bytes,
                "needed_bytes": needed_bytes,
                "shared": len(sharing) > 1,
                "fits": needed_bytes + min_free_bytes <= output.free_bytes,
            }
        )
    return disks


def _print(found: DryRun, sums: dict[str, dict[str, int]], disks: list[dict[str, Any]]) -> None:
    total = {key: sum(row[key] for row in sums.values()) for key in ("n_runs", *_SUMS)}
    rows = [
        (name, row["n_runs"], row["n_streams"], *(format_size(row[key]) for key in _SUMS[1:]))
        for name, row in (*sums.items(), ("total", total))
    ]
    header = ("state", "runs", "streams", "PFF", "L0 at most", "L1 at most")
    typer.echo(format_table(header, rows))
    for state in ("waiting", "refused"):
        reasons = Counter(run.reason for run in found.runs if run.state == state)
        for reason, n_runs in reasons.most_common():
            typer.echo(f"{state}: {count(n_runs, 'run')}: {reason}")
    for root, reason in found.paused.items():
        typer.echo(f"skipped: {root}: {reason}")
    for disk in disks:
        needed = f"at most {format_size(disk['needed_bytes'])} needed for what is to convert"
        shared = ", with the other directory's" if disk["shared"] else ""
        fits = "fits" if disk["fits"] else "may not fit: the queue pauses at min_free_gb"
        free = format_size(disk["free_bytes"])
        typer.echo(f"{disk['directory']} {disk['path']}: {free} free, {needed}{shared}: {fits}")
