"""Time the main jobs against ``cp`` and ``sync`` of the same files: ``make bench``.

Every command is a fresh process, started in turn with the one it is compared with, so that a
machine whose speed drifts does not decide; figures are medians, page cache warm.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

COMMAND = (sys.executable, "-m", "panoseti_zarr")


@dataclass
class Timing:
    """Wall seconds and peak memory (bytes) of the runs of one command."""

    name: str
    n_bytes: int
    seconds: list[float] = field(default_factory=list)
    peak_bytes: int = 0

    def row(self, base: Timing | None) -> str:
        """Return the line of the table; the ratio is the median of the pairs' ratios."""
        median = statistics.median(self.seconds)
        ratio = ""
        if base is not None and base is not self:
            ratios = [a / b for a, b in zip(self.seconds, base.seconds, strict=True)]
            ratio = f"{statistics.median(ratios):.2f}"
        return (
            f"{self.name:44} {median:7.2f} {min(self.seconds):7.2f} {max(self.seconds):7.2f}"
            f" {self.n_bytes / median / 1e6:8.0f} {self.peak_bytes / 1e6:7.0f} {ratio:>6}"
        )


def timed(timing: Timing, words: list[str | Path]) -> None:
    """Run a command, and add its wall time and peak memory."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [str(word) for word in words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    timing.seconds.append(time.perf_counter() - started)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{words} exited {process.returncode}")
    timing.peak_bytes = max(timing.peak_bytes, usage.ru_maxrss * 1024)


def simulate(root: Path, product: str, n_frames: int) -> Path:
    """Make a run of one stream."""
    words = ("simulate", root, "--product", product, "--frames", n_frames, "--no-empty-files")
    done = subprocess.run([*COMMAND, *map(str, words)], check=True, capture_output=True, text=True)
    return Path(done.stdout.strip())


def config_file(root: Path, name: str, text: str) -> Path:
    """Write a configuration."""
    path = root / f"{name}.toml"
    path.write_text(text)
    return path


@contextmanager
def cluster(root: Path, config: Path) -> Iterator[Path]:
    """Keep a local cluster up; give its scheduler file."""
    file = root / "scheduler.json"
    with subprocess.Popen(
        [*COMMAND, "cluster", config, file], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield file
        finally:
            process.terminate()
            process.wait()


def stream_bytes(run: Path) -> int:
    """Return the size of a run's frame files."""
    return sum(file.stat().st_size for file in run.glob("*dp_*.pff"))


def compare(
    title: str, pairs: int, timings: list[tuple[Timing, Callable[[], list[str | Path]]]]
) -> None:
    """Run the commands in turn, and print their table; ratios are to the first."""
    for _ in range(pairs):
        for timing, words in timings:
            os.sync()
            timed(timing, words())
    print_table(title, [timing for timing, _ in timings])


def print_table(title: str, timings: list[Timing]) -> None:
    """Print a line for each command; ratios are to the first."""
    print(f"\n{title}")
    print(f"{'':44} {'median':>7} {'min':>7} {'max':>7} {'MB/s':>8} {'MB mem':>7} {'ratio':>6}")
    for timing in timings:
        print(timing.row(timings[0]))


def bench_convert(work: Path, run: Path, pairs: int) -> None:
    """Convert against copy, in-process and through a cluster that is up."""
    n_bytes = stream_bytes(run)
    lz4 = config_file(work, "lz4", '[pff_to_zarr]\ncodec = "blosc-lz4"\nlevel = 1\n')
    zstd = config_file(work, "zstd", '[pff_to_zarr]\ncodec = "zstd"\nlevel = 3\n')

    def fresh() -> Path:
        shutil.rmtree(work / "out", ignore_errors=True)
        (work / "out").mkdir()
        return work / "out"

    with cluster(work, lz4) as scheduler:
        compare(
            f"{run.name}: {n_bytes / 1e6:.0f} MB",
            pairs,
            [
                (
                    Timing("cp and sync", n_bytes),
                    lambda: ["sh", "-c", 'cp -r "$0" "$1" && sync', run, fresh()],
                ),
                (
                    Timing("convert, blosc-lz4 1", n_bytes),
                    lambda: [*COMMAND, "convert", run, fresh(), lz4],
                ),
                (
                    Timing("convert, blosc-lz4 1, cluster that is up", n_bytes),
                    lambda: [*COMMAND, "convert", run, fresh(), lz4, scheduler],
                ),
                (
                    Timing("convert, zstd 3", n_bytes),
                    lambda: [*COMMAND, "convert", run, fresh(), zstd],
                ),
            ],
        )


def bench_convert_long(work: Path, product: str, n_frames: int, pairs: int) -> None:
    """Convert as many bytes of a product with small frames as of one with large ones."""
    long = work / "long"
    long.mkdir()
    bench_convert(long, simulate(long, product, n_frames), pairs)
    shutil.rmtree(long)


