"""Summary of a stream of images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from panoseti_zarr.core.l1.masks import quabo_of_pixels
from panoseti_zarr.quicklook.collect.scan import Frames, StreamSurvey, find_missing, walk
from panoseti_zarr.quicklook.compute.images import LightCurve, PixelSums, band_of
from panoseti_zarr.quicklook.compute.sampling import split_range
from panoseti_zarr.quicklook.compute.timeline import TimeSpan
from panoseti_zarr.quicklook.store_view import StoreView

Floats = npt.NDArray[np.float64]

_POINTS = 240


@dataclass(frozen=True)
class ImageSummary(StreamSurvey):
    """What is drawn of images.

    Attributes
    ----------
    mean, sigma : ndarray of float64, shape (height, width)
        Over time; NaN where every frame is masked.
    light_curve : LightCurve
    """

    mean: Floats
    sigma: Floats
    light_curve: LightCurve


def survey_images(stream: StoreView) -> ImageSummary:
    """Look at a stream of images; errors as `StoreView.read`."""
    sums = _Sums(stream)
    timeline = walk(stream, regular=True, take=sums.take)
    shape = (stream.product.height, stream.product.width)
    return ImageSummary(
        stream,
        timeline,
        find_missing(stream, timeline),
        sums.n_frames,
        sums.pixels.mean().reshape(shape),
        sums.pixels.sigma().reshape(shape),
        sums.light_curve(),
    )


class _Sums:
    """Adds up pieces of a stream."""

    def __init__(self, stream: StoreView) -> None:
        self._stream = stream
        self._quabos = quabo_of_pixels(stream.product, swap=False)
        self._points: list[tuple[int, int, Floats]] = []
        self._sizes: list[int] = []
        self.pixels = PixelSums(len(self._quabos))
        self.n_frames = 0

    def take(self, piece: Frames, span: TimeSpan | None, n_pieces: int) -> None:
        images = self._stream.read("images", piece.start, piece.stop)
        images = images.reshape(len(images), -1)
        keep = None
        if not piece.present.all():
            keep = piece.present[:, self._quabos]
        if self._stream.level and np.isnan(images).any():
            keep = ~np.isnan(images)
        self.n_frames += len(images)
        for start, stop in split_range(0, len(images), round(_POINTS / n_pieces)):
            kept = None if keep is None else keep[start:stop]
            mean = self.pixels.add(images[start:stop], kept)
            self._sizes.append(stop - start)
            times = piece.times_ns[start:stop]
            held = np.flatnonzero(span.holds(times)) if span else np.empty(0, int)
            if len(held):
                middle = int(held[len(held) // 2])
                position = piece.start + start + middle
                self._points.append((position, int(times[middle]), band_of(mean)))

    def light_curve(self) -> LightCurve:
        places = np.array([point[:2] for point in self._points], np.int64).reshape(-1, 2)
        values = np.array([band for _, _, band in self._points]).reshape(-1, 3)
        usual = int(np.median(self._sizes)) if self._sizes else 0
        return LightCurve(places[:, 0], places[:, 1], values, usual)
