"""The console script ``panoseti-zarr``: its commands, and how errors become exit codes."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Annotated

import typer

from panoseti_zarr import __version__
from panoseti_zarr.cli.baseline import baseline
from panoseti_zarr.cli.check_config import check_config
from panoseti_zarr.cli.cluster import cluster
from panoseti_zarr.cli.convert import convert
from panoseti_zarr.cli.demo import demo
from panoseti_zarr.cli.housekeeping import housekeeping
from panoseti_zarr.cli.install_service import install_service
from panoseti_zarr.cli.quicklook import quicklook
from panoseti_zarr.cli.retry import retry
from panoseti_zarr.cli.run import run
from panoseti_zarr.cli.serve import serve
from panoseti_zarr.cli.simulate import simulate
from panoseti_zarr.cli.status import status
from panoseti_zarr.cli.streams import streams
from panoseti_zarr.cli.verify import verify
from panoseti_zarr.errors import PanosetiZarrError, from_os_error, one_line

app = typer.Typer(
    name="panoseti-zarr",
    help="PANOSETI PFF runs into L0 and L1 Zarr v3 stores.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)

COMMANDS: dict[str, Callable[..., None]] = {
    "streams": streams,
    "convert": convert,
    "baseline": baseline,
    "run": run,
    "cluster": cluster,
    "serve": serve,
    "status": status,
    "retry": retry,
    "verify": verify,
    "quicklook": quicklook,
    "housekeeping": housekeeping,
    "simulate": simulate,
    "check-config": check_config,
    "demo": demo,
    "install-service": install_service,
}

for _name, _command in COMMANDS.items():
    app.command(_name)(_command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks (at any place).")] = False,
) -> None:
    """PANOSETI PFF runs into L0 and L1 Zarr v3 stores."""


def main(arguments: list[str] | None = None) -> None:
    """Run a command; exit 0 done, 1 failed, 2 wrong usage or config, 3 done as far as possible."""
    words = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in words
    # The interpreter's end need not look through all objects once more: 50 ms.
    atexit.register(gc.freeze)
    # So that a command that is asked to end leaves through its cleanup.
    signal.signal(signal.SIGTERM, _leave)
    # Nothing here multiplies matrices, but numpy would start threads for it that spin.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        app([word for word in words if word != "--debug"])
    except PanosetiZarrError as error:
        _fail(str(error), error.exit_code, debug=debug)
    except OSError as error:
        _fail(str(from_os_error(error, "failed")), 1, debug=debug)
    except Exception as error:  # noqa: BLE001 - the last boundary: one line, no traceback
        _fail(f"{type(error).__name__}: {error} (--debug shows where)", 1, debug=debug)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _fail(message: str, code: int, *, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    typer.echo(f"error: {one_line(message)}", err=True)
    raise SystemExit(code)
