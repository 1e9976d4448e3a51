"""Makes a stream's quick-look, from its stores to the PNG file."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from panoseti_zarr.core.pff.times import iso_time
from panoseti_zarr.errors import InputError, declared_errors
from panoseti_zarr.io.fs.durable import ensure_directory, replace_file
from panoseti_zarr.model import Quality
from panoseti_zarr.quicklook.collect.pulses import PulseSummary
from panoseti_zarr.quicklook.collect.scan import StreamSurvey
from panoseti_zarr.quicklook.collect.stream import survey

NO_MATPLOTLIB = "matplotlib is not installed: pip install 'panoseti-zarr[plot]'"


@dataclass(frozen=True)
class Quicklook:
    """A picture that was made.

    Attributes
    ----------
    path : Path
    look : StreamSurvey
        What it shows.
    seconds : float
        That it took.
    """

    path: Path
    look: StreamSurvey
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Return what a program would want to know of it."""
        stream, timeline = self.look.stream, self.look.timeline
        span, totals = timeline.span, timeline.n_totals.tolist()
        return {
            "path": str(self.path),
            "store": str(stream.path),
            "run": stream.attributes["run"],
            "stream": str(stream.key),
            "level": stream.level,
            "n_frames": stream.n_frames,
            "n_frames_sampled": self.look.n_sampled,
            "first_time": iso_time(span.first_ns) if span else None,
            "last_time": iso_time(span.last_ns) if span else None,
            "n_gaps": timeline.n_gaps,
            "longest_gap_s": timeline.longest_gap_ns / 1e9,
            "missing_seqnos": stream.attributes.get("gaps") or [],
            "n_flagged": {bit.name: n for bit, n in zip(Quality, totals, strict=True)},
            "pedestals": self.look.pedestals.origin
            if isinstance(self.look, PulseSummary)
            else None,
            "seconds": round(self.seconds, 3),
        }


def picture_name(store: Path) -> str:
    """Return the name of a store's picture.

    Examples
    --------
    >>> picture_name(Path("L0/a.pffd.dp_img16.module_1.zarr"))
    'a.pffd.dp_img16.module_1.png'
    """
    return f"{Path(store).absolute().name.removesuffix('.zarr')}.png"


def make_quicklook(store: Path, out: Path, l1: Path | None = None) -> Quicklook:
    """Make the picture of a stream; one that is there is replaced in one step.

    Parameters
    ----------
    store : Path
        Its L0 or L1 store.
    out : Path
        The PNG file, or a directory in which it gets the store's name. Directories that are
        missing are made.
    l1 : Path, optional
        As of `survey`.

    Raises
    ------
    InputError
        There is no store, or not one of ours; matplotlib is not installed.
    CorruptDataError
        A store is damaged.
    TransientIOError
        Reading or writing failed.
    """
    started_s = time.monotonic()
    try:
        from panoseti_zarr.quicklook.draw.pages import draw  # noqa: PLC0415 - of an extra
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        raise InputError(NO_MATPLOTLIB) from None
    look = survey(store, l1)
    png = draw(look)
    path = out / picture_name(store) if out.is_dir() else out
    with declared_errors(f"writing {path}"):
        ensure_directory(path.parent)
        replace_file(path, png)
    return Quicklook(path, look, time.monotonic() - started_s)
