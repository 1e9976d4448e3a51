"""The service's state machine: events in, instructions out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.state_driver import (
    IMG,
    PH,
    ROOT,
    RUN,
    SETTINGS,
    Driver,
    done_run,
    entry,
    logged,
    outputs,
    started,
    stream,
    target,
)

from panoseti_zarr.daemon.state.events import (
    ChangeHint,
    Committed,
    Connected,
    Disconnected,
    ExecutorFailed,
    IngestEnded,
    L1Started,
    Outcome,
    Reconfigured,
    RequestRejected,
    RetryRequested,
    RunScanned,
    Started,
    StopRequested,
    StoreComparison,
    Tick,
)
from panoseti_zarr.daemon.state.instructions import (
    AbandonTasks,
    CheckCluster,
    CheckOutputs,
    DeleteRequest,
    Exit,
    Log,
    MakeQuicklook,
    MakeSidecar,
    SaveHistory,
    SaveRun,
    ScanRoot,
    ScanRun,
    StartIngest,
    StartL1,
    StopJobs,
    UnwatchRun,
    WatchRun,
)
from panoseti_zarr.daemon.state.machine import STOP_S, ServiceStateMachine
from panoseti_zarr.daemon.state.records import StreamStatus
from panoseti_zarr.daemon.state.retries import MAX_UNEXPECTED


def test_a_start_scans_the_roots_and_the_outputs() -> None:
    """The first thing is a rescan of every root, and a look at the output directories."""
    state = ServiceStateMachine(SETTINGS)
    assert state.handle(Started(0.0, ("/a", "/b"))) == [
        ScanRoot("/a"),
        ScanRoot("/b"),
        CheckOutputs(),
    ]


def test_a_new_run_is_discovered_watched_and_looked_at() -> None:
    """A run in the first listing is announced, and looked at without reading its streams."""
    driver = Driver()
    assert driver.root(entry()) == [
        Log("run.discovered", "info", RUN, None, {"root": ROOT}),
        WatchRun(ROOT, RUN),
        SaveRun(RUN),
        ScanRun(ROOT, RUN, with_streams=False),
    ]


def test_a_run_without_a_marker_waits() -> None:
    """Nothing happens to an unmarked run but a look with each rescan."""
    driver = Driver()
    driver.root(entry())
    assert driver.look(markers=()) == []
    assert driver.send(Tick, after_s=59) == [CheckOutputs()]
    assert driver.send(Tick, after_s=1) == [ScanRoot(ROOT)]
    assert driver.root(entry()) == [ScanRun(ROOT, RUN, with_streams=True)]
    assert driver.state.runs[RUN].state == "waiting"


def test_a_marked_run_is_looked_at_again_after_settle_s() -> None:
    """The second look comes settle_s after the first, without waiting for the rescan."""
    driver = Driver()
    driver.root(entry())
    driver.look()
    assert driver.state.next_due_s(driver.now_s) == 10.0
    driver.outputs()
    assert ScanRun(ROOT, RUN, with_streams=True) in driver.send(Tick, after_s=10)


def test_a_finished_run_queues_its_streams_in_order() -> None:
    """The listing of a finished run announces it, queues its streams, and starts the first two."""
    driver = Driver()
    out = driver.listed(stream(IMG), stream(PH, "f2"), stream("dp_ph256.module_2", "f3"))
    assert logged(out) == ["run.finished", *["stream.queued"] * 3]
    assert UnwatchRun(ROOT, RUN) in out
    assert out[-2:] == [
        StartIngest(target(IMG), "f1"),
        StartIngest(target(PH), "f2"),
    ]


def test_nothing_starts_before_the_cluster_is_connected() -> None:
    """Streams wait in the queue until the executor is there."""
    driver = Driver(ready=False)
    driver.outputs()
    assert started(driver.listed(stream())) == []
    assert started(driver.send(Connected, n_slots=1)) == [(RUN, IMG)]


def test_a_lost_cluster_holds_the_queue_until_it_is_back() -> None:
    """No job starts while the cluster is away; the second connection is no second start."""
    driver = Driver()
    assert logged(driver.send(Disconnected, reason="gone")) == ["cluster.lost"]
    assert started(driver.listed(stream())) == []
    out = driver.send(Connected, n_slots=2)
    assert logged(out) == ["cluster.connected"]
    assert started(out) == [(RUN, IMG)]


def test_nothing_starts_before_the_outputs_were_looked_at() -> None:
    """Without knowing the output directories no job may write into them."""
    driver = Driver(ready=False)
    driver.send(Connected, n_slots=1)
    assert started(driver.listed(stream())) == []
    assert started(driver.outputs()) == [(RUN, IMG)]


def test_the_oldest_run_goes_first() -> None:
    """Jobs start with the run that started first, whichever was found first."""
    driver = Driver(replace(SETTINGS, max_streams=1))
    old, new = entry("old.pffd", start_ns=1), entry("new.pffd", start_ns=2)
    driver.outputs(problem="is missing")
    driver.root(new, old)
    for name in ("new.pffd", "old.pffd"):
        driver.look(run=name)
    driver.now_s += 10
    driver.send(Tick)
    for name in ("new.pffd", "old.pffd"):
        driver.look(stream(), run=name)
    assert started(driver.outputs()) == [("old.pffd", IMG)]


def test_a_closed_stream_gets_its_l1_and_the_run_completes_after_it() -> None:
    """L1 starts when its stream closes; the completion comes after the last L1."""
    driver = Driver()
    driver.listed(stream())
    commit = {"n_frames": 7, "n_new_frames": 7, "n_bytes": 2_000_000, "seconds": 2, "lag_s": 3}
    committed = driver.send(Committed, run=RUN, stream=IMG, **commit)
    assert isinstance(committed[0], Log)
    assert committed[0].fields["mb_per_s"] == 1.0
    out = driver.ingested()
    assert logged(out) == ["stream.closed"]
    assert out[-1] == StartL1(target(IMG, l1=True))
    assert logged(driver.send(L1Started, run=RUN, stream=IMG)) == ["l1.started"]
    out = driver.l1_made(after_s=5)
    assert logged(out) == ["l1.finished", "run.completed"]
    fields = {"n_streams": 1, "n_frames": 7, "n_quarantined": 0, "seconds": 5.0}
    assert Log("run.completed", "info", RUN, None, fields) in out
    assert driver.state.runs[RUN].state == "done"


def test_what_lies_beside_the_stores_is_made_once_the_run_is_done() -> None:
    """It is asked for with the run's completion, when it is listed again, and at no other time."""
    driver = Driver()
    wanted = MakeSidecar(target("", l1=True))
    before = driver.listed(stream(IMG), stream(PH)) + driver.ingested(IMG) + driver.ingested(PH)
    before += driver.l1_made(IMG)
    assert wanted not in before
    assert driver.l1_made(PH).count(wanted) == 1
    driver.root(entry(mtime_ns=2))
    assert wanted not in driver.look(digest="d2")
    driver.now_s += 10
    driver.send(Tick)
    changed = stream(IMG, "f2", store=StoreComparison.DIFFERENT, has_l1=True)
    same = stream(PH, "f1", store=StoreComparison.SAME, has_l1=True)
    assert wanted not in driver.look(changed, same, digest="d2")
    driver.ingested(IMG)
    assert driver.l1_made(IMG).count(wanted) == 1
    assert wanted not in driver.root(n_entries=0)


