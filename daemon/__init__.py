"""The service: the imperative shell around the pure state machine in `state`.

It is installed and imported as `panoseti_zarr.daemon`, through the link
``panoseti_zarr/daemon``: a top-level package of the name ``daemon`` would overwrite
python-daemon's.
"""
