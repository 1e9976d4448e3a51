"""The style of quick-looks: fonts, colours, axes of time, maps with a scale."""

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
from matplotlib.colors import AsinhNorm, Normalize, to_rgb
from matplotlib.dates import MINUTELY, SECONDLY, AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from PIL import Image

from panoseti_zarr.core.pff.times import iso_time
from panoseti_zarr.model import QUABO_QUARTERS

DPI = 100
WIDTH_INCHES = 10.0
MAP_INCHES = 3.2

BLACK, GREY, PALE, UNMEASURED = "#000000", "#666666", "#ececec", "#c8c8c8"
QUABO_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
"""Okabe and Ito's, which the colour-blind can tell apart; lines have dashes of their own too."""
CLASS_COLOURS = ("#7fc8d4", "#2f7fb0", "#08306b")
"""From few to many, also in shades of grey."""
QUABO_DASHES = ("-", (0, (6, 1)), (0, (3, 1)), (0, (1, 0.7)))

_STYLE: dict[Any, Any] = {
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
    "axes.titlepad": 5.0,
    "legend.frameon": False,
    "legend.borderpad": 0.1,
    "legend.borderaxespad": 0.2,
    "image.interpolation": "nearest",
    "figure.facecolor": "white",
    "savefig.dpi": DPI,
}
_DAY_NS = 86400 * 10**9
_LEAST_SPAN_NS = 10**6
_FAR = 8


@contextlib.contextmanager
def quicklook_style() -> Iterator[None]:
    """Draw in this style, whatever a user's own settings are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


class Page:
    """A figure whose panels have fixed places, so that every picture of a kind looks the same.

    Parameters
    ----------
    height : float
        Inches.
    """

    def __init__(self, height: float) -> None:
        self.height = height
        self.figure = Figure(figsize=(WIDTH_INCHES, height), dpi=DPI)

    def panel(self, left: float, top: float, width: float, height: float) -> Axes:
        """Add axes; inches, from the upper left corner of the page."""
        place = (left, self.height - top - height, width, height)
        scale = (WIDTH_INCHES, self.height) * 2
        return self.figure.add_axes(tuple(np.divide(place, scale)))

    def text(self, left: float, top: float, words: str, **how: Any) -> None:
        """Write words whose upper left (or right) corner is at a place; inches."""
        at = left / WIDTH_INCHES, 1 - top / self.height
        self.figure.text(*at, words, va="top", parse_math=False, **how)

    def as_png(self) -> bytes:
        """Return the page as PNG with a palette; the same page gives the same bytes."""
        canvas = FigureCanvasAgg(self.figure)
        canvas.draw()
        picture = _with_palette(np.asarray(canvas.buffer_rgba()))
        stream = io.BytesIO()
        picture.save(stream, "PNG", optimize=True)
        return stream.getvalue()


def _palette() -> npt.NDArray[np.uint8]:
    """Return the colours of a picture: of the maps, greys, those drawn, and what is beside them."""
    mixed = [
        share * np.array(to_rgb(colour)) + (1 - share)
        for colour in (*QUABO_COLOURS, *CLASS_COLOURS)
        for share in (1.0, 0.8, 0.6, 0.4, 0.25, 0.12)
    ]
    greys = np.repeat(np.linspace(0, 1, 52)[:, np.newaxis], 3, axis=1)
    maps = mpl.colormaps["viridis"](np.linspace(0, 1, 140))[:, :3]
    named = [to_rgb(colour) for colour in (GREY, PALE, UNMEASURED)]
    colours = np.rint(255 * np.concatenate([maps, greys, mixed, named]))
    return np.asarray(colours, np.uint8)


def _with_palette(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    """Return a picture of few colours, each the nearest: a quarter of the size, and looks alike."""
    palette = Image.new("P", (1, 1))
    palette.putpalette(_palette().tobytes())
    picture = Image.fromarray(np.ascontiguousarray(pixels[..., :3]))
    return picture.quantize(palette=palette, dither=Image.Dither.NONE)


def draw_placeholder(axes: Axes, words: str) -> None:
    """Say in words why there is nothing to draw."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.text(
        0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", color=GREY, wrap=True
    )


