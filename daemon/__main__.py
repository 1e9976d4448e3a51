"""``python -m panoseti_zarr.daemon [--config F]``: the service without the other commands."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from panoseti_zarr.daemon.startup import serve
from panoseti_zarr.errors import PanosetiZarrError


def main() -> int:
    """Serve; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m panoseti_zarr.daemon", description=__doc__)
    parser.add_argument("--config", type=Path, help="configuration file")
    try:
        return serve(parser.parse_args().config)
    except PanosetiZarrError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code


if __name__ == "__main__":
    raise SystemExit(main())
