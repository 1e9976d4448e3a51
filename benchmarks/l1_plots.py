"""Draw the plots of docs/l1.md from two runs: ``l1_plots.py IMG16_RUN PH256_RUN DIRECTORY``.

The first run has img16 images, the second ph256 pulses of several quabos. Prints the numbers that
the page quotes. Needs matplotlib: ``pip install '.[plot]'``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import matplotlib as mpl
import numpy as np
import zarr
from matplotlib import pyplot as plt

from panoseti_zarr.cluster import ThreadExecutor
from panoseti_zarr.config import BaselineSubtractConfig, PffToZarrConfig
from panoseti_zarr.io.pff.listing import list_run
from panoseti_zarr.pipeline.ingest import ingest_stream
from panoseti_zarr.pipeline.l1 import make_l1

mpl.use("Agg")

# Okabe and Ito's colours, which the colour-blind can tell apart.
BLACK, ORANGE, BLUE = "#000000", "#E69F00", "#0072B2"
SETTINGS = {
    "initial, 100": (BaselineSubtractConfig(), ORANGE, "-", 1.5),
    "running, 100": (BaselineSubtractConfig(baseline_mode="running"), BLUE, "-", 4.0),
    "whole stream": (BaselineSubtractConfig(baseline_window=0), BLACK, "--", 1.2),
}
FRAMES_PER_POINT = 100


class Stores:
    """The L0 store of one stream of a run, and L1 stores made from it."""

    def __init__(self, run: Path, product: str, work: Path) -> None:
        listing = list_run(run)
        (key,) = (key for key in listing.keys if key.product == product)
        self._work = work
        with ThreadExecutor(2) as executor:
            self._l0 = ingest_stream(listing, key, work, PffToZarrConfig(), executor).store_path
        self.l0 = zarr.open_group(self._l0, mode="r")

    def l1(self, settings: BaselineSubtractConfig) -> zarr.Group:
        """Make an L1 store."""
        path = self._work / f"{len(list(self._work.iterdir()))}_L1.zarr"
        with ThreadExecutor(2) as executor:
            return zarr.open_group(make_l1(self._l0, path, settings, executor).path, mode="r")


def draw_drift(stores: Stores, directory: Path) -> None:
    """Lit pixels over time: what each setting leaves of their drift."""
    raw = stores.l0["images"][:]
    mean = raw.mean(axis=0)
    lit = mean > 5
    times = stores.l0["timestamps"][:]
    seconds = (times - times[0])[FRAMES_PER_POINT // 2 :: FRAMES_PER_POINT] / 1e9

    def points(images: np.ndarray) -> np.ndarray:
        n_points = len(images) // FRAMES_PER_POINT
        lit_mean = images[:, lit].mean(axis=1)[: n_points * FRAMES_PER_POINT]
        return lit_mean.reshape(n_points, -1).mean(axis=1)

    figure, (left, right) = plt.subplots(
        1, 2, figsize=(10, 4), width_ratios=(1, 1.6), layout="constrained"
    )
    shown = left.imshow(mean + 0.01, norm="log", cmap="cividis")
    figure.colorbar(shown, ax=left, label="mean of L0 (counts, from 0.01)")
    left.set(title=f"L0: {lit.sum()} lit pixels", xlabel="x", ylabel="y")
    for edge in (7.5, 15.5, 23.5):
        left.axvline(edge, color="white", lw=0.5)
        left.axhline(edge, color="white", lw=0.5)
    print(f"lit pixels {lit.sum()}, mean L0 {points(raw)[0]:.2f} to {points(raw)[-1]:.2f}")
    for name, (settings, colour, line, width) in SETTINGS.items():
        store = stores.l1(settings)
        values = points(store["images"][:])
        right.plot(seconds[: len(values)], values, line, color=colour, label=name, lw=width)
        medians = store["baseline/block_median"][:]
        supermedian = store["baseline/supermedian"][:][lit]
        print(
            f"{name}: first {values[0]:+.2f}, last {values[-1]:+.2f}, mean {values.mean():+.3f};"
            f" block medians {medians.min()} to {medians.max()}, supermedian of lit {supermedian}"
        )
    right.axhline(0, color=BLACK, lw=0.6)
    right.set(title="L1: mean of the lit pixels", xlabel="time (s)", ylabel="photo-electrons")
    right.legend(frameon=False)
    save(figure, directory / "l1_drift.png")


def draw_pulse(stores: Stores, directory: Path) -> None:
    """One pulse: as recorded, less the pedestal, and what L1 keeps."""
    store = stores.l1(BaselineSubtractConfig())
    kept = store["images"][:]
    n_kept = np.isfinite(kept).sum(axis=(1, 2))
    # The largest that is not a flash over the whole board.
    frame = int(np.argmax(np.where(n_kept < kept[0].size // 2, n_kept, 0)))
    raw = stores.l0["images"][frame].astype(float)
    quabo = int(stores.l0["headers/quabo_num"][frame])
    residual = raw - store["baseline/pedestal"][0, quabo]
    limit = 5 * store["baseline/sigma"][0, quabo]
    print(f"frame {frame}, quabo {quabo}: {np.isfinite(kept[frame]).sum()} pixels kept")
    print(f"its 5 sigma: {limit.min():.0f} to {limit.max():.0f}, median {np.median(limit):.0f}")
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.1), layout="constrained")
    top = np.nanmax(residual)
    for axis, values, title in zip(
        axes,
        (raw, residual, kept[frame]),
        ("L0", "less the pedestal", "L1: above 5 sigma"),
        strict=True,
    ):
        colours = mpl.colormaps["cividis"].with_extremes(bad="0.85")
        shown = axis.imshow(values, cmap=colours, vmin=0, vmax=top)
        axis.set(title=title, xticks=(0, 5, 10, 15), yticks=(0, 5, 10, 15))
    figure.colorbar(shown, ax=axes, label="counts (grey: NaN)")
    save(figure, directory / "l1_pulse.png")


def draw_boards(stores: Stores, directory: Path) -> None:
    """Pulses kept per quabo: each with its own pedestals and sigmas, or all four mixed."""
    raw = stores.l0["images"][:].astype(float)
    boards = stores.l0["headers/quabo_num"][:]
    mixed = raw - np.median(raw, axis=0)
    is_pulse_mixed = mixed > 5 * mixed.std(axis=0)
    store = stores.l1(BaselineSubtractConfig(baseline_window=0))
    is_pulse = np.isfinite(store["images"][:])
    sigma, all_sigma = store["baseline/sigma"][0], mixed.std(axis=0)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    places = np.arange(4)
    for pulses, colour, shift, hatch, name in (
        (is_pulse, BLUE, -0.2, "", "each quabo's own"),
        (is_pulse_mixed, ORANGE, 0.2, "//", "all quabos mixed"),
    ):
        counts = [int(pulses[boards == board].sum()) for board in places]
        frames = [int(pulses[boards == board].any(axis=(1, 2)).sum()) for board in places]
        print(f"{name}: {counts} pixels kept, in {frames} frames; in all {sum(counts)}")
        right.bar(places + shift, counts, 0.4, color=colour, hatch=hatch, label=name)
    left.boxplot(
        [*(values.ravel() for values in sigma), all_sigma.ravel()],
        showfliers=False,
        medianprops={"color": BLUE, "lw": 2},
    )
    n_frames = [int((boards == board).sum()) for board in places]
    print(f"frames {n_frames}; median sigma {np.median(sigma, axis=(1, 2)).round(1)},"
          f" mixed {np.median(all_sigma):.1f}")  # fmt: skip
    labels = [f"quabo {board}\n{n} frames" for board, n in enumerate(n_frames)]
    left.set_xticks(range(1, 6), [*labels, "mixed\n" + f"{len(raw)} frames"], fontsize=8)
    left.set(title="sigma of the 256 pixels", ylabel="counts", yscale="log")
    right.set_xticks(places, [f"quabo {board}" for board in places])
    right.set(title="pixels above 5 sigma", ylabel="pixels kept")
    right.legend(frameon=False)
    save(figure, directory / "l1_boards.png")


def save(figure: plt.Figure, path: Path) -> None:
    """Write a figure, 1000 pixels wide."""
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main(img_run: Path, ph_run: Path, directory: Path) -> None:
    """Draw all plots."""
    plt.rcParams.update({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False})
    with tempfile.TemporaryDirectory() as name:
        for number, (run, product, drawings) in enumerate(
            ((img_run, "img16", (draw_drift,)), (ph_run, "ph256", (draw_pulse, draw_boards)))
        ):
            work = Path(name) / str(number)
            work.mkdir()
            stores = Stores(run, product, work)
            for draw in drawings:
                draw(stores, directory)


if __name__ == "__main__":
    main(*(Path(word) for word in sys.argv[1:4]))
