"""``panoseti-zarr demo``."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from panoseti_zarr.errors import InputError, InvariantError

_PRODUCTS = (("img16", 20_000), ("ph256", 5_000))
_STOP_TIMEOUT_S = 120.0
_RUN_TIMEOUT_S = 600.0

_CONFIG = """\
[daemon]
data_root = {data}
l0_dir = {l0}
l1_dir = {l1}
state_dir = {state}
settle_s = 0.5
rescan_s = 1
min_free_gb = 0.1
housekeeping = false

# Tasks go to a Dask cluster on this machine: a scheduler and two worker processes.
[cluster]
type = "local"
use_cluster = true
[cluster.local]
n_workers = 2
threads_per_worker = 1
memory_per_worker = "2GB"
dashboard_port = 0

[logging]
format = "json"

[quicklook]
dir = ""
"""

# What the demo says at its end; a test runs these lines.
_PLOT = """\
import matplotlib.pyplot as plt, xarray
xarray.open_zarr({store!r}).images.mean(["y", "x"]).plot()
plt.savefig({picture!r})"""


def demo(
    keep: Annotated[
        Path | None,
        typer.Option(
            readable=False,
            help="Leave the results in this new directory; default: a temporary one.",
        ),
    ] = None,
) -> None:
    """Show the service at work.

    Starts the service on a Dask cluster of two worker processes, simulates a run, and shows the
    log, the status and the verification.
    """
    root = _make_root(keep)
    config = root / "config.toml"
    paths = {name: json.dumps(str(root / name)) for name in ("data", "l0", "l1", "state")}
    config.write_text(_CONFIG.format(**paths))
    (root / "data").mkdir()
    _heading("Starting the service on a Dask cluster of two worker processes. Its log:")
    with _service(config) as service:
        for event in _logged_events(service):
            if event["event"] == "service.ready":
                _heading("Simulating a run in the directory that the service watches")
                _simulate(root / "data")
            if event["event"] == "queue.paused":
                raise InputError(f"the demo cannot go on: {event['reason']}")
            if event["event"] == "run.completed":
                break
        else:
            raise InvariantError("the service ended before the run was done; its log is above")
        _heading("panoseti-zarr status")
        _run("status", "--config", str(config))
        for store, run in _l0_stores(root):
            _heading(f"panoseti-zarr verify {store.name}")
            _run("verify", str(store), str(run))
        _heading("Stopping the service")
    _show_stores(root)


def _make_root(keep: Path | None) -> Path:
    """Make the demo's directory.

    Raises
    ------
    InputError
        It exists.
    """
    if keep is None:
        return Path(tempfile.mkdtemp(prefix="panoseti-zarr-demo-"))
    try:
        keep.mkdir(parents=True)
    except FileExistsError:
        raise InputError(
            f"{keep} exists already: name a new directory, or remove this one"
        ) from None
    return keep.resolve()


@contextlib.contextmanager
def _service(config: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "panoseti_zarr", "serve", "--config", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:  # noqa: S603
        limit = threading.Timer(_RUN_TIMEOUT_S, service.terminate)
        limit.start()
        try:
            yield service
        finally:
            limit.cancel()
            service.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                service.wait(_STOP_TIMEOUT_S)
            service.kill()


def _logged_events(service: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    """Print the service's log as it comes, as on a terminal, and yield its events."""
    from panoseti_zarr.daemon.log import console_renderer

    assert service.stdout is not None  # noqa: S101 - it was started with a pipe
    render = console_renderer(colors=_has_colors())
    for line in service.stdout:
        event: dict[str, Any] = json.loads(line)
        typer.echo(render(None, "", dict(event)), color=True)
        yield event


def _has_colors() -> bool:
    """Whether to colour the log: on a terminal, and as NO_COLOR and FORCE_COLOR say."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stdout.isatty()


def _simulate(data_root: Path) -> None:
    from panoseti_zarr.io.simulate import RunPlan, StreamPlan, simulate_run

    streams = tuple(StreamPlan(product, 1, n_frames) for product, n_frames in _PRODUCTS)
    simulate_run(data_root, RunPlan(streams))


def _l0_stores(root: Path) -> list[tuple[Path, Path]]:
    """Return each L0 store with the run it was made from."""
    (run,) = (root / "data").iterdir()
    return [(store, run) for store in sorted((root / "l0").glob("*.zarr"))]


def _run(*words: str) -> None:
    """Run another command, with its output in place."""
    sys.stdout.flush()
    subprocess.run([sys.executable, "-m", "panoseti_zarr", *words], check=True)  # noqa: S603


def _show_stores(root: Path) -> None:
    """Say where the results are, and how to plot them."""
    shown = root.relative_to(Path.cwd()) if root.is_relative_to(Path.cwd()) else root
    _heading(f"The results are in {shown}")
    for store in sorted(root.glob("l?/*.zarr")):
        size_bytes = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
        typer.echo(f"{size_bytes / 1e6:8.1f} MB  {store.relative_to(root)}")
    if not all(map(importlib.util.find_spec, ("matplotlib", "xarray"))):
        typer.echo("To plot them: pip install 'panoseti-zarr[read,plot]'")
        return
    (store,) = root.glob("l1/*.dp_img16.*.zarr")
    python = Path(sys.executable).with_name("python")
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    _heading(f"Plot the mean of each image after baseline subtraction, in {python}:")
    relative = store.relative_to(root)
    typer.echo(_PLOT.format(store=str(shown / relative), picture=str(shown / "light-curve.png")))


def _heading(text: str) -> None:
    typer.echo(f"\n{typer.style('==', bold=True)} {typer.style(text, bold=True)}")
    sys.stdout.flush()