def test_a_done_run_costs_nothing_but_the_rescan() -> None:
    """With its directory unchanged, no look is asked for until recheck_s."""
    driver = done_run(IMG)
    driver.outputs()
    driver.now_s += 60
    assert driver.root(entry()) == [CheckOutputs()]


def test_a_changed_directory_brings_a_look_and_equal_files_end_it() -> None:
    """A new directory mtime asks for one look; the same identities change nothing."""
    driver = done_run(IMG)
    out = driver.root(entry(mtime_ns=2))
    assert out == [ScanRun(ROOT, RUN, with_streams=False)]
    assert driver.look(digest="d1") == []


def test_a_new_file_is_ingested_and_the_l1_made_again() -> None:
    """A done run with a new file settles, then its changed stream alone goes through again."""
    driver = done_run(IMG, PH)
    driver.root(entry(mtime_ns=2))
    assert logged(driver.look(digest="d2")) == ["run.changed"]
    driver.now_s += 10
    driver.send(Tick)
    changed = stream(IMG, "f2", store=StoreComparison.DIFFERENT, has_l1=True)
    same = stream(PH, "f1", store=StoreComparison.SAME, has_l1=True)
    out = driver.look(changed, same, digest="d2")
    assert logged(out) == ["run.finished", "stream.queued"]
    assert started(out) == [(RUN, IMG)]
    assert StartL1(target(IMG, l1=True)) in driver.ingested()
    assert logged(driver.l1_made()) == ["l1.finished", "run.completed"]


def test_a_second_marker_after_completion_is_no_news() -> None:
    """run_complete written after everything was done makes no line but run.changed."""
    driver = done_run(IMG)
    driver.root(entry(mtime_ns=2))
    driver.look(digest="d2")
    driver.now_s += 10
    driver.send(Tick)
    out = driver.look(stream(store=StoreComparison.SAME, has_l1=True), digest="d2")
    beside = MakeSidecar(target("", l1=True))
    assert out == [UnwatchRun(ROOT, RUN), SaveRun(RUN), beside]


def test_files_of_done_runs_are_looked_at_again_every_recheck_s() -> None:
    """After recheck_s a done run is listed in the background, one run at a time."""
    driver = done_run(IMG)
    driver.now_s += 1000
    out = driver.root(entry())
    assert ScanRun(ROOT, RUN, with_streams=True) in out
    beside = MakeSidecar(target("", l1=True))
    assert driver.look(stream(store=StoreComparison.SAME, has_l1=True)) == [SaveRun(RUN), beside]


def test_a_missing_l1_is_made_at_the_next_recheck() -> None:
    """A closed L0 without a matching L1 gets one, without another L0 job."""
    driver = done_run(IMG)
    driver.now_s += 1000
    driver.root(entry())
    out = driver.look(stream(store=StoreComparison.SAME, has_l1=False))
    assert out[-1] == StartL1(target(IMG, l1=True))
    assert started(out) == []


