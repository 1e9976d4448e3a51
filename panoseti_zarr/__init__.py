"""PANOSETI PFF runs to L0 and L1 Zarr v3 stores."""

TYPE_CHECKING = False  # that of `typing` would have to be imported
if TYPE_CHECKING:
    from panoseti_zarr.io.stream import StreamDataset, open_stream

__all__ = ["StreamDataset", "open_stream"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Import what needs xarray when it is used: the commands do without, and start at once."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from panoseti_zarr.io import stream  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name != "xarray":
            raise
        raise ImportError(
            f"panoseti_zarr.{name} needs xarray: pip install 'panoseti-zarr[read]'", name="xarray"
        ) from None
    value: object = getattr(stream, name)
    return value
