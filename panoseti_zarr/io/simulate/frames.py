"""Simulated frames: clocks, counters and light.

Every draw is made for whole blocks of `BLOCK_FRAMES` frames, whatever the number of frames
asked for: so a longer stream begins with the frames of a shorter one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from panoseti_zarr.io.simulate.defects import ValueDefect
from panoseti_zarr.io.simulate.header import FrameBlock
from panoseti_zarr.io.simulate.plan import RunPlan, StreamPlan
from panoseti_zarr.model import N_QUABOS, PRODUCTS, QUABO_QUARTERS, HeaderForm, Product

BLOCK_FRAMES = 512

_TAI_MINUS_UTC_S = 37
_TAI_MODULO_S = 1024
_S = 1_000_000_000
_CROSSING_FRAME = 3
_CROSSING_NS = 999_800_000
"""The WR time of `_CROSSING_FRAME` within its second: the DAQ clock is in the next one then."""

_PACKET_US = 20
"""From the packet of one board to the next of the same frame it takes less, microseconds."""

_BOARD_SHARES = (0.2, 0.28, 0.31, 0.21)
"""Which board sends how many of the pulses, about as in a real run."""

_SKY_LEVEL = {"img16": 200.0, "img8": 25.0}
_ADC_PER_PHOTON = 1.5
_PULSE_NOISE = 9.0
_FAINT_COUNTS = 3

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float32]


def frame_blocks(plan: RunPlan, stream: StreamPlan) -> Iterator[FrameBlock]:
    """Yield the frames of a stream, block after block, with the plan's value defects in them.

    Parameters
    ----------
    plan : RunPlan
    stream : StreamPlan
        One of ``plan.streams``.

    Yields
    ------
    FrameBlock
        `BLOCK_FRAMES` frames, the last block fewer.
    """
    times = _times(stream, plan.stream_start_s(stream), _generator(plan, stream, 2))
    return _blocks(plan, stream, times, _scene(plan, stream))


def live_blocks(plan: RunPlan, stream: StreamPlan, first_ns: int) -> Iterator[FrameBlock]:
    """Yield the frames of a stream that begins at a time, with the plan's value defects in them.

    Images cost a fifth of those of `frame_blocks`: see `_Shuffled`. Image k has the time
    ``first_ns`` + k / rate. Pixels and packet numbers do not depend on ``first_ns``.

    Parameters
    ----------
    plan : RunPlan
    stream : StreamPlan
        One of ``plan.streams``.
    first_ns : int
        The time of its first image, or from which on pulses may come, ns since 1970-01-01 UTC.

    Yields
    ------
    FrameBlock
        `BLOCK_FRAMES` frames, the last block fewer.
    """
    times = _live_times(stream, first_ns, _generator(plan, stream, 2))
    scene = _scene(plan, stream)
    if isinstance(scene, _Sky):
        scene = _Shuffled(scene, _generator(plan, stream, 4))
    return _blocks(plan, stream, times, scene)


def arrival_ns(stream: StreamPlan) -> int:
    """Return how long after it was taken all packets of a frame have come, nanoseconds."""
    return 1000 * (max(stream.daq_lag_us, 0) + N_QUABOS * _PACKET_US)


def _blocks(
    plan: RunPlan, stream: StreamPlan, times: Iterator[IntArray], scene: _Scene
) -> Iterator[FrameBlock]:
    """Yield the frames of these times and this scene."""
    boards = _Boards(stream, _generator(plan, stream, 0))
    for first_frame in range(0, stream.n_frames, BLOCK_FRAMES):
        time_ns = next(times)
        fields = boards.headers(time_ns)
        pixels = scene.pixels(time_ns, fields)
        block = FrameBlock(stream.layout, first_frame, time_ns, fields, pixels)
        for index, defect in enumerate(plan.defects):
            if isinstance(defect, ValueDefect) and defect.concerns(stream.key):
                defect.alter_values(block, _generator(plan, stream, 3, index, first_frame))
        yield block.head(stream.n_frames - first_frame)


def _scene(plan: RunPlan, stream: StreamPlan) -> _Scene:
    """Return what the telescope looks at."""
    light = _Pulses if stream.layout.is_pulse_height else _Sky
    return light(stream.layout, _generator(plan, stream, 1))


def _generator(plan: RunPlan, stream: StreamPlan, *purpose: int) -> np.random.Generator:
    """Return the random numbers of one stream for one purpose."""
    product_index = list(PRODUCTS).index(stream.product)
    return np.random.default_rng([plan.seed, product_index, stream.module, *purpose])


def _times(stream: StreamPlan, start_s: int, rng: np.random.Generator) -> Iterator[IntArray]:
    """Yield when frames are taken, ns: evenly for images, a Poisson process for pulses."""
    interval_ns = _S / stream.rate_hz
    last_ns, shift_ns = 0, None
    while True:
        if stream.layout.is_pulse_height:
            gaps = _pulse_gaps_ns(interval_ns, rng)
        else:
            gaps = np.full(BLOCK_FRAMES, round(interval_ns), np.int64)
        elapsed = last_ns + np.cumsum(gaps)
        if shift_ns is None:
            within = (elapsed[_CROSSING_FRAME] - elapsed[0]) % _S
            shift_ns = start_s * _S + (_CROSSING_NS - within) % _S - elapsed[0]
        yield elapsed + shift_ns
        last_ns = int(elapsed[-1])


def _live_times(stream: StreamPlan, first_ns: int, rng: np.random.Generator) -> Iterator[IntArray]:
    """Yield when frames are taken, ns: evenly for images, a Poisson process for pulses."""
    interval_ns = _S / stream.rate_hz
    n_before, last_ns = 0, first_ns
    while True:
        if stream.layout.is_pulse_height:
            time_ns = last_ns + np.cumsum(_pulse_gaps_ns(interval_ns, rng))
        else:
            indices = np.arange(n_before, n_before + BLOCK_FRAMES)
            time_ns = first_ns + np.rint(indices * interval_ns).astype(np.int64)
        yield time_ns
        n_before, last_ns = n_before + BLOCK_FRAMES, int(time_ns[-1])


def _pulse_gaps_ns(interval_ns: float, rng: np.random.Generator) -> IntArray:
    """Draw the times from pulse to pulse."""
    gaps = np.rint(rng.exponential(interval_ns, BLOCK_FRAMES))
    return np.maximum(gaps, 1).astype(np.int64)


class _Scene(Protocol):
    """What is seen."""

    def pixels(self, time_ns: IntArray, fields: dict[str, IntArray]) -> NDArray[np.generic]:
        """Return what is seen, (n, y, x), in frames with these times and header fields."""


class _Boards:
    """The boards of one module: their counters and clocks, and the DAQ's clock."""

    def __init__(self, stream: StreamPlan, rng: np.random.Generator) -> None:
        self._lag_us = stream.daq_lag_us
        self._one_board = stream.layout.form is HeaderForm.QUABO
        self._rng = rng
        self._next_packet = rng.integers(0, 20_000, N_QUABOS)
        # WR stamps of the boards differ by a few periods of 4 ns, the same in every frame.
        self._stamp_ns = 4 * rng.integers(0, 3, N_QUABOS)
        self._last_us = np.zeros(1 if self._one_board else N_QUABOS, np.int64)

    def headers(self, time_ns: IntArray) -> dict[str, IntArray]:
        """Return the header fields, (n, boards) each, of frames taken at these times."""
        shape = (len(time_ns), len(self._last_us))
        quabos = np.broadcast_to(np.arange(shape[1]), shape)
        if self._one_board:
            quabos = self._rng.choice(N_QUABOS, shape, p=_BOARD_SHARES)
        wr_ns = time_ns[:, np.newaxis] + self._stamp_ns[quabos]
        # The packets of a frame arrive one after the other.
        delays_us = np.cumsum(self._rng.integers(1, _PACKET_US, shape), axis=1)
        tv_us = wr_ns // 1000 + self._lag_us + delays_us
        tv_us[0] = np.maximum(tv_us[0], self._last_us)
        np.maximum.accumulate(tv_us, axis=0, out=tv_us)
        self._last_us = tv_us[-1].copy()
        wr_s, nsec = np.divmod(wr_ns, _S)
        tv_s, usec = np.divmod(tv_us, 1_000_000)
        fields = {
            "pkt_num": self._packet_numbers(quabos),
            "pkt_tai": (wr_s + _TAI_MINUS_UTC_S) % _TAI_MODULO_S,
            "pkt_nsec": nsec,
            "tv_sec": tv_s,
            "tv_usec": usec,
        }
        return {"quabo_num": quabos, **fields} if self._one_board else fields

    def _packet_numbers(self, quabos: IntArray) -> IntArray:
        """Count the packets of each board on."""
        sent = quabos[..., np.newaxis] == np.arange(N_QUABOS)
        counts = np.cumsum(sent.any(axis=1), axis=0) + self._next_packet - 1
        self._next_packet = counts[-1] + 1
        return np.take_along_axis(counts, quabos, axis=1) % 2**32


