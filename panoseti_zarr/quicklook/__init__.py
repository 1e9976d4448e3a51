"""One picture of a stream, for a look at whether all is well: ``panoseti-zarr quicklook``.

``sampling``, ``timeline``, ``images`` and ``pulses`` compute, ``walk`` and the ``survey`` modules
read stores and give the arrays to be drawn, ``draw`` and ``style`` draw them, and alone need
matplotlib: ``pip install 'panoseti-zarr[plot]'``.
"""

from __future__ import annotations

from panoseti_zarr.quicklook.make import NO_MATPLOTLIB, Quicklook, make_quicklook, picture_name

__all__ = ["NO_MATPLOTLIB", "Quicklook", "make_quicklook", "picture_name"]