def draw_map(
    page: Page, place: tuple[float, float], values: npt.NDArray[Any], title: str, unit: str
) -> None:
    """Draw a map of a module's pixels, upper row first, with its scale.

    The scale is linear, or where few pixels are far above all others that of the inverse
    hyperbolic sine, so that both are seen.

    Parameters
    ----------
    page : Page
    place : (left, top)
        Inches.
    values : ndarray, shape (32, 32)
        NaN where nothing was measured.
    title, unit : str
    """
    axes = page.panel(*place, MAP_INCHES, MAP_INCHES)
    axes.set_title(title)
    finite = values[np.isfinite(values)]
    if not len(finite):
        draw_placeholder(axes, "no pixel was measured")
        return
    colours = mpl.colormaps["viridis"].with_extremes(bad=UNMEASURED)
    shown = axes.imshow(values, cmap=colours, norm=_norm(finite), aspect="auto")
    beside = page.panel(place[0] + MAP_INCHES + 0.08, place[1], 0.13, MAP_INCHES)
    bar = page.figure.colorbar(shown, cax=beside)
    bar.set_label(unit)
    if isinstance(shown.norm, AsinhNorm):
        bar.set_ticks(_decades(shown.norm), labels=[f"{tick:g}" for tick in _decades(shown.norm)])
    else:
        bar.locator = MaxNLocator(6, integer=np.issubdtype(values.dtype, np.integer))
    beside.minorticks_off()
    axes.axvline(15.5, color="white", lw=0.6)
    axes.axhline(15.5, color="white", lw=0.6)
    axes.set_xticks((0, 8, 16, 24, 31))
    axes.set_yticks((0, 8, 16, 24, 31))
    axes.set(xlabel="column x", ylabel="row y")
    axes.spines[:].set_visible(False)
    _name_quabos(axes)
    if len(finite) < values.size:
        axes.text(1, -0.115, "grey: not measured", transform=axes.transAxes, ha="right", va="top",
                  fontsize=9, color=GREY)  # fmt: skip


def _name_quabos(axes: Axes) -> None:
    """Write the number of each quabo into its corner of a map."""
    for quabo, (rows, columns) in enumerate(QUABO_QUARTERS):
        axes.text(
            columns.start,
            rows.start,
            f"quabo {quabo}",
            va="top",
            fontsize=8,
            color="white",
            path_effects=[withStroke(linewidth=2, foreground=BLACK)],
        )


def days(times_ns: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return times as matplotlib has them: days since 1970."""
    whole, rest = np.divmod(np.asarray(times_ns).astype(np.int64), _DAY_NS)
    return np.asarray(whole + rest / _DAY_NS)


def time_limits(first_ns: int, last_ns: int) -> tuple[float, float]:
    """Return the ends of an axis of time, days since 1970; one moment is a millisecond long."""
    lack_ns = max(0, _LEAST_SPAN_NS - (last_ns - first_ns))
    first, last = days(np.array([first_ns - lack_ns // 2, last_ns + lack_ns // 2]))
    return float(first), float(last)


def draw_time_axis(axes: Axes, first_ns: int, last_ns: int) -> None:
    """Give an axis the times of a stream, UTC."""
    axes.set_xlim(*time_limits(first_ns, last_ns))
    locator = AutoDateLocator(minticks=4, maxticks=9)
    for kind in (MINUTELY, SECONDLY):
        locator.intervald[kind] = [1, 2, 5, 10, 15, 20, 30]
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
    if np.issubdtype(values.dtype, np.integer):
        return Normalize(0, max(high, 1))
    if high <= low:
        pad = max(abs(low) * 0.05, 0.5)
        return Normalize(max(low - pad, 0.0) if low >= 0 else low - pad, high + pad)
    bulk = float(np.quantile(values, 0.98)) - low
    if high - low > _FAR * bulk:
        return AsinhNorm(max(bulk, (high - low) * 1e-2), vmin=low, vmax=high)
    return Normalize(low, high)


def _decades(norm: AsinhNorm) -> list[float]:
    """Return ticks of a scale that is linear near 0 and logarithmic far away."""
    top = np.floor(np.log10(max(abs(norm.vmin or 0.0), abs(norm.vmax or 0.0))))
    decades = [10.0 ** (top - back) for back in range(3)]
    ticks = [0.0, *decades, *(-ten for ten in decades)]
    inside = [tick for tick in ticks if (norm.vmin or 0.0) <= tick <= (norm.vmax or 0.0)]
    least = norm.linear_width / 2
    return sorted(tick for tick in inside if tick == 0 or abs(tick) > least)


def few_ticks(axes: Axes, n: int = 5) -> None:
    """Give a vertical axis few and round numbers."""
    axes.yaxis.set_major_locator(MaxNLocator(n))


def legend_above(axes: Axes, **how: Any) -> None:
    """Put a legend of one line above the right end of a panel."""
    handles, _ = axes.get_legend_handles_labels()
    n_columns = len(how.get("handles", handles))
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=n_columns, **how)