def test_a_permanent_error_quarantines_one_stream_and_the_others_go_on() -> None:
    """The run completes, with the stream counted as quarantined."""
    driver = Driver()
    driver.listed(stream(IMG), stream(PH))
    out = driver.ingested(IMG, outcome=Outcome.CORRUPT, reason="no header")
    assert Log("stream.quarantined", "error", RUN, IMG, {"reason": "no header"}) in out
    driver.ingested(PH)
    out = driver.l1_made(PH)
    assert logged(out) == ["l1.finished", "run.completed"]
    assert driver.state.runs[RUN].n_quarantined == 1
    assert driver.state.runs[RUN].state == "quarantined"


def test_a_quarantine_lifts_when_the_files_change() -> None:
    """Each rescan looks at a quarantined run's files; other files mean another attempt."""
    driver = Driver()
    driver.listed(stream())
    driver.ingested(outcome=Outcome.CORRUPT, reason="no header")
    assert ScanRun(ROOT, RUN, with_streams=False) in driver.root(entry())
    assert driver.look(digest="d1") == []
    driver.root(entry())
    driver.look(digest="d2")
    driver.now_s += 10
    driver.send(Tick)
    assert started(driver.look(stream(IMG, "f2"), digest="d2")) == [(RUN, IMG)]


def test_a_quarantine_holds_while_only_other_files_change() -> None:
    """A change of the run that leaves the stream's own files alone lifts nothing."""
    driver = Driver()
    driver.listed(stream())
    driver.ingested(outcome=Outcome.CORRUPT, reason="no header")
    driver.root(entry())
    driver.look(digest="d2")
    driver.now_s += 10
    driver.send(Tick)
    assert started(driver.look(stream(IMG, "f1"), digest="d2")) == []
    assert driver.status() is StreamStatus.QUARANTINED


def test_failures_that_may_pass_are_retried_with_growing_delays() -> None:
    """The delay doubles up to its limit, and starts again after progress."""
    driver = Driver(replace(SETTINGS, retry_first_s=5, retry_most_s=15))
    driver.listed(stream())
    delays = []
    for _ in range(4):
        out = driver.ingested(outcome=Outcome.FAILED, reason="I/O error")
        log = next(i for i in out if isinstance(i, Log))
        assert log.event == "stream.postponed"
        delays.append(log.fields["retry_in_s"])
        assert started(driver.send(Tick, after_s=delays[-1] - 0.1)) == []
        assert started(driver.send(Tick, after_s=0.1)) == [(RUN, IMG)]
    assert delays == [5, 10, 15, 15]
    commit = {"n_frames": 7, "n_new_frames": 7, "n_bytes": 1, "seconds": 2, "lag_s": None}
    driver.send(Committed, run=RUN, stream=IMG, **commit)
    out = driver.ingested(outcome=Outcome.FAILED, reason="I/O error")
    assert [i.fields["retry_in_s"] for i in out if isinstance(i, Log)] == [5]


def test_a_postponed_stream_is_due_at_its_time() -> None:
    """The loop is told when the next attempt is wanted."""
    driver = Driver()
    driver.listed(stream())
    driver.outputs()
    driver.ingested(outcome=Outcome.FAILED)
    assert driver.state.next_due_s(driver.now_s) == driver.now_s + 5


def test_files_other_than_the_listing_make_the_run_settle_again() -> None:
    """A job that finds other files ends; the stream is queued by the next listing."""
    driver = Driver()
    driver.listed(stream())
    out = driver.ingested(outcome=Outcome.CHANGED)
    assert ScanRun(ROOT, RUN, with_streams=True) in out
    assert driver.status() is StreamStatus.WAITING
    driver.look(stream(IMG, "f2"), digest="d2")
    driver.now_s += 10
    driver.send(Tick)
    assert started(driver.look(stream(IMG, "f2"), digest="d2")) == [(RUN, IMG)]


def test_a_change_during_a_job_queues_the_stream_again() -> None:
    """A listing that differs while the job runs brings one more job after it, not beside it."""
    driver = Driver()
    driver.listed(stream())
    driver.root(entry(mtime_ns=2))
    driver.look(digest="d2")
    driver.now_s += 10
    driver.send(Tick)
    assert started(driver.look(stream(IMG, "f2", store=StoreComparison.OPEN), digest="d2")) == []
    out = driver.ingested()
    assert logged(out) == ["stream.closed", "stream.queued"]
    assert out[-1] == StartIngest(target(IMG), "f2")


def test_too_little_free_disk_pauses_the_queue_and_it_resumes() -> None:
    """No job starts below min_free; said once, and resumed by the next good look."""
    driver = Driver()
    assert logged(driver.outputs(free_bytes=99)) == ["queue.paused"]
    assert logged(driver.outputs(free_bytes=98)) == []
    assert started(driver.listed(stream())) == []
    out = driver.outputs(free_bytes=100)
    assert logged(out) == ["queue.resumed"]
    assert started(out) == [(RUN, IMG)]


UNMOUNTED = [
    {"problem": "is missing"},
    {"volume": "/dev/sda1 (ext4)", "device": 9, "is_empty": True},
    {"device": 9, "is_empty": True},
]