class _Sky:
    """A sky that drifts, some stars, and photon noise."""

    def __init__(self, layout: Product, rng: np.random.Generator) -> None:
        self._layout, self._rng = layout, rng
        level = _SKY_LEVEL[layout.name]
        y, x = np.mgrid[-1 : 1 : layout.height * 1j, -1 : 1 : layout.width * 1j]
        sky = level * (1 - 0.25 * (x**2 + y**2)) * rng.normal(1, 0.08, x.shape)
        stars = rng.choice(sky.size, 8, replace=False)
        sky.flat[stars] += level * rng.uniform(0.5, 6, stars.size)
        self._sky: FloatArray = sky.astype(np.float32)
        self._noise: FloatArray = np.sqrt(_ADC_PER_PHOTON * self._sky)

    def pixels(self, time_ns: IntArray, fields: dict[str, IntArray]) -> NDArray[np.generic]:
        """Return images, (n, y, x), of these times."""
        seconds = (time_ns % (1000 * _S)) / _S
        drift = (1 + 0.03 * np.sin(2 * np.pi * seconds / 20)).astype(np.float32)
        light = self._rng.standard_normal((len(time_ns), *self._sky.shape), np.float32)
        light *= self._noise
        light += drift[:, np.newaxis, np.newaxis] * self._sky
        return _counts(light, self._layout)


