"""What a long-lived service may not let grow, and how fast it grows: robust slopes."""

import contextlib
import sqlite3
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import psutil
from support.service_process import Station


@dataclass(frozen=True)
class Sample:
    """What was measured at one moment, when no run was under way.

    Attributes
    ----------
    time_s : float
        Monotonic.
    n_runs : int
        Runs done so far.
    values : dict of str to float
        By name; bytes where the name ends with ``MB`` (they are shown in 10^6 bytes), else counts.
    """

    time_s: float
    n_runs: int
    values: dict[str, float]


@dataclass(frozen=True)
class Slope:
    """How a measure grows: for each 1,000 runs, at most that, and for each hour."""

    name: str
    last: float
    per_1000: float
    bound: float
    per_hour: float

    @property
    def is_over(self) -> bool:
        """Whether it grows by more than it may."""
        return self.per_1000 > self.bound


def measure(station: Station) -> dict[str, float]:
    """Measure the service, its descendants (nanny, workers) in sum, and the files they leave."""
    service = psutil.Process(station.pid)
    children = service.children(recursive=True)
    values = _of("service", [service]) | _of("workers", children)
    fdinfo = Path(f"/proc/{station.pid}/fdinfo").iterdir()
    values["service watches"] = sum(_n_watches(path) for path in fdinfo)
    values["workers processes"] = len(children)
    ledger = station.state / "ledger.sqlite3"
    with contextlib.closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as database:
        # What the file would be after a checkpoint; the write-ahead log beside it comes and goes.
        (n_pages,), (page_bytes,) = (
            database.execute(f"PRAGMA {what}").fetchone() for what in ("page_count", "page_size")
        )
    values["ledger, MB"] = n_pages * page_bytes
    values["status.json, MB"] = (station.state / "status.json").stat().st_size
    values["state files"] = len(list(station.state.iterdir()))
    values["lock files"] = sum(p.name.endswith(".lock") for p in _entries(station))
    values["other hidden files"] = sum(
        p.name.startswith(".") and not p.name.endswith(".lock") for p in _entries(station)
    )
    return values


def fit(samples: Sequence[Sample], bounds: dict[str, float]) -> list[Slope]:
    """Fit every measure that has a bound; the first quarter of the runs is the warm-up."""
    counted = [sample for sample in samples if sample.n_runs >= samples[-1].n_runs / 4]
    return [
        Slope(
            name,
            counted[-1].values[name],
            theil_sen([(s.n_runs / 1000, s.values[name]) for s in counted]),
            bound,
            theil_sen([(s.time_s / 3600, s.values[name]) for s in counted]),
        )
        for name, bound in bounds.items()
    ]


def theil_sen(points: Sequence[tuple[float, float]]) -> float:
    """Return the median of the slopes of all pairs of points: outliers do not move it."""
    return statistics.median(
        (y1 - y0) / (x1 - x0) for (x0, y0), (x1, y1) in combinations(points, 2) if x1 > x0
    )


def table(slopes: Sequence[Slope]) -> str:
    """Return slopes as lines of text."""
    lines = [f"{'':20} {'last':>9} {'per 1,000 runs':>15} {'at most':>9} {'per hour':>10}"]
    for slope in slopes:
        scale = 1e6 if slope.name.endswith("MB") else 1
        numbers = (slope.last, slope.per_1000, slope.bound, slope.per_hour)
        last, per_1000, bound, per_hour = (number / scale for number in numbers)
        line = f"{slope.name:20} {last:9.2f} {per_1000:15.2f} {bound:9.2f} {per_hour:10.2f}"
        lines.append(line + ("  GROWS" if slope.is_over else ""))
    return "\n".join(lines)


def _of(who: str, processes: Sequence[psutil.Process]) -> dict[str, float]:
    return {
        f"{who} RSS, MB": sum(process.memory_info().rss for process in processes),
        f"{who} descriptors": sum(process.num_fds() for process in processes),
        f"{who} threads": sum(process.num_threads() for process in processes),
    }


def _n_watches(fdinfo: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return fdinfo.read_text().count("inotify wd:")
    return 0


def _entries(station: Station) -> Iterator[Path]:
    for stores in (station.l0, station.l1):
        yield from stores.iterdir()
