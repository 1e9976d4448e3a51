"""PANOSETI PFF runs to L0 and L1 Zarr v3 stores.

`Run` is what a run directory has, `convert` makes L0 stores of it, `verify` compares them with its
files, `baseline` makes L1 stores, `open_stream` opens either, and `open_pypff` opens them by the
names that readers of ``pypff.zarr`` know.
"""

TYPE_CHECKING = False  # that of `typing` would have to be imported
if TYPE_CHECKING:
    from panoseti_zarr.api import Run, baseline, convert, verify
    from panoseti_zarr.io.readers.dataset import StreamDataset, open_stream
    from panoseti_zarr.io.readers.pypff import open_pypff

__all__ = [
    "Run",
    "StreamDataset",
    "baseline",
    "convert",
    "open_pypff",
    "open_stream",
    "verify",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Import a name when it is used: the commands do without xarray, and start at once."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in {"Run", "baseline", "convert", "verify"}:
        from panoseti_zarr import api  # noqa: PLC0415

        return getattr(api, name)
    try:
        from panoseti_zarr.io.readers import dataset, pypff  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name != "xarray":
            raise
        raise ImportError(
            f"panoseti_zarr.{name} needs xarray: pip install 'panoseti-zarr[read]'", name="xarray"
        ) from None
    value: object = getattr(pypff if name == "open_pypff" else dataset, name)
    return value
