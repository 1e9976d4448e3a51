"""PANOSETI PFF runs to L0 and L1 Zarr v3 stores."""

__version__ = "0.1.0"
