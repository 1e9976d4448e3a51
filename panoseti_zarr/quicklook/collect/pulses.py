"""Summary of a stream of pulse height."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from panoseti_zarr.quicklook.collect.pedestals import (
    Pedestals,
    find_pulses,
    sampled_pedestals,
    stored_pedestals,
)
from panoseti_zarr.quicklook.collect.scan import Frames, StreamSurvey, find_missing, walk
from panoseti_zarr.quicklook.compute.pulses import PulseSums
from panoseti_zarr.quicklook.compute.timeline import TimeSpan
from panoseti_zarr.quicklook.store_view import StoreView

Ints = npt.NDArray[np.integer]


@dataclass(frozen=True)
class PulseSummary(StreamSurvey):
    """What is drawn of pulse height.

    Attributes
    ----------
    pedestals : Pedestals
    hits : ndarray of int64, shape (32, 32)
        Pulses of each pixel.
    spectrum : ndarray of int64, shape (4, n)
        Pulses of each quabo by height, between `SPECTRUM_EDGES`.
    """

    pedestals: Pedestals
    hits: Ints
    spectrum: Ints


def survey_pulses(stream: StoreView, l1: StoreView | None) -> PulseSummary:
    """Look at a stream of pulse height; errors as `StoreView.read`.

    Parameters
    ----------
    stream : StoreView
        Its L0 or its L1 store.
    l1 : StoreView or None
        Its L1 store; without, pedestals and pulses are found in a sample.
    """
    product = stream.product
    pedestals = sampled_pedestals(stream) if l1 is None else stored_pedestals(l1)
    swap = l1 is not None and product.name == "ph1024"
    swap = swap and bool(l1 and l1.attributes["settings"]["ph1024_swap_quabos"])
    sums = PulseSums(product, swap=swap)
    n_sampled = 0

    def take(piece: Frames, span: TimeSpan | None, n_pieces: int) -> None:
        nonlocal n_sampled
        images = (l1 or stream).read("images", piece.start, piece.stop)
        images = images.reshape(len(images), -1)
        pulses = images if l1 else find_pulses(pedestals, images, piece, product)
        sums.add(pulses, piece.boards)
        n_sampled += len(images)

    timeline = walk(stream, regular=False, take=take)
    missing = find_missing(stream, timeline)
    return PulseSummary(
        stream, timeline, missing, n_sampled, pedestals, sums.hits(), sums.spectrum()
    )