@pytest.mark.parametrize("how", UNMOUNTED)
def test_an_output_that_is_not_what_it_was_pauses_the_queue(how: dict[str, Any]) -> None:
    """A missing or unmounted output directory is not written to; it resumes by itself."""
    driver = Driver()
    assert logged(driver.outputs(**how)) == ["queue.paused"]
    assert started(driver.listed(stream())) == []
    out = driver.outputs()
    assert logged(out) == ["queue.resumed"]
    assert started(out) == [(RUN, IMG)]


def test_an_output_that_was_mounted_again_is_the_same() -> None:
    """Another device number at the same mount point, with something there, is a remount."""
    driver = Driver()
    assert logged(driver.outputs(device=9)) == []


def test_an_output_on_another_volume_than_before_the_restart_pauses_the_queue() -> None:
    """The ledger remembers volumes, for device numbers change over a reboot."""
    driver = Driver(ready=False, volumes=(("/big/l0", "nas:/big (nfs)"), (ROOT, "raw")))
    out = driver.outputs(volume="/dev/sda1 (ext4)", is_empty=True)
    assert logged(out) == ["queue.paused"]
    assert logged(driver.outputs(device=77, is_empty=True)) == ["queue.resumed"]


@pytest.mark.parametrize("how", UNMOUNTED)
def test_no_store_is_judged_removed_while_its_directory_is_unmounted(how: dict[str, Any]) -> None:
    """A listing that looked for stores in a bare mount point means nothing."""
    driver = done_run(IMG)
    driver.now_s += 1000
    driver.root(entry())
    driver.look(stream(store=StoreComparison.ABSENT), outputs=outputs(**how))
    assert driver.status() is StreamStatus.DONE
    driver.now_s += 60
    assert ScanRun(ROOT, RUN, with_streams=True) in driver.root(entry())
    driver.look(stream(store=StoreComparison.ABSENT))
    assert driver.status() is StreamStatus.REMOVED


@pytest.mark.parametrize(
    "how",
    [
        {"problem": "is missing"},
        {"n_entries": 0},
        {"device": 6, "n_entries": 1},
        {"volume": "sda1", "n_entries": 1},
    ],
)
def test_a_root_that_is_not_what_it_was_is_paused(how: dict[str, Any]) -> None:
    """Nothing is judged removed and no job starts, until the root is back."""
    driver = Driver(replace(SETTINGS, max_streams=1))
    driver.listed(stream(IMG), stream(PH))
    assert logged(driver.root(**how)) == ["root.paused"]
    assert logged(driver.root(**how)) == []
    assert started(driver.ingested()) == []
    assert not driver.state.runs[RUN].is_removed
    out = driver.root(entry())
    assert logged(out) == ["root.resumed"]
    assert started(out) == [(RUN, PH)]


def test_another_file_system_with_the_known_runs_is_the_same_data() -> None:
    """A remount may give another device number: the runs that are there tell."""
    driver = done_run(IMG)
    assert logged(driver.root(entry(), device=6)) == []


def test_l1_jobs_go_on_while_a_root_is_paused() -> None:
    """L1 needs no frame file."""
    driver = Driver()
    driver.listed(stream())
    driver.root(problem="is missing")
    assert StartL1(target(IMG, l1=True)) in driver.ingested()


def test_a_root_that_gives_no_answer_is_paused_and_holds_nobody_up() -> None:
    """Its jobs are left to themselves, those of another root start; its answer resumes it."""
    driver = Driver(replace(SETTINGS, max_streams=1), roots=(ROOT, "/other"))
    driver.listed(stream())
    driver.root(entry("other.pffd"), root="/other")
    assert ScanRoot(ROOT) in driver.send(Tick, after_s=60)
    driver.look(run="other.pffd")
    driver.now_s += 10
    driver.send(Tick)
    assert started(driver.look(stream(), run="other.pffd")) == []
    driver.root(entry("other.pffd"), root="/other")
    driver.outputs()
    out = driver.send(Tick, after_s=50)
    assert logged(out) == ["root.paused"]
    assert AbandonTasks() in out
    assert started(out) == [("other.pffd", IMG)]
    assert logged(driver.send(Tick, after_s=50)) == []
    assert started(driver.ingested(outcome=Outcome.STOPPED)) == []
    driver.send(IngestEnded, run="other.pffd", stream=IMG, outcome=Outcome.DONE)
    out = driver.root(entry())
    assert logged(out) == ["root.resumed"]
    assert started(out) == [(RUN, IMG)]


def test_a_root_that_answers_slowly_is_not_hung() -> None:
    """While its looks are answered one after another, the rescan may wait behind them."""
    driver = Driver()
    driver.root(entry())
    driver.send(Tick, after_s=60)
    for _ in range(3):
        driver.now_s += 50
        driver.outputs()
        assert logged(driver.look(markers=())) == []


def test_outputs_that_give_no_answer_pause_the_queue() -> None:
    """Writes hang: said once, nothing more starts, and the answer resumes the queue."""
    driver = Driver()
    assert CheckOutputs() in driver.send(Tick, after_s=10)
    driver.root()
    assert logged(driver.send(Tick, after_s=59)) == []
    assert logged(driver.send(Tick, after_s=1)) == ["queue.paused"]
    assert started(driver.listed(stream())) == []
    out = driver.outputs()
    assert logged(out) == ["queue.resumed"]
    assert started(out) == [(RUN, IMG)]


