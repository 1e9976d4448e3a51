"""The pages of a stream's quick-look."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from panoseti_zarr.core.text import count
from panoseti_zarr.model import N_QUABOS, HeaderForm
from panoseti_zarr.quicklook.collect.images import ImageSummary
from panoseti_zarr.quicklook.collect.pulses import PulseSummary
from panoseti_zarr.quicklook.compute.pulses import SPECTRUM_EDGES, as_module
from panoseti_zarr.quicklook.compute.sampling import split_range
from panoseti_zarr.quicklook.draw.quality import draw_quality, draw_title
from panoseti_zarr.quicklook.draw.style import (
    BLACK,
    MAP_INCHES,
    QUABO_COLOURS,
    QUABO_DASHES,
    Page,
    days,
    draw_map,
    draw_placeholder,
    draw_time_axis,
    few_ticks,
    legend_above,
    quicklook_style,
)

_LEFT, _RIGHT = 0.75, 5.5
_WIDE_LEFT, _WIDE = 1.4, 7.45
_EVENTS_PER_BIN = 10
_MOST_RATES = 120
_UNITS = ("counts", "photo-electrons")


def draw(look: ImageSummary | PulseSummary) -> bytes:
    """Draw a picture, 1,000 pixels wide; return it as PNG."""
    with quicklook_style():
        return _draw_images(look) if isinstance(look, ImageSummary) else _draw_pulses(look)


def _draw_images(look: ImageSummary) -> bytes:
    page = Page(9.35)
    unit = _UNITS[look.stream.level]
    draw_title(page, look, "maps and light curve")
    draw_map(page, (_LEFT, 1.08), look.mean, "Mean over time", unit)
    draw_map(page, (_RIGHT, 1.08), look.sigma, "Standard deviation over time", unit)
    _draw_light(page.panel(_WIDE_LEFT, 5.15, _WIDE, 1.6), look, unit)
    draw_quality(page.panel(_WIDE_LEFT, 7.3, _WIDE, 1.5), look)
    return page.as_png()


def _draw_light(axes: Axes, look: ImageSummary, unit: str) -> None:
    curve, span = look.light_curve, look.timeline.span
    axes.set_title("Light curve")
    if span is None or not np.isfinite(curve.values).any():
        draw_placeholder(axes, "no frame has a time" if span is None else "no pixel was measured")
        return
    times_ns, values = curve.with_breaks(span.step_ns)
    times, (low, middle, high) = days(times_ns), values.T
    colour = QUABO_COLOURS[0]
    axes.fill_between(times, low, high, color=colour, alpha=0.25, lw=0, label="1 to 99 % of pixels")
    marker = "." if len(times) < 3 else ""
    axes.plot(times, middle, color=colour, lw=1.3, marker=marker, label="median pixel")
    axes.set_title(f"Light curve: means of {count(curve.frames_a_point, 'frame')}")
    axes.set_ylabel(unit)
    few_ticks(axes)
    draw_time_axis(axes, span.first_ns, span.last_ns)
    legend_above(axes)


def _draw_pulses(look: PulseSummary) -> bytes:
    found, product = look.pedestals, look.stream.product
    rows = 1.5 if product.form is HeaderForm.MODULE else 0.95
    page = Page(11.7 + rows)
    draw_title(page, look, "hits and spectrum")
    pedestal, sigma = (as_module(values, product) for values in (found.pedestal, found.sigma))
    draw_map(page, (_LEFT, 1.08), pedestal, f"Pedestal: {found.origin}", "counts")
    draw_map(page, (_RIGHT, 1.08), sigma, "Sigma of the residual", "counts")
    hits = f"Hits: pulses above {found.n_sigmas:g} sigma"
    draw_map(page, (_LEFT, 5.08), look.hits, hits, "pulses of a pixel")
    _draw_spectrum(page.panel(_RIGHT + 0.25, 5.08, MAP_INCHES + 0.15, MAP_INCHES), look)
    _draw_rate(page.panel(_WIDE_LEFT, 9.15, _WIDE, 1.5), look)
    draw_quality(page.panel(_WIDE_LEFT, 11.15, _WIDE, rows), look)
    return page.as_png()


def _draw_spectrum(axes: Axes, look: PulseSummary) -> None:
    axes.set_title(f"Pulse heights above {look.pedestals.n_sigmas:g} sigma")
    if not look.spectrum.any():
        draw_placeholder(axes, "no pulse above the threshold")
        return
    used = np.flatnonzero(look.spectrum.any(axis=0))
    here = slice(int(used[0]), int(used[-1]) + 1)
    edges = SPECTRUM_EDGES[here.start : here.stop + 1]
    for quabo in range(N_QUABOS):
        counts = look.spectrum[quabo, here]
        if counts.any():
            shown = np.where(counts > 0, counts, 0.5)
            axes.stairs(shown, edges, baseline=None, label=f"quabo {quabo}", lw=1.5,
                        color=QUABO_COLOURS[quabo], ls=QUABO_DASHES[quabo])  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="height above the pedestal (counts)")
    axes.set_ylabel("pulses a bin (pixels)")
    axes.set_ylim(0.7, 10 * look.spectrum.max())
    axes.legend(ncols=2, loc="upper right")


def _draw_rate(axes: Axes, look: PulseSummary) -> None:
    timeline = look.timeline
    axes.set_title("Event rate")
    span = timeline.span
    if span is None or span.seconds == 0 or not timeline.n_by_quabo.any():
        why = "no quabo sent a frame" if span else "no frame has a time"
        draw_placeholder(
            axes, "all frames have one time: no rate" if span and span.seconds == 0 else why
        )
        return
    most = timeline.n_by_quabo.sum(axis=1).max()
    n_parts = min(int(most) // _EVENTS_PER_BIN, timeline.n_bins // 2, _MOST_RATES)
    starts = np.array([start for start, _ in split_range(0, timeline.n_bins, n_parts)])
    edges_ns = timeline.edges_ns()[[*starts, timeline.n_bins]]
    counts = np.add.reduceat(timeline.n_by_quabo, starts, axis=1)
    # Of a stream so long that only some chunks of times were read, the rate is that of all.
    rates = counts / (np.diff(edges_ns) / 1e9) * (look.stream.n_frames / timeline.n_read)
    edges = days(edges_ns.astype(np.int64) + span.first_ns)
    if (rates == rates[0]).all():
        axes.stairs(rates[0], edges, baseline=None, color=BLACK, lw=1.5, label="each quabo")
    else:
        for quabo, rate in enumerate(rates):
            axes.stairs(rate, edges, baseline=None, label=f"quabo {quabo}", lw=1.5,
                        color=QUABO_COLOURS[quabo], ls=QUABO_DASHES[quabo])  # fmt: skip
    axes.set_title(f"Event rate: means of {edges_ns[-1] / 1e9 / len(starts):.3g} s")
    axes.set_ylabel("events/s")
    axes.set_ylim(bottom=0)
    few_ticks(axes)
    draw_time_axis(axes, span.first_ns, span.last_ns)
    legend_above(axes)
