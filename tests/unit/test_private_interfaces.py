"""Interfaces that their libraries do not document are still there: see the bounds in pyproject.

Each library's are used in one module; its other tests say what for.
"""

import inspect
import threading

import numpy as np
import xarray as xr
from distributed import Client
from numcodecs import blosc
from tornado.httpserver import HTTPServer
from watchdog.observers.inotify_c import InotifyEvent, InotifyFD

from panoseti_zarr.cluster.dask_backend import internals
from panoseti_zarr.io.zarr3.codecs import ChunkCodec
from panoseti_zarr.io.zarr3.metadata import codec_chain


def test_blosc_takes_our_lock():
    """Its own is a semaphore, which a killed worker leaves behind."""
    chain = codec_chain(np.dtype("<u2"), "blosc-lz4", 1, checksum=False)
    ChunkCodec.of(chain).encode(np.zeros(1000, "<u2"))
    assert isinstance(blosc._MUTEX, type(threading.Lock()))
    assert blosc._MUTEX_IS_INIT is True


def test_xarray_makes_derived_datasets_in_one_place():
    """`StreamDataset` has plain datasets made there."""
    assert inspect.ismethod(xr.Dataset._construct_direct)
    assert "_construct_direct" in inspect.getsource(xr.Dataset._replace)


def test_watchdog_hands_every_notice_to_one_method():
    """Those of a queue that overflowed, too."""
    assert list(inspect.signature(InotifyFD.handle_event).parameters) == ["self", "event"]
    assert isinstance(InotifyEvent.is_queue_overflow, property)


def test_tornado_keeps_its_connections():
    """The status page counts them."""
    server = HTTPServer(lambda _: None)
    assert len(server._connections) == 0


def test_distributed_has_what_is_used():
    """The class of a cluster's processes, the spans, the connection of a client."""
    assert {"start", "close"} <= set(dir(internals.ProcessInterface))
    assert {"observe_tasks", "heartbeat"} <= set(dir(internals.SpansSchedulerExtension))
    with Client(processes=False, n_workers=1, dashboard_address=None, set_as_default=False) as own:
        connection = internals.scheduler_connection(own)
        assert not connection.closed()
    assert connection.closed()
