"""The title of a quick-look, and its strip of quality over time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch

from panoseti_zarr.core.text import count
from panoseti_zarr.model import HeaderForm, Quality
from panoseti_zarr.quicklook.collect.scan import StreamSurvey
from panoseti_zarr.quicklook.compute.timeline import Timeline
from panoseti_zarr.quicklook.draw.style import (
    BLACK,
    CLASS_COLOURS,
    GREY,
    PALE,
    Page,
    draw_placeholder,
    draw_time_axis,
    legend_above,
    short_time,
    time_limits,
)

_CLASSES = (
    ("no frame", "#ffffff"),
    ("none", PALE),
    *zip(("up to 1 %", "up to half", "more"), CLASS_COLOURS, strict=True),
)
_FEW = 0.01
_ROWS = {
    **{Quality(1 << quabo): f"quabo {quabo} missing" for quabo in range(4)},
    Quality.WR_NOT_LOCKED: "clock not locked",
    Quality.NSEC_CLAMPED: "ns clamped",
    Quality.HEADER_UNREADABLE: "header unreadable",
    Quality.NO_TIME: "no time",
}
_MOST_SEQNOS = 3
_MOST_RUN_CHARS = 118


def draw_title(page: Page, look: StreamSurvey, sampled: str) -> None:
    """Say which stream it is, when it was recorded, and how much of it was looked at.

    Parameters
    ----------
    page : Page
    look : StreamSurvey
    sampled : str
        What comes from the sampled frames, where these are not all.
    """
    stream, span = look.stream, look.timeline.span
    attributes = stream.attributes
    names = (attributes.get("observatory"), stream.product.name, f"module {stream.key.module}")
    state = "" if stream.level or attributes.get("closed") else ", still open"
    parts = [f"L{stream.level}{state}", count(stream.n_frames, "frame")]
    if span:
        parts.append(f"{short_time(span.first_ns)} to {_end(span.first_ns, span.last_ns)} UTC")
        parts.append(_duration(span.seconds))
        if span.seconds > 0:
            parts.append(f"{(stream.n_frames - 1) / span.seconds:,.4g} frames/s")
    run = str(attributes["run"])
    if len(run) > _MOST_RUN_CHARS:
        run = f"{run[: _MOST_RUN_CHARS // 2]}...{run[-_MOST_RUN_CHARS // 2 :]}"
    head = "   ".join(str(name) for name in names if name)
    page.text(0.12, 0.1, head, fontsize=15, fontweight="bold")
    page.text(0.12, 0.4, f"{run}\n{',  '.join(parts)}", fontsize=9, linespacing=1.35)
    notes = "\n".join(_notes(look, sampled))
    page.text(9.88, 0.1, notes, fontsize=9, color=GREY, ha="right", linespacing=1.35)


def _notes(look: StreamSurvey, sampled: str) -> Iterator[str]:
    """Yield what a reader must know to read the picture rightly."""
    n_frames, timeline = look.stream.n_frames, look.timeline
    if look.n_sampled < n_frames:
        yield f"{sampled} from {count(look.n_sampled, 'frame')}"
    if timeline.n_read < n_frames:
        yield f"times and quality of {count(timeline.n_read, 'frame')}"
    if timeline.n_elsewhere:
        yield f"{count(timeline.n_elsewhere, 'frame')} with a time far outside"


def draw_quality(axes: Axes, look: StreamSurvey) -> None:
    """Draw the strip of quality over time: a row for each thing that can be wrong."""
    timeline = look.timeline
    axes.set_title("Quality: share of frames concerned")
    if timeline.span is None:
        words = [
            f"{name}: {count(int(n), 'frame')}"
            for (_, name), n in zip(_ROWS.items(), timeline.n_totals, strict=True)
            if n
        ]
        draw_placeholder(axes, "no frame has a time: no strip\n" + ", ".join(words))
        return
    names, shares, totals = _rows(look)
    n_rows = len(names)
    classes = np.searchsorted([0, _FEW, 0.5], shares, side="left") + 1
    classes[:, timeline.n_frames == 0] = 0
    classes[-2, timeline.is_gap] = classes[-1, look.missing_bins] = len(_CLASSES) - 1
    axes.imshow(
        classes,
        aspect="auto",
        cmap=ListedColormap([colour for _, colour in _CLASSES]),
        vmin=-0.5,
        vmax=len(_CLASSES) - 0.5,
        extent=(*time_limits(timeline.span.first_ns, timeline.span.last_ns), n_rows, 0),
    )
    axes.hlines(range(1, n_rows), 0, 1, transform=axes.get_yaxis_transform(), color="w", lw=2)
    axes.set_yticks(np.arange(n_rows) + 0.5, names)
    axes.tick_params(axis="y", length=0)
    for row, text in enumerate(totals):
        axes.text(
            1.008,
            row + 0.5,
            text,
            transform=axes.get_yaxis_transform(),
            va="center_baseline",
            fontsize=9,
            color=GREY if text == "0" else BLACK,
        )
    axes.spines[["left", "bottom"]].set_visible(False)
    draw_time_axis(axes, timeline.span.first_ns, timeline.span.last_ns)
    axes.set_xlabel("time (UTC)")
    patches = [Patch(facecolor=c, edgecolor=GREY, lw=0.5, label=n) for n, c in _CLASSES]
    legend_above(axes, handles=patches, handlelength=1.2, handletextpad=0.5, columnspacing=1.2)


def _rows(look: StreamSurvey) -> tuple[list[str], npt.NDArray[np.float64], list[str]]:
    """Return each row's name, its share of frames in each bin, and its total in words."""
    timeline = look.timeline
    bits = list(Quality)
    if look.stream.product.form is HeaderForm.QUABO:
        bits = bits[4:]
    at = [list(Quality).index(bit) for bit in bits]
    shares = np.zeros((len(bits) + 2, timeline.n_bins))
    shares[: len(bits)] = timeline.n_flagged[at] / np.maximum(timeline.n_frames, 1)
    totals = [_share(int(timeline.n_totals[place]), timeline.n_read) for place in at]
    seqnos = list(look.stream.attributes.get("gaps") or [])
    names = [*(_ROWS[bit] for bit in bits), "gap in time", "missing file"]
    return names, shares, [*totals, _gaps(timeline), _seqnos(seqnos)]


def _share(n: int, n_read: int) -> str:
    if not n:
        return "0"
    share = 100 * n / n_read
    return f"{n:,}" if share < 0.1 else f"{share:.3g} %"


def _gaps(timeline: Timeline) -> str:
    if not timeline.n_gaps:
        return "0"
    hours = timeline.longest_gap_ns / 3.6e12
    longest = f"{hours:.1f} h" if hours >= 2 else _duration(3600 * hours)
    return f"{timeline.n_gaps:,}, max {longest}"


def _seqnos(seqnos: list[int]) -> str:
    if not seqnos:
        return "0"
    shown = ", ".join(map(str, seqnos[:_MOST_SEQNOS]))
    return f"seqno {shown}" + (", ..." if len(seqnos) > _MOST_SEQNOS else "")


def _end(first_ns: int, last_ns: int) -> str:
    first, last = short_time(first_ns), short_time(last_ns)
    return last[11:] if first[:10] == last[:10] else last


def _duration(seconds: float) -> str:
    """Give a length of time.

    Examples
    --------
    >>> _duration(0.0124), _duration(75.5), _duration(7384), _duration(1e6)
    ('12.4 ms', '75.5 s', '2 h 03 min', '11.6 days')
    """
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 600:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    if minutes >= 2 * 24 * 60:
        return f"{minutes / 24 / 60:,.3g} days"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