def test_l1_jobs_take_the_places_that_no_l0_job_needs() -> None:
    """Of two streams that close at once, both get their L1 at once."""
    driver = Driver()
    driver.listed(stream(IMG), stream(PH))
    assert StartL1(target(IMG, l1=True)) in driver.ingested(IMG)
    assert StartL1(target(PH, l1=True)) in driver.ingested(PH)


def test_a_run_that_is_deleted_after_the_close_is_removed() -> None:
    """Its directory gone from a healthy root: removed, no error; it comes back unharmed."""
    driver = done_run(IMG)
    other = entry("other.pffd")
    assert "run.removed" in logged(driver.root(other))
    assert driver.state.runs[RUN].state == "removed"
    assert driver.status() is StreamStatus.REMOVED
    assert "run.discovered" in logged(driver.root(other, entry()))
    driver.look()
    driver.now_s += 10
    driver.send(Tick)
    assert started(driver.look(stream(store=StoreComparison.SAME, has_l1=True))) == []
    assert driver.status() is StreamStatus.DONE


def test_a_source_deleted_after_the_close_is_removed() -> None:
    """Frame files gone from a done run: the stream is removed and nothing is done."""
    driver = done_run(IMG, PH)
    driver.root(entry(mtime_ns=2))
    driver.look(digest="d2")
    driver.now_s += 10
    driver.send(Tick)
    some_gone = stream(IMG, "f2", store=StoreComparison.SOURCE_GONE, has_l1=True)
    out = driver.look(some_gone, digest="d2")
    assert (started(out), logged(out)) == ([], ["stream.removed", "stream.removed"])
    driver.root(entry(mtime_ns=3))
    assert logged(driver.look(some_gone, digest="d2")) == []
    assert driver.status(IMG) is StreamStatus.REMOVED
    assert driver.status(PH) is StreamStatus.REMOVED


def test_a_retry_leaves_a_whole_store_without_its_files_alone() -> None:
    """It is closed, and has its mark; with files again, its L1 is made again where asked for."""
    driver = done_run(IMG, PH)
    some_gone = stream(IMG, "f2", store=StoreComparison.SOURCE_GONE, has_l1=True)
    driver.send(RetryRequested, run=RUN)
    for key in (IMG, PH):
        driver.l1_made(key)
    driver.root(entry(mtime_ns=2))
    driver.look(some_gone, digest="d2")
    driver.now_s += 10
    driver.send(Tick)
    driver.look(some_gone, digest="d2")
    assert driver.status(IMG) is driver.status(PH) is StreamStatus.REMOVED
    driver.send(RetryRequested, run=RUN)
    assert started(driver.look(some_gone, digest="d2")) == []
    for key in (IMG, PH):
        known = driver.state.runs[RUN].streams[key]
        assert (known.status, known.is_closed, known.reason) == (StreamStatus.REMOVED, True, "")
        assert not known.refresh_l1
    driver.send(RetryRequested, run=RUN)
    out = driver.look(stream(IMG, store=StoreComparison.SAME, has_l1=True), digest="d2")
    assert [(i.target.stream, i.refresh) for i in out if isinstance(i, StartL1)] == [(IMG, True)]


def test_an_l0_deleted_after_the_close_is_removed_and_not_done_again() -> None:
    """A recheck that misses the store makes the stream removed; a retry does it again."""
    driver = done_run(IMG)
    driver.now_s += 1000
    driver.root(entry())
    out = driver.look(stream(store=StoreComparison.ABSENT))
    assert started(out) == []
    assert driver.status() is StreamStatus.REMOVED
    driver.send(RetryRequested, run=RUN)
    assert started(driver.look(stream(store=StoreComparison.ABSENT))) == [(RUN, IMG)]


def test_an_l0_deleted_before_its_l1_is_removed() -> None:
    """An L1 job without an L0 store leads to a listing, which finds the store gone."""
    driver = Driver()
    driver.listed(stream())
    driver.ingested()
    out = driver.l1_made(outcome=Outcome.MISSING, is_changed=False)
    assert ScanRun(ROOT, RUN, with_streams=True) in out
    driver.look(stream(store=StoreComparison.ABSENT))
    assert driver.status() is StreamStatus.REMOVED
    assert driver.state.runs[RUN].is_complete


def test_a_retry_queues_what_is_quarantined() -> None:
    """Quarantined streams again, once their files are listed; done ones have their L1 checked."""
    driver = Driver()
    driver.listed(stream(IMG), stream(PH))
    driver.ingested(IMG, outcome=Outcome.CORRUPT, reason="no header")
    driver.ingested(PH)
    driver.l1_made(PH)
    out = driver.send(RetryRequested, run=RUN)
    assert (logged(out), started(out)) == (["run.retried"], [])
    assert ScanRun(ROOT, RUN, with_streams=True) in out
    assert StartL1(target(PH, l1=True), refresh=True) in out
    out = driver.look(stream(IMG), stream(PH, store=StoreComparison.SAME, has_l1=True))
    assert logged(out) == ["stream.queued"]
    assert started(out) == [(RUN, IMG)]


