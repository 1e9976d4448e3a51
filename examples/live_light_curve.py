"""Plot the light curve of a stream while it is recorded: the mean of each frame against its time.

Follows one L0 store (or L1 store) and ends when it is closed. Only frames that are new are read.
Needs ``pip install 'panoseti-zarr[read,plot]'``.

    python live_light_curve.py /data/l0/obs_Lick....dp_img16.module_1.zarr
    python live_light_curve.py STORE --output light_curve.png --seconds 600    # without a screen
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt

from panoseti_zarr import StreamDataset, open_stream
from panoseti_zarr.errors import PanosetiZarrError

FRAMES_AT_ONCE = 8192
NO_TIME = 1 << 7  # of `quality`


class LightCurve:
    """A plot that grows."""

    def __init__(self, title: str) -> None:
        self.figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
        axes.set(xlabel="time (UTC)", ylabel="mean pixel")
        axes.set_title(title, size="small")
        self._axes = axes
        (self._line,) = axes.plot(
            np.empty(0, "datetime64[ns]"), [], ".", markersize=1.5, color="#0072B2"
        )
        self.clear()

    def clear(self) -> None:
        """Forget every frame."""
        self.store_id: str | None = None
        self.n_frames = 0
        self._times = np.empty(0, "datetime64[ns]")
        self._light = np.empty(0)

    def add_new(self, stream: StreamDataset) -> bool:
        """Read the frames that are not in the plot yet, a block at a time; say if there were any.

        Where the store was made again, these are all.
        """
        if stream.attrs.get("store_id") != self.store_id:
            self.clear()
            self.store_id = stream.attrs.get("store_id")
        starts = range(self.n_frames, stream.sizes["time"], FRAMES_AT_ONCE)
        for start in starts:
            block = stream.isel(time=slice(start, start + FRAMES_AT_ONCE)).load()
            has_time = (block.quality & NO_TIME).values == 0
            light = block.images.mean(["y", "x"]).values
            self._times = np.append(self._times, block.timestamps.values[has_time])
            self._light = np.append(self._light, light[has_time])
        self.n_frames = stream.sizes["time"]
        self._line.set_data(self._times, self._light)
        self._axes.relim()
        self._axes.autoscale_view()
        return bool(starts)


def follow(options: argparse.Namespace) -> None:
    """Plot until the stream is closed or the time is over."""
    until = time.monotonic() + options.seconds
    stream = open_stream(options.store, wait_s=options.seconds)
    curve = LightCurve(Path(options.store).name)
    while True:
        if curve.add_new(stream):
            sys.stdout.write(f"{curve.n_frames} frames\n")
            sys.stdout.flush()
            if options.output:
                curve.figure.savefig(options.output)
        if stream.attrs.get("closed", True) or time.monotonic() >= until:
            break
        if options.output:
            time.sleep(options.interval)
        else:
            plt.pause(options.interval)
        stream.refresh()
    if not options.output:
        plt.show()


def main() -> int:
    """Read the options, follow, and say in one line what went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("store", help="of the stream; waited for until it is there")
    parser.add_argument("--output", help="picture to write instead of a window")
    parser.add_argument("--interval", type=float, default=2.0, help="seconds between two looks")
    parser.add_argument("--seconds", type=float, default=86400.0, help="to follow at most")
    options = parser.parse_args()
    if options.output:
        mpl.use("Agg")
    try:
        follow(options)
    except PanosetiZarrError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
