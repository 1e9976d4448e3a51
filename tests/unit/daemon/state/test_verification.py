"""Which closed stores the service compares with their frame files, and when: a pure machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.state_driver import (
    IMG,
    PH,
    RUN,
    SETTINGS,
    Driver,
    entry,
    logged,
    outputs,
    stream,
    target,
)

from panoseti_zarr.daemon.state.events import (
    Connected,
    Outcome,
    OutputsChecked,
    Reconfigured,
    RetryRequested,
    StopRequested,
    StoreComparison,
    Tick,
    VerifyEnded,
)
from panoseti_zarr.daemon.state.instructions import (
    Instruction,
    Log,
    PauseVerify,
    SaveRun,
    StartVerify,
)
from panoseti_zarr.daemon.state.records import VerifyStatus
from panoseti_zarr.daemon.status.ledger import Ledger, rows_of

VERIFY = replace(SETTINGS, verify=True)
STARTED = StartVerify(target(IMG), "f1")


def closed(*keys: str, **how: Any) -> Driver:
    """Bring a run's streams to their close and their L1, with `verify` on."""
    driver = Driver(how.pop("settings", VERIFY))
    driver.listed(*(stream(key) for key in keys))
    for key in keys:
        driver.ingested(key)
        driver.l1_made(key)
    return driver


def compared(driver: Driver, key: str = IMG, **how: Any) -> list[Instruction]:
    found = {"outcome": Outcome.DONE, "verified_ns": 7, "store_id": "s", "commit": 3}
    fields = {**found, "run": RUN, "n_frames": 7, "n_bytes": 10**6, "seconds": 0.5, **how}
    return driver.send(VerifyEnded, stream=key, **fields)


def verification(driver: Driver, key: str = IMG) -> VerifyStatus:
    return driver.state.runs[RUN].streams[key].verify


def starts(instructions: list[Instruction]) -> list[str]:
    return [i.target.stream for i in instructions if isinstance(i, StartVerify)]


def test_nothing_is_compared_unless_asked_for() -> None:
    """`verify` is off by default."""
    driver = closed(IMG, settings=SETTINGS)
    assert starts(driver.send(Tick, after_s=5)) == []
    assert STARTED in driver.send(Reconfigured, settings=VERIFY)


def test_a_closed_stream_is_compared_when_nothing_else_is_to_be_done() -> None:
    """After the last L0 and L1 job, one at a time; what was compared is remembered and saved."""
    driver = Driver(VERIFY)
    driver.listed(stream(IMG), stream(PH))
    assert starts(driver.ingested(IMG) + driver.l1_made(IMG) + driver.ingested(PH)) == []
    out = driver.l1_made(PH)
    assert [i for i in out if isinstance(i, StartVerify)] == [STARTED]
    out = compared(driver, IMG)
    fields = {"n_frames": 7, "n_bytes": 10**6, "seconds": 0.5, "mb_per_s": 2.0}
    assert Log("stream.verified", "info", RUN, IMG, fields) in out
    assert SaveRun(RUN) in out
    assert starts(out) == [PH]
    found = driver.state.runs[RUN].streams[IMG]
    assert (found.verified_ns, found.verified_store_id, found.verified_commit) == (7, "s", 3)
    assert starts(compared(driver, PH)) == []
    assert driver.state.runs[RUN].n_verified == 2


def test_a_comparison_is_held_while_jobs_run() -> None:
    """A run that comes meanwhile is converted at once; then the comparison goes on."""
    driver = closed(IMG)
    out = driver.listed(stream(), run="new.pffd")
    assert PauseVerify(is_held=True) in out
    out = driver.ingested(run="new.pffd")
    assert PauseVerify(is_held=False) not in out
    assert PauseVerify(is_held=False) in driver.l1_made(run="new.pffd")
    assert "stream.verified" in logged(compared(driver))


def test_a_full_disk_does_not_keep_from_comparing() -> None:
    """What tells which files may go must not wait for room; a missing directory it waits for."""
    driver = Driver(VERIFY)
    driver.listed(stream())
    driver.ingested()
    driver.outputs(free_bytes=1)
    out = driver.l1_made()
    assert starts(out) == [IMG]
    driver = Driver(VERIFY)
    driver.listed(stream())
    driver.ingested()
    driver.send(OutputsChecked, outputs=(replace(outputs()[0], problem="is missing"), outputs()[1]))
    assert starts(driver.l1_made()) == []
    assert starts(driver.outputs()) == [IMG]


def test_a_difference_is_logged_and_kept() -> None:
    """The event has frame, file and byte; it is not tried again before somebody asks."""
    driver = closed(IMG)
    found: dict[str, Any] = {"frame_index": 4, "file": "a.pff", "byte_offset": 99}
    out = compared(driver, outcome=Outcome.CORRUPT, reason="images differ", **found)
    fields = {"reason": "images differ", "frame": 4, "file": "a.pff", "byte_offset": 99}
    assert Log("stream.verify_failed", "error", RUN, IMG, fields) in out
    assert starts(driver.send(Tick, after_s=50)) == []
    run = driver.state.runs[RUN]
    assert (run.n_verified, run.n_verify_failed) == (0, 1)
    assert run.streams[IMG].verify_reason == "verify: images differ"
    driver.send(RetryRequested, run=RUN)
    assert starts(driver.l1_made(is_changed=False)) == [IMG]


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.CHANGED, Outcome.MISSING])
def test_what_could_not_be_compared_is_tried_again(outcome: Outcome) -> None:
    """With growing delays, until it could."""
    driver = closed(IMG)
    for delay_s in (5, 10):
        out = compared(driver, outcome=outcome, reason="x")
        assert "stream.verify_postponed" in logged(out)
        assert starts(out + driver.send(Tick, after_s=delay_s - 1)) == []
        assert (driver.state.next_due_s(driver.now_s) or 0.0) <= driver.now_s + 1
        assert starts(driver.send(Tick, after_s=1)) == [IMG]


