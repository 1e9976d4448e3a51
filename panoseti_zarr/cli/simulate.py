"""The command ``simulate``."""

from __future__ import annotations

import json
import signal
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from panoseti_zarr.cli.progress_bars import progress_bars

if TYPE_CHECKING:
    from panoseti_zarr.io.simulate import Recording, RunPlan
    from panoseti_zarr.model import StreamKey

_START = "2024-07-25T04:34:06Z"


def simulate(
    root: Annotated[
        Path,
        typer.Argument(readable=False, metavar="ROOT", help="Where to make the run directory."),
    ],
    *,
    name: Annotated[
        str | None, typer.Option(help="Name of the run directory; else made of what follows.")
    ] = None,
    observatory: Annotated[str, typer.Option(help="Observatory in the name.")] = "Lick",
    start: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Start of the run, ISO 8601, UTC.",
            show_default=f"{_START}; with --live now",
        ),
    ] = None,
    product: Annotated[
        list[str] | None,
        typer.Option(help="img16, img8, ph1024 or ph256; repeat for more.", show_default="img16"),
    ] = None,
    module: Annotated[
        list[int] | None,
        typer.Option(help="0 to 254; repeat for more. Each has every product.", show_default="1"),
    ] = None,
    frames: Annotated[int, typer.Option(help="Frames of each stream, over all its files.")] = 1000,
    rate: Annotated[
        float, typer.Option(metavar="HZ", help="Frames per second; of pulses the mean.")
    ] = 1000.0,
    max_file_mb: Annotated[
        float,
        typer.Option(help="The file that passes this size (10^6 bytes) is followed by another."),
    ] = 4000.0,
    seed: Annotated[
        int,
        typer.Option(
            help="The same seed and options give the same bytes; with --live the same pixels."
        ),
    ] = 0,
    markers: Annotated[
        str,
        typer.Option(
            help="all, none, or some of recording_ended, collect_complete, run_complete, "
            "joined by commas."
        ),
    ] = "all",
    defect: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND:NAME=N,...", help="Something wrong, see above; repeat for more."
        ),
    ] = None,
    no_empty_files: Annotated[
        bool, typer.Option("--no-empty-files", help="Leave out files of zero bytes.")
    ] = False,
    live: Annotated[
        bool,
        typer.Option("--live", help="Record in real time, for frames / rate seconds; see above."),
    ] = False,
    daq_node: Annotated[
        bool,
        typer.Option(
            "--daq-node",
            help="Put the frame files where they grow on a DAQ node: ROOT/module_<id>/<run>.",
        ),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a simulated run of that name.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was made as JSON, not the path alone.")
    ] = False,
) -> None:
    """Simulate a run directory.

    Writes what the DAQ would write, and prints the path. Images show a sky with stars and noise,
    pulse height single pulses of light. img8 and img16 of one module follow one another, and so do
    ph256 and ph1024, as when the mode is changed.

    Defects, with N counted from 0 in a stream:

    cut-tail:n_bytes=100, the last frame of the last file is cut;

    broken-header:frame=N, bytes overwritten; broken-header:frame=0 is the first header;

    other-layout:frame=N, same header length, numbers elsewhere;

    missing-quabo:quabo=N,start=N,stop=N, no packets of one board in frames start to stop - 1;

    zero-frames:start=0,stop=1, nothing but zeros;

    unlocked:start=N,stop=N,quabo=N, White Rabbit clock not locked (all frames, all boards);

    missing-seqno:seqno=N, a file that was not copied;

    stub-file:seqno=0,size_bytes=100, a file shorter than one frame.

    A defect is in every stream that can have it (missing-quabo: not ph256), or in the one named
    after the kind:

    cut-tail@img16.3:n_bytes=7, of module 3, and of its img16 alone.

    With --live the run begins now, and each frame is written when its time has come, through
    a buffer of 1 MB as the DAQ's, so that files grow in such steps. SIGINT or SIGTERM end the
    recording early: files are flushed, and the markers written. --start is in the run's name alone
    then, and missing-seqno and stub-file are refused.

    For example:

    panoseti-zarr simulate /tmp/data

    panoseti-zarr simulate /tmp/data --live --module 1 --module 2 --frames 60000

    panoseti-zarr simulate /tmp/data --product img16 --product ph256 --frames 5000

    panoseti-zarr simulate /tmp/data --max-file-mb 1 --defect unlocked --defect cut-tail
    """
    from panoseti_zarr.io.simulate import RunPlan, StreamPlan, simulate_run
    from panoseti_zarr.io.simulate.defect_names import parse_defect

    plan = RunPlan(
        streams=tuple(
            StreamPlan(one_product, one_module, frames, rate)
            for one_module in module or [1]
            for one_product in product or ["img16"]
        ),
        name=name,
        observatory=observatory,
        start=datetime.now(UTC) if live and start is None else _time(start or _START),
        max_file_size_mb=max_file_mb,
        seed=seed,
        markers=_marker_names(markers),
        empty_files=not no_empty_files,
        defects=tuple(parse_defect(text) for text in defect or ()),
        daq_node=daq_node,
    )
    n_frames = {stream.key: stream.n_frames for stream in plan.streams}
    if live:
        recording = _record(root, plan, overwrite=force)
        run_dir, n_frames = recording.run_dir, recording.n_frames
    else:
        run_dir = simulate_run(root, plan, overwrite=force)
    if as_json:
        files = _sizes(root, plan)
        made = {
            "path": str(run_dir),
            "run": run_dir.name,
            "streams": {str(key): count for key, count in n_frames.items()},
            "size_bytes": sum(files.values()),
            "files": files,
        }
        typer.echo(json.dumps(made, indent=2))
    else:
        typer.echo(str(run_dir))


