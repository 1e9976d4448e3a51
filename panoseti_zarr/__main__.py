"""``python -m panoseti_zarr``."""

from panoseti_zarr.cli.app import main

if __name__ == "__main__":
    main()