def test_a_completion_after_a_retry_counts_from_the_retry() -> None:
    """The seconds of the second completion are not those since the first."""
    driver = done_run(IMG)
    driver.now_s += 5000
    driver.send(RetryRequested, run=RUN)
    out = driver.l1_made(after_s=2, is_changed=False)
    assert [i.fields["seconds"] for i in out if isinstance(i, Log)] == [2.0]


def test_a_rebuild_makes_every_store_again() -> None:
    """With rebuild every stream is ingested again, and its L1 made."""
    driver = done_run(IMG)
    driver.send(RetryRequested, run=RUN, rebuild=True)
    out = driver.look(stream(store=StoreComparison.SAME, has_l1=True))
    assert out[-1] == StartIngest(target(IMG), "f1", rebuild=True)
    assert StartL1(target(IMG, l1=True), refresh=True) in driver.ingested()
    assert not driver.state.runs[RUN].streams[IMG].rebuild


def test_a_rebuild_that_fails_for_now_stays_a_rebuild() -> None:
    """The next attempt of a postponed rebuild rebuilds too."""
    driver = done_run(IMG)
    driver.send(RetryRequested, run=RUN, rebuild=True)
    driver.look(stream(store=StoreComparison.SAME, has_l1=True))
    driver.ingested(outcome=Outcome.FAILED)
    out = driver.send(Tick, after_s=5)
    assert StartIngest(target(IMG), "f1", rebuild=True) in out


@pytest.mark.parametrize("rebuild", [False, True])
def test_a_retry_sees_what_changed_unnoticed(rebuild: bool) -> None:
    """Files that changed in place since the close settle first, and are queued once."""
    driver = done_run(IMG)
    driver.send(RetryRequested, run=RUN, rebuild=rebuild)
    if not rebuild:
        driver.l1_made(is_changed=False)
    changed = stream(digest="f2", store=StoreComparison.DIFFERENT, has_l1=True)
    assert logged(driver.look(changed, digest="d2")) == ["run.changed"]
    driver.now_s += 10
    driver.send(Tick)
    out = driver.look(changed, digest="d2")
    assert logged(out) == ["run.finished", "stream.queued"]
    assert [i.rebuild for i in out if isinstance(i, StartIngest)] == [rebuild]


@pytest.mark.parametrize("how", [{"problem": "cannot be read"}, {"is_gone": True}])
def test_a_retry_whose_look_fails_is_not_forgotten(how: dict[str, Any]) -> None:
    """The next rescan brings another look."""
    driver = done_run(IMG)
    driver.send(RetryRequested, run=RUN, rebuild=True)
    driver.look(**how)
    assert ScanRun(ROOT, RUN, with_streams=True) in driver.root(entry())
    assert started(driver.look(stream(store=StoreComparison.SAME))) == [(RUN, IMG)]


def test_a_retry_waits_for_its_root() -> None:
    """Asked while the root is paused, or paused during the look: done when it is back."""
    driver = done_run(IMG)
    driver.root(problem="is missing")
    assert ScanRun(ROOT, RUN, True) not in driver.send(RetryRequested, run=RUN, rebuild=True)
    assert ScanRun(ROOT, RUN, True) in driver.root(entry())
    driver.root(problem="is missing")
    assert started(driver.look(stream(store=StoreComparison.SAME))) == []
    assert ScanRun(ROOT, RUN, True) in driver.root(entry())
    assert started(driver.look(stream(store=StoreComparison.SAME))) == [(RUN, IMG)]


def test_a_retry_of_an_unknown_run_is_refused() -> None:
    """The refusal is logged, once every root was listed: the run may be there."""
    driver = Driver()
    assert logged(driver.send(RetryRequested, run="nothing.pffd", request="1.json")) == []
    out = driver.root()
    assert logged(out) == ["retry.refused"]
    assert DeleteRequest("1.json") in out


def test_a_retry_of_a_run_that_is_found_later_waits_for_it() -> None:
    """Asked for before the first listing: the run is discovered, then retried."""
    driver = Driver()
    driver.send(RetryRequested, run=RUN, rebuild=True, request="1.json")
    out = driver.root(entry())
    assert logged(out) == ["run.discovered", "run.retried"]
    assert DeleteRequest("1.json") in out
    assert driver.state.runs[RUN].rebuild


def test_a_request_that_cannot_be_read_is_refused_and_deleted() -> None:
    """Its file does not come back with every pass of the loop."""
    out = Driver().send(RequestRejected, request="1.json", reason="not a request")
    assert logged(out) == ["request.refused"]
    assert DeleteRequest("1.json") in out


def test_one_name_under_two_roots_is_refused_once() -> None:
    """The second run of a name is refused with one line, and never looked at."""
    driver = Driver(roots=(ROOT, "/other"))
    driver.root(entry())
    for expected in (["run.refused"], []):
        assert logged(driver.root(entry(), root="/other")) == expected
    assert driver.state.runs[RUN].root == ROOT


def test_refused_names_are_logged_once_and_escaped() -> None:
    """A name with control characters is one line, said once while it is there."""
    driver = Driver()
    bad = "evil\n.pffd"
    out = driver.root(refused=((bad, "has control characters"),), n_entries=1)
    assert [i.run for i in out if isinstance(i, Log)] == ["evil\\n.pffd"]
    assert logged(driver.root(refused=((bad, "has control characters"),), n_entries=1)) == []


