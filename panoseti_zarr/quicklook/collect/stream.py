"""Summary of a stream, from parts of it where it is long: the arrays to be drawn."""

from __future__ import annotations

from pathlib import Path

from panoseti_zarr.quicklook.collect.images import ImageSummary, survey_images
from panoseti_zarr.quicklook.collect.pulses import PulseSummary, survey_pulses
from panoseti_zarr.quicklook.store_view import StoreView, find_l1


def survey(store: Path, l1: Path | None = None) -> ImageSummary | PulseSummary:
    """Look at a stream.

    Parameters
    ----------
    store : Path
        Its L0 or L1 store.
    l1 : Path, optional
        The L1 store of an L0 store, or the directory in which it is; without, it is looked for
        beside it.

    Raises
    ------
    InputError
        There is no store, or not one of ours; or ``l1`` is one of other frames.
    CorruptDataError
        A store is damaged.
    TransientIOError
        A transient failure to read.
    """
    stream = StoreView.open(store)
    found = stream if stream.level else find_l1(stream, l1)
    if stream.product.is_pulse_height:
        return survey_pulses(stream, found)
    return survey_images(stream)
