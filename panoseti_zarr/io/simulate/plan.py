"""The plan of a simulated run: its streams, names, files and defects."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from panoseti_zarr.errors import ConfigError
from panoseti_zarr.io.simulate.defects import Defect, MissingSeqno, StubFile
from panoseti_zarr.model import PRODUCTS, Product, StreamKey

MARKERS = ("recording_ended", "collect_complete", "run_complete")
"""The files that say how far a run is, in the order in which they are written."""

MAX_MODULE = 254

_DAQ_DELAY_S = 29
_FIRST_FRAME_DELAY_S = 2


@dataclass(frozen=True)
class StreamPlan:
    """One stream of a simulated run.

    Attributes
    ----------
    product : str
        ``img16``, ``img8``, ``ph1024`` or ``ph256``.
    module : int
        0 to 254.
    n_frames : int
        Over all its files.
    rate_hz : float
        Frames per second: exact for images, the mean of a Poisson process for pulse height.
    daq_lag_us : int
        How long after its WR time the DAQ computer stamps a frame, microseconds (454 was the
        median of a real run). A negative one makes its second the earlier one at times.
    """

    product: str
    module: int
    n_frames: int = 1000
    rate_hz: float = 1000.0
    daq_lag_us: int = 450

    def __post_init__(self) -> None:
        """Refuse what no DAQ writes."""
        if self.product not in PRODUCTS:
            raise ConfigError(f"product {self.product!r} is not one of {', '.join(PRODUCTS)}")
        if not 0 <= self.module <= MAX_MODULE:
            raise ConfigError(f"module {self.module} is not 0 to {MAX_MODULE}")
        if self.n_frames < 0:
            raise ConfigError(f"number of frames {self.n_frames} is negative")
        if not 1e-3 <= self.rate_hz <= 1e6:
            raise ConfigError(f"rate {self.rate_hz} Hz is not 0.001 to 1000000")

    @property
    def key(self) -> StreamKey:
        """The stream's name within its run."""
        return StreamKey(self.product, self.module)

    @property
    def layout(self) -> Product:
        """Form, dtype and sizes of the product."""
        return PRODUCTS[self.product]

    def shares_seqno(self, other: StreamPlan) -> bool:
        """Whether two streams count their files together: images, or pulse height, of a module."""
        same_kind = self.layout.is_pulse_height == other.layout.is_pulse_height
        return self.module == other.module and same_kind

    def longest_s(self) -> int:
        """Return a time within which all frames come (six sigma of a Poisson process), seconds."""
        return math.ceil((self.n_frames + 6 * math.sqrt(self.n_frames)) / self.rate_hz)


@dataclass(frozen=True)
class FilePlan:
    """One file of a stream: its seqno, and which frames of the stream are in it."""

    seqno: int
    first_frame: int
    n_frames: int


