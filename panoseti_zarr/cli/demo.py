"""``panoseti-zarr demo``."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from panoseti_zarr.errors import InvariantError

_PRODUCTS = (("img16", 20_000), ("ph256", 5_000))
_PATIENCE_S = 120.0

_CONFIG = """\
[daemon]
data_root = "{root}/data"
l0_dir = "{root}/l0"
l1_dir = "{root}/l1"
state_dir = "{root}/state"
settle_s = 0.5
rescan_s = 1
min_free_gb = 0.1
housekeeping = false

[logging]
format = "json"
"""


def demo(
    keep: Annotated[
        Path | None, typer.Option(help="Work in this new directory and leave it there.")
    ] = None,
) -> None:
    """Simulate a run, serve it, show the log and the result."""
    with contextlib.ExitStack() as stack:
        if keep is None:
            root = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="panoseti-zarr-demo-"))
            )
        else:
            keep.mkdir(parents=True)
            root = keep.resolve()
        config = root / "config.toml"
        config.write_text(_CONFIG.format(root=root))
        (root / "data").mkdir()
        service = stack.enter_context(_service(config))
        for event in _events(service):
            if event["event"] == "service.ready":
                _simulate(root / "data")
            if event["event"] == "run.completed":
                break
        else:
            raise InvariantError("the service ended before the run was done")
        _show_result(root, config)
    if keep is not None:
        typer.echo(f"all of it is in {root}")


@contextlib.contextmanager
def _service(config: Path) -> Iterator[subprocess.Popen[str]]:
    typer.echo("== the service's log")
    command = [sys.executable, "-m", "panoseti_zarr", "serve", "--config", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:  # noqa: S603
        try:
            yield service
        finally:
            service.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                service.wait(_PATIENCE_S)
            service.kill()


def _events(service: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    """Show and give the service's log lines."""
    assert service.stdout is not None  # noqa: S101 - it was started with a pipe
    for line in service.stdout:
        typer.echo(line.rstrip())
        yield json.loads(line)


def _simulate(data_root: Path) -> None:
    from panoseti_zarr.io.simulate import RunPlan, StreamPlan, simulate_run

    streams = tuple(StreamPlan(product, 1, n_frames) for product, n_frames in _PRODUCTS)
    simulate_run(data_root, RunPlan(streams))


def _show_result(root: Path, config: Path) -> None:
    """Show what the service says of itself, and hold the L0 stores against the run."""
    for title, words in (
        ("the service's status", ["status", "--config", str(config)]),
        *(
            (f"verify {store.name}", ["verify", str(store), str(run)])
            for run in sorted((root / "data").iterdir())
            for store in sorted((root / "l0").glob("*.zarr"))
        ),
    ):
        typer.echo(f"== {title}")
        sys.stdout.flush()
        subprocess.run([sys.executable, "-m", "panoseti_zarr", *words], check=True)  # noqa: S603
    typer.echo("== the stores")
    for store in sorted(root.glob("l?/*.zarr")):
        size = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
        typer.echo(f"{size / 1e6:8.1f} MB  {store.relative_to(root)}")
