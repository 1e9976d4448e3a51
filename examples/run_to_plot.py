"""From a run to a plot: its first stream to L0 and L1, and the mean of each frame over time.

Needs ``pip install 'panoseti-zarr[read,plot]'``.

    python run_to_plot.py RUN_DIRECTORY OUTPUT_DIRECTORY
"""

import sys

from matplotlib import pyplot as plt

import panoseti_zarr

run = panoseti_zarr.Run(sys.argv[1])
outcomes = panoseti_zarr.convert(run, f"{sys.argv[2]}/l0")
l1 = panoseti_zarr.baseline(outcomes[0].store, f"{sys.argv[2]}/l1")
ds = panoseti_zarr.open_stream(l1.path, chunks={})
good = ds.quality.compute() & 0b1100_0000 == 0  # a readable header, and a time
plt.plot(ds.timestamps[good], ds.images.mean(["y", "x"])[good], ".")
plt.title(f"{run.observatory} {run.start} {outcomes[0].key}")
plt.ylabel(ds.images.units)
plt.savefig(f"{sys.argv[2]}/{outcomes[0].key}.png")