def test_an_archive_is_left_alone() -> None:
    """Runs before ignore_before are not discovered."""
    driver = Driver(replace(SETTINGS, ignore_before_ns=100))
    out = driver.root(entry("old.pffd", start_ns=99), entry("new.pffd", start_ns=100))
    assert [i.run for i in out if isinstance(i, Log)] == ["new.pffd"]


def test_a_run_without_frames_completes_with_no_stream() -> None:
    """Only empty frame files: finished and completed, 0 streams."""
    driver = Driver()
    driver.root(entry())
    driver.look()
    driver.now_s += 10
    driver.send(Tick)
    out = driver.send(
        RunScanned,
        run=RUN,
        began_s=driver.now_s,
        digest="d1",
        markers=("run_complete",),
        streams=(),
        n_empty_files=4,
    )
    assert logged(out) == ["run.finished", "run.completed"]


def test_cut_short_files_are_reported_once() -> None:
    """A cut file makes a warning line with its first close, not with each repeat."""
    driver = Driver()
    driver.listed(stream())
    assert logged(driver.ingested(cut_short=("x.pff: 3 bytes left",))) == [
        "file.cut_short",
        "stream.closed",
    ]
    driver.l1_made()
    driver.send(RetryRequested, run=RUN, rebuild=True)
    assert logged(driver.ingested(cut_short=("x.pff: 3 bytes left",))) == ["stream.closed"]


def test_hints_that_come_fast_share_one_look() -> None:
    """Notices bring the next look forward, but no closer than the debounce time."""
    driver = Driver()
    driver.root(entry())
    driver.look(markers=())
    assert driver.send(ChangeHint, root=ROOT, run=RUN, after_s=0.1) == []
    assert driver.send(ChangeHint, root=ROOT, run=RUN, after_s=0.1) == []
    looks = [i for i in driver.send(Tick, after_s=0.8) if isinstance(i, ScanRun)]
    assert looks == [ScanRun(ROOT, RUN, with_streams=False)]


def test_a_hint_of_an_unknown_run_brings_the_rescan_forward() -> None:
    """A new directory is found without waiting for rescan_s."""
    driver = Driver()
    driver.root()
    assert driver.send(ChangeHint, root=ROOT, run="new.pffd", after_s=5) == [ScanRoot(ROOT)]


def test_a_run_that_cannot_be_read_is_said_once() -> None:
    """Permission denied: a warning, and another look with the next rescan."""
    driver = Driver()
    driver.root(entry())
    assert logged(driver.look(problem="cannot be read: Permission denied")) == ["run.unreadable"]
    assert ScanRun(ROOT, RUN, with_streams=False) in driver.root(entry())
    assert logged(driver.look(problem="cannot be read: Permission denied")) == []


def test_a_run_that_a_scan_misses_brings_the_rescan_forward() -> None:
    """It was deleted or renamed: the listing of its root shows which, without delay."""
    driver = Driver()
    driver.root(entry())
    driver.look(is_gone=True)
    assert ScanRoot(ROOT) in driver.send(Tick, after_s=SETTINGS.debounce_s)


def test_a_change_in_a_root_brings_its_rescan_forward() -> None:
    """A notice of something new; several within a moment bring one rescan."""
    driver = Driver()
    driver.root()
    driver.now_s += 5
    assert ScanRoot(ROOT) in driver.send(ChangeHint, root=ROOT, run=None)
    assert ScanRoot(ROOT) not in driver.send(ChangeHint, root=ROOT, run=None)


def test_a_failed_job_has_the_cluster_checked() -> None:
    """Its error may be that of a cluster that is gone; errors of the data say nothing of it."""
    for outcome, is_checked in ((Outcome.FAILED, True), (Outcome.CORRUPT, False)):
        driver = Driver()
        driver.listed(stream())
        assert (CheckCluster() in driver.ingested(outcome=outcome)) == is_checked


def test_a_new_l1_store_has_its_quicklook_drawn() -> None:
    """One that was found to match has its own already."""
    for is_changed in (True, False):
        driver = Driver()
        driver.listed(stream())
        driver.ingested()
        out = driver.l1_made(is_changed=is_changed)
        assert (MakeQuicklook(RUN, IMG) in out) == is_changed


def test_l1_jobs_take_only_places_that_no_l0_job_needs() -> None:
    """One at a time while L0 jobs run; up to `max_streams` once there are none."""
    others = [f"dp_img16.module_{number}" for number in (2, 3, 4)]
    driver = Driver()
    driver.listed(*(stream(key) for key in (IMG, PH, *others)))
    made = [i.target.stream for i in driver.ingested(IMG) if isinstance(i, StartL1)]
    assert made == [IMG]
    out = driver.ingested(PH)
    assert len(driver.state.job_queue.running) == 3
    assert not any(isinstance(i, StartL1) for i in out)
    for key in others[:2]:
        assert not any(isinstance(i, StartL1) for i in driver.ingested(key))
    # No L0 job is left: its place goes to the second L1 job.
    out = driver.ingested(others[2])
    assert [i.target.stream for i in out if isinstance(i, StartL1)] == [PH]