def _record(root: Path, plan: RunPlan, *, overwrite: bool) -> Recording:
    """Record a run until it is over or a signal comes, with a bar a stream on a terminal."""
    from panoseti_zarr.io.simulate import record_run

    stop = threading.Event()
    handlers = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    frame_bytes = {stream.key: stream.layout.today_frame_bytes for stream in plan.streams}
    sizes = {str(stream.key): stream.n_frames * frame_bytes[stream.key] for stream in plan.streams}
    try:
        with progress_bars(sizes) as advance:

            def tell(key: StreamKey, n_frames: int) -> None:
                advance(str(key), n_frames * frame_bytes[key])

            return record_run(root, plan, overwrite=overwrite, stop=stop, on_frames=tell)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _sizes(root: Path, plan: RunPlan) -> dict[str, int]:
    """Return the bytes of each file of a run: by name, or path in ROOT where it is elsewhere."""
    from panoseti_zarr.io.simulate import run_dirs

    run_dir, *others = run_dirs(root, plan)
    sizes = {path.name: path.stat().st_size for path in sorted(run_dir.iterdir())}
    for directory in others:
        for path in sorted(directory.iterdir()):
            sizes[str(path.relative_to(root))] = path.stat().st_size
    return sizes


def _time(text: str) -> datetime:
    """Read an ISO time; UTC where it names no zone."""
    from panoseti_zarr.errors import ConfigError

    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"start {text!r} is not an ISO 8601 time") from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _marker_names(text: str) -> tuple[str, ...]:
    """Read ``all``, ``none`` or names joined by commas; the order of writing is fixed."""
    from panoseti_zarr.errors import ConfigError
    from panoseti_zarr.io.simulate import MARKERS

    if text in {"all", "none"}:
        return MARKERS if text == "all" else ()
    names = text.split(",")
    for name in names:
        if name not in MARKERS:
            raise ConfigError(f"marker {name!r} is not one of {', '.join(MARKERS)}")
    return tuple(name for name in MARKERS if name in names)
