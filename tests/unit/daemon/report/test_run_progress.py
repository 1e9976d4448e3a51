"""How far a run is, told now and then."""

from panoseti_zarr.daemon.report.run_progress import Progress
from panoseti_zarr.daemon.state.records import Run, Stream, StreamStatus

MB = 10**6


def run(*streams: Stream) -> Run:
    """Return a run of these streams."""
    return Run("a.pffd", "/data", (0, 0, "a.pffd"), streams={s.key: s for s in streams})


def stream(number: int, n_bytes: int, **fields) -> Stream:
    """Return a stream of 100 MB of which some are committed."""
    fields = {"status": StreamStatus.INGESTING, "size_bytes": 100 * MB, **fields}
    return Stream(f"dp_img16.module_{number}", n_bytes=n_bytes, **fields)


def test_a_line_comes_when_its_time_has_come_with_rate_and_time_left():
    """Nothing at first; after the pause what is done, what is left, how fast, how long still."""
    progress = Progress(60)
    work = run(stream(1, 10 * MB), stream(2, 0, status=StreamStatus.QUEUED))
    assert progress.lines([work], 1000) == []
    work.streams["dp_img16.module_1"].n_bytes = 40 * MB
    assert progress.lines([work], 1059) == []
    (line,) = progress.lines([work], 1060)
    assert (line.event, line.run) == ("run.progress", "a.pffd")
    assert line.fields == {
        "n_streams": 2,
        "n_closed": 0,
        "n_done": 0,
        "n_bytes": 40 * MB,
        "n_behind_bytes": 160 * MB,
        "mb_per_s": 0.5,
        "left_s": 320,
    }
    assert progress.lines([work], 1061) == []


def test_without_progress_no_time_left_is_promised():
    """A rate of zero gives no end."""
    progress = Progress(10)
    work = run(stream(1, 5 * MB))
    progress.lines([work], 0)
    (line,) = progress.lines([work], 10)
    assert (line.fields["mb_per_s"], line.fields["left_s"]) == (0.0, None)


def test_closed_streams_are_not_behind():
    """A closed store is whole, whatever this process read of it."""
    progress = Progress(10)
    done = stream(1, 0, status=StreamStatus.DONE, is_closed=True)
    work = run(done, stream(2, 0, status=StreamStatus.L1_RUNNING, is_closed=True))
    progress.lines([work], 0)
    (line,) = progress.lines([work], 10)
    assert line.fields["n_behind_bytes"] == 0
    assert (line.fields["n_closed"], line.fields["n_done"]) == (2, 1)


def test_a_run_that_rests_begins_again_and_zero_means_never():
    """The pause counts from the time at which the run's jobs began again."""
    progress = Progress(10)
    work = run(stream(1, 0))
    progress.lines([work], 0)
    progress.lines([], 5)
    assert progress.lines([work], 12) == []
    assert progress.lines([work], 22) != []
    progress.every_s = 0
    assert progress.lines([work], 99) == []
