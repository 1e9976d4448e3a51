"""The configuration's models: one frozen pydantic class a section of ``config.toml``.

Types, defaults, ranges and meanings only. Everybody imports them from `panoseti_zarr.config`,
which finds and reads the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from panoseti_zarr.config.cluster import ClusterConfig
from panoseti_zarr.config.types import (
    Codec,
    Count,
    Interval,
    Level,
    Markers,
    OptionalPath,
    PathOrEmpty,
    Paths,
    Patterns,
    Port,
    Seconds,
    Section,
    UtcTime,
    live_field,
)

_FRAME_SIDE = 32


class DaemonConfig(Section):
    """``[daemon]``: what the service watches, where it writes, and when."""

    data_root: Paths = Field(
        default=(),
        description="Directory whose children are the runs; one path or a list of paths.",
    )
    l0_dir: OptionalPath = Field(
        default=None, description="Directory of the L0 stores, not inside a data root."
    )
    l1_dir: OptionalPath = Field(
        default=None,
        description="Directory of the L1 stores, not inside a data root, not `l0_dir`.",
    )
    state_dir: OptionalPath = Field(
        default=None, description="Directory of the service's ledger, on a local disk."
    )
    settle_s: Seconds = live_field(
        default=10,
        description="Seconds for which a run's files must not change before it is finished.",
    )
    quiet_s: Seconds = live_field(
        default=0,
        description="Seconds without a change that finish a run without a marker; 0 = never.",
    )
    rescan_s: Interval = live_field(
        default=60, description="Seconds between two rescans of the data roots."
    )
    recheck_s: Interval = live_field(
        default=86400, description="Seconds between two looks at the files of runs that are done."
    )
    hang_s: Interval = live_field(
        default=60,
        description="Seconds without an answer after which a data root or an output directory "
        "counts as hung: it waits until there is one.",
    )
    retry_s: Interval = live_field(
        default=5,
        description="Seconds before a job with a transient failure is retried; the delay doubles "
        "each time, up to 120 times.",
    )
    max_streams: Count = live_field(
        default=2, description="Streams (count) that are converted at once."
    )
    min_free_gb: float = live_field(
        default=10,
        ge=0,
        le=1e9,
        description="Free disk space below which the queue pauses, GB (10^9 B).",
    )
    watch: Literal["auto", "inotify", "polling"] = Field(
        default="auto",
        description="How changes are noticed between rescans; `auto` polls network file systems.",
    )
    finished_markers: Markers = live_field(
        default=("collect_complete", "run_complete"),
        description="File names, each of which marks a finished run; never `recording_ended`.",
    )
    verify: bool = live_field(
        default=False,
        description="Whether each closed L0 store is compared with its PFF files, when idle.",
    )
    housekeeping: bool = live_field(
        default=True,
        description="Whether `l1_dir` gets a run's `hk.pff` as a table, and its JSON and logs.",
    )
    follow: bool = live_field(
        default=False,
        description="Whether runs are appended while they are recorded, not once they are "
        "finished.",
    )
    tail_flush_s: Interval = live_field(
        default=30,
        description="Seconds after which the newest frames of a recording are shown, in a chunk "
        "that is not full yet.",
    )
    follow_dirs: Patterns = live_field(
        default=("module_*/{run}",),
        description="Where else below the data root the frame files of a run that is followed "
        "may lie; `*` and `?` match within a name; `{run}` is added where it is missing.",
    )
    ignore_before: UtcTime = live_field(
        default=None,
        description="Date, or date and time (UTC unless it names a zone); older runs are left.",
    )

    @property
    def min_free_bytes(self) -> int:
        """`min_free_gb` in bytes."""
        return int(self.min_free_gb * 1e9)

    @field_validator("l0_dir", "l1_dir")
    @classmethod
    def _apart_from_the_others(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if path is None:
            return None
        for root in info.data.get("data_root", ()):
            if _normal(path).is_relative_to(_normal(root)):
                raise ValueError(f"must not lie inside the data root {root}")
        l0_dir = info.data.get("l0_dir")
        if l0_dir is not None and _normal(path) == _normal(l0_dir):
            raise ValueError("must not be the same directory as l0_dir")
        return path

    @field_validator("data_root")
    @classmethod
    def _roots_once(cls, roots: tuple[Path, ...]) -> tuple[Path, ...]:
        if len({_normal(root) for root in roots}) < len(roots):
            raise ValueError("must not name a directory twice")
        return roots

    @field_validator("finished_markers")
    @classmethod
    def _some_way_to_finish(cls, markers: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not markers and info.data.get("quiet_s") == 0:
            raise ValueError("must not be empty while quiet_s = 0: no run would ever be finished")
        return markers


def _normal(path: Path) -> Path:
    return Path(os.path.normpath(path))


class PffToZarrConfig(Section):
    """``[pff_to_zarr]``: how L0 stores are made; applies to new stores only."""

    codec: Codec = live_field(default="blosc-lz4", description="Compression of the chunks.")
    level: Level = live_field(
        default=1,
        description="Compression level: 0 to 9 (`blosc-lz4`, `gzip`), 0 to 22 (`zstd`; of even "
        "ones and those above 15 the next that Blosc has).",
    )
    # Blosc compresses at most 2^31 - 17 bytes at once; 10^6 frames of 2048 B stay below.
    time_chunk: int = live_field(
        default=32768, ge=1, le=1_000_000, description="Frames (count) of one stored chunk."
    )
    max_concurrent_writes: Count = live_field(
        default=12, description="Chunk writes (count) under way at once."
    )
    num_workers: Count = Field(
        default=8, description="Local workers (count) without a cluster, at most the CPUs."
    )
    blosc_threads: Count = live_field(
        default=8, description="Chunks (count) that are encoded at once, at most the CPUs."
    )
    chunk_size_mb: int = live_field(
        default=50,
        ge=1,
        le=100_000,
        description="The most that a task reads at once, MB (10^6 B); more than 5 changes nothing.",
    )
    checksum: bool = live_field(
        default=True, description="Whether each chunk carries a crc32c checksum."
    )
    inner_chunk: int = live_field(
        default=1024,
        ge=0,
        description="Frames (count) of an inner chunk of `images`, what a reader decodes at least; "
        "divides `time_chunk` (the default is left out where it does not); 0 = none.",
    )

    @property
    def chunk_size_bytes(self) -> int:
        """`chunk_size_mb` in bytes."""
        return self.chunk_size_mb * 1_000_000

    @property
    def n_inner_frames(self) -> int:
        """Frames of an inner chunk in a store of these settings; 0 where there are none."""
        return 0 if self.time_chunk % (self.inner_chunk or 1) else self.inner_chunk

    @field_validator("inner_chunk")
    @classmethod
    def _divides_the_chunk(cls, inner_chunk: int, info: ValidationInfo) -> int:
        time_chunk = info.data.get("time_chunk", 0)
        if inner_chunk and time_chunk % inner_chunk:
            raise ValueError(f"must divide time_chunk = {time_chunk}")
        return inner_chunk


class BaselineSubtractConfig(Section):
    """``[baseline_subtract]``: how L1 stores are made."""

    baseline_window: int = live_field(
        default=100,
        ge=0,
        le=10**12,
        description="Frames (count) used for one baseline; 0 = the whole stream.",
    )
    baseline_mode: Literal["initial", "running"] = live_field(
        default="initial",
        description="Baseline of the first window for all frames, or of each window for its own.",
    )
    codec: Codec = live_field(default="blosc-lz4", description="Compression of the chunks.")
    level: Level = live_field(
        default=5,
        description="Compression level: 0 to 9 (`blosc-lz4`, `gzip`), 0 to 22 (`zstd`; of even "
        "ones and those above 15 the next that Blosc has).",
    )
    # Half of time_chunk's limit: L1 pixels are float32.
    compute_chunk_size: int = live_field(
        default=8192,
        ge=1,
        le=500_000,
        description="Frames (count) that a task computes on at once, at most; more than 4096 "
        "concerns the statistics of pulse height alone.",
    )
    ph_sigma_threshold: float = live_field(
        default=5, ge=0, le=1e6, description="Pulse height: pixels above this many sigma are kept."
    )
    img_block_size: int = live_field(
        default=8,
        ge=1,
        le=_FRAME_SIDE,
        description="Images: side of a median block, pixels; divides 32.",
    )
    img_frame_step: int = live_field(
        default=200,
        ge=1,
        le=10**12,
        description="Images: step in frames (count) between those that count for the supermedian.",
    )
    img_adc_to_pe: float = live_field(
        default=1.5, gt=0, le=1e6, description="Images: ADC counts of one photo-electron."
    )
    ph1024_swap_quabos: bool = live_field(
        default=False,
        description="Whether the upper-right and lower-left quarters are exchanged first.",
    )

    @field_validator("img_block_size")
    @classmethod
    def _divides_the_frame(cls, size: int) -> int:
        if _FRAME_SIDE % size:
            raise ValueError(f"must divide {_FRAME_SIDE}")
        return size


class LoggingConfig(Section):
    """``[logging]``: the service's log on stdout."""

    level: Literal["debug", "info", "warning", "error"] = live_field(
        default="info", description="The least level that is logged."
    )
    format: Literal["auto", "json", "console"] = Field(
        default="auto", description="JSON lines, or colours for a terminal; `auto` looks at stdout."
    )
    progress_s: Seconds = live_field(
        default=60,
        description="Seconds between two lines that say how far a run under way is; 0 = none.",
    )