@dataclass(frozen=True)
class RunPlan:
    """A run to simulate. The same plan gives the same bytes.

    Streams that share a seqno counter follow one another, as when the mode is changed in a
    run; all others run at the same time. A plan with more frames and the same seed begins with
    the same frames, so that a longer run is a shorter one that went on.

    Attributes
    ----------
    streams : tuple of StreamPlan
    name : str, optional
        The run directory's name; without it, made of the next three.
    observatory, runtype : str
    start : datetime.datetime
        Of the run, with a time zone. The DAQ starts 29 s later, the first frame comes 2 s after.
    max_file_size_mb : float
        The file that passes this size (units of 10**6 bytes) is the last of its seqno; 0: one
        file. See `max_file_size_mb` for a number of frames.
    seed : int
    markers : tuple of str
        Marker files, in the order of writing.
    empty_files : bool
        Whether there are the zero-byte files that the DAQ opens and never fills.
    time_separator : str
        Between hours, minutes and seconds in names; some copies have ``-``.
    defects : tuple of Defect
    daq_node : bool
        Whether the frame files are where they grow on a DAQ node, in ``module_<id>/<run>`` beside
        the run directory, which then has configuration and markers alone.
    """

    streams: tuple[StreamPlan, ...]
    name: str | None = None
    observatory: str = "Lick"
    start: datetime = datetime(2024, 7, 25, 4, 34, 6, tzinfo=UTC)
    runtype: str = "sci-data"
    max_file_size_mb: float = 4000
    seed: int = 0
    markers: tuple[str, ...] = MARKERS
    empty_files: bool = True
    time_separator: str = ":"
    defects: tuple[Defect, ...] = ()
    daq_node: bool = False

    def __post_init__(self) -> None:
        """Refuse names that lead elsewhere, streams named twice, and defects that hit nothing."""
        if self.start.tzinfo is None:
            raise ConfigError("the start of a run needs a time zone")
        for name in (self.run_name, *self.markers):
            if not name or name in {".", ".."} or "/" in name or "\0" in name:
                raise ConfigError(f"{name!r} is not a name of one file or directory")
        if len({stream.key for stream in self.streams}) < len(self.streams):
            raise ConfigError("a stream is planned twice")
        if not 0 <= self.max_file_size_mb < math.inf:
            raise ConfigError(f"largest file size {self.max_file_size_mb} MB is not 0 or more")
        if self.seed < 0:
            raise ConfigError(f"seed {self.seed} is negative")
        for defect in self.defects:
            self._check_defect(defect)

    @property
    def run_name(self) -> str:
        """The run directory's name."""
        if self.name is not None:
            return self.name
        return f"obs_{self.observatory}.start_{self.time_text(0)}.runtype_{self.runtype}.pffd"

    @property
    def modules(self) -> tuple[int, ...]:
        """The modules with a stream, ascending."""
        return tuple(sorted({stream.module for stream in self.streams}))

    def time_text(self, after_start_s: float) -> str:
        """Return a time as names have it, UTC, some seconds after the start of the run."""
        time = self.start.astimezone(UTC) + timedelta(seconds=after_start_s)
        return time.strftime("%Y-%m-%dT%H:%M:%SZ").replace(":", self.time_separator)

    def frame_file_name(self, key: StreamKey, seqno: int, after_start_s: float) -> str:
        """Return the name of a frame file that was opened some seconds after the start."""
        bytes_per_pixel = PRODUCTS[key.product].dtype.itemsize
        return (
            f"start_{self.time_text(after_start_s)}.dp_{key.product}.bpp_{bytes_per_pixel}."
            f"module_{key.module}.seqno_{seqno}.pff"
        )

    @property
    def start_s(self) -> int:
        """The start of the run, Unix seconds."""
        return int(self.start.timestamp())

    @property
    def daq_delay_s(self) -> int:
        """When the DAQ opens its files, seconds after the start of the run."""
        return _DAQ_DELAY_S

    def stream_start_s(self, stream: StreamPlan) -> int:
        """Return the Unix second in which a stream can begin."""
        delay_s = self.stream_delay_s(stream)
        return self.start_s + _DAQ_DELAY_S + _FIRST_FRAME_DELAY_S + delay_s

    def stream_delay_s(self, stream: StreamPlan) -> int:
        """Return how long a stream waits for those that share its seqno counter, seconds."""
        return sum(other.longest_s() + _FIRST_FRAME_DELAY_S for other in self._earlier(stream))

    def files(self, stream: StreamPlan) -> tuple[FilePlan, ...]:
        """Return the files of a stream. The last is empty where the one before is just full."""
        per_file = self._frames_per_file(stream) or stream.n_frames + 1
        n_rolls = stream.n_frames // per_file
        earlier = sum(len(self.files(other)) - 1 for other in self._earlier(stream))
        return tuple(
            FilePlan(
                seqno=earlier + index if index else 0,
                first_frame=index * per_file,
                n_frames=min(per_file, stream.n_frames - index * per_file),
            )
            for index in range(n_rolls + 1)
        )

    def _frames_per_file(self, stream: StreamPlan) -> int | None:
        """Return how many frames a file has when it is larger than allowed: None for no limit."""
        limit = round(self.max_file_size_mb * 1e6)
        return limit // stream.layout.today_frame_bytes + 1 if limit else None

    def _earlier(self, stream: StreamPlan) -> Iterator[StreamPlan]:
        """Yield the streams before this one that share its seqno counter."""
        for other in self.streams:
            if other == stream:
                return
            if other.shares_seqno(stream):
                yield other

    def _check_defect(self, defect: Defect) -> None:
        """Refuse a defect that would not show in a stream that it names."""
        concerned = [stream for stream in self.streams if defect.concerns(stream.key)]
        if not concerned and defect.stream is None:
            raise ConfigError("a defect can be in no stream of the run")
        if not concerned:
            raise ConfigError(f"a defect names {defect.stream}, which the run has not")
        for stream in concerned:
            defect.check(stream.layout)
            if stream.n_frames < defect.reach():
                raise ConfigError(
                    f"a defect needs {defect.reach()} frames, {stream.key} has {stream.n_frames}"
                )
            seqnos = [file.seqno for file in self.files(stream) if file.n_frames]
            if isinstance(defect, StubFile | MissingSeqno) and defect.seqno not in seqnos:
                raise ConfigError(f"a defect names seqno {defect.seqno}, {stream.key} has {seqnos}")


def max_file_size_mb(product: str, n_frames: int) -> float:
    """Return the `RunPlan.max_file_size_mb` with which files of a product hold ``n_frames``."""
    frame_bytes = PRODUCTS[product].today_frame_bytes
    return (n_frames * frame_bytes - 1) / 1e6