class _Shuffled:
    """The images of one block over and over, each time in another order and with faint noise.

    The noise, 0 to 3 counts, is cut from one row of numbers at any place, so that hardly any
    image comes twice.
    """

    def __init__(self, sky: _Sky, rng: np.random.Generator) -> None:
        images = sky.pixels(np.zeros(BLOCK_FRAMES, np.int64), {})
        self._images = np.minimum(images, np.iinfo(images.dtype.str).max - _FAINT_COUNTS)
        n_pixels = self._images[0].size
        noise = rng.integers(0, _FAINT_COUNTS + 1, images.size, images.dtype)
        self._noise = np.lib.stride_tricks.sliding_window_view(noise, n_pixels)
        self._rng = rng

    def pixels(self, time_ns: IntArray, fields: dict[str, IntArray]) -> NDArray[np.generic]:
        """Return a block of images, (n, y, x)."""
        light: NDArray[Any] = self._images[self._rng.permutation(len(time_ns))]
        places = self._rng.integers(0, len(self._noise), len(time_ns))
        light += self._noise[places].reshape(light.shape)
        return light


class _Pulses:
    """Pulses of light, a few pixels wide, above the pedestals of each board's pixels."""

    def __init__(self, layout: Product, rng: np.random.Generator) -> None:
        self._layout, self._rng = layout, rng
        pedestals = rng.uniform(5, 40, (N_QUABOS, 1, 1)) + rng.normal(0, 2, (N_QUABOS, 16, 16))
        self._pedestals: FloatArray = pedestals.astype(np.float32)
        if layout.form is HeaderForm.MODULE:
            module = np.empty((layout.height, layout.width), np.float32)
            for quarter, board in zip(QUABO_QUARTERS, self._pedestals, strict=True):
                module[quarter] = board
            self._pedestals = module

    def pixels(self, time_ns: IntArray, fields: dict[str, IntArray]) -> NDArray[np.generic]:
        """Return pulse heights, (n, y, x), one pulse a frame."""
        n = len(time_ns)
        shape = (self._layout.height, self._layout.width)
        heights = self._rng.standard_normal((n, *shape), np.float32)
        heights *= _PULSE_NOISE
        if "quabo_num" in fields:
            heights += self._pedestals[fields["quabo_num"][:, 0]]
        else:
            heights += self._pedestals
        peak = 60 + self._rng.exponential(120, (n, 1, 1)).astype(np.float32)
        down = self._profile(n, shape[0])
        across = self._profile(n, shape[1])
        heights += peak * down[:, :, np.newaxis] * across[:, np.newaxis, :]
        return _counts(heights, self._layout)

    def _profile(self, n: int, size: int) -> FloatArray:
        """Return the shape of n pulses along one side, (n, size), 1 at its centre."""
        centre = self._rng.uniform(0, size - 1, (n, 1))
        profile = np.exp(-0.5 * ((np.arange(size) - centre) / 1.2) ** 2)
        return profile.astype(np.float32)


def _counts(values: FloatArray, layout: Product) -> NDArray[np.generic]:
    """Round to the product's dtype, within its range."""
    limits = np.iinfo(layout.dtype.str)
    np.rint(values, out=values)
    np.clip(values, limits.min, limits.max, out=values)
    return values.astype(layout.dtype)
