"""What an error of a job means for its stream."""

import threading
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool

import pytest

from panoseti_zarr.daemon.jobs.context import Failure, classify_error
from panoseti_zarr.daemon.state.events import Outcome
from panoseti_zarr.errors import (
    CorruptDataError,
    InputError,
    InvariantError,
    SourceChangedError,
    StopRequestedError,
    StoreLockedError,
    TransientIOError,
)
from panoseti_zarr.model import PRODUCTS, StreamKey


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (CorruptDataError("x"), Outcome.CORRUPT),
        (SourceChangedError("x"), Outcome.CORRUPT),
        (InputError("x"), Outcome.CORRUPT),
        (TransientIOError("x"), Outcome.FAILED),
        (StoreLockedError("x by pid 3"), Outcome.FAILED),
        (OSError(5, "Input/output error"), Outcome.FAILED),
        (ConnectionResetError("x"), Outcome.FAILED),
        (TimeoutError("x"), Outcome.FAILED),
        (CancelledError(), Outcome.FAILED),
        (BrokenProcessPool("x"), Outcome.FAILED),
        (MemoryError(), Outcome.FAILED),
        (InvariantError("x"), Outcome.BROKEN),
        (StopRequestedError("x"), Outcome.STOPPED),
        (KeyError("not foreseen"), Outcome.UNEXPECTED),
    ],
)
def test_errors_are_sorted_by_what_is_to_be_done(error, outcome):
    """Quarantine, retry, stop of the service, or just stopped; always with a reason in one line."""
    failure = classify_error(error, threading.Event())
    assert failure.outcome is outcome
    assert bool(failure.reason) == (outcome is not Outcome.STOPPED)
    assert "\n" not in failure.reason


def test_what_goes_wrong_while_stopping_is_no_failure():
    """Errors of jobs that are being stopped say nothing about their data."""
    stop = threading.Event()
    stop.set()
    assert classify_error(RuntimeError("after shutdown"), stop) == Failure(Outcome.STOPPED)


@pytest.mark.parametrize("product", PRODUCTS)
def test_streams_are_read_back_from_their_names(product):
    """The name in logs and records leads back to the stream."""
    key = StreamKey(product, 254)
    assert StreamKey.parse(str(key)) == key
