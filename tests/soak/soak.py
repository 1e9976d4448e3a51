"""Whether the service can run for months: small runs, one after another, and what grows meanwhile.

Exit code 1 where a measure grows by more than it may.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from measures import Sample, fit, measure, table
from support.service_process import Station

from panoseti_zarr.io.simulate import RunPlan, StreamPlan, simulate_run

CLUSTER = "[cluster]\nuse_cluster = true\n[cluster.local]\nn_workers = 2\ndashboard_port = 0"
START = datetime(2024, 7, 25, 4, 34, 6, tzinfo=UTC)
SHAPES = (
    (StreamPlan("img16", 1, 60), StreamPlan("ph256", 2, 60)),
    (StreamPlan("ph1024", 1, 40),),
    (StreamPlan("img8", 3, 80), StreamPlan("ph256", 3, 30)),
)
N_AT_ONCE = 6
N_KEPT = 12
"""Runs whose files and stores stay."""

LEAKING = Path(__file__).with_name("leaking.py")
LEAKS = ("memory", "descriptor", "thread", "messages")

MB = 1_000_000
BOUNDS = {
    "service RSS, MB": 50 * MB,
    "service descriptors": 5,
    "service threads": 5,
    "service watches": 5,
    "workers RSS, MB": 50 * MB,
    "workers descriptors": 5,
    "workers threads": 5,
    "workers processes": 1,
    "ledger, MB": 2 * MB,
    "status.json, MB": 2 * MB,
    "state files": 1,
    "lock files": 4000,
    "other hidden files": 1,
}
"""Growth for 1,000 runs, which are most of a year of four a night.

Memory: 50 MB in a year is no reason to restart. Ledger and status keep a row for each run, also
for one that was removed. The lock files of a store stay: two for each of at most two streams.
"""


def soak(
    base: Path,
    is_done: Callable[[int], bool],
    *,
    every_s: float = 0,
    leak: str = "",
    tell: Callable[[Sample], None] = lambda _: None,
) -> list[Sample]:
    """Keep a service busy.

    Parameters
    ----------
    base : Path
        A directory with room for some tens of MB.
    is_done : callable
        Takes how many runs are done.
    every_s : float
        Least time between two samples.
    leak : str
        One of `LEAKS`, which the service shall have on purpose.
    tell : callable
        Takes every sample.
    """
    samples: list[Sample] = []
    with Station(base, CLUSTER) as station:
        if leak:
            station.program = (str(LEAKING), leak)
        station.start()
        due_s, n_runs = 0.0, 0
        while not is_done(n_runs):
            station.events.clear()
            for place in range(n_runs, n_runs + N_AT_ONCE):
                start = START + timedelta(minutes=place)
                simulate_run(station.data, RunPlan(SHAPES[place % len(SHAPES)], start=start))
            station.wait_for("run.completed", N_AT_ONCE, n_quarantined=0)
            n_runs += N_AT_ONCE
            _remove_old_runs(station)
            if time.monotonic() >= due_s:
                due_s = time.monotonic() + every_s
                samples.append(Sample(time.monotonic(), n_runs, measure(station)))
                tell(samples[-1])
        assert station.stop() == 0
    return samples


def _remove_old_runs(station: Station) -> None:
    """Remove runs and then their stores, as an operator does who needs the room."""
    for run in sorted(station.data.iterdir())[:-N_KEPT]:
        shutil.rmtree(run)
        station.wait_for("run.removed", run=run.name)
        for stores in (station.l0, station.l1):
            for store in stores.glob(f"{run.name}.*"):
                shutil.rmtree(store)


def _show(sample: Sample) -> None:
    service, workers = (sample.values[f"{who} RSS, MB"] / MB for who in ("service", "workers"))
    sys.stdout.write(
        f"{sample.n_runs:6} runs: service {service:.1f} MB, workers {workers:.1f} MB\n"
    )
    sys.stdout.flush()


def main() -> int:
    """Soak, print the table, return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--leak", default="", choices=LEAKS, help="of a service that must fail")
    options = parser.parse_args()
    end_s = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory(prefix="panoseti-zarr-soak-") as base:
        samples = soak(
            Path(base),
            lambda _: time.monotonic() >= end_s,
            every_s=options.minutes / 6,
            leak=options.leak,
            tell=_show,
        )
    slopes = fit(samples, BOUNDS)
    sys.stdout.write(table(slopes) + "\n")
    return int(any(slope.is_over for slope in slopes))


if __name__ == "__main__":
    sys.exit(main())