def bench_pypff(work: Path, run: Path) -> None:
    """Time ``pypff zarr`` (zstd 3 is its default) once, as it takes half a minute a gigabyte."""
    if shutil.which("pypff", path=str(Path(sys.executable).parent)) is None:
        print("\npypff is not installed: not timed")
        return
    timing = Timing("pypff zarr, zstd 3 (once)", stream_bytes(run))
    timed(timing, [Path(sys.executable).with_name("pypff"), "zarr", run, work / "pypff"])
    shutil.rmtree(work / "pypff")
    print(timing.row(None))


def bench_service(work: Path, run: Path, pairs: int) -> None:
    """From ``run.finished`` to ``run.completed`` in the service, against the commands by hand."""
    by_hand = Timing("convert and baseline by hand", stream_bytes(run))
    served = Timing("service: run.finished to run.completed", stream_bytes(run))
    for turn in range(pairs):
        place = work / f"turn{turn}"
        words: list[str | Path] = [*COMMAND, "run", run, place / "l0", place / "l1"]
        os.sync()
        timed(by_hand, words)
        shutil.rmtree(place)
        os.sync()
        served.seconds.append(served_seconds(place, run))
        shutil.rmtree(place)
    print_table(f"{run.name}: service", [by_hand, served])


def served_seconds(place: Path, run: Path) -> float:
    """Serve a root that holds one run; return the seconds from its finish to its completion."""
    (place / "root").mkdir(parents=True)
    for file in run.iterdir():
        (place / "root" / run.name).mkdir(exist_ok=True)
        os.link(file, place / "root" / run.name / file.name)
    text = "[daemon]\nsettle_s = 1\nmin_free_gb = 0\n" + "".join(
        f'{key} = "{place / name}"\n'
        for key, name in (
            ("data_root", "root"),
            ("l0_dir", "l0"),
            ("l1_dir", "l1"),
            ("state_dir", "state"),
        )
    )
    words = [*COMMAND, "serve", "--config", str(config_file(place, "serve", text))]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        started = 0.0
        for line in process.stdout:
            if b'"run.finished"' in line:
                started = time.perf_counter()
            elif b'"run.completed"' in line:
                break
        seconds = time.perf_counter() - started
        process.terminate()
    return seconds


def inside_seconds(words: list[str | Path]) -> tuple[float, int]:
    """Run a command that ends its line with its own seconds; return these and peak memory."""
    with subprocess.Popen(
        [str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.read().strip()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{words} exited {process.returncode}")
    return float(line.removesuffix(" s").split()[-1]), usage.ru_maxrss * 1024


def bench_baseline(work: Path, run: Path, pairs: int) -> None:
    """L1 in its modes, as it is set by default, against reading L0 twice and writing L1 once.

    Process start apart: seconds are those that the programs print.
    """
    words: list[str | Path] = [*COMMAND, "convert", run, work / "l0"]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    (store,) = (work / "l0").glob(f"{run.name}*.zarr")
    like, made = work / "like_L1.zarr", work / "L1" / "L1.zarr"
    inside_seconds([*COMMAND, "baseline", store, like])
    n_bytes = stream_bytes(run)
    floor: list[str | Path] = [sys.executable, Path(__file__).with_name("l1_floor.py"), store, like]
    timings = [(Timing("read L0 twice, write L1 once", n_bytes), floor)]
    for name, window, mode in (
        ("baseline, initial 100", 100, "initial"),
        ("baseline, running 100", 100, "running"),
        ("baseline, whole stream", 0, "initial"),
    ):
        text = f'[baseline_subtract]\nbaseline_window = {window}\nbaseline_mode = "{mode}"\n'
        config = config_file(work, name.replace(" ", "_"), text)
        words = [*COMMAND, "baseline", store, made, "--config", config]
        timings.append((Timing(name, n_bytes), words))
    for _ in range(pairs):
        for timing, words in timings:
            shutil.rmtree(made.parent, ignore_errors=True)
            os.sync()
            seconds, peak_bytes = inside_seconds(words)
            timing.seconds.append(seconds)
            timing.peak_bytes = max(timing.peak_bytes, peak_bytes)
    print_table(f"{store.name}: L1, process start apart", [timing for timing, _ in timings])


def main() -> None:
    """Simulate, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--frames",
        type=int,
        default=400_000,
        help="of each stream; convert takes four times as many of ph256, 1 GB of each by default",
    )
    parser.add_argument("--pairs", type=int, default=7, help="runs of each command")
    parser.add_argument("--dir", type=Path, help="work below this directory (default: temporary)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="panoseti-zarr-bench-", dir=options.dir) as name:
        for product in ("img16", "ph256"):
            work = Path(name) / product
            work.mkdir()
            run = simulate(work, product, options.frames)
            if product == "img16":
                bench_convert(work, run, options.pairs)
                bench_pypff(work, run)
            else:
                bench_convert_long(work, product, 4 * options.frames, options.pairs)
            bench_service(work, run, min(3, options.pairs))
            bench_baseline(work, run, options.pairs)
            shutil.rmtree(work)


if __name__ == "__main__":
    main()