def test_a_stream_that_opens_again_is_not_verified_any_more() -> None:
    """From the moment its files change; and again when it is closed and compared again."""
    driver = closed(IMG)
    compared(driver)
    driver.root(entry(mtime_ns=2))
    driver.look(digest="d2")
    assert driver.state.runs[RUN].n_verified == 0
    more = stream(digest="f2", store=StoreComparison.DIFFERENT, store_id="s", commit=3)
    driver.listed(more, digest="d2")
    assert verification(driver) is VerifyStatus.UNVERIFIED
    driver.ingested()
    assert starts(driver.l1_made()) == [IMG]
    compared(driver, commit=4)
    assert driver.state.runs[RUN].n_verified == 1


def test_what_is_found_of_a_store_that_is_no_more_does_not_count() -> None:
    """The stream is ingested again while it is compared: compared again after that."""
    driver = closed(IMG)
    driver.root(entry(mtime_ns=2))
    driver.listed(stream(digest="f2", store=StoreComparison.DIFFERENT), digest="d2")
    driver.ingested()
    assert logged(compared(driver, outcome=Outcome.CORRUPT, reason="x")) == []
    assert verification(driver) is VerifyStatus.UNVERIFIED
    assert starts(driver.l1_made()) == [IMG]


@pytest.mark.parametrize("held", [("other", 3), ("s", 4)])
def test_another_store_in_its_place_is_not_verified(held: tuple[str, int]) -> None:
    """Somebody made or extended it by hand: store and commit are not those compared."""
    driver = closed(IMG)
    compared(driver)
    driver.root(entry())
    driver.now_s += SETTINGS.recheck_s
    driver.root(entry())
    store_id, commit = held
    seen = stream(store=StoreComparison.SAME, has_l1=True, store_id=store_id, commit=commit)
    assert starts(driver.look(seen)) == [IMG]


def test_files_removed_before_are_said_and_no_error() -> None:
    """Not verified, and done with; once they are back they are compared."""
    driver = Driver(VERIFY)
    driver.listed(stream())
    driver.ingested()
    driver.root(n_entries=1)
    out = driver.l1_made()
    assert starts(out) == []
    assert verification(driver) is VerifyStatus.GONE
    assert driver.state.runs[RUN].n_verify_failed == 0
    driver.listed(stream(store=StoreComparison.SAME, has_l1=True))
    driver.root(entry())
    seen = stream(store=StoreComparison.SAME, has_l1=True)
    driver.look(seen)
    driver.now_s += 10
    driver.send(Tick)
    assert starts(driver.look(seen)) == [IMG]


def test_removed_files_are_logged_once() -> None:
    """One warning a stream, when they go; after a comparison none, and it stays verified."""
    driver = closed(IMG)
    assert logged(driver.root(n_entries=1)) == ["run.removed"]
    assert logged(compared(driver, outcome=Outcome.MISSING)) == ["stream.not_verified"]
    assert logged(driver.root(n_entries=1)) == []
    driver = closed(IMG)
    compared(driver)
    assert logged(driver.root(n_entries=1)) == ["run.removed"]
    assert driver.state.runs[RUN].n_verified == 1


def test_a_restart_resumes_what_was_pending(tmp_path: Path) -> None:
    """The ledger keeps what is verified; what was not, or was under way, is compared."""
    driver = closed(IMG, PH)
    compared(driver, IMG)
    assert verification(driver, PH) is VerifyStatus.RUNNING
    ledger = Ledger(tmp_path)
    ledger.save([rows_of(driver.state.runs[RUN], 0)], ())
    after = Driver(VERIFY, ready=False, runs=ledger.load(0))
    ledger.close()
    after.send(Connected, n_slots=2)
    after.outputs()
    assert starts(after.root(entry())) == [PH]
    found = after.state.runs[RUN].streams[IMG]
    assert (found.verify, found.verified_ns) == (VerifyStatus.VERIFIED, 7)


def test_without_a_ledger_everything_is_compared_again() -> None:
    """It is not in the stores."""
    driver = Driver(VERIFY)
    driver.listed(stream(store=StoreComparison.SAME, has_l1=True))
    driver.ingested(is_changed=False)
    assert starts(driver.l1_made(is_changed=False)) == [IMG]


def test_no_comparison_starts_on_a_paused_root() -> None:
    """Its files are not there to compare with; it starts when the root is back."""
    driver = closed(IMG)
    compared(driver, outcome=Outcome.FAILED)
    driver.root(problem="is missing")
    driver.now_s += 10_000
    assert starts(driver.outputs()) == []
    assert starts(driver.root(entry())) == [IMG]


def test_a_stop_waits_for_the_comparison() -> None:
    """It ends as a job does, and is not verified."""
    driver = closed(IMG)
    assert [type(i).__name__ for i in driver.send(StopRequested)] == ["Log", "StopJobs"]
    out = compared(driver, outcome=Outcome.STOPPED)
    assert [type(i).__name__ for i in out] == ["SaveRun", "Exit"]
    assert verification(driver) is VerifyStatus.UNVERIFIED