class MetricsConfig(Section):
    """``[metrics]``: Prometheus metrics, on loopback only."""

    port: Port | None = Field(default=None, description="Port on 127.0.0.1; 0 or unset = off.")


class QuicklookConfig(Section):
    """``[quicklook]``: a picture of each stream, made at its close."""

    DEFAULT_NAME: ClassVar[str] = "quicklook"
    """Of the directory of pictures in the state directory."""

    dir: PathOrEmpty = Field(
        default=None,
        description='Directory of the pictures; unset: `quicklook` in `state_dir`; `""`: none are'
        " made. They need matplotlib (the extra `plot`).",
    )

    def directory(self, state_dir: Path) -> Path | None:
        """Return where the service puts pictures; None where it makes none."""
        if self.dir is None:
            return state_dir / self.DEFAULT_NAME
        return self.dir if isinstance(self.dir, Path) else None


class WebConfig(Section):
    """``[web]``: the status page, on loopback only."""

    port: Port | None = Field(
        default=None,
        description="Port of the status page, http://127.0.0.1:port/; 0 or unset = off.",
    )


class Config(Section):
    """The whole configuration; a section that is not given has its defaults."""

    daemon: DaemonConfig = Field(default=DaemonConfig(), description="The service.")
    cluster: ClusterConfig = Field(default=ClusterConfig(), description="Where the tasks run.")
    pff_to_zarr: PffToZarrConfig = Field(default=PffToZarrConfig(), description="PFF to L0.")
    baseline_subtract: BaselineSubtractConfig = Field(
        default=BaselineSubtractConfig(), description="L0 to L1."
    )
    logging: LoggingConfig = Field(default=LoggingConfig(), description="The log.")
    metrics: MetricsConfig = Field(default=MetricsConfig(), description="Metrics.")
    quicklook: QuicklookConfig = Field(default=QuicklookConfig(), description="Quick-look images.")
    web: WebConfig = Field(default=WebConfig(), description="The status page.")


def sections() -> Iterator[tuple[str, type[Section]]]:
    """Yield every section's dotted name and model, in the order of the file."""
    for name, model in _subsections(Config):
        yield name, model
        for inner, submodel in _subsections(model):
            yield f"{name}.{inner}", submodel


def own_keys(model: type[Section]) -> tuple[str, ...]:
    """Return the keys of a section without the names of the sections inside it."""
    inner = {name for name, _ in _subsections(model)}
    return tuple(name for name in model.model_fields if name not in inner)


def _subsections(model: type[Section]) -> Iterator[tuple[str, type[Section]]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield name, field.annotation