def test_a_stream_that_was_retried_and_removed_is_closed_once_it_is_back() -> None:
    """Its store shows that it is: else it would never be verified."""
    driver = Driver()
    driver.listed(stream())
    driver.ingested()
    driver.l1_made(outcome=Outcome.FAILED)
    driver.send(RetryRequested, run=RUN)
    driver.root(entry("other.pffd"))
    assert driver.status() is StreamStatus.REMOVED
    driver.root(entry("other.pffd"), entry())
    driver.listed(stream(store=StoreComparison.SAME, has_l1=True))
    known = driver.state.runs[RUN].streams[IMG]
    assert (known.status, known.is_closed) == (StreamStatus.DONE, True)


def test_stopping_asks_the_jobs_and_exits_after_the_last() -> None:
    """Nothing new starts; the exit comes with the end of the last job."""
    driver = Driver()
    driver.listed(stream(IMG), stream(PH), stream("dp_ph256.module_2"))
    out = driver.send(StopRequested, reason="SIGTERM")
    assert out == [Log("service.stopping", fields={"reason": "SIGTERM"}), StopJobs()]
    assert driver.ingested(IMG, outcome=Outcome.STOPPED) == [SaveRun(RUN)]
    out = driver.ingested(PH)
    assert out[-1] == Exit(0)
    assert started(out) == []


def test_an_idle_service_stops_at_once() -> None:
    """Without jobs the exit comes with the request."""
    assert Driver().send(StopRequested)[1:] == [StopJobs(), Exit(0)]


def test_jobs_that_do_not_stop_are_abandoned() -> None:
    """After `STOP_S`, or at the second request: what they committed stays."""
    for n_requests, after_s in ((1, STOP_S), (2, 0.0)):
        driver = Driver()
        driver.listed(stream(IMG))
        for _ in range(n_requests - 1):
            driver.send(StopRequested)
        assert not any(isinstance(i, Exit) for i in driver.send(StopRequested)[: 2 - n_requests])
        assert driver.send(Tick, after_s=after_s) == [Exit(0, has_abandoned=True)]


def test_an_executor_that_cannot_be_made_ends_the_service() -> None:
    """With the exit code of the error: waiting does not help."""
    assert Driver(ready=False).send(ExecutorFailed, exit_code=2) == [StopJobs(), Exit(2)]


def test_an_unexpected_error_is_retried_a_few_times_then_quarantined() -> None:
    """It may be a race in a library, which passes; one that comes each time needs a person."""
    for end, retrying in (
        (Driver.ingested, StreamStatus.RETRYING),
        (Driver.l1_made, StreamStatus.L1_RETRYING),
    ):
        driver = Driver()
        driver.listed(stream())
        if end is Driver.l1_made:
            driver.ingested()
        for _ in range(MAX_UNEXPECTED - 1):
            end(driver, outcome=Outcome.UNEXPECTED, reason="unexpected SystemError: a race")
            assert driver.status() is retrying
            driver.now_s += 600
            driver.root(entry())
            driver.outputs()
        out = end(driver, outcome=Outcome.UNEXPECTED, reason="unexpected SystemError: a race")
        assert logged(out)[0] == "stream.quarantined"


def test_a_broken_invariant_stops_the_service() -> None:
    """What cannot be, is: stop with exit code 1 before it spreads."""
    driver = Driver()
    driver.listed(stream())
    out = driver.ingested(outcome=Outcome.BROKEN, reason="cannot be")
    assert logged(out) == ["service.failed"]
    assert SaveHistory() in out
    assert out[-1] == Exit(1)


def test_a_restart_knows_what_is_done_and_looks_for_missing_l1s() -> None:
    """Done runs of the ledger are listed once in the background; nothing is queued."""
    before = done_run(IMG)
    driver = Driver(runs=tuple(before.state.runs.values()))
    out = driver.root(entry())
    assert out == [ScanRun(ROOT, RUN, with_streams=True)]
    out = driver.look(stream(store=StoreComparison.SAME, has_l1=True))
    assert (started(out), logged(out)) == ([], [])


def test_a_restart_in_the_middle_settles_and_goes_on() -> None:
    """A stream that was under way waits for this process's own looks, then is queued."""
    before = Driver()
    before.listed(stream())
    driver = Driver(runs=tuple(before.state.runs.values()))
    assert driver.status() is StreamStatus.WAITING
    driver.root(entry())
    assert started(driver.look(stream(store=StoreComparison.OPEN))) == []
    driver.now_s += 10
    driver.send(Tick)
    assert started(driver.look(stream(store=StoreComparison.OPEN))) == [(RUN, IMG)]


def test_a_run_of_a_root_that_is_configured_no_more_can_turn_up_in_another() -> None:
    """A moved data root does not make its runs refused for ever."""
    before = done_run(IMG)
    driver = Driver(roots=("/new",), runs=tuple(before.state.runs.values()))
    out = driver.root(entry(), root="/new")
    assert logged(out) == ["run.discovered"]
    assert driver.state.runs[RUN].root == "/new"


def test_new_settings_hold_from_now_on() -> None:
    """A re-read config counts for the next job and look."""
    driver = Driver(replace(SETTINGS, max_streams=1))
    driver.listed(stream(IMG), stream(PH))
    out = driver.send(Reconfigured, settings=SETTINGS)
    assert started(out) == [(RUN, PH)]
