"""How quick-look pictures look: fonts, colours, axes of time, maps with a scale."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import AsinhNorm, Normalize
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from panoseti_zarr.core.times import iso_time

DPI = 100
WIDTH_INCHES = 10.0

BLACK, GREY, PALE = "#000000", "#666666", "#ececec"
QUABO_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
"""Okabe and Ito's, which the colour-blind can tell apart; lines have dashes of their own too."""
QUABO_DASHES = ("-", (0, (6, 1)), (0, (3, 1)), (0, (1, 0.7)))

_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "image.interpolation": "nearest",
    "figure.facecolor": "white",
    "savefig.dpi": DPI,
}
_DAY_NS = 86400 * 10**9
_LEAST_SPAN_NS = 10**6


@contextlib.contextmanager
def quicklook_style() -> Iterator[None]:
    """Draw in this style, whatever a user's own settings are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def new_figure(height_inches: float) -> Figure:
    """Return an empty figure of the usual width."""
    return Figure(figsize=(WIDTH_INCHES, height_inches), dpi=DPI, layout="constrained")


def as_png(figure: Figure) -> bytes:
    """Return a figure as PNG; the same figure gives the same bytes."""
    stream = io.BytesIO()
    FigureCanvasAgg(figure).print_png(stream, metadata={"Software": None})
    return stream.getvalue()


def say_empty(axes: Axes, words: str) -> None:
    """Say in words why there is nothing to draw."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.text(
        0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", color=GREY, wrap=True
    )


def draw_map(
    figure: Figure | SubFigure, axes: Axes, values: npt.NDArray[Any], title: str, unit: str
) -> None:
    """Draw a map of a module's pixels, upper row first, with its scale.

    The scale is linear, or where few pixels are far above all others that of the inverse
    hyperbolic sine, so that both are seen.
    """
    axes.set_title(title)
    finite = values[np.isfinite(values)]
    if not len(finite):
        say_empty(axes, "no pixel was measured")
        axes.set_aspect("equal", adjustable="box")
        return
    colours = mpl.colormaps["viridis"].with_extremes(bad="#c8c8c8")
    shown = axes.imshow(values, cmap=colours, norm=_norm(finite))
    bar = figure.colorbar(shown, ax=axes, pad=0.02, fraction=0.05)
    bar.set_label(unit)
    bar.outline.set_linewidth(0.5)  # type: ignore[operator]
    for edge in (15.5,):
        axes.axvline(edge, color="white", lw=0.6)
        axes.axhline(edge, color="white", lw=0.6)
    axes.set_xticks((0, 8, 16, 24, 31))
    axes.set_yticks((0, 8, 16, 24, 31))
    axes.set(xlabel="column x", ylabel="row y")
    for spine in axes.spines.values():
        spine.set_visible(False)
    if not np.isfinite(values).all():
        axes.set_title("grey: not measured", loc="right", fontsize=9, color=GREY)


def draw_quabo_names(axes: Axes) -> None:
    """Write beside a map which quabo lies where."""
    for quabo, (x, y, va) in enumerate(
        ((0.0, 1, "top"), (0.5, 1, "top"), (0.5, 0.5, "top"), (0.0, 0.5, "top"))
    ):
        axes.text(
            x + 0.015,
            y - 0.015,
            f"quabo {quabo}",
            transform=axes.transAxes,
            va=va,
            fontsize=8,
            color="white",
            bbox={"facecolor": BLACK, "alpha": 0.45, "edgecolor": "none", "pad": 1.2},
        )


def days(times_ns: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return times as matplotlib has them: days since 1970."""
    whole, rest = np.divmod(np.asarray(times_ns).astype(np.int64), _DAY_NS)
    return np.asarray(whole + rest / _DAY_NS)


def draw_time_axis(axes: Axes, first_ns: int, last_ns: int) -> None:
    """Give an axis the times of a stream, UTC."""
    lack_ns = max(0, _LEAST_SPAN_NS - (last_ns - first_ns))
    axes.set_xlim(*days(np.array([first_ns - lack_ns // 2, last_ns + lack_ns // 2])))
    locator = AutoDateLocator(minticks=4, maxticks=9)
    axes.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator, show_offset=False)
    formatter.formats[3:] = ["%H:%M", "%H:%M", "%H:%M:%S.%f"]
    formatter.zero_formats[3:] = ["%Y-%m-%d", "%H:%M", "%H:%M:%S"]
    axes.xaxis.set_major_formatter(formatter)


def short_time(time_ns: int) -> str:
    """Return a time, UTC, to the millisecond.

    Examples
    --------
    >>> short_time(1_686_198_635_480_007_492)
    '2023-06-08 04:30:35.480'
    """
    return iso_time(time_ns)[:23].replace("T", " ")


def _norm(values: npt.NDArray[Any]) -> Normalize:
    low, high = float(values.min()), float(values.max())
    if high <= low:
        pad = max(abs(low) * 0.05, 0.5)
        return Normalize(low - pad, high + pad)
    bulk = float(np.quantile(values, 0.95)) - low
    if high - low > 20 * max(bulk, (high - low) * 1e-4):
        return AsinhNorm(max(bulk, (high - low) * 1e-3), vmin=low, vmax=high)
    return Normalize(low, high)


def few_ticks(axes: Axes, n: int = 5) -> None:
    """Give a vertical axis few and round numbers."""
    axes.yaxis.set_major_locator(MaxNLocator(n))
